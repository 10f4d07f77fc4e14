"""Runs one consumer's callback or iterator from its queue; decides when and how often it is reported as slow."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Collection, Container, Hashable, Mapping
from typing import Any, Protocol, Self

from feed.errors import FeedError, SlowConsumerError
from feed.subscriptions.queues import Buffer, Item, discard

SLICE = 0.005  # seconds for which a consumer that never suspends may block the event loop
SLOW_AFTER = 0.1  # seconds; a call of a plain callback that takes longer is reported
REPORT_EVERY = 1.0  # seconds between two reports about one callback
BEHIND = 1.0  # seconds; a consumer whose oldest event waits longer is reported, and again when the wait doubles

Callback = Callable[..., Any]
Sink = Callable[[Hashable, Any, float], bool]  # takes coin, event and time; returns True when it made a report


class EventPublisher(Protocol):
    """What the subscribers and routes need to know about the dispatcher."""

    clock: Callable[[], float]  # monotonic seconds
    closed: bool  # nothing is queued any more
    aborting: bool  # nothing is delivered any more
    reporting: bool  # the event that is published now is itself a report
    workers: dict[asyncio.Task[None], Worker]  # the workers whose task runs
    slow_after: float  # seconds
    copies: Mapping[str, Callable[[Any], Any]]  # channel -> the function that copies its events
    version: object  # replaced at each change of the subscriptions

    def failed(self, subscription: Subscriber, error: BaseException, reported: bool = False) -> None:
        """Call this when a callback has raised an error; ``reported``: the event was itself a report."""

    def slow(self, subscription: Subscriber, seconds: float, dropped: int | None = None) -> None:
        """Note a call that took ``seconds``, or a queue that overflowed ``seconds`` after its consumer last took an
        event.
        """

    def subscribed(self, channel: str) -> Collection[Subscriber]:
        """The subscribers of ``channel``, in the order in which they subscribed."""

    def promote(self, subscription: Subscriber, event: Any, result: Any) -> None:
        """Give a queue to a plain callback that has returned an awaitable."""

    def remove(self, subscription: Subscriber) -> None:
        """Forget a subscription that was cancelled."""


class Subscriber:
    """One consumer's subscription to a channel. ``errors``, ``slow`` and ``dropped`` count what has gone wrong."""

    def __init__(
        self, publisher: EventPublisher, channel: str, name: str, keys: Collection[Hashable] | None, buffer: Buffer
    ) -> None:
        self.channel = channel
        self.name = name
        self.keys = None if keys is None else frozenset([keys] if isinstance(keys, str) else keys)
        self.active = True
        self.errors = 0
        self.slow = 0
        self.buffer = buffer
        self._publisher = publisher
        self.call: Callback = _nothing  # a plain callback
        self.sink: Sink | None = None  # used instead of ``call`` if there is a queue
        self.publish: Callable[[Any, float], float] | None = None  # made by the first route
        self.worker: Worker | None = None
        self._behind_told = 0.0  # the delay in seconds that was reported last
        self._told: dict[str, float] = {}  # when each kind of report was last made
        self._untold: dict[str, int] = {}  # how often each kind has happened since its last report

    def __repr__(self) -> str:
        state = "active" if self.active else "cancelled"
        return f"<Subscription {self.name} to {self.channel}, {state}, {self.errors} errors, {self.dropped} dropped>"

    @property
    def dropped(self) -> int:
        """Events that a full queue has dropped; with the policy "latest" also those that a newer event has replaced."""
        return self.buffer.dropped

    @property
    def waiting(self) -> int:
        """How many events wait in its queue."""
        return len(self.buffer)

    @property
    def queued(self) -> bool:
        """Whether the subscription has a queue; otherwise it has a plain callback."""
        return self.sink is not None

    def is_busy(self, sleeping: Container[asyncio.Task[Any] | None]) -> bool:
        """Whether the consumer has a queue and something to do, and is not among the ``sleeping``."""
        if self.worker is not None:
            return self.worker.is_busy(sleeping)
        return self.sink is not None and self.buffer.keeps(sleeping)

    def behind(self, age: Callable[[float], float]) -> float | None:
        """Seconds that the oldest event has waited, when they reach BEHIND and at each doubling; otherwise None."""
        since = self.buffer.waiting_since()
        seconds = 0.0 if since is None else age(since)
        if seconds < BEHIND:
            self._behind_told = 0.0 if seconds < BEHIND / 2 else self._behind_told
            return None
        if seconds < 2 * self._behind_told:
            return None
        self._behind_told = seconds
        return seconds

    def cancel(self) -> None:
        """Stop delivering, even queued events; a coroutine callback that is running may finish. Idempotent."""
        if self.active:
            self.active = False
            self.publish = None
            self._publisher.remove(self)
            if self.worker is not None and (self.worker.task is None or self.worker.task.done()):
                self.buffer.clear()
            else:
                self.buffer.wake()

    def due(self, kind: str, now: float) -> int:
        """Count one more of ``kind``; returns how many to report now, 0 if the last report is too recent."""
        count = self._untold.get(kind, 0) + 1
        if now - self._told.get(kind, -math.inf) < REPORT_EVERY:
            self._untold[kind] = count
            return 0
        self._told[kind], self._untold[kind] = now, 0
        return count


class Worker:
    """The queue of one coroutine callback and, while an event loop runs, the task that calls it."""

    def __init__(self, subscription: Subscriber, publisher: EventPublisher) -> None:
        self.task: asyncio.Task[None] | None = None
        self._subscription = subscription
        self._publisher = publisher
        self._call = subscription.call
        self.buffer = subscription.buffer
        self._began: float | None = None  # when the running call began

    def put(self, coin: Hashable, event: Any, now: float, result: Any = None) -> bool:
        """Queue an event; True if that caused a report. The task starts with the first event in an event loop."""
        publisher, buffer = self._publisher, self.buffer
        item = (event, publisher.reporting, result, now)
        if publisher.closed or not self._subscription.active:
            buffer.dropped += 1
            discard(item)
            return False
        gone = buffer.put(coin, item)
        if self.task is None or self.task.done():
            self._start()
        if gone is None:
            return False
        discard(gone)
        if buffer.policy == "latest":
            return False
        publisher.slow(self._subscription, now - (now if self._began is None else self._began), buffer.dropped)
        return True

    def is_busy(self, sleeping: Container[asyncio.Task[Any] | None]) -> bool:
        """Whether the callback has something to do; False while its task is one of the ``sleeping`` tasks."""
        task = self.task
        if task is None or task.done() or task in sleeping:
            return False
        return bool(self.buffer) or self._began is not None

    def forget(self) -> None:
        """Forget the task: this process is a fork, and the task runs in the parent."""
        self.task = self._began = None

    def _start(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return  # no event loop is running: the events wait until one does
        self.task = loop.create_task(self._run(), name=f"market-feed: {self._subscription.name}")
        self._publisher.workers[self.task] = self
        # not in a finally block of the task: a task that is cancelled before its first step runs no such block
        self.task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._publisher.workers[task]
        if self._publisher.closed or not self._subscription.active:
            self.buffer.clear()

    async def _run(self) -> None:
        subscription, publisher, buffer = self._subscription, self._publisher, self.buffer
        turn = publisher.clock()
        while subscription.active and not publisher.aborting:
            if buffer:
                await self._deliver(buffer.take())
                if publisher.clock() - turn < SLICE:
                    continue
                await asyncio.sleep(0)
            elif buffer.overflow is not None:
                coin, (event, reported, _, _) = buffer.overflow
                subscription.cancel()
                publisher.failed(
                    subscription, SlowConsumerError(subscription.channel, coin, event, buffer.size), reported
                )
            elif publisher.closed:
                return
            else:
                await buffer.wait()
            turn = publisher.clock()

    async def _deliver(self, item: Item) -> None:
        event, reported, result, _ = item
        self._began = self._publisher.clock()
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
            self._publisher.failed(self._subscription, error, reported)
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
    ``async with`` or its deletion ends it. Cancelling a wait for an event loses no event. With the policy
    "error", the iterator raises SlowConsumerError in place of the first dropped event, and ends. If the publisher
    ends by a failure, the iterator raises FeedError, once.
    """

    def __init__(self, subscription: Subscriber, clock: Callable[[], float]) -> None:
        self._subscription = subscription
        self._buffer = subscription.buffer
        self._clock = clock
        self._turn = 0.0

    def __repr__(self) -> str:
        return f"<Stream of {self._subscription.channel}, {self.dropped} dropped>"

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
                self._subscription.cancel()
                raise SlowConsumerError(self._subscription.channel, coin, item[0], buffer.size)
            if not self._subscription.active:
                if buffer.failure:
                    failure, buffer.failure = buffer.failure, ""
                    raise FeedError(failure)
                raise StopAsyncIteration
            await buffer.wait()
            self._turn = self._clock()
        return buffer.take()[0]

    def close(self) -> None:
        """Stop receiving, drop what is buffered, and end a wait for the next event. Idempotent."""
        self._subscription.cancel()
        self._buffer.overflow = None
        self._buffer.clear()

    async def aclose(self) -> None:
        """Do the same as :meth:`close`, under the name that async generators use."""
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        self._subscription.cancel()


def awaitable(result: Any) -> bool:
    """Whether a callback's result is to be awaited."""
    return hasattr(type(result), "__await__")


def _runs(task: asyncio.Task[None] | None) -> bool:
    """Whether ``task`` is the running task."""
    try:
        return task is not None and asyncio.current_task() is task
    except RuntimeError:  # no loop runs
        return False


def _nothing(event: Any) -> None:
    """Used as the callback of a subscription that has none, such as an iterator's."""
