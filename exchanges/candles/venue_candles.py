"""A venue's candles over all its connections: its own or built from trades, each closed once, missed ones fetched."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from loguru import logger

from exchanges.candles.builder import CandleBuilder
from exchanges.candles.overdue import GRACE, Overdue, Timing
from exchanges.candles.timeframes import next_open
from exchanges.candles.tracker import CandleTracker
from exchanges.errors import VenueError
from exchanges.events import Candle, TradeEvent

AT_ONCE = 5  # requests at a time to one venue: an outage interrupts the candles of all coins and timeframes
MEND_DELAYS = (0.0, 1.0, 3.0, 10.0, 30.0, 60.0, 120.0)  # seconds before each attempt at fetching missed candles
FINAL = 4  # attempts after which the record is taken as it is, also where more was seen of a candle

Fetch = Callable[[str, str, int], Awaitable[Sequence[Any]]]
"""(market symbol, timeframe, Unix ms) -> ccxt's OHLCV rows from the candle that opened then."""


class VenueCandles:
    """Keeps the candles of every (market symbol, timeframe) of one venue, over all connections that follow one another.

    ``fetch`` is the venue's REST answer; ``deliver`` takes the candles that it mends. What a connection brings itself
    is handed back to it. With ``timing`` a candle that is over is closed also where nothing more comes.
    """

    def __init__(
        self, name: str, fetch: Fetch, deliver: Callable[[Candle], None], timing: Timing | None = None
    ) -> None:
        self._name = name
        self._fetch = fetch
        self._deliver = deliver
        self._connections = 0
        self._builds_from: dict[str, int] = {}  # symbol -> the connection of whose trades: two bring each trade twice
        self._kept: dict[tuple[str, str], CandleTracker | CandleBuilder] = {}
        self._lost = 0  # of those that are not kept any more
        self._mending: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._requests = asyncio.Semaphore(AT_ONCE)
        self._timing = timing
        self._overdue = None if timing is None else self._overdue_by(timing)
        self._looking: asyncio.Task[None] | None = None

    @property
    def lost(self) -> int:
        """How many candles were given up: they will not be closed."""
        return self._lost + sum(kept.lost for kept in self._kept.values())

    def begin(
        self,
        coins: Mapping[str, str],
        timeframes: Iterable[str],
        closed: Mapping[tuple[str, str], int],
        *,
        native: bool,
        scales: Mapping[str, float] = MappingProxyType({}),
        connection: int | None = None,
    ) -> int:
        """A connection begins: candles that are open may have missed something. Returns its number.

        ``connection`` is the number of one that stands, to which ``coins`` are added.
        ``coins``: market symbol -> coin. ``closed``: the newest candle (its open time, Unix ms) of a (coin, timeframe)
        that some venue has closed. ``scales``: market symbol -> what one unit of a row's volume is, where it is not 1.
        """
        if self._overdue is not None and (self._looking is None or self._looking.done()):
            self._looking = asyncio.create_task(self._overdue.run(), name=f"ends of bars on {self._name}")
        if connection is None:
            self._connections += 1
            connection = self._connections
        for timeframe in timeframes:
            for symbol, coin in coins.items():
                kept = self._kept.get((symbol, timeframe))
                if kept is not None and kept.coin == coin:  # a market may go on as another coin
                    kept.interrupted()
                else:
                    kind = CandleTracker if native else CandleBuilder
                    scale = scales.get(symbol, 1.0)
                    kept = self._kept[symbol, timeframe] = kind(coin, timeframe, self._name, scale, symbol)
                if (coin, timeframe) in closed:
                    kept.go_on_after(closed[coin, timeframe])
        return connection

    def begun(self, symbol: str, timeframe: str) -> bool:
        """Whether some candle is known."""
        return (kept := self._kept.get((symbol, timeframe))) is not None and kept.begun

    def on_row(
        self, symbol: str, timeframe: str, row: Any, received_at: int, closed: bool | None
    ) -> list[Candle] | None:
        """The candles to deliver for a row of the venue; ``closed``: what the venue says. None if it is no candle."""
        tracker = self._kept.get((symbol, timeframe))
        if tracker is None:
            return []  # of a connection that has ended and still drains
        assert isinstance(tracker, CandleTracker)
        bad = tracker.bad
        candles = tracker.update(row, received_at, closed, self._venue_time())
        self._mend_if_torn(symbol, timeframe)
        return candles if tracker.bad == bad else None

    def on_candle(self, symbol: str, candle: Candle) -> list[Candle]:
        """The candles to deliver for a candle of the venue that was read already, with the ``closed`` that it says."""
        timeframe = candle.timeframe
        tracker = self._kept.get((symbol, timeframe))
        if tracker is None:
            return []  # of a connection that has ended and still drains
        assert isinstance(tracker, CandleTracker)
        candle.coin = tracker.coin  # the market may have gone on as another coin
        candles = tracker.follow(candle, said=True, now=self._venue_time())
        self._mend_if_torn(symbol, timeframe)
        return candles

    def on_trade(self, connection: int, symbol: str, timeframes: Iterable[str], trade: TradeEvent) -> list[Candle]:
        """The candles to deliver for a trade; only the newest connection with trades builds candles."""
        builds_from = self._builds_from.get(symbol, 0)
        if connection < builds_from:
            return []
        if connection > builds_from:
            self._builds_from[symbol] = connection
            for timeframe in timeframes:
                self._kept[symbol, timeframe].interrupted()  # between two a trade may be missing, or there twice
        candles: list[Candle] = []
        now = self._venue_time()
        for timeframe in timeframes:
            builder = self._kept[symbol, timeframe]
            assert isinstance(builder, CandleBuilder)
            candles += builder.add(replace(trade), now)  # each may correct its time
            self._mend_if_torn(symbol, timeframe)
        return candles

    def missed_trades(self, coin: str) -> None:
        """Trades of the coin are missing before its next one: the candles that are built of them are not complete."""
        for kept in self._kept.values():
            if kept.coin == coin and isinstance(kept, CandleBuilder):
                kept.interrupted()

    def known(self, symbol: str, timeframe: str, opened: int) -> None:
        """The past candles up to this one (its open time, Unix ms) were fetched: none that follows may be missed."""
        kept = self._kept.get((symbol, timeframe))
        if kept is not None and not kept.begun:
            kept.go_on_after(opened)

    def holes(self) -> dict[tuple[str, str], list[int]]:
        """The candles (open times, Unix ms) of each (coin, timeframe) that are not mended yet."""
        return {(kept.coin, timeframe): holes for (_, timeframe), kept in self._kept.items() if (holes := kept.holes())}

    def owe(self, lacked: Mapping[tuple[str, str], Collection[int]]) -> None:
        """Close these candles too, which another venue has begun or missed."""
        for (_, timeframe), kept in self._kept.items():
            if bars := lacked.get((kept.coin, timeframe)):
                kept.owe(bars)

    def forget(self, symbols: Iterable[str]) -> None:
        """Drop the candles of markets that no connection carries any more."""
        gone = frozenset(symbols)
        for key in [key for key in self._kept if key[0] in gone]:
            self._lost += self._kept.pop(key).lost
            if key in self._mending:
                self._mending[key].cancel()
            if self._overdue is not None:
                self._overdue.forget(key)
        for symbol in gone:
            self._builds_from.pop(symbol, None)

    def drop(self) -> None:
        """All connections have ended, and no candle was delivered: begin again with the next ones."""
        symbols = {symbol for symbol, _ in self._kept}
        self.forget(symbols)
        self._builds_from = dict.fromkeys(symbols, self._connections + 1)  # one that still drains builds none

    async def end(self) -> None:
        """The connection is over; what is not mended yet will be with the next one's candles."""
        mending = [*self._mending.values(), *([] if self._looking is None else [self._looking])]
        for task in mending:
            task.cancel()
        await asyncio.gather(*mending, return_exceptions=True)

    def _overdue_by(self, timing: Timing) -> Overdue:
        async def fetch(symbol: str, timeframe: str, since: int) -> Sequence[Any]:
            async with self._requests:
                return await self._fetch(symbol, timeframe, since)

        mend = self._mend_if_torn
        return Overdue(self._name, self._kept, fetch, self._deliver, mend, timing)

    def _mend_if_torn(self, symbol: str, timeframe: str) -> None:
        key = symbol, timeframe
        if self._kept[key].holes() and key not in self._mending:
            task = asyncio.create_task(self._mend(symbol, timeframe), name=f"bars of {symbol} on {self._name}")
            self._mending[key] = task
            task.add_done_callback(lambda task: self._mending.pop(key, None))

    async def _mend(self, symbol: str, timeframe: str) -> None:
        """Fetch the candles that an outage left open or skipped, and close them; given up after a few attempts."""
        kept = self._kept[symbol, timeframe]
        while missed := kept.holes():
            await self._mend_these(kept, missed, symbol)
            if given_up := kept.forget(missed):
                logger.warning("{}: {} bars of {} stay open: {}", self._name, timeframe, symbol, given_up)

    async def _mend_these(self, kept: CandleTracker | CandleBuilder, missed: Sequence[int], symbol: str) -> None:
        """Fetch the candles that opened at ``missed``; others that are missed meanwhile have their own turn.

        The venue's record may be behind its stream: it has GRACE seconds to have all of a candle that has ended.
        """
        timeframe = kept.timeframe
        await asyncio.sleep(self._until_recorded(missed[-1], timeframe))
        for attempt, delay in enumerate(MEND_DELAYS):
            await asyncio.sleep(delay)
            try:
                async with self._requests:
                    holes = sorted(set(missed).intersection(kept.holes()))
                    if not holes:
                        return  # the venue itself has filled them
                    rows = await self._fetch(symbol, timeframe, holes[0])
            except VenueError as error:
                logger.warning("{}: {} bars of {} are not mended yet: {}", self._name, timeframe, symbol, error)
                continue
            for candle in kept.fill(rows, time.time_ns(), missed, final=attempt >= FINAL):
                self._deliver(candle)
            if not set(missed).intersection(kept.holes()):
                return

    def _until_recorded(self, opened: int, timeframe: str) -> float:
        """Seconds until the venue's record has all of a candle that is missed: a later one has begun."""
        if self._timing is None:
            return 0.0
        now = self._timing.venue_time()
        left = GRACE if now is None else next_open(opened, timeframe) / 1000 + GRACE - now / 1000
        return min(max(left, 0.0), GRACE)

    def _venue_time(self) -> float | None:
        return None if self._timing is None else self._timing.venue_time()
