"""Our instances of ccxt keep the venue's order of trades, and open no session after they were closed."""

from __future__ import annotations

from typing import Any

import pytest

from exchanges.ccxt_adapter.ccxt_import import errors
from exchanges.ccxt_adapter.instance import close_instance, forget, make_instance
from exchanges.venue import Access
from exchanges.venues.find import profile_of


@pytest.mark.parametrize(
    ("ids", "ordered"),
    [
        ([9, 10, 11], ["9", "10", "11"]),
        ([101, 100, 99], ["99", "100", "101"]),
        (["0af", "0b0", "0b1"], ["0af", "0b0", "0b1"]),
        ([None, None], [None, None]),
    ],
)
async def test_trades_of_one_millisecond_keep_the_venues_order(ids: list[Any], ordered: list[Any]) -> None:
    """ccxt would sort these trades by their ids as text, in which 10 comes before 9."""
    exchange = make_instance(profile_of("hitbtc"), Access())
    rows = [{"t": 1_700_000_000_000, "i": name, "p": "1.5", "q": "2", "s": "buy"} for name in ids]
    earlier = {"t": 1_699_999_999_999, "i": 12_345, "p": "1.5", "q": "2", "s": "sell"}
    read = [row["id"] for row in exchange.parse_ws_trades([*rows, earlier])]
    assert read == ["12345", *ordered]
    await exchange.close()


async def test_a_request_left_over_from_a_closed_instance_opens_no_session() -> None:
    exchange = make_instance(profile_of("binance"), Access())
    exchange.open()
    await close_instance(exchange)
    forget(exchange)
    with pytest.raises(errors.BaseError, match="binance instance was closed"):
        exchange.open(True)
    assert exchange.session is None
