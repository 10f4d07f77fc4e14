"""Delivers events to subscribers; decides what happens when a callback raises or is slow: others are not affected.

A plain callback is called inline. A coroutine callback has a bounded queue and a task that awaits it event by event. An
iterator has a bounded buffer.

All subscribers receive the same event object, and the publisher keeps no reference to it. A subscriber that wants to
change an event copies it first. There are two exceptions: events of a channel in ``copies``, and the parts of events
that are tuples, are copied for each subscriber.

The publisher chooses the names of channels and coins. ``candles:1m`` is a part of the channel ``candles``: a subscriber
to the whole channel receives the events of every part.

``publish`` belongs to the thread of the event loop; subscribing and cancelling are safe from any thread.
"""

from __future__ import annotations

import asyncio
import copy
import functools
import inspect
import time
import traceback
from collections.abc import Callable, Collection, Container, Hashable, Mapping
from typing import Any

from loguru import logger

from exchanges.foreign_text import Cleaner
from feed.subscriptions.observation import Observation, Take
from feed.subscriptions.queues import QUEUE_SIZE, Buffer
from feed.subscriptions.routes import Route
from feed.subscriptions.subscriber import SLOW_AFTER, Callback, EventIterator, Subscriber, Worker

__all__ = ["Dispatcher", "Subscriber"]

Report = Callable[[str, dict[str, Any]], None]


class Dispatcher:
    """Publishes events to subscribers by channel and coin.

    ``report(event, details)`` is called with "callback_error" {callback, error, count} and "slow_callback" {callback,
    ms, count, and dropped if a queue has overflowed}, at most once per REPORT_EVERY seconds for each subscription and
    kind; count is how often it has happened since the last report. A plain callback is slow if it takes longer than
    ``slow_after`` seconds, a coroutine callback or an iterator if its queue of ``queue_size`` events is full. Before
    its queue is full, ``look`` reports a consumer that falls behind as "slow_callback" {callback, behind (seconds),
    waiting (events)}. ``copies`` has, by channel, the function that copies an event whose parts its receivers may
    change. ``clean`` returns the function that hides the settings' secrets in errors of callbacks; it is called at the
    first error. Errors during the delivery of a report are counted and logged, but not reported: a status callback that
    raises must not cause the next report.
    """

    def __init__(
        self,
        report: Report,
        *,
        slow_after: float = SLOW_AFTER,
        queue_size: int = QUEUE_SIZE,
        clock: Callable[[], float] = time.monotonic,
        copies: Mapping[str, Callable[[Any], Any]] | None = None,
        clean: Callable[[], Cleaner] = Cleaner,
    ) -> None:
        self.clock = clock
        self.copies = copies or {}
        self.closed = self.aborting = self.reporting = False  # see feed.subscriptions.subscriber.EventPublisher
        self.workers: dict[asyncio.Task[None], Worker] = {}
        self.errors = 0  # errors of all subscriptions, including ended ones
        self._report = report
        self._clean = clean
        self.slow_after = slow_after
        self._queue_size = queue_size
        self._subscriptions: dict[str, dict[Subscriber, None]] = {}  # by channel, in the order of subscription
        self._routes: dict[str, dict[Hashable, Route]] = {}  # routes by channel and coin, made when first needed
        self.version = object()  # replaced at each change: a route with an earlier version is out of date

    def subscribe(
        self,
        channel: str,
        callback: Callback,
        keys: Collection[Hashable] | None = None,
        *,
        on_full: str = "drop_oldest",
        unpack: bool = False,
    ) -> Subscriber:
        """Call ``callback`` with every event of ``channel``, or with those of its ``keys`` (coins).

        A coroutine function, or any callback that returns an awaitable, is awaited event by event from a queue with the
        policy ``on_full`` (POLICIES); "error" ends the subscription and reports why. With ``unpack`` the events are
        tuples of the callback's arguments, which it receives as copies. Raises TypeError for an object that can't be
        called, ValueError for other policies.
        """
        if not callable(callback):
            raise TypeError(f"a callback must be callable; {callback!r} is {type(callback).__name__}")
        name = _name(callback)
        if _is(callback, inspect.isgeneratorfunction) or _is(callback, inspect.isasyncgenfunction):
            raise TypeError(f"a callback must do its work when it is called; {name} is a generator function")
        subscription = Subscriber(self, channel, name, keys, Buffer(on_full, self._queue_size))
        subscription.call = functools.partial(_spread, callback) if unpack else callback
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
    ) -> EventIterator:
        """The events of ``channel``, or those of its ``keys`` (coins), for ``async for`` in the publisher's loop.

        ``size``: how many events the buffer holds; by default the dispatcher's ``queue_size``. Raises ValueError.
        """
        buffer = Buffer(on_full, self._queue_size if size is None else size)
        subscription = Subscriber(self, channel, f"iterator over {channel}", keys, buffer)
        clock, slow = self.clock, self.slow
        buffer.taken_at = clock()

        def sink(coin: Hashable, event: Any, now: float) -> bool:
            if buffer.put(coin, (_own(event), False, None, now)) is None or on_full == "latest":
                return False
            slow(subscription, clock() - buffer.taken_at, buffer.dropped)
            return True

        subscription.sink = sink
        stream = EventIterator(subscription, clock)
        if self.closed:
            subscription.active = False
        else:
            self._add(subscription)
        return stream

    def observe(self, channel: str, take: Take, keys: Collection[Hashable] | None, size: int) -> Observation:
        """Pass every event of ``channel``, or those of its ``keys``, to ``take`` in batches of ``size``.

        This costs less per event than a callback.
        """
        subscription = Subscriber(self, channel, _name(take), keys, Buffer("drop_oldest", 1))
        observation = Observation(take, size, lambda error: self.failed(subscription, error), subscription.cancel)
        subscription.publish = observation.publish
        self._add(subscription)
        return observation

    def route(self, channel: str, coin: Hashable) -> Route:
        """Return the route of ``coin``'s events to the subscribers of ``channel``; the caller may keep it."""
        routes = self._routes.setdefault(channel, {})
        return routes.get(coin) or routes.setdefault(coin, Route(self, channel, coin))

    def publish(self, channel: str, coin: Hashable, event: Any) -> None:
        """Hand ``event`` to all subscribers of ``channel`` and ``coin``, in the order in which they subscribed."""
        self.route(channel, coin).publish(event, self.clock())

    def look(self, age: Callable[[float], float]) -> None:
        """Report the consumers that have fallen behind; call it about once a second.

        ``age`` returns the seconds since a moment of the dispatcher's clock.
        """
        for subscription in [each for channel in self._subscriptions.values() for each in channel]:
            seconds = subscription.behind(age) if subscription.queued else None
            if seconds is not None:
                subscription.slow += 1
                details = {"callback": subscription.name, "behind": round(seconds, 3), "waiting": subscription.waiting}
                logger.warning("{} is behind: {}", subscription.name, details)
                self._tell("slow_callback", details, False)

    @property
    def queued(self) -> bool:
        """Whether some subscriber takes its events from a queue."""
        return any(each.queued for channel in self._subscriptions.values() for each in channel)

    def busy(self, sleeping: Container[asyncio.Task[Any] | None]) -> set[int]:
        """The ``id`` of each subscriber with a queue that has something to do and is not among the ``sleeping``."""
        subscribers = [each for channel in self._subscriptions.values() for each in channel]
        return {id(each) for each in subscribers if each.is_busy(sleeping)}

    def abandon(self) -> None:
        """This process is a fork: forget the tasks of the coroutine callbacks, which run in the parent."""
        for worker in self.workers.values():
            worker.forget()
        self.workers = {}

    def subscribed(self, channel: str) -> Collection[Subscriber]:
        """The subscribers of ``channel`` at this moment, in the order in which they subscribed.

        If ``channel`` is a part of a channel, the subscribers of the whole channel come last.
        """
        of_part = self._subscriptions.get(channel, {}).copy()
        whole, is_part, _ = channel.partition(":")
        return of_part | self._subscriptions.get(whole, {}).copy() if is_part else of_part

    async def close(self, timeout: float) -> None:
        """End the iterators, let the coroutine callbacks finish what is queued, and cancel them after ``timeout`` s.

        The last fifth of the timeout is for their clean-up. Nothing more is queued; plain callbacks are still called.
        If a coroutine callback closes its own dispatcher, it is not waited for, and its queue is dropped. Idempotent.
        """
        self.closed = True
        self.end_iterators()
        for worker in self.workers.values():
            worker.buffer.wake()
        tasks = {task for task in self.workers if not task.done()} - {asyncio.current_task()}
        try:
            if tasks:
                _, tasks = await asyncio.wait(tasks, timeout=0.8 * timeout)
        finally:
            self.aborting = True
            for task in tasks:
                task.cancel()
        if tasks:
            _, stuck = await asyncio.wait(tasks, timeout=max(0.2 * timeout, 0.05))
            for task in stuck:
                logger.warning("{} does not end when it is cancelled", task.get_name())

    def end_iterators(self, failure: str = "") -> None:
        """End the iterators after their buffered events; with a ``failure``, they raise a FeedError of that text."""
        for subscription in [s for channel in self._subscriptions.values() for s in channel]:
            if subscription.worker is None and subscription.sink is not None:
                subscription.buffer.failure = failure
                subscription.cancel()

    def reopen(self) -> None:
        """Queue events again after ``close``. The callbacks are still subscribed; the iterators have ended."""
        self.closed = self.aborting = False

    def _add(self, subscription: Subscriber) -> None:
        self._subscriptions.setdefault(subscription.channel, {})[subscription] = None
        self._changed(subscription.channel)

    def remove(self, subscription: Subscriber) -> None:
        self._subscriptions.get(subscription.channel, {}).pop(subscription, None)
        self._changed(subscription.channel)

    def _changed(self, channel: str) -> None:
        self.version = object()
        for name, routes in self._routes.copy().items():
            if name.partition(":")[0] == channel or name == channel:
                for route in routes.copy().values():
                    route.forget()

    def _queue(self, subscription: Subscriber) -> Worker:
        worker = Worker(subscription, self)
        subscription.worker, subscription.sink = worker, worker.put
        return worker

    def promote(self, subscription: Subscriber, event: Any, result: Any) -> None:
        """Give a queue to a callback that has returned an awaitable; the awaitable counts as the first call."""
        worker = subscription.worker
        if worker is None:
            worker = self._queue(subscription)
            self._changed(subscription.channel)
        worker.put(getattr(event, "coin", ""), event, self.clock(), result)

    def failed(self, subscription: Subscriber, error: BaseException, reported: bool = False) -> None:
        """Count and, when due, report an error that a callback raised; ``reported``: the event was itself a report."""
        self.errors += 1
        subscription.errors += 1
        count = subscription.due("callback_error", self.clock())
        if count:
            name, channel = subscription.name, subscription.channel
            trace = self.traceback_of(error)
            text = "{} raised for an event of {} ({} times since the last report)\n{}"
            logger.error(text, name, channel, count, trace)
            told = self.cleaner.redacted(_repr(error))
            self._tell("callback_error", {"callback": name, "error": told, "count": count}, reported)

    def slow(self, subscription: Subscriber, seconds: float, dropped: int | None = None) -> None:
        """Count and, when due, report a slow call or a full queue; ``dropped``: how many events the queue has dropped
        by now.
        """
        subscription.slow += 1
        count = subscription.due("slow_callback", self.clock())
        if count:
            details = {"callback": subscription.name, "ms": round(seconds * 1000, 3), "count": count}
            if dropped is not None:
                details["dropped"] = dropped
            logger.warning("{} is slow: {}", subscription.name, details)
            self._tell("slow_callback", details, False)

    def _tell(self, event: str, details: dict[str, Any], reported: bool) -> None:
        if reported or self.reporting:
            return
        self.reporting = True
        try:
            self._report(event, details)
        except Exception as error:  # noqa: BLE001 - the report calls callbacks; none of them may disturb the others
            logger.error("reporting {} failed\n{}", event, self.traceback_of(error))
        finally:
            self.reporting = False

    @functools.cached_property
    def cleaner(self) -> Cleaner:
        """The function that hides the settings' secrets."""
        return self._clean()

    def traceback_of(self, error: BaseException) -> str:
        """An error with its traceback, as text. Loguru's own form may show the values of variables, such as a key."""
        return self.cleaner.lines("".join(traceback.format_exception(error)))


def _repr(error: BaseException) -> str:
    try:
        return repr(error)
    except Exception:  # noqa: BLE001 - a program's own class
        return f"{type(error).__name__}(...)"


def _name(callback: Callback) -> str:
    """The name of a callback in reports and in the log."""
    while isinstance(callback, functools.partial):
        callback = callback.func
    name = getattr(callback, "__qualname__", None)
    return name if isinstance(name, str) else type(callback).__qualname__


def _is(callback: Callback, kind: Callable[[Any], bool]) -> bool:
    """Whether ``callback`` is a function of this ``kind``; partials, bound methods and ``__call__`` count too."""
    while isinstance(callback, functools.partial):
        callback = callback.func
    return kind(callback) or kind(getattr(type(callback), "__call__", None))  # noqa: B004 - it needs the method itself


def _spread(callback: Callback, event: Any) -> Any:
    return callback(*_own(event))


def _own(event: Any) -> Any:
    """Return the event itself; if it is a tuple (a status event), a copy whose parts the receiver may change."""
    return copy.deepcopy(event) if type(event) is tuple else event
