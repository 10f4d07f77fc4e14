"""Subscribers, kept apart: none of them can slow, starve or break another, or the socket.

A plain callback is called inline. A coroutine callback has a bounded queue and a task of its own that awaits it event
by event; an iterator has a bounded buffer. All receive the same event objects: who wants to change one takes a copy.
What a channel or a coin is called is the publisher's business.

``publish`` belongs to the thread of the event loop; subscribing and cancelling are safe from any thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import math
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Collection, Hashable
from typing import Any, Self

from loguru import logger

from feed.errors import FeedError

__all__ = ["POLICIES", "Dispatcher", "SlowConsumerError", "Stream", "Subscription", "callback_name"]

POLICIES = ("drop_oldest", "latest", "error")
"""What a full queue does: lose its oldest event; keep only each coin's newest at any time; end with an error."""

REPORT_EVERY = 1.0  # seconds between two reports about one callback
SLICE = 0.005  # seconds for which a consumer that never suspends may hold the loop

Callback = Callable[..., Any]
Report = Callable[[str, dict[str, Any]], None]
_Sink = Callable[[Hashable, Any], None]  # takes coin and event
_Route = tuple[tuple["Subscription", Callback], ...]
_Item = tuple[Any, bool, Any]  # the event; whether it is itself a report; what the callback returned for it already


class SlowConsumerError(FeedError):
    """A consumer with the policy "error" fell behind: ``event`` of ``coin`` found ``size`` others waiting."""

    def __init__(self, channel: str, coin: Hashable, event: Any, size: int) -> None:
        super().__init__(channel, coin, event, size)
        self.channel = channel
        self.coin = coin
        self.event = event
        self.size = size

    def __str__(self) -> str:
        return f"{self.channel}: too slow, {self.size} events were waiting when the next was dropped: {self.event}"


class Subscription:
    """A consumer's place in a channel. ``errors``, ``slow`` and ``dropped`` count what went wrong since it began."""

    def __init__(
        self, dispatcher: Dispatcher, channel: str, name: str, keys: Collection[Hashable] | None, buffer: _Buffer
    ) -> None:
        self.channel = channel
        self.name = name
        self.keys = None if keys is None else frozenset([keys] if isinstance(keys, str) else keys)
        self.active = True
        self.errors = 0
        self.slow = 0
        self._dispatcher = dispatcher
        self._buffer = buffer
        self._call: Callback = _nothing  # a plain callback
        self._sink: _Sink | None = None  # stands in for it where there is a queue
        self._worker: _Worker | None = None
        self._told: dict[str, float] = {}  # when each kind of report was last made
        self._untold: dict[str, int] = {}  # and how many there were since

    def __repr__(self) -> str:
        state = "active" if self.active else "cancelled"
        return f"<Subscription {self.name} to {self.channel}, {state}, {self.errors} errors, {self.dropped} dropped>"

    @property
    def dropped(self) -> int:
        """Events that a full queue cost; with the policy "latest" also those that a newer one replaced."""
        return self._buffer.dropped

    def cancel(self) -> None:
        """Deliver nothing more, also of what is queued; a coroutine callback that is running may finish. Idempotent."""
        if self.active:
            self.active = False
            self._dispatcher._remove(self)
            if self._worker is not None and (self._worker.task is None or self._worker.task.done()):
                self._buffer.clear()
            else:
                self._buffer.wake()

    def _due(self, kind: str, now: float) -> int:
        """Count one more of ``kind``; how many to report now, 0 when it is too soon after the last report."""
        count = self._untold.get(kind, 0) + 1
        if now - self._told.get(kind, -math.inf) < REPORT_EVERY:
            self._untold[kind] = count
            return 0
        self._told[kind], self._untold[kind] = now, 0
        return count


class _Buffer:
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
        self.overflow: tuple[Hashable, _Item] | None = None  # the first event that the policy "error" dropped
        self._ready = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None  # the consumer's
        self._queue: deque[_Item] = deque()
        self._latest: OrderedDict[Hashable, _Item] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._queue or self._latest)

    def put(self, coin: Hashable, item: _Item) -> _Item | None:
        """Add an item; returns the one that had to go for it, if any."""
        gone: _Item | None = None
        if self.policy == "latest":
            gone = self._latest.get(coin)
            if gone is None and len(self._latest) >= self.size:
                gone = self._latest.popitem(last=False)[1]
            self._latest[coin] = item  # where the one before stood, so that a busy coin does not keep itself back
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

    def take(self) -> _Item:
        return self._latest.popitem(last=False)[1] if self._latest else self._queue.popleft()

    async def wait(self) -> None:
        """Until something was put, or ``wake`` was called: then look what it is."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._ready = loop, asyncio.Event()  # an event belongs to the loop that first waited for it
        self._ready.clear()
        await self._ready.wait()

    def wake(self) -> None:
        """Have the consumer look again; from any thread."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, and the consumer with it
                self._loop.call_soon_threadsafe(self._ready.set)

    def clear(self) -> None:
        """Drop everything; an awaitable that nobody will await any more is closed."""
        while self:
            self.dropped += 1
            _discard(self.take())


class _Worker:
    """The queue and, while a loop runs, the task behind one coroutine callback."""

    def __init__(self, subscription: Subscription, call: Callback, buffer: _Buffer) -> None:
        self.task: asyncio.Task[None] | None = None
        self._subscription = subscription
        self._call = call
        self._buffer = buffer
        self._dispatcher = subscription._dispatcher
        self._began: float | None = None  # when the call that is running did

    def put(self, coin: Hashable, event: Any, result: Any = None) -> None:
        """Queue an event; the task starts with the first one that comes while a loop runs."""
        dispatcher, buffer = self._dispatcher, self._buffer
        item = (event, dispatcher._reporting, result)
        if dispatcher.closed or not self._subscription.active:
            buffer.dropped += 1
            _discard(item)
            return
        gone = buffer.put(coin, item)
        if self.task is None or self.task.done():
            self._start()
        if gone is not None:
            _discard(gone)
            if buffer.policy != "latest":
                now = dispatcher._clock()
                dispatcher._slow(
                    self._subscription, now - (now if self._began is None else self._began), buffer.dropped
                )

    def wake(self) -> None:
        """Have the task notice that something has ended."""
        self._buffer.wake()

    def _start(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return  # published outside a loop: what is queued waits for one
        self.task = loop.create_task(self._run(), name=f"market-feed: {self._subscription.name}")
        self._dispatcher._workers[self.task] = self
        self.task.add_done_callback(self._ended)  # not in its own finally: one cancelled early never starts

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._dispatcher._workers[task]
        if self._dispatcher.closed or not self._subscription.active:
            self._buffer.clear()

    async def _run(self) -> None:
        subscription, dispatcher, buffer = self._subscription, self._dispatcher, self._buffer
        turn = dispatcher._clock()
        while subscription.active and not dispatcher._aborting:
            if buffer:
                await self._deliver(buffer.take())
                if dispatcher._clock() - turn < SLICE:
                    continue
                await asyncio.sleep(0)
            elif buffer.overflow is not None:
                coin, (event, reported, _) = buffer.overflow
                subscription.cancel()
                dispatcher._failed(
                    subscription, SlowConsumerError(subscription.channel, coin, event, buffer.size), reported
                )
            elif dispatcher.closed:
                return
            else:
                await buffer.wait()
            turn = dispatcher._clock()

    async def _deliver(self, item: _Item) -> None:
        event, reported, result = item
        self._began = self._dispatcher._clock()
        try:
            if result is None:
                result = self._call(event)
            if _awaitable(result):
                await result
        except asyncio.CancelledError as error:
            if self.task is not None and self.task.cancelling():
                raise
            self._dispatcher._failed(self._subscription, error, reported)  # something that the callback awaited
        except Exception as error:  # noqa: BLE001 - a user's callback may raise anything
            self._dispatcher._failed(self._subscription, error, reported)
        finally:
            self._began = None


class Stream(AsyncIterator[Any]):
    """A channel as an async iterator; it buffers from the moment it is made.

    It ends when the dispatcher closes, after what is buffered. Leaving an ``async for`` over it releases it, unless it
    is kept in a variable: then it goes on where it stopped, until ``close``, ``async with`` or its deletion ends it.
    Waiting can be cancelled without losing an event. With the policy "error" it raises SlowConsumerError in the place
    of the first event dropped, and ends.
    """

    def __init__(self, subscription: Subscription, buffer: _Buffer, clock: Callable[[], float]) -> None:
        self._subscription = subscription
        self._buffer = buffer
        self._clock = clock
        self._turn = 0.0

    def __repr__(self) -> str:
        return f"<Stream of {self._subscription.channel}, {self.dropped} dropped>"

    @property
    def dropped(self) -> int:
        """Events that the full buffer cost; with the policy "latest" also those that a newer one replaced."""
        return self._buffer.dropped

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        buffer = self._buffer
        buffer.taken_at = self._clock()
        if buffer and buffer.taken_at - self._turn >= SLICE:  # a body that never suspends must not hold the loop
            await asyncio.sleep(0)
            self._turn = self._clock()
        while not buffer:
            if buffer.overflow is not None:
                (coin, item), buffer.overflow = buffer.overflow, None
                self._subscription.cancel()
                raise SlowConsumerError(self._subscription.channel, coin, item[0], buffer.size)
            if not self._subscription.active:
                raise StopAsyncIteration
            await buffer.wait()
            self._turn = self._clock()
        return buffer.take()[0]

    def close(self) -> None:
        """Receive nothing more and drop what is buffered; whoever waits for the next event is let go. Idempotent."""
        self._subscription.cancel()
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
        self._subscription.cancel()


class Dispatcher:
    """Publishes events to subscribers by channel and coin.

    ``report(event, details)`` is told "callback_error" {callback, error, count} and "slow_callback" {callback, ms,
    count, and dropped where a queue overflowed} at most once per REPORT_EVERY seconds, subscription and kind; count is
    how many there were since the report before. A plain callback is slow from ``slow_after`` seconds on, a coroutine
    callback or an iterator when its queue of ``queue_size`` events is full. What goes wrong while a report is being
    delivered is counted and logged, but not reported: a status callback that raises must not cause the next report.
    """

    def __init__(
        self,
        report: Report,
        *,
        slow_after: float = 0.1,
        queue_size: int = 10_000,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.closed = False
        self.errors = 0  # of all subscriptions, gone ones included
        self._report = report
        self._slow_after = slow_after
        self._queue_size = queue_size
        self._clock = clock
        self._reporting = False
        self._aborting = False
        self._subscriptions: dict[str, dict[Subscription, None]] = {}  # by channel, in the order they came
        self._routes: dict[str, dict[Hashable, _Route]] = {}  # by channel and coin, made when first needed
        self._version = object()  # another one after each change, so that a route in the making sees that it is old
        self._workers: dict[asyncio.Task[None], _Worker] = {}

    def subscribe(
        self,
        channel: str,
        callback: Callback,
        keys: Collection[Hashable] | None = None,
        *,
        on_full: str = "drop_oldest",
        unpack: bool = False,
    ) -> Subscription:
        """Call ``callback`` with every event of ``channel``, or with those of its ``keys`` (coins).

        A coroutine function, or whatever turns out to return an awaitable, is awaited event by event from a queue with
        the policy ``on_full`` (POLICIES); "error" ends the subscription and reports why. With ``unpack`` the events are
        tuples of the callback's arguments. Raises TypeError for what can't be called, ValueError for other policies.
        """
        if not callable(callback):
            raise TypeError(f"a callback must be callable; {callback!r} is {type(callback).__name__}")
        name = callback_name(callback)
        if _is(callback, inspect.isgeneratorfunction) or _is(callback, inspect.isasyncgenfunction):
            raise TypeError(f"a callback must do its work when it is called; {name} is a generator function")
        subscription = Subscription(self, channel, name, keys, _Buffer(on_full, self._queue_size))
        subscription._call = functools.partial(_spread, callback) if unpack else callback
        if _is(callback, inspect.iscoroutinefunction):
            self._queue(subscription)
        self._add(subscription)
        return subscription

    def iterate(
        self,
        channel: str,
        keys: Collection[Hashable] | None = None,
        on_full: str = "drop_oldest",
        size: int | None = None,
    ) -> Stream:
        """The events of ``channel``, or those of its ``keys`` (coins), for ``async for`` in the publisher's loop.

        ``size`` bounds the buffer, which is the dispatcher's ``queue_size`` otherwise. Raises ValueError.
        """
        buffer = _Buffer(on_full, self._queue_size if size is None else size)
        subscription = Subscription(self, channel, f"iterator over {channel}", keys, buffer)
        clock, slow = self._clock, self._slow
        buffer.taken_at = clock()

        def sink(coin: Hashable, event: Any) -> None:
            if buffer.put(coin, (event, False, None)) is not None and on_full != "latest":
                slow(subscription, clock() - buffer.taken_at, buffer.dropped)

        subscription._sink = sink
        stream = Stream(subscription, buffer, clock)
        if self.closed:
            subscription.active = False
        else:
            self._add(subscription)
        return stream

    def wanted(self, channel: str, coin: Hashable) -> bool:
        """Whether anybody would receive an event: what nobody subscribed to need not be built."""
        try:
            return bool(self._routes[channel][coin])
        except KeyError:
            return bool(self._route(channel, coin))

    def publish(self, channel: str, coin: Hashable, event: Any) -> None:
        """Hand ``event`` to all subscribers of ``channel`` and ``coin``, in the order in which they subscribed."""
        try:
            route = self._routes[channel][coin]
        except KeyError:
            route = self._route(channel, coin)
        if not route:
            return
        clock = self._clock
        before = clock()
        for subscription, call in route:
            if not subscription.active:  # cancelled by one of those before it
                continue
            try:
                result = call(event)
            # a plain callback that reads a cancelled future's result has not been cancelled itself
            except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - a user's callback may raise anything
                self._failed(subscription, error)
            else:
                if result is not None and _awaitable(result):
                    self._promote(subscription, coin, event, result)
            after = clock()
            if after - before > self._slow_after:
                self._slow(subscription, after - before)
                after = clock()
            before = after

    async def close(self, timeout: float) -> None:
        """End the iterators, let the coroutine callbacks finish what is queued, and cancel them after ``timeout`` s.

        A fifth of the timeout is theirs to clean up. Nothing is queued any more, plain callbacks are still called. A
        coroutine callback may close its own dispatcher: it is not waited for, and its queue ends with it. Idempotent.
        """
        self.closed = True
        for subscription in [s for channel in self._subscriptions.values() for s in channel]:
            if subscription._worker is None and subscription._sink is not None:
                subscription.cancel()
        for worker in self._workers.values():
            worker.wake()
        tasks = {task for task in self._workers if not task.done()} - {asyncio.current_task()}
        try:
            if tasks:
                _, tasks = await asyncio.wait(tasks, timeout=0.8 * timeout)
        finally:
            self._aborting = True
            for task in tasks:
                task.cancel()
        if tasks:
            _, stuck = await asyncio.wait(tasks, timeout=max(0.2 * timeout, 0.05))
            for task in stuck:
                logger.warning("{} does not end when it is cancelled", task.get_name())

    def reopen(self) -> None:
        """Queue again after ``close``: the callbacks are still subscribed, the iterators have ended."""
        self.closed = self._aborting = False

    def _add(self, subscription: Subscription) -> None:
        self._subscriptions.setdefault(subscription.channel, {})[subscription] = None
        self._changed(subscription.channel)

    def _remove(self, subscription: Subscription) -> None:
        self._subscriptions.get(subscription.channel, {}).pop(subscription, None)
        self._changed(subscription.channel)

    def _changed(self, channel: str) -> None:
        self._version = object()
        self._routes.pop(channel, None)

    def _route(self, channel: str, coin: Hashable) -> _Route:
        """Who receives ``coin`` on ``channel``, kept until a subscription changes.

        No lock: another thread, or the garbage collector that deletes an iterator, may change the subscriptions at any
        step. It puts a new version in place before it drops the routes, so one made of old ones is seen here.
        """
        while True:
            version = self._version
            route = tuple(
                (each, each._call if each._sink is None else functools.partial(each._sink, coin))
                for each in self._subscriptions.get(channel, {}).copy()
                if each.keys is None or coin in each.keys
            )
            self._routes.setdefault(channel, {})[coin] = route
            if version is self._version:
                return route

    def _queue(self, subscription: Subscription) -> _Worker:
        worker = _Worker(subscription, subscription._call, subscription._buffer)
        subscription._worker, subscription._sink = worker, worker.put
        return worker

    def _promote(self, subscription: Subscription, coin: Hashable, event: Any, result: Any) -> None:
        """A plain callback returned an awaitable: it is a coroutine callback, and this is its first call."""
        worker = subscription._worker
        if worker is None:
            worker = self._queue(subscription)
            self._changed(subscription.channel)
        worker.put(coin, event, result)

    def _failed(self, subscription: Subscription, error: BaseException, reported: bool = False) -> None:
        self.errors += 1
        subscription.errors += 1
        count = subscription._due("callback_error", self._clock())
        if count:
            name, channel = subscription.name, subscription.channel
            logger.opt(exception=error).error("{} raised over {} ({} times since last told)", name, channel, count)
            self._tell("callback_error", {"callback": name, "error": repr(error), "count": count}, reported)

    def _slow(self, subscription: Subscription, seconds: float, dropped: int | None = None) -> None:
        subscription.slow += 1
        count = subscription._due("slow_callback", self._clock())
        if count:
            details = {"callback": subscription.name, "ms": round(seconds * 1000, 3), "count": count}
            if dropped is not None:
                details["dropped"] = dropped
            logger.warning("{} is slow: {}", subscription.name, details)
            self._tell("slow_callback", details, False)

    def _tell(self, event: str, details: dict[str, Any], reported: bool) -> None:
        if reported or self._reporting:
            return
        self._reporting = True
        try:
            self._report(event, details)
        except Exception as error:  # noqa: BLE001 - it ends in callbacks; none of them may disturb the others
            logger.opt(exception=error).error("reporting {} failed", event)
        finally:
            self._reporting = False


def callback_name(callback: Callback) -> str:
    """What a callback is called in reports and in the log."""
    while isinstance(callback, functools.partial):
        callback = callback.func
    name = getattr(callback, "__qualname__", None)
    return name if isinstance(name, str) else type(callback).__qualname__


def _is(callback: Callback, kind: Callable[[Any], bool]) -> bool:
    """Whether ``callback`` is of a ``kind`` of function, be it partial, bound or an object with such a ``__call__``."""
    while isinstance(callback, functools.partial):
        callback = callback.func
    return kind(callback) or kind(getattr(type(callback), "__call__", None))  # noqa: B004 - the method, not whether


def _awaitable(result: Any) -> bool:
    return hasattr(type(result), "__await__")


def _discard(item: _Item) -> None:
    """Close a coroutine that nobody will await: Python warns of it otherwise."""
    if inspect.iscoroutine(item[2]):
        item[2].close()


def _spread(callback: Callback, event: Any) -> Any:
    return callback(*event)


def _nothing(event: Any) -> None:
    """No callback: an iterator's subscription."""
