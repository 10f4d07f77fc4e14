"""The clock of a replay: shows the recording's time, and decides when each event is due at the wanted speed."""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Callable
from itertools import count
from math import inf

from feed.clock import Clock
from feed.errors import FeedError


class RecordedClock(Clock):
    """Unix time and monotonic seconds of a recording that is played ``speed`` times as fast as it was recorded.

    ``speed`` None: time jumps from event to event. With a speed, time also passes between two events, but not beyond
    the next event. Inside this class, the recording's times are Unix ns.
    """

    def __init__(self, start: int, speed: float | None, real: Callable[[], float] = time.monotonic) -> None:
        self.speed = speed
        self.origin = start
        self.at = start  # the time of the last event
        self.sleepers: set[asyncio.Task[object] | None] = set()
        self.stirred = asyncio.Event()
        self.over = False
        self._limit = start  # the time of the next event
        self._anchor = (start, 0.0)  # a time of the recording (Unix ns), and the real seconds when it was played
        self._real = real
        self._due: list[tuple[int, int, asyncio.Future[None]]] = []
        self._numbers = count()
        self._behind = 0.0  # seconds by which the recording machine's clock was set back
        super().__init__()

    # What the feed and its users read

    def now(self) -> float:
        return self._time() / 1e9 - self._behind

    def now_ms(self) -> int:
        return self._time() // 1_000_000 - round(self._behind * 1000)

    def monotonic(self) -> float:
        return (self._time() - self.origin) / 1e9

    def suspended(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        """Sleep until the recording's clock has advanced by ``seconds``, or the replay is over.

        Raises FeedError if the replay is over already.
        """
        if self.over:
            raise FeedError("the replay is over: its clock stands still")
        future = asyncio.get_running_loop().create_future()
        due = self._time() + max(0, int(seconds * 1e9))
        entry = due, next(self._numbers), future
        heapq.heappush(self._due, entry)
        self.stirred.set()
        task = asyncio.current_task()
        self.sleepers.add(task)
        try:
            await future
        finally:
            self.sleepers.discard(task)

    # What the player does

    def begin(self, start: int) -> None:
        """Begin the replay, or continue it after a seek, with the event at ``start``."""
        self.at = self._limit = start
        self._anchor = start, self._real()

    def advance(self, at: int) -> None:
        """Set the time to that of an event that is delivered now."""
        if at > self.at:
            self.at = at
        self._limit = self.at

    def set_back(self, seconds: float) -> None:
        """Call this at the event at which the clock of the recording machine was set back."""
        self._behind += seconds

    def until(self, at: int) -> float:
        """Real seconds until the event at ``at`` is due; lets the recording's time pass up to that event."""
        self._limit = max(at, self.at)
        if self.speed is None:
            return 0.0
        return self._anchor[1] + (at - self._anchor[0]) / 1e9 / self.speed - self._real()

    @property
    def next_due(self) -> float:
        """When the next sleeper is to be woken; ``inf`` if nobody sleeps."""
        while self._due and self._due[0][2].done():
            heapq.heappop(self._due)
        return self._due[0][0] if self._due else inf

    def wake(self, at: int) -> bool:
        """Wake the tasks that sleep until ``at`` or earlier; True if there are any."""
        woken = False
        while self.next_due <= at:
            due, _, future = heapq.heappop(self._due)
            self.advance(due)
            future.set_result(None)
            woken = True
        return woken

    def end(self) -> None:
        """End the replay and wake all tasks."""
        self.over = True
        for _, _, future in self._due:
            if not future.done():
                future.set_result(None)
        self._due.clear()

    def restart(self) -> None:
        """Prepare to play the recording again from its start."""
        self.over = False
        self.stirred = asyncio.Event()

    def _gap(self) -> float:
        return 0.0  # a recording is never suspended

    def _time(self) -> int:
        if self.speed is None or self._limit <= self.at:
            return self.at
        passed = int((self._real() - self._anchor[1]) * self.speed * 1e9)
        return min(max(self.at, self._anchor[0] + passed), self._limit)
