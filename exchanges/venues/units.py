"""Converts events of markets whose unit is 1,000 coins or more (1000SHIB, 1MBABYDOGE) to single coins.

Venues list coins with very small prices like this, mostly as swaps; ccxt keeps the venue's name for the base.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TypeVar

from exchanges.events import Candle, OrderBook, Quote, Ticker, TradeEvent
from exchanges.venues.coin_renames import codes_of

_UNITS: Mapping[str, int] = {
    "1000": 1_000,
    "10000": 10_000,
    "100000": 100_000,
    "1000000": 1_000_000,
    "1M": 1_000_000,  # a letter without a number is no unit: KBTC and MSOL are coins of their own
}
_AFTER = ("1000", "10000", "100000", "1000000")  # Bybit uses both forms: SHIB1000 and 1000BONK

# For each type of event: its fields with the price of one unit, then its fields with a number of units.
_FIELDS: Mapping[type, tuple[Sequence[str], Sequence[str]]] = {
    TradeEvent: (("price",), ("quantity",)),
    Ticker: (("last", "bid", "ask"), ("bid_size", "ask_size")),
    Quote: (("bid", "ask"), ("bid_size", "ask_size")),
    Candle: (("open", "high", "low", "close"), ("volume",)),
}
_Event = TypeVar("_Event", TradeEvent, Ticker, Quote, Candle, OrderBook)


def units_of(coin: str, symbol: str) -> int:
    """How many of ``coin`` one unit of the market ``symbol`` is: 1 if the coin itself has that name, as 1INCH or
    1000SATS.

    If a market's name does not show its unit (Hyperliquid's kPEPE), it counts as a market of one unit.
    """
    base = symbol.partition("/")[0]
    codes = codes_of(coin)
    if base in codes:
        return 1
    for code in codes:
        for mark, units in _UNITS.items():
            if base == f"{mark}{code}" or (mark in _AFTER and base == f"{code}{mark}"):
                return units
    return 1


def of_coin(event: _Event, units: int) -> _Event:
    """Convert ``event`` in place, from a market with this many coins per unit, to prices per coin and quantities in
    coins.
    """
    if units == 1:
        return event
    down = 1 - len(str(units))  # powers of ten: 1000 is 3 places
    if isinstance(event, OrderBook):
        event.bids = [(_moved(price, down), _moved(size, -down)) for price, size in event.bids]
        event.asks = [(_moved(price, down), _moved(size, -down)) for price, size in event.asks]
    else:
        for names, places in zip(_FIELDS[type(event)], (down, -down), strict=True):
            for name in names:
                setattr(event, name, _moved(getattr(event, name), places))
    return event


_Number = TypeVar("_Number", float, float | None)


def _moved(value: _Number, places: int) -> _Number:
    """The number with its decimal point moved: a division of floats would leave 8.120000000000001e-06."""
    return value if value is None else float(Decimal(repr(value)).scaleb(places))
