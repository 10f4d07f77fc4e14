"""Fetches REST snapshots of books for all connections of a venue, when ``snapshot_queue.py`` allows it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from exchanges.books.proof import BookSnapshot, SnapshotRules
from exchanges.books.snapshot_queue import SnapshotTurns, WeightLimit
from exchanges.errors import Rejected, VenueError

AT_ONCE = 32  # the most unanswered requests to a venue at a time
PROBE_EVERY = 1.0  # seconds between two requests to a venue if the last request failed

Translated = Callable[[], AbstractAsyncContextManager[None]]


class VenueSnapshots:
    """Fetches snapshots over the venue's REST instance ``api``; ``translated`` turns a request's errors into ours."""

    def __init__(self, rules: SnapshotRules, api: Any, translated: Translated) -> None:
        self._rules = rules
        self._api = api
        self._translated = translated
        self._turns = SnapshotTurns(WeightLimit(rules.per_minute), time.monotonic)
        self._at_once = asyncio.Semaphore(AT_ONCE)
        self._failed_at: float | None = None  # monotonic seconds: the last request failed then
        self._probe = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<VenueSnapshots {self._turns.limit!r}>"

    def seconds_for(self, limit: int) -> float:
        """Seconds that one more snapshot of ``limit`` levels must wait because of the weight limit."""
        return self._turns.seconds_for([self._rules.weights[limit]])

    async def turn(self, limit: int, *, renewal: bool) -> None:
        """Wait until the weight limit allows a snapshot of ``limit`` levels; a ``renewal`` comes after all others."""
        await self._turns.take(self._rules.weights[limit], renewal=renewal)

    async def fetch(self, market_id: str, limit: int) -> BookSnapshot:
        """Fetch a snapshot after ``turn``. Raises VenueError, also for an answer that cannot be read.

        While requests fail, only one is sent per second, so that no weight is wasted. As soon as one succeeds, the
        waiting requests are sent too.
        """
        if self._failed_at is not None:
            async with self._probe:
                if self._failed_at is not None:
                    await asyncio.sleep(max(0.0, self._failed_at + PROBE_EVERY - time.monotonic()))
                    return await self._ask(market_id, limit)
        return await self._ask(market_id, limit)

    async def _ask(self, market_id: str, limit: int) -> BookSnapshot:
        ask: Any = getattr(self._api, self._rules.others.get(self._api.id, self._rules.method))
        try:
            async with self._at_once, self._translated():
                snapshot = self._rules.read(await ask({"symbol": market_id, "limit": limit}), limit)
        except Rejected:  # an error of this market alone
            raise
        except VenueError:
            self._failed_at = time.monotonic()
            raise
        self._failed_at = None
        return snapshot
