"""A refused request is shown in one form; a venue's own text is not changed."""

from __future__ import annotations

import pytest

from exchanges.ccxt_adapter.ccxt_import import errors
from exchanges.ccxt_adapter.errors import translated


@pytest.mark.parametrize("name", ["binance", "binance_testnet"])
def test_ccxts_words_before_a_status_become_its_own_form(name: str) -> None:
    assert translated(name, errors.ExchangeError("binance 418 too many requests")).reason == (
        "HTTP 418: too many requests"
    )


@pytest.mark.parametrize("words", ["code 451", "error 429 orders are open", "market 500 is not known"])
def test_a_number_in_the_venues_text_is_not_read_as_a_status(words: str) -> None:
    assert translated("bybit", errors.ExchangeError(words)).reason == words
