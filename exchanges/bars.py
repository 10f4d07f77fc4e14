"""A venue's bars over all its connections: native or built from trades, each closed once, what was missed fetched."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from loguru import logger

from exchanges.candles import CandleBuilder, CandleTracker
from exchanges.errors import VenueError
from exchanges.events import Candle, Listener, TradeEvent

MEND_DELAYS = (0.0, 1.0, 3.0, 10.0)  # seconds before each attempt at fetching missed bars

Fetch = Callable[[str, str, int], Awaitable[Sequence[Any]]]
"""(market symbol, timeframe, Unix ms) -> ccxt's OHLCV rows from the bar that opened then."""


class Bars:
    """Keeps the bars of every (market symbol, timeframe) of one venue; ``fetch`` is its REST answer."""

    def __init__(self, name: str, fetch: Fetch) -> None:
        self._name = name
        self._fetch = fetch
        self._kept: dict[tuple[str, str], CandleTracker | CandleBuilder] = {}
        self._mending: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._listener: Listener | None = None  # of the newest connection

    def begin(
        self,
        coins: Mapping[str, str],
        timeframes: Iterable[str],
        listener: Listener,
        closed: Mapping[tuple[str, str], int],
        *,
        native: bool,
    ) -> None:
        """A connection begins: bars that are open may have missed something. ``coins``: market symbol -> coin.

        ``closed``: the newest bar (its open time, Unix ms) of a (coin, timeframe) that some venue has closed.
        """
        self._listener = listener
        for timeframe in timeframes:
            for symbol, coin in coins.items():
                kept = self._kept.get((symbol, timeframe))
                if kept is not None:
                    kept.interrupted()
                else:
                    kind = CandleTracker if native else CandleBuilder
                    kept = self._kept[symbol, timeframe] = kind(coin, timeframe, self._name)
                if isinstance(kept, CandleTracker) and (coin, timeframe) in closed:
                    kept.go_on_after(closed[coin, timeframe])

    def on_row(self, symbol: str, timeframe: str, row: Any, received_at: int, closed: bool | None) -> bool:
        """A native row, with the venue's word on whether it is closed; False when it is no candle."""
        tracker = self._kept[symbol, timeframe]
        assert isinstance(tracker, CandleTracker)
        bad = tracker.bad
        self._deliver(symbol, timeframe, tracker.update(row, received_at, closed))
        return tracker.bad == bad

    def on_trade(self, symbol: str, timeframes: Iterable[str], trade: TradeEvent) -> None:
        """A trade of a venue that streams no candles."""
        for timeframe in timeframes:
            builder = self._kept[symbol, timeframe]
            assert isinstance(builder, CandleBuilder)
            self._deliver(symbol, timeframe, builder.add(trade))

    async def end(self) -> None:
        """The connection is over; what is not mended yet will be with the next one's bars."""
        mending = list(self._mending.values())
        for task in mending:
            task.cancel()
        await asyncio.gather(*mending, return_exceptions=True)

    def _deliver(self, symbol: str, timeframe: str, candles: Iterable[Candle]) -> None:
        self._hand_over(candles)
        key = symbol, timeframe
        if self._kept[key].holes() and key not in self._mending:
            task = asyncio.create_task(self._mend(symbol, timeframe), name=f"bars of {symbol} on {self._name}")
            self._mending[key] = task
            task.add_done_callback(lambda task: self._mending.pop(key, None))

    async def _mend(self, symbol: str, timeframe: str) -> None:
        """Fetch the bars that an outage left open or skipped, and close them; given up after a few attempts."""
        kept = self._kept[symbol, timeframe]
        for delay in MEND_DELAYS:
            await asyncio.sleep(delay)
            if not kept.holes():
                return  # the venue itself has filled them
            try:
                rows = await self._fetch(symbol, timeframe, kept.holes()[0])
            except VenueError as error:
                logger.warning("{}: {} bars of {} are not mended yet: {}", self._name, timeframe, symbol, error)
                continue
            self._hand_over(kept.fill(rows, time.time_ns()))
            if not kept.holes():
                return
        logger.warning("{}: {} bars of {} stay open: {}", self._name, timeframe, symbol, kept.forget())

    def _hand_over(self, candles: Iterable[Candle]) -> None:
        assert self._listener is not None
        for candle in candles:
            self._listener.on_candle(candle)
