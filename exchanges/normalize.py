"""Turns ccxt's unified rows into events; decides which values are impossible: a row with one gives None. Pure.

Every function takes a row of any shape and returns an event. It returns None if the row has an impossible value:
missing, NaN, infinite, absurdly large, of the wrong type, or zero or negative where that is impossible. No function
raises, so one bad row never ends a stream; the caller counts the Nones.

A row of ordinary values takes a fast path. A row with integers or numeric strings in place of floats, seconds in place
of milliseconds, or a missing key takes a slow path to the same result.

``received_at`` is the local Unix time in ns at which the frame was read, 0 when unknown. Together with the venue's
clock, if that is known (:mod:`exchanges.venue_time`), it limits how far in the future a row's time may be. ``scale``
turns the venue's sizes into base units (the contract size of a swap market). ``market`` is the market's symbol.
"""

from __future__ import annotations

import re
from typing import Any

from exchanges import venue_time
from exchanges.events import Candle, Quote, Ticker, TradeEvent
from exchanges.venue_time import AHEAD

__all__ = ["candle", "milliseconds", "quote", "ticker", "trade", "trade_id"]

ABSURD = 1e15  # no price or quantity of a listed market is as large as this, but an id in the wrong place may be
_ABSURD_VOLUME = 1e21  # turnovers in weak currencies and volumes of dust coins are far larger than prices
_EARLIEST_S, _LATEST_S = 1_230_768_000, 4_102_444_800  # Unix seconds of 2009, the year of the first coin, and of 2100
EARLIEST, _LATEST = _EARLIEST_S * 1000, _LATEST_S * 1000
_EXACT_INTEGER = 2**53  # floats hold whole numbers exactly up to here
_LONGEST_ID = 10**100  # larger numbers are no ids; Python refuses to print integers of more than 4,300 digits
LONGEST_NAME = 200  # the most characters of an id
_ROUNDED_ID = re.compile(r"\d(\.\d+)?e\+\d+\Z")
_SIDES = {"sell": True, "buy": False}


def trade(
    row: Any, coin: str, exchange: str, received_at: int, scale: float = 1.0, market: str = ""
) -> TradeEvent | None:
    """The trade in a ccxt trade row, or None.

    A row whose side is missing or unknown gives None: a guess of ``is_buyer_maker`` would be wrong half of the time,
    and nobody would notice. A row without a timestamp gets the time at which it was read; an impossible timestamp
    gives None. An id that is missing, or that a JSON parser has rounded to a float, becomes "": other trades may
    share it.
    """
    if type(row) is dict:
        try:
            price = row["price"]
            amount = row["amount"]
            timestamp = row["timestamp"]
            trade_id = row["id"]
            is_buyer_maker = _SIDES[row["side"]]
        except (KeyError, TypeError):  # TypeError: a side that can't be hashed
            return _any_trade(row, coin, exchange, received_at, scale, market)
        if (
            type(price) is float
            and type(amount) is float
            and type(timestamp) is int
            and type(trade_id) is str
            and 0.0 < price < ABSURD
            and 0.0 < (quantity := amount * scale) < ABSURD
            and EARLIEST <= timestamp <= received_at // 1_000_000 + AHEAD
            and "e+" not in trade_id
            and len(trade_id) <= LONGEST_NAME
            and trade_id.isprintable()
        ):
            return TradeEvent(
                coin, price, quantity, is_buyer_maker, timestamp, exchange, trade_id, received_at, False, market
            )
    return _any_trade(row, coin, exchange, received_at, scale, market)


def ticker(
    row: Any,
    coin: str,
    exchange: str,
    received_at: int,
    scale: float = 1.0,
    volume_scale: float = 1.0,
    market: str = "",
) -> Ticker | None:
    """The ticker in a ccxt ticker row, or None without a last price (some venues' rows have only bid and ask).

    ``volume_24h`` is ``quoteVolume``, else ``baseVolume`` times the average price, else times the last price.
    ``change_24h`` is ``percentage``, else it is computed from ``open`` or ``previousClose``. A missing or impossible
    value becomes None, a missing timestamp 0; an impossible timestamp makes the whole ticker None. ``scale`` applies
    to bid and ask sizes, ``volume_scale`` to ``baseVolume``.
    """
    if not isinstance(row, dict):
        return None
    get = row.get
    last = _positive(get("last")) or _positive(get("close"))
    if last is None:
        return None
    timestamp = _time(get("timestamp"), exchange, received_at, missing=0)
    if timestamp is None:
        return None
    volume = _size(get("quoteVolume"))
    if volume is None and (base := _size(get("baseVolume"))) is not None:
        volume = _size(base * volume_scale * (_positive(get("vwap")) or last))
    change = _number(get("percentage"))
    if change is None or not -100.0 <= change < ABSURD:
        opened = _positive(get("open")) or _positive(get("previousClose"))
        change = None if opened is None else _number((last - opened) / opened * 100.0)
    return Ticker(
        coin,
        last,
        timestamp,
        volume,
        change,
        _positive(get("bid")),
        _size(get("bidVolume"), scale),
        _positive(get("ask")),
        _size(get("askVolume"), scale),
        exchange,
        received_at,
        market,
    )


def quote(row: Any, coin: str, exchange: str, received_at: int, scale: float = 1.0, market: str = "") -> Quote | None:
    """The best bid and ask in a ccxt ticker or bid/ask row; None if one of them is missing or they are crossed.

    A size that the venue does not send is 0.0, a timestamp that it does not send is 0 (Binance's book ticker has none).
    A bid above the ask gives None: the two are not of the same moment, and the next row comes within milliseconds.
    """
    if not isinstance(row, dict):
        return None
    get = row.get
    bid, ask = _positive(get("bid")), _positive(get("ask"))
    if bid is None or ask is None or bid > ask:
        return None
    bid_size = 0.0 if (size := get("bidVolume")) is None else _size(size, scale)
    ask_size = 0.0 if (size := get("askVolume")) is None else _size(size, scale)
    timestamp = _time(get("timestamp"), exchange, received_at, missing=0)
    if bid_size is None or ask_size is None or timestamp is None:
        return None
    return Quote(coin, bid, bid_size, ask, ask_size, timestamp, exchange, received_at, market)


def candle(
    row: Any,
    coin: str,
    timeframe: str,
    exchange: str,
    received_at: int,
    closed: bool,
    scale: float = 1.0,
    market: str = "",
) -> Candle | None:
    """The candle in a ccxt OHLCV row ``[open time, open, high, low, close, volume]``, or None.

    The prices must be consistent (the low is the lowest, the high the highest). The volume may be zero, but not
    missing.
    """
    if not isinstance(row, (list, tuple)) or len(row) < 6:
        return None
    timestamp = _time(row[0], exchange, received_at, missing=None)
    opened, high, low, last = _positive(row[1]), _positive(row[2]), _positive(row[3]), _positive(row[4])
    volume = _size(row[5], scale)
    if timestamp is None or opened is None or high is None or low is None or last is None or volume is None:
        return None
    if not (low <= opened <= high and low <= last <= high):
        return None
    return Candle(coin, timeframe, timestamp, opened, high, low, last, volume, closed, exchange, received_at, market)


def milliseconds(value: Any) -> int | None:
    """``value``, a Unix time in s, ms, µs or ns as a number or a numeric string, in ms; None outside 2009 to 2100.

    The size of the number shows the unit: the four ranges are far apart. Fractions of a ms are cut off; seconds with a
    fraction are rounded to ms.
    """
    if type(value) is int:
        number: int | float = value
    elif type(value) is str and value.isascii() and value.isdigit() and len(value) < 25:
        number = int(value)  # exact, where a float would round nanoseconds
    else:
        parsed = _number(value)
        if parsed is None:
            return None
        number = parsed
    if EARLIEST <= number < _LATEST:
        return int(number)
    if _EARLIEST_S <= number < _LATEST_S:
        return round(number * 1000)
    for unit in (1_000, 1_000_000):
        if EARLIEST <= number // unit < _LATEST:
            return int(number // unit)
    return None


def _any_trade(row: Any, coin: str, exchange: str, received_at: int, scale: float, market: str) -> TradeEvent | None:
    """Like :func:`trade`, for a row of any shape."""
    if not isinstance(row, dict):
        return None
    get = row.get
    price, amount, side = _positive(get("price")), _number(get("amount")), get("side")
    if price is None or amount is None or type(side) is not str:
        return None
    is_buyer_maker = _SIDES.get(side.strip().lower())
    timestamp = _time(get("timestamp"), exchange, received_at, missing=received_at // 1_000_000)
    quantity = amount * scale
    if is_buyer_maker is None or timestamp is None or timestamp < EARLIEST or not 0.0 < quantity < ABSURD:
        return None
    name = trade_id(get("id"))
    return TradeEvent(coin, price, quantity, is_buyer_maker, timestamp, exchange, name, received_at, False, market)


def _number(value: Any) -> float | None:
    """``value`` as a finite float, if it is exactly a float, an int or a numeric string; otherwise None."""
    kind = type(value)
    if kind is float:
        number: float = value
    elif kind is int or (kind is str and value.isascii() and "_" not in value):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            return None
    else:
        return None
    return number if -1e308 < number < 1e308 else None  # NaN gives None too


def _positive(value: Any) -> float | None:
    """``value`` as a price; None if it can't be a price."""
    number = value if type(value) is float else _number(value)
    return number if number is not None and 0.0 < number < ABSURD else None


def _size(value: Any, scale: float = 1.0) -> float | None:
    """``value`` as a size in base units, or as a day's volume; zero is allowed."""
    number = _number(value)
    return scaled if number is not None and 0.0 <= (scaled := number * scale) < _ABSURD_VOLUME else None


def _time(value: Any, exchange: str, received_at: int, missing: int | None) -> int | None:
    """``value`` in Unix ms; ``missing`` if ``value`` is None.

    Returns None if a row that was read at ``received_at`` can't have that time.
    """
    if value is None:
        return missing
    timestamp = value if type(value) is int and EARLIEST <= value < _LATEST else milliseconds(value)
    if timestamp is None or (received_at > 0 and not venue_time.is_time(exchange, timestamp, received_at)):
        return None
    return timestamp


def trade_id(value: Any) -> str:
    """A trade id exactly as the venue sent it, "" if it can't be known any more."""
    kind = type(value)
    if kind is str:
        # htx's ids of 24 digits come out of ccxt as "1.0234567890123457e+26": rounded, so several trades share one
        if not value.isprintable() or len(value) > LONGEST_NAME:  # control characters are not part of an id
            return ""
        return "" if "e+" in value and _ROUNDED_ID.match(value) else str(value)
    if kind is int:
        return str(value) if -_LONGEST_ID < value < _LONGEST_ID else ""
    if kind is float and value.is_integer() and -_EXACT_INTEGER < value < _EXACT_INTEGER:
        return str(int(value))
    return ""
