"""Plays a recording's rows into the market data hub at their times, but no faster than consumers take them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from exchanges.events import Candle, OrderBook, PriceTick, Quote, Ticker, TradeEvent
from exchanges.recording.files import UnreadableFile
from exchanges.recording.reader import ClockStep, Hole, Rows, RowSelection
from exchanges.recording.rows import PastCandle, StatusRow
from feed.channels import CANDLES
from feed.clock import is_set_within
from feed.errors import FeedError
from feed.market_data.hub import MarketDataHub
from feed.replay.recorded_events import RecordedEvents
from feed.replay.recorded_status import RecordedStatus
from feed.replay.source import ReplaySource
from feed.subscriptions.status import StatusReporter
from feed.subscriptions.status_events import StatusEvent
from feed.subscriptions.wanted_data import WantedData

SLICE = 0.01  # seconds for which events are played without letting other tasks run
LOOK = 500_000_000  # ns of the recording between two checks of the consumers' queues
TURNS = 10  # within this many turns of the event loop, woken tasks reach their next wait
BOOKS_LOST = frozenset({StatusEvent.BOOK_UNSYNCED, StatusEvent.DISCONNECTED, StatusEvent.FAILOVER})
CONSUMER_TIMEOUT = 1.0  # real seconds; after that, the replay no longer waits for a consumer that is still busy


class Player:
    """Delivers recorded events; it takes the place of the supervisors, which deliver what venues send.

    ``ready`` is done just before the first event of market data. ``run`` returns at the recording's end.
    """

    reasons: Mapping[str, str] = {}
    venue_count = 1

    def __init__(self, source: ReplaySource, hub: MarketDataHub, reporter: StatusReporter, wanted: WantedData) -> None:
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # read the exception in any case: otherwise Python warns
        self.ready.add_done_callback(lambda ready: ready.cancelled() or ready.exception())
        self._source = source
        self._clock = source.clock
        self._hub = hub
        self._reporter = reporter
        self._wanted = wanted
        self._events = RecordedEvents(hub, source.clock)
        self._status = RecordedStatus(reporter, source.breaker, self._coins())
        self._exchange = source.exchanges[0]
        self._reopen: int | None = None  # read the rows again from this time on
        self._look_due = 0
        self._given_up: set[int] = set()  # ids of the consumers for which the replay does not wait any more
        self._begun = False
        take = self._events
        self._take: dict[type, Callable[[Any, bool], None]] = {
            TradeEvent: take.on_trade, Ticker: take.on_ticker, Candle: take.on_candle, Quote: take.on_quote,
            OrderBook: take.on_book, PastCandle: take.on_past_candle, PriceTick: take.on_price,
            StatusRow: self._on_status, Hole: self._on_hole, ClockStep: self._on_step,
        }  # fmt: skip

    @property
    def exchange(self) -> str:
        """The exchange whose data was played last."""
        return self._reporter.exchange or self._exchange

    def hears(self, coin: str) -> bool:
        """Whether data of the coin was played."""
        return coin in self._events.heard

    def renew(self) -> None:
        """Continue with the coins that are wanted now: some were added or removed."""
        wanted = self._coins()
        if wanted != self._status.coins:
            self._status.coins = wanted
            self._reopen = self._clock.at

    def forget(self, coins: Collection[str]) -> None:
        """Forget these coins, which were removed."""
        self.renew()

    def seek(self, at: int) -> None:
        """Continue with the events from ``at`` (Unix ns) on, and forget what is known about the coins."""
        self._hub.forget(self._coins())
        self._reopen = at
        self._clock.stirred.set()

    async def run(self) -> None:
        """Play to the end. Raises FeedError if there is nothing to play, or a file can't be read."""
        try:
            await self._run()
        except UnreadableFile as error:
            raise FeedError(f"the replay ended early: {error}") from error

    async def _run(self) -> None:
        clock, source = self._clock, self._source
        clock.restart()
        self._hub.forget(self._status.coins)
        start: int | None = source.start
        while True:
            self._reopen = None
            wanted = RowSelection(self._status.coins, source.wanted_exchanges, start, source.end)
            await asyncio.to_thread(self._events.warm, source, wanted)
            rows = await asyncio.to_thread(source.rows, wanted)
            if not await self._play(rows):
                break
            start = self._reopen
        if not self.ready.done():
            raise FeedError(f"{source.shown} holds no events of {', '.join(sorted(self._status.coins))} to play")

    async def _play(self, rows: Iterator[Rows]) -> bool:
        """Play rows to their end; True if they must be read again."""
        first = True
        while (window := await asyncio.to_thread(next, rows, None)) is not None:
            ats, items, priced = window
            if first and ats:
                first = False
                self._clock.begin(ats[0])
                self._look_due = ats[0] + LOOK
            place = 0
            while place < len(items):
                if not self._begun and not isinstance(items[place], StatusRow):
                    await self._begin(items[place])
                place = self._play_some(ats, items, priced, place)
                await self._pause(ats, place)
                if self._reopen is not None:
                    return True
        return False

    async def _begin(self, first: Any) -> None:
        """Let the tasks that wait for the connection run before the first event."""
        self._begun = True
        self._exchange = first.exchange if hasattr(first, "exchange") else self._exchange
        self._status.begin(self._exchange)
        self._tell_missing()
        if not self.ready.done():
            self.ready.set_result(None)
        for _ in range(TURNS):
            await asyncio.sleep(0)

    def _tell_missing(self) -> None:
        """Report channels that are subscribed to and were not recorded."""
        wanted, source = self._wanted, self._source
        for coin in source.absent:
            self._reporter.note("coin_unavailable", self._exchange, coin=coin, reason=f"the recording has no {coin}")
        missing: list[tuple[str, dict[str, str]]] = [
            (name, {}) for name in wanted.channels if name not in source.channels
        ]
        if CANDLES.name in source.channels:
            missing += [(CANDLES.name, {"timeframe": t}) for t in wanted.timeframes if t not in source.timeframes]
        for channel, part in missing:
            reason = f"the recording has no {' '.join([*part.values(), channel])}"
            for coin in sorted(self._status.coins - {*source.absent}):
                self._reporter.note(
                    "coin_unavailable", self._exchange, coin=coin, channel=channel, reason=reason, **part
                )

    def _play_some(self, ats: Sequence[int], items: Sequence[Any], priced: Sequence[bool], place: int) -> int:
        """Play the events that are due, until other tasks must run; returns the place of the next event."""
        clock, take, advance = self._clock, self._take, self._clock.advance
        end = time.monotonic() + SLICE
        barrier = min(clock.next_due, self._look_due)
        pace = clock.speed is not None
        lockstep = not pace and self._hub.dispatcher.queued
        number = len(items)
        while place < number:
            at = ats[place]
            if at > barrier:
                if at > self._look_due:
                    self._look(at)
                barrier = min(clock.next_due, self._look_due)
                if at > barrier:
                    return place  # a sleeping task must be woken first
            if pace and clock.until(at) > 0:
                return place
            advance(at)
            item = items[place]
            take[item.__class__](item, priced[place])
            place += 1
            if lockstep and (place == number or ats[place] != at):
                return place
            if not place & 63:
                if time.monotonic() > end or not self._begun:
                    return place
                barrier = min(clock.next_due, self._look_due)
                if self._reopen is not None:
                    return place
            elif not self._begun:
                return place
        return place

    async def _pause(self, ats: Sequence[int], place: int) -> None:
        """Let other tasks run: woken tasks, consumers with events, and all tasks until the next event is due."""
        clock = self._clock
        if clock.speed is None:
            if self._hub.dispatcher.queued:
                await self._settle()
            else:
                await asyncio.sleep(0)
        at = ats[place] if place < len(ats) else clock.at
        while self._reopen is None:
            due = min(clock.next_due, at)
            clock.stirred.clear()
            wait = clock.until(int(due))
            if wait > 0:
                await is_set_within(clock.stirred, wait)
                continue
            if not clock.wake(int(due)):
                return
            await self._settle(TURNS - 1)

    def _look(self, at: int) -> None:
        """Make the feed check its consumers, as a live feed does twice a second."""
        self._look_due = at + LOOK
        self._hub.dispatcher.look(self._clock.since)

    async def _settle(self, turns: int = 0) -> None:
        """Wait until every consumer has handled what it was given, or sleeps on the recording's clock."""
        for turn in range(TURNS):
            await asyncio.sleep(0)
            if turn >= turns and not self._busy():
                return
        end = time.monotonic() + CONSUMER_TIMEOUT
        while busy := self._busy():
            if time.monotonic() > end:
                self._given_up |= busy
                return
            await asyncio.sleep(0.001)

    def _busy(self) -> set[int]:
        """The consumers that have something to do, by their id."""
        busy = self._hub.dispatcher.busy(self._clock.sleepers)
        self._given_up &= busy
        return busy - self._given_up

    def _on_status(self, row: StatusRow, _: bool) -> None:
        self._status.tell(row)
        if row.event in BOOKS_LOST:
            details = json.loads(row.details)
            exchange = details.get("from", row.exchange) if row.event == StatusEvent.FAILOVER else row.exchange
            self._events.lose_books(exchange, details.get("coin"), str(details.get("reason", "")) or row.event)

    def _on_hole(self, hole: Hole, _: bool) -> None:
        if self._begun:
            self._status.hole(self.exchange, hole.reason)
            for exchange in self._source.exchanges:
                self._events.lose_books(exchange, None, hole.reason)
            self._begun = False

    def _on_step(self, step: ClockStep, _: bool) -> None:
        self._clock.set_back(-step.seconds)

    def _coins(self) -> frozenset[str]:
        return frozenset(config.symbol for config in self._wanted.coins)
