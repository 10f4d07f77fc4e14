"""Closes candles by the venue's time where no later data ends them, and decides how long after their end.

A candle that a venue streams is closed with the venue's record (REST). A candle that is built from trades is closed
with those trades. If the record does not answer in time, the candle is closed in the state seen last, but only while
data of that market flows. Without data, either the market is quiet or the stream has lost the market, and only the
record shows which.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from operator import itemgetter
from typing import Protocol

from loguru import logger

from exchanges.errors import VenueError
from exchanges.events import Candle
from feed.candles.builder import CandleBuilder
from feed.candles.tracker import CandleTracker

GRACE = 3.0  # seconds after a candle's end in which the venue may close it itself, and update its record
RECORD_TIMEOUT = 6.0  # seconds after its end, a candle is closed in its last state if the record has not answered
LOOK_EVERY = 1.0  # seconds between two checks
AT_A_LOOK = 5  # the most requests that begin at one check
ATTEMPTS = 2  # requests to the record; after that the candle is closed in the state seen last
AGAIN = (2.0, 5.0, 10.0, 15.0, 30.0, 60.0)  # seconds until a candle that the record lacked is requested again

Key = tuple[str, str]
"""A market symbol and a timeframe."""


class Timing(Protocol):
    """What this module needs to know about the venue."""

    @property
    def delivering(self) -> bool:
        """Whether the venue's candles are delivered. While the venue is on trial, this is False: request no candles."""

    def venue_time(self) -> float | None:
        """The venue's time now, Unix ms; None while it is not known."""

    def stream_time(self) -> float | None:
        """The venue's time (Unix ms) up to which its stream has sent everything; None while nothing is connected."""

    def heard_at(self, symbol: str) -> float:
        """The venue's time (Unix ms) of the market's last data.

        It is inf if the venue has no record: then the state seen last is the best one.
        """

    def has_room(self) -> bool:
        """Whether the venue's rate limit has room for requests that are not urgent."""


@dataclass(eq=False, repr=False)
class Overdue:
    """Checks the candles ``kept`` of one venue once a second, and closes those that are overdue.

    ``repair`` is called with a market symbol and a timeframe after its built candles were closed: some may be holes.
    """

    name: str
    kept: Mapping[Key, CandleTracker | CandleBuilder]
    fetch: Callable[[CandleTracker, int], Awaitable[Sequence[Candle]]]
    deliver: Callable[[Candle], None]
    repair: Callable[[str, str], None]
    timing: Timing

    def __post_init__(self) -> None:
        self._asking: dict[Key, asyncio.Task[None]] = {}  # the requests over REST that are running
        self._again: dict[Key, tuple[int, int, float]] = {}  # key -> candle, attempts, when the next is due (monotonic)

    async def run(self) -> None:
        """Check once a second until cancelled, then cancel the requests that are still running."""
        try:
            while True:
                await asyncio.sleep(LOOK_EVERY)
                try:
                    self.look(time.monotonic())
                except Exception:  # noqa: BLE001 - a defect here must not stop the closing of all other candles
                    logger.exception("{}: closing candles by time failed", self.name)
        finally:
            asking = list(self._asking.values())
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)

    def look(self, now: float) -> None:
        """Close the candles that have ended, or begin to request them; ``now`` is monotonic seconds."""
        at = self.timing.venue_time()
        if at is None or not self.timing.delivering:
            return
        streamed = self.timing.stream_time()
        room = AT_A_LOOK if self.timing.has_room() else 0
        late: list[tuple[bool, int, Key, CandleTracker]] = []
        for key, kept in self.kept.items():
            due = kept.due
            if due is None or due + GRACE * 1000 > at or key in self._asking:
                continue
            if isinstance(kept, CandleTracker):
                late.append((not kept.is_open, due, key, kept))  # open candles first, then by their ends
            elif streamed is not None:
                self._tell(kept.close_until(int(streamed - GRACE * 1000), time.time_ns()))
                self.repair(*key)
        for _, due, key, tracker in sorted(late, key=itemgetter(0, 1, 2)):
            candle, attempts, not_before = self._again.get(key, (due, 0, 0.0))
            if candle != due:
                attempts, not_before = 0, 0.0
            in_vain = not room or attempts >= ATTEMPTS
            told = streamed is not None and due + RECORD_TIMEOUT * 1000 <= streamed
            told = told and due <= self.timing.heard_at(key[0])
            if in_vain and told and (closed := tracker.close_as_seen(time.time_ns())):
                self._tell(closed)
                continue
            if room and now >= not_before:
                room -= 1
                self._ask(key, tracker, due, attempts, now, at)

    def _ask(self, key: Key, tracker: CandleTracker, due: int, attempts: int, now: float, at: float) -> None:
        self._again[key] = due, attempts + 1, now + AGAIN[min(attempts, len(AGAIN) - 1)]
        task = asyncio.create_task(self._close(key, tracker, int(at)), name=f"end of {key[0]} {key[1]} on {self.name}")
        self._asking[key] = task
        task.add_done_callback(lambda task: self._asking.pop(key, None))

    async def _close(self, key: Key, tracker: CandleTracker, at: int) -> None:
        """Close the candles of the record that ended at least GRACE before ``at``, the venue's time in Unix ms."""
        heard, streamed = self.timing.heard_at(key[0]), self.timing.stream_time()
        try:
            candles = await self.fetch(tracker, tracker.unclosed)
        except VenueError as error:
            logger.info("{}: the {} candles of {} can't be closed yet: {}", self.name, key[1], key[0], error)
            return
        if self.kept.get(key) is tracker:
            until, shown = int(at - GRACE * 1000), -inf if streamed is None else streamed
            self._tell(tracker.close_recorded(candles, until, time.time_ns(), heard=heard, streamed=shown))

    def _tell(self, candles: Sequence[Candle]) -> None:
        for candle in candles:
            self.deliver(candle)

    def forget(self, key: Key) -> None:
        """Drop this key: its candles are not wanted any more."""
        self._again.pop(key, None)
        if key in self._asking:
            self._asking[key].cancel()
