"""The parts of a feed with which its sessions work; decides how long the end of a feed waits for open connections."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from feed.clock import Clock
from feed.market_data.hub import MarketDataHub
from feed.policies.staleness import SilenceWatch
from feed.settings.schema import Settings
from feed.subscriptions.status import Report
from feed.subscriptions.wanted_data import WantedData

CLOSE_WITHIN = 3.0  # seconds for closing all connections at the end of a feed: disconnect() takes at most 5


class Closings:
    """Connections and tasks that are being closed; only the end of the feed waits for them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tasks: set[asyncio.Task[Any]] = set()

    def add(self, closing: Coroutine[Any, Any, None]) -> None:
        """Close something without waiting for it."""
        self.add_task(asyncio.create_task(closing, name="closing a stream"))

    def add_task(self, task: asyncio.Task[Any]) -> None:
        """Keep a task that closes something, or was cancelled, until it has ended."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def finish(self) -> None:
        """Wait until everything is closed, at most CLOSE_WITHIN, and cancel what is left."""
        end = self._clock.monotonic() + CLOSE_WITHIN
        while self._tasks and self._clock.monotonic() < end:  # ending sessions add the closing of connections
            await asyncio.wait(self._tasks, timeout=end - self._clock.monotonic())
        late = list(self._tasks)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)


@dataclass(frozen=True, slots=True)
class FeedContext:
    """What one supervisor and its sessions need of the feed.

    ``main`` is False for the supervisor of fallback coins: its data does not count as data of the feed. ``report``
    reports events that may change the feed's state, ``aside`` events that do not. ``wake`` is called when a decision
    may be due. ``closings`` takes over the closing of a connection: a dead peer may delay it, and the next dial must
    not wait.
    """

    settings: Settings
    hub: MarketDataHub
    wanted: WantedData
    silence_watch: SilenceWatch
    report: Report
    aside: Report
    main: bool
    wake: Callable[[], None]
    closings: Closings
