"""Candles in whole ticks and lots, so that they fit the trades exactly; computes when their intervals begin and end."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

MINUTE = 60_000
DAY = 1440 * MINUTE
MONTH = 0  # the only interval whose length is not fixed
_MONDAY = 4 * DAY  # 1970-01-05, the first Monday of Unix time

# Binance's names, https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams
BINANCE_INTERVALS: dict[str, int] = {
    "1s": 1000,
    **{f"{n}m": n * MINUTE for n in (1, 3, 5, 15, 30)},
    **{f"{n}h": n * 60 * MINUTE for n in (1, 2, 4, 6, 8, 12)},
    "1d": DAY,
    "3d": 3 * DAY,
    "1w": 7 * DAY,
    "1M": MONTH,
}
# Bybit's names, https://bybit-exchange.github.io/docs/v5/enum#interval
BYBIT_INTERVALS: dict[str, int] = {
    **{str(n): n * MINUTE for n in (1, 3, 5, 15, 30, 60, 120, 240, 360, 720)},
    "D": DAY,
    "W": 7 * DAY,
    "M": MONTH,
}


@dataclass(slots=True)
class SimulatedCandle:
    """One candle: ``start`` in Unix ms, prices in ticks, volume in lots, turnover in ticks times lots."""

    start: int
    open: int
    high: int
    low: int
    close: int
    lots: int = 0
    turnover: int = 0
    count: int = 0
    buy_lots: int = 0  # the volume of takers that bought
    buy_turnover: int = 0
    first_id: int = -1
    last_id: int = -1

    def trade(self, ticks: int, trade_id: int) -> None:
        """Take a trade at a new price; the caller adds its volume and the count."""
        if self.first_id < 0:
            self.open = self.high = self.low = ticks
            self.first_id = trade_id
        if ticks > self.high:
            self.high = ticks
        elif ticks < self.low:
            self.low = ticks
        self.close = ticks

    def add(self, later: SimulatedCandle) -> None:
        """Add the candle that follows this one."""
        if not later.count:
            return
        if not self.count:
            self.open, self.high, self.low = later.open, later.high, later.low
            self.first_id = later.first_id
        self.high = max(self.high, later.high)
        self.low = min(self.low, later.low)
        self.close = later.close
        self.lots += later.lots
        self.turnover += later.turnover
        self.count += later.count
        self.buy_lots += later.buy_lots
        self.buy_turnover += later.buy_turnover
        self.last_id = later.last_id


def flat(start: int, price: int) -> SimulatedCandle:
    """The candle of a time without trades."""
    return SimulatedCandle(start, price, price, price, price)


def merged(candles: Iterable[SimulatedCandle], start: int, price: int) -> SimulatedCandle:
    """One candle over ``candles``, flat at ``price`` if nothing was traded in them."""
    whole = flat(start, price)
    for candle in candles:
        whole.add(candle)
    return whole


def copy(candle: SimulatedCandle) -> SimulatedCandle:
    return replace(candle)


def candle_start(ms: int, interval: int) -> int:
    """When the candle of ``interval`` that holds the time ``ms`` opened: weeks on Monday, months on the 1st, UTC."""
    if interval == MONTH:
        day = datetime.fromtimestamp(ms / 1000, UTC)
        return int(datetime(day.year, day.month, 1, tzinfo=UTC).timestamp()) * 1000
    if interval == 7 * DAY:
        return ms - (ms - _MONDAY) % interval
    return ms - ms % interval


def candle_end(start: int, interval: int) -> int:
    """When the candle that opened at ``start`` ends: the start of the next one."""
    return candle_start(start + 32 * DAY, MONTH) if interval == MONTH else start + interval


def fixed(amount: int, digits: int, width: int | None = None) -> str:
    """``amount`` times 10 ** -``digits`` as an exact decimal text, with ``width`` decimals if that is given."""
    sign, amount = ("-", -amount) if amount < 0 else ("", amount)
    whole, rest = divmod(amount, 10**digits)
    decimals = f"{rest:0{digits}d}" if digits else ""
    decimals = decimals.ljust(width, "0")[:width] if width is not None else decimals
    return f"{sign}{whole}.{decimals}" if decimals else f"{sign}{whole}"
