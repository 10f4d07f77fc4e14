"""Keeps a venue's candles over all its connections; decides when to fetch missed candles, and when to give up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from loguru import logger

from exchanges.errors import VenueError
from exchanges.events import Candle, TradeEvent
from feed.candles.builder import CandleBuilder
from feed.candles.missing import CandleRecord
from feed.candles.overdue import GRACE, Overdue, Timing
from feed.candles.tracker import CandleTracker
from feed.settings.timeframes import next_open

AT_ONCE = 5  # the most requests at a time to one venue: an outage leaves candles of all coins and timeframes to fetch
MEND_DELAYS = (0.0, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 30.0, 60.0, 120.0)  # seconds before each attempt at fetching
AT_ABOUT = 0.01  # seconds by which a candle may be requested early, so that one request can cover several candles
SETTLED = 3  # attempts after which the record's newest row is taken if the stream has shown nothing later
FINAL = 6  # attempts after which the record is taken as it is, even if the stream has shown more of a candle

Fetch = Callable[[str, str, str, int], Awaitable[Sequence[Candle]]]
"""(coin, market symbol, timeframe, Unix ms) -> the candles that opened at this time or later."""


@dataclass(eq=False, repr=False)
class VenueCandles:
    """Keeps the candles of every (market symbol, timeframe) of one venue, over all connections that follow one another.

    ``fetch`` requests candles over REST; ``deliver`` is called with each candle that an answer repaired. Candles from a
    connection's own data are returned to that connection. ``timing`` gives the times by which a candle is closed after
    its end even if no more data arrives. ``give_up`` is called with the coin, the timeframe and the open times (Unix
    ms) of candles that stay open. ``record`` is what is already known about the venue's record.
    """

    name: str
    fetch: Fetch
    deliver: Callable[[Candle], None]
    timing: Timing
    give_up: Callable[[str, str, list[int]], None]
    record: CandleRecord

    def __post_init__(self) -> None:
        self._connections = 0
        self._builds_from: dict[str, int] = {}  # symbol -> the connection whose trades build candles
        self._kept: dict[tuple[str, str], CandleTracker | CandleBuilder] = {}
        self._lost = 0  # candles lost on markets that were dropped
        self._repairs: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._requests = asyncio.Semaphore(AT_ONCE)
        self._overdue = Overdue(
            self.name, self._kept, self._fetch_overdue, self.deliver, self._repair_missing, self.timing
        )
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
        connection: int | None = None,
    ) -> int:
        """Call this when a connection begins: updates of open candles may have been missed.

        Returns the connection's number. ``coins``: market symbol -> coin. ``closed``: (coin, timeframe) -> the open
        time (Unix ms) of the newest candle that any venue has closed. ``native``: the venue streams candles.
        ``connection``: the number of a connection that is open already, and to which ``coins`` are added.
        """
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._overdue.run(), name=f"ends of candles on {self.name}")
        if connection is None:
            self._connections += 1
            connection = self._connections
        for timeframe in timeframes:
            for symbol, coin in coins.items():
                kept = self._kept.get((symbol, timeframe))
                if kept is not None and kept.coin == coin:  # the same market may belong to another coin now
                    kept.interrupted()
                else:
                    kind = CandleTracker if native else CandleBuilder
                    kept = kind(coin, timeframe, self.name, symbol, self.record)
                    self._kept[symbol, timeframe] = kept
                if (coin, timeframe) in closed:
                    kept.go_on_after(closed[coin, timeframe])
        return connection

    def begun(self, symbol: str, timeframe: str) -> bool:
        """Whether any candle of this market and timeframe is known."""
        return (kept := self._kept.get((symbol, timeframe))) is not None and kept.begun

    def on_candle(self, candle: Candle, flagged: bool) -> list[Candle]:
        """The candles to deliver for a candle of the venue; ``flagged``: the venue itself says whether the candle
        is closed.
        """
        symbol, timeframe = candle.market, candle.timeframe
        tracker = self._kept.get((symbol, timeframe))
        if tracker is None:
            return []  # the connection has ended, and its last data is still being read
        assert isinstance(tracker, CandleTracker)
        candle.coin = tracker.coin  # the market may belong to another coin now
        candles = tracker.follow(candle, said=flagged, now=self.timing.venue_time())
        self._repair_missing(symbol, timeframe)
        return candles

    def on_trade(self, connection: int, trade: TradeEvent, timeframes: Iterable[str]) -> list[Candle]:
        """The candles to deliver for a trade; only the newest connection with trades builds candles."""
        symbol = trade.market
        builds_from = self._builds_from.get(symbol, 0)
        if connection < builds_from:
            return []
        if connection > builds_from:
            self._builds_from[symbol] = connection
            for timeframe in timeframes:
                if (kept := self._kept.get((symbol, timeframe))) is not None:
                    kept.interrupted()  # between two connections a trade may be missing, or come twice
        candles: list[Candle] = []
        now = self.timing.venue_time()
        for timeframe in timeframes:
            builder = self._kept.get((symbol, timeframe))
            if builder is None:
                continue
            assert isinstance(builder, CandleBuilder)
            candles += builder.add(replace(trade), now)  # each builder may correct the trade's time
            self._repair_missing(symbol, timeframe)
        return candles

    def missed_trades(self, coin: str) -> None:
        """Mark the coin's candles built from trades as incomplete: trades are missing before its next trade."""
        for kept in self._kept.values():
            if kept.coin == coin and isinstance(kept, CandleBuilder):
                kept.interrupted()

    def known(self, symbol: str, timeframe: str, opened: int) -> None:
        """Call this when past candles up to this one (open time, Unix ms) were fetched.

        If no candle was known before, each later candle is a hole until it arrives.
        """
        kept = self._kept.get((symbol, timeframe))
        if kept is not None and not kept.begun:
            kept.go_on_after(opened)

    def answered(self, candles: Iterable[Candle]) -> None:
        """Call this when the venue's record has answered with these candles."""
        if (now := self.timing.venue_time()) is not None:
            self.record.answered(candles, now)

    def holes(self) -> dict[tuple[str, str], list[int]]:
        """The candles (open times, Unix ms) of each (coin, timeframe) that are not repaired yet."""
        return {(kept.coin, timeframe): holes for (_, timeframe), kept in self._kept.items() if (holes := kept.holes())}

    def note_unclosed(self, unclosed: Mapping[tuple[str, str], Collection[int]]) -> None:
        """Take over these candles (open times, Unix ms), which another venue has begun or missed and not closed."""
        for (_, timeframe), kept in self._kept.items():
            if candles := unclosed.get((kept.coin, timeframe)):
                kept.note_unclosed(candles)

    def forget(self, symbols: Iterable[str]) -> None:
        """Drop the candles of markets that no connection carries any more."""
        gone = frozenset(symbols)
        for key in [key for key in self._kept if key[0] in gone]:
            self._lost += self._kept.pop(key).lost
            if key in self._repairs:
                self._repairs[key].cancel()
            self._overdue.forget(key)
        for symbol in gone:
            self._builds_from.pop(symbol, None)

    def drop(self) -> None:
        """Forget all candles: the connections ended before any candle was delivered."""
        symbols = {symbol for symbol, _ in self._kept}
        self.forget(symbols)
        self._builds_from = dict.fromkeys(symbols, self._connections + 1)  # ended connections build none

    async def end(self) -> None:
        """Call this when the connection has ended; candles not yet repaired are repaired over the next connection."""
        repairs = [*self._repairs.values(), *([] if self._looking is None else [self._looking])]
        for task in repairs:
            task.cancel()
        await asyncio.gather(*repairs, return_exceptions=True)

    async def _fetch_overdue(self, tracker: CandleTracker, since: int) -> Sequence[Candle]:
        async with self._requests:
            return await self._fetch(tracker, since)

    async def _fetch(self, kept: CandleTracker | CandleBuilder, since: int) -> Sequence[Candle]:
        candles = await self.fetch(kept.coin, kept.market, kept.timeframe, since)
        self.answered(candles)
        return candles

    def _repair_missing(self, symbol: str, timeframe: str) -> None:
        key = symbol, timeframe
        if self._kept[key].holes() and key not in self._repairs:
            task = asyncio.create_task(self._repair(symbol, timeframe), name=f"candles of {symbol} on {self.name}")
            self._repairs[key] = task
            task.add_done_callback(lambda task: self._repairs.pop(key, None))

    async def _repair(self, symbol: str, timeframe: str) -> None:
        """Fetch and close the candles that an outage left open or skipped; each is given up after a few attempts."""
        kept = self._kept[symbol, timeframe]
        attempts: dict[int, int] = {}
        due_at: dict[int, float] = {}  # monotonic seconds
        while missed := kept.holes():
            now = time.monotonic()
            for opened in missed:
                if opened not in due_at:
                    attempts[opened], due_at[opened] = 0, now + self._until_recorded(opened, timeframe)
            await asyncio.sleep(max(0.0, min(due_at[opened] for opened in missed) - now))
            now = time.monotonic()
            due = [opened for opened in missed if due_at[opened] <= now + AT_ABOUT]
            for attempt in sorted({attempts[opened] for opened in due}):
                await self._repair_once(kept, [o for o in due if attempts[o] == attempt], attempt)
            for opened in due:
                attempts[opened] += 1
                if attempts[opened] < len(MEND_DELAYS):
                    due_at[opened] = time.monotonic() + MEND_DELAYS[attempts[opened]]
            if given_up := kept.forget(opened for opened in due if attempts[opened] == len(MEND_DELAYS)):
                text = "{}: {} candles of {} will not be closed, because their values are unknown: {}"
                logger.warning(text, self.name, timeframe, symbol, given_up)
                self.give_up(kept.coin, timeframe, given_up)

    async def _repair_once(self, kept: CandleTracker | CandleBuilder, due: Collection[int], attempt: int) -> None:
        """Request the candles that opened at these times."""
        try:
            async with self._requests:
                holes = sorted(set(due).intersection(kept.holes()))
                if not holes:
                    return  # the stream has filled the holes
                candles = await self._fetch(kept, holes[0])
        except VenueError as error:
            text = "{}: {} candles of {} are not repaired yet: {}"
            logger.warning(text, self.name, kept.timeframe, kept.market, error)
            return
        settled, final = attempt >= SETTLED, attempt >= FINAL
        for candle in kept.fill(candles, time.time_ns(), due, settled=settled, final=final):
            self.deliver(candle)

    def _until_recorded(self, opened: int, timeframe: str) -> float:
        """Seconds until GRACE after a missed candle's end, when the venue's record has all of it; at most GRACE."""
        now = self.timing.venue_time()
        left = GRACE if now is None else next_open(opened, timeframe) / 1000 + GRACE - now / 1000
        return min(max(left, 0.0), GRACE)
