"""REST snapshots of one venue's books, of all its connections, within the weight that books may use."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

from exchanges.books.proof import BookSnapshot, SnapshotRules
from exchanges.books.snapshot_queue import SnapshotTurns, WeightLimit

AT_ONCE = 16  # requests of a venue that wait for their answer

Translated = Callable[[], AbstractAsyncContextManager[None]]


class VenueSnapshots:
    """Fetches snapshots over the venue's REST instance ``api``; ``translated`` fences what a request may raise."""

    def __init__(self, rules: SnapshotRules, api: Any, translated: Translated) -> None:
        self._rules = rules
        self._api = api
        self._translated = translated
        self._turns = SnapshotTurns(WeightLimit(rules.per_minute), time.monotonic)
        self._at_once = asyncio.Semaphore(AT_ONCE)

    def __repr__(self) -> str:
        return f"<VenueSnapshots {self._turns.limit!r}>"

    def seconds_for(self, limit: int, count: int = 1) -> float:
        """How long the weight makes ``count`` more snapshots of ``limit`` levels wait."""
        return self._turns.seconds_for([self._rules.weights[limit]] * count)

    async def turn(self, limit: int, *, renewal: bool) -> None:
        """Wait until the weight allows a snapshot of ``limit`` levels; a ``renewal`` waits for all that are none."""
        await self._turns.take(self._rules.weights[limit], renewal=renewal)

    async def fetch(self, market_id: str, limit: int) -> BookSnapshot:
        """Fetch one, whose turn it is. Raises VenueError, also for an answer that cannot be read."""
        ask: Any = getattr(self._api, self._rules.method)
        params: Mapping[str, Any] = {"symbol": market_id, "limit": limit}
        async with self._at_once, self._translated():
            return self._rules.read(await ask(params), limit)
