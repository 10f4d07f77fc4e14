"""Bounded queues between a channel and a slow consumer: the tasks that call coroutine callbacks, and the iterators.

A queue is filled in the event loop's thread and emptied by one consumer. Its policy says what a full queue drops.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Container, Hashable
from typing import Any, Protocol, Self

from feed.errors import FeedError, SlowConsumerError

__all__ = ["POLICIES", "Buffer", "Callback", "EventIterator", "Worker", "awaitable"]

POLICIES = ("drop_oldest", "latest", "error")
"""What a full queue does: drop its oldest event; keep only each coin's newest event at any time; end with an error."""

SLICE = 0.005  # seconds for which a consumer that never suspends may block the event loop

Callback = Callable[..., Any]
Item = tuple[Any, bool, Any, float]
"""The event; whether it is itself a report; what the callback returned for it already; when it came."""


class Place(Protocol):
    """What a queue needs to know of its consumer's subscription."""

    channel: str
    name: str
    active: bool

    def cancel(self) -> None: ...


class QueueOwner(Protocol):
    """What the queues need to know of the dispatcher."""

    clock: Callable[[], float]  # monotonic seconds
    closed: bool  # nothing is queued any more
    aborting: bool  # nothing is delivered any more
    reporting: bool  # the event that is published now is itself a report
    workers: dict[asyncio.Task[None], Worker]  # the workers whose task runs

    def failed(self, place: Any, error: BaseException, reported: bool = False) -> None:
        """A callback has raised an error; ``reported``: the event that it was given was a report."""

    def slow(self, place: Any, seconds: float, dropped: int | None = None) -> None:
        """A queue has overflowed, ``seconds`` after its consumer last took an event."""


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
        self.taken_at = 0.0  # when an iterator's consumer last came back for more
        self.failure = ""  # why the publisher ended, if it ended by a failure
        self.overflow: tuple[Hashable, Item] | None = None  # the first event that the policy "error" dropped
        self.consumer: asyncio.Task[Any] | None = None  # the task that waited last
        self.waiting = False  # whether it waits now
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
            self._latest[coin] = item  # keeps the coin's place: a busy coin would always move to the end
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
        """When the next event to be taken came; None while no event waits. From any thread."""
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
            self._loop, self._ready = loop, asyncio.Event()  # an event belongs to the loop that first waited for it
        self._ready.clear()
        self.consumer, self.waiting = asyncio.current_task(), True
        try:
            await self._ready.wait()
        finally:
            self.waiting = False

    def keeps(self, sleeping: Container[asyncio.Task[Any] | None]) -> bool:
        """Whether an iterator's consumer has something to do: events that wait, or the event that it took last.

        A consumer among the ``sleeping`` has nothing to do. Neither has one that never asked for an event, as long as
        the queue has room.
        """
        consumer = self.consumer
        if consumer is None:
            return len(self) > self.size // 2
        if consumer.done() or consumer in sleeping:
            return False
        return bool(self) or not self.waiting

    def wake(self) -> None:
        """End the consumer's ``wait``; from any thread."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, and its consumer has ended
                self._loop.call_soon_threadsafe(self._ready.set)

    def clear(self) -> None:
        """Drop everything, and close the coroutines that nobody will await."""
        while self:
            self.dropped += 1
            _discard(self.take())


class Worker:
    """The queue of one coroutine callback and, while an event loop runs, the task that calls it."""

    def __init__(self, place: Place, owner: QueueOwner, call: Callback, buffer: Buffer) -> None:
        self.task: asyncio.Task[None] | None = None
        self._place = place
        self._owner = owner
        self._call = call
        self._buffer = buffer
        self._began: float | None = None  # when the running call began

    def put(self, coin: Hashable, event: Any, now: float, result: Any = None) -> bool:
        """Queue an event; True if that caused a report. The task starts with the first event in an event loop."""
        owner, buffer = self._owner, self._buffer
        item = (event, owner.reporting, result, now)
        if owner.closed or not self._place.active:
            buffer.dropped += 1
            _discard(item)
            return False
        gone = buffer.put(coin, item)
        if self.task is None or self.task.done():
            self._start()
        if gone is None:
            return False
        _discard(gone)
        if buffer.policy == "latest":
            return False
        owner.slow(self._place, now - (now if self._began is None else self._began), buffer.dropped)
        return True

    def is_busy(self, sleeping: Container[asyncio.Task[Any] | None]) -> bool:
        """Whether its callback has something to do, and is not among the ``sleeping``."""
        task = self.task
        if task is None or task.done() or task in sleeping:
            return False
        return bool(self._buffer) or self._began is not None

    def forget(self) -> None:
        """This process is a fork: the task runs in the parent."""
        self.task = self._began = None

    def wake(self) -> None:
        """Wake the task, so that it notices that the subscription or the dispatcher has ended."""
        self._buffer.wake()

    def _start(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return  # no event loop is running: the events wait until one does
        self.task = loop.create_task(self._run(), name=f"market-feed: {self._place.name}")
        self._owner.workers[self.task] = self
        self.task.add_done_callback(
            self._ended
        )  # not in the task's finally block, which a task cancelled before its first step never runs

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._owner.workers[task]
        if self._owner.closed or not self._place.active:
            self._buffer.clear()

    async def _run(self) -> None:
        place, owner, buffer = self._place, self._owner, self._buffer
        turn = owner.clock()
        while place.active and not owner.aborting:
            if buffer:
                await self._deliver(buffer.take())
                if owner.clock() - turn < SLICE:
                    continue
                await asyncio.sleep(0)
            elif buffer.overflow is not None:
                coin, (event, reported, _, _) = buffer.overflow
                place.cancel()
                owner.failed(place, SlowConsumerError(place.channel, coin, event, buffer.size), reported)
            elif owner.closed:
                return
            else:
                await buffer.wait()
            turn = owner.clock()

    async def _deliver(self, item: Item) -> None:
        event, reported, result, _ = item
        self._began = self._owner.clock()
        try:
            if result is None:
                result = self._call(event)
            if awaitable(result):
                await result
        except (KeyboardInterrupt, SystemExit):
            raise  # the program must end
        except BaseException as error:  # a user's callback may raise anything
            if self._is_ending(error):
                raise
            self._owner.failed(self._place, error, reported)
        finally:
            self._began = None

    def _is_ending(self, error: BaseException) -> bool:
        """Whether ``error`` ends this task; otherwise the callback, or what it awaited, has raised it."""
        if isinstance(error, asyncio.CancelledError):
            return self.task is not None and bool(self.task.cancelling())
        return isinstance(error, GeneratorExit) and not _runs(self.task)  # the task was closed with its loop


class EventIterator(AsyncIterator[Any]):
    """A channel as an async iterator; it buffers from the moment it is made.

    The iterator ends when the dispatcher closes, after the buffered events. It also ends when an ``async for`` over
    it is left, unless the iterator is kept in a variable: then it continues where it stopped, until ``close``,
    ``async with`` or its deletion ends it. Waiting for an event can be cancelled without losing one. With the policy
    "error", the iterator raises SlowConsumerError in place of the first dropped event, and ends. If the publisher
    ends by a failure, the iterator raises FeedError, once.
    """

    def __init__(self, place: Place, buffer: Buffer, clock: Callable[[], float]) -> None:
        self._place = place
        self._buffer = buffer
        self._clock = clock
        self._turn = 0.0

    def __repr__(self) -> str:
        return f"<Stream of {self._place.channel}, {self.dropped} dropped>"

    @property
    def dropped(self) -> int:
        """Events that the full buffer has dropped; with the policy "latest" also those replaced by a newer event."""
        return self._buffer.dropped

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        buffer = self._buffer
        buffer.taken_at = self._clock()
        if buffer and buffer.taken_at - self._turn >= SLICE:  # a consumer that never suspends must not block the loop
            await asyncio.sleep(0)
            self._turn = self._clock()
        while not buffer:
            if buffer.overflow is not None:
                (coin, item), buffer.overflow = buffer.overflow, None
                self._place.cancel()
                raise SlowConsumerError(self._place.channel, coin, item[0], buffer.size)
            if not self._place.active:
                if buffer.failure:
                    failure, buffer.failure = buffer.failure, ""
                    raise FeedError(failure)
                raise StopAsyncIteration
            await buffer.wait()
            self._turn = self._clock()
        return buffer.take()[0]

    def close(self) -> None:
        """Receive nothing more, drop what is buffered, and end a wait for the next event. Idempotent."""
        self._place.cancel()
        self._buffer.overflow = None
        self._buffer.clear()

    async def aclose(self) -> None:
        """:meth:`close`, by the name that async generators have for it."""
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        self._place.cancel()


def awaitable(result: Any) -> bool:
    """Whether a callback's result is to be awaited."""
    return hasattr(type(result), "__await__")


def _runs(task: asyncio.Task[None] | None) -> bool:
    """Whether ``task`` is the running task."""
    try:
        return task is not None and asyncio.current_task() is task
    except RuntimeError:  # no loop runs
        return False


def _discard(item: Item) -> None:
    """Close a coroutine that nobody will await: Python warns of it otherwise."""
    if inspect.iscoroutine(item[2]):
        item[2].close()
