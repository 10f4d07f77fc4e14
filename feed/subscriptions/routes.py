"""Finds the subscribers to a coin's events once, and calls them for every event; times the calls of plain callbacks."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

from feed.subscriptions.subscriber import EventPublisher, Sink, Subscriber, awaitable

_Publish = Callable[[Any, float], float]


class Route:
    """The subscribers of one channel that receive one coin's events. The publisher keeps this object, so no event needs
    a lookup.

    The subscribers are found when first needed, and again after each change of the channel's subscriptions.

    ``publish(event, before)`` delivers an event to the subscribers in the order in which they subscribed. ``before`` is
    the time now, by the dispatcher's clock; the result is the time when the last subscriber returned. A publisher of
    several events passes the result as the next ``before``, so that the clock is read once per call.
    """

    __slots__ = ("_channel", "_coin", "_dispatcher", "publish", "reached")

    def __init__(self, dispatcher: EventPublisher, channel: str, coin: Hashable) -> None:
        self._dispatcher = dispatcher
        self._channel = channel
        self._coin = coin
        self.forget()

    def forget(self) -> None:
        """Forget the subscribers that were found: the channel's subscriptions have changed."""
        self.reached: int | None = None  # number of receivers now; None: not known yet
        self.publish: _Publish = self._publish

    def wanted(self) -> bool:
        """Whether any subscriber would receive an event; if not, the publisher need not build it."""
        if self.reached is None:
            self._resolve()
        return bool(self.reached)

    def _publish(self, event: Any, before: float) -> float:
        return self._resolve()(event, before)

    def _resolve(self) -> _Publish:
        """Find the subscribers that receive events now.

        There is no lock: another thread, or the garbage collector that deletes an iterator, may change the
        subscriptions at any step. A change sets a new version before the routes forget, so this method notices it.
        """
        dispatcher, coin = self._dispatcher, self._coin
        while True:
            version = dispatcher.version
            calls = tuple(
                _caller(dispatcher, each, coin)
                for each in dispatcher.subscribed(self._channel)
                if each.keys is None or coin in each.keys
            )
            copy = dispatcher.copies.get(self._channel.partition(":")[0]) if len(calls) > 1 else None
            publish = self.publish = _all_of(calls) if copy is None else functools.partial(_publish_own, calls, copy)
            self.reached = len(calls)
            if version is dispatcher.version:
                return publish


def _caller(dispatcher: EventPublisher, subscription: Subscriber, coin: Hashable) -> _Publish:
    """Return the function that delivers an event of ``coin`` to one subscriber.

    A plain callback has one function for all coins: a thousand functions would not fit into the processor's caches.
    """
    if subscription.sink is not None:
        return _queueing(dispatcher, subscription, subscription.sink, coin)
    if subscription.publish is None:
        subscription.publish = _handing(dispatcher, subscription, subscription.call)
    return subscription.publish


def _queueing(dispatcher: EventPublisher, subscription: Subscriber, put: Sink, coin: Hashable) -> _Publish:
    """Return the function that queues an event with the time at which it came."""
    clock = dispatcher.clock

    def publish(event: Any, before: float) -> float:
        return clock() if subscription.active and put(coin, event, before) else before

    return publish


def _handing(dispatcher: EventPublisher, subscription: Subscriber, call: Callable[[Any], Any]) -> _Publish:
    """Return the function that calls a plain callback; a closure, because it runs for every event."""
    clock, slow_after = dispatcher.clock, dispatcher.slow_after

    def publish(event: Any, before: float) -> float:
        if not subscription.active:  # an earlier callback has cancelled this subscription
            return before
        try:
            result = call(event)
        except (KeyboardInterrupt, SystemExit):
            raise  # the program must end
        # this catches a future's CancelledError and GeneratorExit too: a callback must not end the reader of the socket
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
    first, second = calls  # a frequent case, for which a loop would be slow

    def publish(event: Any, before: float) -> float:
        return second(event, first(event, before))

    return publish


def _publish_to(calls: Iterable[_Publish], event: Any, before: float) -> float:
    for call in calls:
        before = call(event, before)
    return before


def _publish_own(calls: Sequence[_Publish], copy: Callable[[Any], Any], event: Any, before: float) -> float:
    """Publish a copy of the event to each receiver; all copies are made before the first receiver may change one."""
    events = [event, *(copy(event) for _ in calls[1:])]
    for call, own in zip(calls, events, strict=True):
        before = call(own, before)
    return before
