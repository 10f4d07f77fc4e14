"""In names on the bus, characters that NATS does not allow are written as %XX and can be read back."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from exchanges.bus.subjects import MarketSubjects, text, token


@given(st.text(min_size=1, max_size=30))
def test_any_text_becomes_a_token_that_can_be_read_back(name: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_%-]+", token(name))
    if name.encode("utf-8", "ignore").decode() == name:
        assert text(token(name)) == name


def test_a_coin_with_a_dot_or_a_wildcard_is_one_token() -> None:
    names = MarketSubjects("binance", "spot")
    assert names.events("trades", "BTC") == "market.binance.spot.trades.BTC"
    assert names.events("trades", "USD.E") == "market.binance.spot.trades.USD%2EE"
    assert names.events("trades", "A*>") == "market.binance.spot.trades.A%2A%3E"
    assert names.events("candles-1m", "*") == "market.binance.spot.candles-1m.*"


def test_two_names_never_share_a_token() -> None:
    assert token("A.B") != token("A%2EB")
