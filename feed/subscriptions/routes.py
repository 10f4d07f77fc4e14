"""A coin's way to the subscribers of a channel, worked out once and then taken by every event."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Hashable, Iterable
from typing import Any, Protocol

from feed.subscriptions.queues import Owner, Place, awaitable

_Publish = Callable[[Any, float], float]


class Receiver(Place, Protocol):
    """A consumer's place in a channel, as a route sees it."""

    keys: frozenset[Hashable] | None  # the coins whose events it wants, None for all
    publish: _Publish | None  # to a plain callback, once some route has made it

    @property
    def queued(self) -> bool:
        """Whether events wait for it in a queue; else it is a plain callback."""

    def call(self, event: Any) -> Any:
        """What takes an event of a plain callback."""

    def put(self, coin: Hashable, event: Any, now: float) -> bool:
        """What takes an event where there is a queue; True when that led to a report, which took time."""


class Source(Owner, Protocol):
    """The dispatcher, as its routes see it."""

    slow_after: float  # seconds
    version: object  # another one after each change of the subscriptions

    def subscribed(self, channel: str) -> Collection[Receiver]:
        """Those of ``channel``, in the order in which they subscribed."""

    def promote(self, subscription: Any, event: Any, result: Any) -> None:
        """A plain callback returned an awaitable."""


class Route:
    """One coin's way to the subscribers of one channel, for a publisher that keeps it: nothing is looked up per event.

    Who receives is worked out when it is first needed and after each change of the channel's subscriptions.

    ``publish(event, before)`` hands an event to the subscribers in the order in which they subscribed. ``before`` and
    the result are times of the dispatcher's clock: now, and when the last one returned. A publisher of several events
    hands it on, so that the clock is read once per call.
    """

    __slots__ = ("_channel", "_coin", "_dispatcher", "publish", "reached")

    def __init__(self, dispatcher: Source, channel: str, coin: Hashable) -> None:
        self._dispatcher = dispatcher
        self._channel = channel
        self._coin = coin
        self.forget()

    def forget(self) -> None:
        """The channel's subscriptions have changed."""
        self.reached: int | None = None  # how many receive now, None: to be worked out
        self.publish: _Publish = self._publish

    def wanted(self) -> bool:
        """Whether anybody would receive an event: what nobody subscribed to need not be built."""
        if self.reached is None:
            self._resolve()
        return bool(self.reached)

    def _publish(self, event: Any, before: float) -> float:
        return self._resolve()(event, before)

    def _resolve(self) -> _Publish:
        """Work out who receives now.

        No lock: another thread, or the garbage collector that deletes an iterator, may change the subscriptions at any
        step. It puts a new version in place before it has the routes forget, so one made of old ones is seen here.
        """
        dispatcher, coin = self._dispatcher, self._coin
        while True:
            version = dispatcher.version
            calls = tuple(
                _caller(dispatcher, each, coin)
                for each in dispatcher.subscribed(self._channel)
                if each.keys is None or coin in each.keys
            )
            publish = self.publish = _all_of(calls)
            self.reached = len(calls)
            if version is dispatcher.version:
                return publish


def _caller(dispatcher: Source, subscription: Receiver, coin: Hashable) -> _Publish:
    """What hands an event of ``coin`` to one subscriber.

    A plain callback's is the same for all coins: those of a thousand would push one another out of the caches.
    """
    if subscription.queued:
        return _queueing(dispatcher, subscription, coin)
    if subscription.publish is None:
        subscription.publish = _handing(dispatcher, subscription, subscription.call)
    return subscription.publish


def _queueing(dispatcher: Source, subscription: Receiver, coin: Hashable) -> _Publish:
    """What queues an event; the time at which it came goes with it."""
    clock, put = dispatcher.clock, subscription.put

    def publish(event: Any, before: float) -> float:
        return clock() if subscription.active and put(coin, event, before) else before

    return publish


def _handing(dispatcher: Source, subscription: Receiver, call: Callable[[Any], Any]) -> _Publish:
    """What calls; a closure, because it runs for every event."""
    clock, slow_after = dispatcher.clock, dispatcher.slow_after

    def publish(event: Any, before: float) -> float:
        if not subscription.active:  # cancelled by one of those before it
            return before
        try:
            result = call(event)
        except (KeyboardInterrupt, SystemExit):
            raise  # the program is to end
        # also a CancelledError of a future that it looked at, or a GeneratorExit: nobody ends what reads the socket
        except BaseException as error:  # noqa: BLE001 - a user's callback may raise anything
            dispatcher.failed(subscription, error)
        else:
            if result is not None and awaitable(result):
                dispatcher.promote(subscription, event, result)
        after = clock()
        if after - before > slow_after:
            dispatcher.slow(subscription, after - before)
            after = clock()
        return after

    return publish


def _all_of(calls: tuple[_Publish, ...]) -> _Publish:
    if len(calls) == 1:
        return calls[0]
    if len(calls) != 2:
        return functools.partial(_publish_to, calls)
    first, second = calls  # a frequent case, for which a loop is dear

    def publish(event: Any, before: float) -> float:
        return second(event, first(event, before))

    return publish


def _publish_to(calls: Iterable[_Publish], event: Any, before: float) -> float:
    for call in calls:
        before = call(event, before)
    return before
