"""Prices and sizes of a market whose unit is many coins are converted to one coin."""

from __future__ import annotations

from dataclasses import astuple

import pytest

from exchanges.events import Candle, Quote, Ticker, TradeEvent
from exchanges.venues.units import of_coin, units_of


@pytest.mark.parametrize(
    ("coin", "symbol", "units"),
    [
        ("SHIB", "1000SHIB/USDT:USDT", 1_000),
        ("SHIB", "SHIB1000/USDT:USDT", 1_000),
        ("LADYS", "10000LADYS/USDT:USDT", 10_000),
        ("MOG", "1000000MOG/USDT:USDT", 1_000_000),
        ("BABYDOGE", "1MBABYDOGE/USDT", 1_000_000),
        ("BTC", "KBTC/USD", 1),
        ("SOL", "MSOL/USDT", 1),
        ("SHIB", "SHIB/USDT", 1),
        ("1000SATS", "1000SATS/USDT", 1),
        ("1000SHIB", "1000SHIB/USDT:USDT", 1),
        ("1INCH", "1INCH/USDT", 1),
        ("MX", "MX/USDT", 1),
        ("BTC", "XBT/USD", 1),
        ("POL", "MATIC/USDT", 1),
        ("INCH", "1INCH/USDT", 1),
        ("SHIB", "2000SHIB/USDT", 1),
    ],
)
def test_the_number_of_units_is_read_from_the_markets_name(coin: str, symbol: str, units: int) -> None:
    assert units_of(coin, symbol) == units


def test_prices_and_quantities_are_converted_without_rounding_errors() -> None:
    trade = TradeEvent("SHIB", 0.00812, 3.7, True, 5, "x", "1", 6, False, "1000SHIB/USDT")
    assert astuple(of_coin(trade, 1_000))[:4] == ("SHIB", 8.12e-06, 3700.0, True)
    quote = Quote("SHIB", 0.00811, 3.0, 0.00812, 0.0, 5)
    assert astuple(of_coin(quote, 1_000))[:5] == ("SHIB", 8.11e-06, 3000.0, 8.12e-06, 0.0)
    candle = Candle("SHIB", "1m", 5, 1.1, 1.3, 0.7, 1.2, 9.0, True)
    assert astuple(of_coin(candle, 10_000))[3:8] == (1.1e-4, 1.3e-4, 7e-05, 1.2e-4, 90_000.0)
    ticker = Ticker("SHIB", 0.00812, 5, 16.5, 1.5, None, None, 0.0083, 2.0)
    assert astuple(of_coin(ticker, 1_000_000))[1:9] == (8.12e-09, 5, 16.5, 1.5, None, None, 8.3e-09, 2_000_000.0)


def test_a_market_of_one_unit_is_not_converted() -> None:
    trade = TradeEvent("BTC", 61_234.5, 0.1, True, 5)
    assert of_coin(trade, 1) is trade
    assert (trade.price, trade.quantity) == (61_234.5, 0.1)
