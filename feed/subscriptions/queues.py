"""A bounded queue between a channel and a slow consumer: its default size, and what it drops when it is full."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections import OrderedDict, deque
from collections.abc import Container, Hashable
from typing import Any

QUEUE_SIZE = 10_000  # events that may wait for an iterator or a coroutine callback
POLICIES = ("drop_oldest", "latest", "error")
"""What a full queue does: drop its oldest event; keep only each coin's newest event at any time; end with an error."""

Item = tuple[Any, bool, Any, float]
"""The event; whether it is itself a report; what the callback returned for it already; when it came."""


class Buffer:
    """A bounded queue with a policy, filled in the loop's thread and emptied by one consumer."""

    def __init__(self, policy: str, size: int) -> None:
        if policy not in POLICIES:
            raise ValueError(f"on_full is {policy!r}; allowed are {', '.join(POLICIES)}")
        if type(size) is not int or size < 1:
            raise ValueError(f"size is {size!r}; allowed is a whole number from 1")
        self.policy = policy
        self.size = size
        self.dropped = 0
        self.taken_at = 0.0  # when an iterator's consumer last asked for an event
        self.failure = ""  # why the publisher ended, if it ended by a failure
        self.overflow: tuple[Hashable, Item] | None = None  # the first event that the policy "error" dropped
        self.consumer: asyncio.Task[Any] | None = None  # the task that waited last
        self.waiting = False  # whether this task waits now
        self._ready = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None  # the consumer's event loop
        self._queue: deque[Item] = deque()
        self._latest: OrderedDict[Hashable, Item] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._queue or self._latest)

    def __len__(self) -> int:
        return len(self._queue) + len(self._latest)

    def put(self, coin: Hashable, item: Item) -> Item | None:
        """Add an item; returns the item that was dropped for it, if any."""
        gone: Item | None = None
        if self.policy == "latest":
            gone = self._latest.get(coin)
            if gone is None and len(self._latest) >= self.size:
                gone = self._latest.popitem(last=False)[1]
            self._latest[coin] = item  # the coin keeps its place: otherwise a busy coin would always move to the end
        elif len(self._queue) < self.size and self.overflow is None:
            self._queue.append(item)
        elif self.policy == "error":
            gone = item
            self.overflow = self.overflow or (coin, item)
        else:
            gone = self._queue.popleft()
            self._queue.append(item)
        self.dropped += gone is not None
        self._ready.set()
        return gone

    def waiting_since(self) -> float | None:
        """When the next event to be taken came; None while no event waits. Safe from any thread."""
        try:
            return (next(iter(self._latest.values())) if self._latest else self._queue[0])[3]
        except (IndexError, RuntimeError, StopIteration):  # another thread has taken the event just now
            return None

    def take(self) -> Item:
        return self._latest.popitem(last=False)[1] if self._latest else self._queue.popleft()

    async def wait(self) -> None:
        """Wait until an item was put, or ``wake`` was called."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._ready = loop, asyncio.Event()  # an Event belongs to the loop that first waited for it
        self._ready.clear()
        self.consumer, self.waiting = asyncio.current_task(), True
        try:
            await self._ready.wait()
        finally:
            self.waiting = False

    def keeps(self, sleeping: Container[asyncio.Task[Any] | None]) -> bool:
        """Whether an iterator's consumer has something to do: events that wait, or the event that it took last.

        A consumer among the ``sleeping`` has nothing to do. A consumer that never waited for an event has nothing to do
        either, as long as the queue has room.
        """
        consumer = self.consumer
        if consumer is None:
            return len(self) > self.size // 2
        if consumer.done() or consumer in sleeping:
            return False
        return bool(self) or not self.waiting

    def wake(self) -> None:
        """End the consumer's ``wait``. Safe from any thread."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, and its consumer has ended
                self._loop.call_soon_threadsafe(self._ready.set)

    def clear(self) -> None:
        """Drop everything, and close the coroutines that nobody will await."""
        while self:
            self.dropped += 1
            discard(self.take())


def discard(item: Item) -> None:
    """Close a coroutine that nobody will await: Python warns of it otherwise."""
    if inspect.iscoroutine(item[2]):
        item[2].close()
