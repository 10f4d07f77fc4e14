"""Decides which book's REST snapshot is fetched next, and keeps the requests below the venue's weight limit. Pure."""

from __future__ import annotations

import asyncio
from bisect import insort
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

RENEWALS = 0.5  # share of the limit for snapshots of proven books, so that unproven books need not wait for them
WINDOW = 62.0  # seconds that count as the venue's minute: two more, because requests take different times to arrive


class WeightLimit:
    """Keeps requests below ``per_minute`` of the venue's weight; pure, times are monotonic seconds."""

    def __init__(self, per_minute: int) -> None:
        self.allowed = per_minute
        self._spent: deque[tuple[float, int]] = deque()
        self._sum = 0

    def __repr__(self) -> str:
        return f"<WeightLimit {self._sum} of {self.allowed} per minute>"

    def wait(self, weight: int, now: float, share: float = 1.0) -> float:
        """Seconds until a request of this weight may be sent within ``share`` of the limit; 0.0: now."""
        return self.seconds_for([weight], now, share)

    def spend(self, weight: int, now: float) -> None:
        """Call this when a request is sent."""
        self._spent.append((now, weight))
        self._sum += weight

    def seconds_for(self, weights: Iterable[int], now: float, share: float = 1.0) -> float:
        """Seconds until the last of these requests may be sent within ``share`` of the limit, if they are sent in this
        order and nothing else is requested.

        A request that weighs more than the limit is sent when the last minute has no other request.
        """
        self._expire(now)
        spent, total, last, allowed = deque(self._spent), self._sum, now, int(self.allowed * share)
        for weight in weights:
            while spent and total + weight > allowed:
                at, freed = spent.popleft()
                total -= freed
                last = max(last, at + WINDOW)
            spent.append((last, weight))
            total += weight
        return last - now

    def _expire(self, now: float) -> None:
        while self._spent and now - self._spent[0][0] >= WINDOW:
            self._sum -= self._spent.popleft()[1]


@dataclass(eq=False, repr=False)
class SnapshotTurns:
    """Sorts the snapshot requests of all connections of a venue: unproven books come before proven books."""

    limit: WeightLimit
    monotonic: Callable[[], float]
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep

    def __post_init__(self) -> None:
        self._waiting: list[tuple[bool, int, int]] = []  # in their order: (is a renewal, number, weight)
        self._number = 0
        self._moved = asyncio.Event()

    def seconds_for(self, weights: Iterable[int]) -> float:
        """Seconds until the last of these requests may be sent, after all requests that wait already."""
        waiting = [weight for _, _, weight in self._waiting]
        return self.limit.seconds_for([*waiting, *weights], self.monotonic())

    async def take(self, weight: int, *, renewal: bool) -> None:
        """Wait until a request of this weight may be sent, and count it as sent; ``renewal``: the book is proven."""
        self._number += 1
        turn = renewal, self._number, weight
        insort(self._waiting, turn)
        try:
            while True:
                if self._waiting[0] != turn:
                    self._moved.clear()
                    await self._moved.wait()
                elif (wait := self.limit.wait(weight, self.monotonic(), RENEWALS if renewal else 1.0)) > 0:
                    # a more urgent request may come meanwhile: check every second
                    await self.sleep(min(wait, 1.0))
                else:
                    self.limit.spend(weight, self.monotonic())
                    return
        finally:
            self._waiting.remove(turn)
            self._moved.set()
