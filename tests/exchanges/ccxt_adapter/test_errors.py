"""Errors of refused requests are shown in one form; the venue's own text is not changed."""

from __future__ import annotations

import pytest

from exchanges.ccxt_adapter.ccxt_import import errors
from exchanges.ccxt_adapter.errors import translated


@pytest.mark.parametrize("name", ["binance", "binance_testnet"])
def test_a_status_after_the_exchanges_name_is_shown_as_http_status(name: str) -> None:
    assert translated(name, errors.ExchangeError("binance 418 too many requests")).reason == (
        "HTTP 418: too many requests"
    )


@pytest.mark.parametrize("words", ["code 451", "error 429 orders are open", "market 500 is not known"])
def test_a_number_in_the_venues_text_is_not_read_as_a_status(words: str) -> None:
    assert translated("bybit", errors.ExchangeError(words)).reason == words
