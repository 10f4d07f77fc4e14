"""Closes connections and sessions beside the running feed; decides how long disconnect() waits for them.

A peer that is dead may delay the end of its connection, and the next dial must not wait for that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from feed.clock import Clock

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
        while self._tasks and self._clock.monotonic() < end:  # a session that ends adds its connections
            await asyncio.wait(self._tasks, timeout=end - self._clock.monotonic())
        late = list(self._tasks)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
