"""Makes rows and trades of one coin, and the candles that come from these rows and trades."""

from __future__ import annotations

from collections.abc import Sequence

from exchanges.events import Candle, TradeEvent
from feed.candles.builder import CandleBuilder
from feed.candles.tracker import CandleTracker
from feed.candles.venue_candles import VenueCandles

MINUTE = 60_000
T0 = 1_723_075_200_000  # 2024-08-08 00:00 UTC
READ_AT = T0 * 1_000_000


def at(minute: int) -> int:
    return T0 + minute * MINUTE


def row(minute: int, price: float = 10.0, volume: float = 1.0) -> list[float]:
    return [at(minute), 10.0, max(10.0, price), min(10.0, price), price, volume]


def answer(*rows: Sequence[float], coin: str = "BTC", symbol: str = "", exchange: str = "") -> list[Candle]:
    """The candles of a REST answer; all are marked as closed."""
    return [
        Candle(coin, "1m", int(opened), first, high, low, last, volume, True, exchange, market=symbol)
        for opened, first, high, low, last, volume in rows
    ]


def closed(candles: list[Candle]) -> list[tuple[int, float]]:
    """Minute and close price of each closed candle."""
    return [((c.timestamp - T0) // MINUTE, c.close) for c in candles if c.closed]


def updates(candles: list[Candle]) -> list[tuple[int, float]]:
    return [((c.timestamp - T0) // MINUTE, c.close) for c in candles if not c.closed]


def trade(second: float, price: float, quantity: float = 1.0) -> TradeEvent:
    stamp = T0 + round(second * 1000)
    return TradeEvent("BTC", price, quantity, False, stamp, "gemini", "", stamp * 1_000_000)


def build(builder: CandleBuilder, *trades: TradeEvent) -> list[Candle]:
    return [candle for each in trades for candle in builder.add(each)]


def follow(
    tracker: CandleTracker,
    row: Sequence[float],
    received_at: int = 0,
    closed: bool | None = None,
    now: float | None = None,
) -> list[Candle]:
    """Return what a tracker delivers for a row; ``closed`` is the venue's flag of the row, None if there is no flag."""
    opened, first, high, low, last, volume = row
    coin, timeframe, exchange = tracker.coin, tracker.timeframe, tracker.exchange
    candle = Candle(coin, timeframe, int(opened), first, high, low, last, volume, closed is True, exchange, received_at)
    return tracker.follow(candle, said=closed is not None, now=now)


def tell_row(
    candles: VenueCandles,
    symbol: str,
    timeframe: str,
    row: Sequence[float],
    received_at: int = 0,
    closed: bool | None = None,
) -> list[Candle]:
    """Return what is delivered for a row of the venue; ``closed`` is the row's flag, None if there is no flag."""
    opened, first, high, low, last, volume = row
    coin = symbol.partition("/")[0]
    candle = Candle(
        coin, timeframe, int(opened), first, high, low, last, volume, closed is True, "", received_at, symbol
    )
    return candles.on_candle(candle, closed is not None)
