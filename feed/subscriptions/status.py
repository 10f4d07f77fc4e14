"""Reports every status event once, to log, counts and subscribers; decides the feed's state, by one table."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from loguru import logger

from exchanges.foreign_text import Cleaner
from feed.channels import COPIES
from feed.clock import Clock
from feed.events import FeedState
from feed.policies.circuit_breaker import CircuitBreakerPolicy, Transition
from feed.subscriptions.dispatcher import Dispatcher
from feed.subscriptions.status_events import KINDS, StatusEvent

Report = Callable[..., None]
"""report(event, exchange, **details), which is StatusReporter.note."""

# event -> the states in which it moves the feed, and the next state. Only StatusReporter.note applies it.
_MOVES: Mapping[StatusEvent, tuple[Collection[FeedState], FeedState]] = {
    StatusEvent.CONNECTING: ((FeedState.IDLE, FeedState.CLOSED), FeedState.CONNECTING),
    StatusEvent.CONNECTED: ((FeedState.CONNECTING, FeedState.LAGGING, FeedState.RECONNECTING), FeedState.LIVE),
    StatusEvent.FEED_LAGGING: ((FeedState.LIVE,), FeedState.LAGGING),
    StatusEvent.FEED_CAUGHT_UP: ((FeedState.LAGGING,), FeedState.LIVE),
    StatusEvent.FEED_STALE: ((FeedState.LIVE, FeedState.LAGGING), FeedState.STALE),
    StatusEvent.FEED_RECOVERED: ((FeedState.STALE,), FeedState.LIVE),
    StatusEvent.DISCONNECTED: ((FeedState.LIVE, FeedState.LAGGING, FeedState.STALE), FeedState.RECONNECTING),
    StatusEvent.CLOSED: (tuple(FeedState), FeedState.CLOSED),
}
FLOWING = 2.0  # seconds; data counts as flowing if the last data is not older than this


class StatusReporter:
    """Keeps the feed's state and counts, and reports status events to the log and the subscribers.

    ``exchange`` is the venue of the last event about a connection.
    """

    def __init__(self, clock: Clock, breaker: CircuitBreakerPolicy, clean: Callable[[], Cleaner] = Cleaner) -> None:
        self.state = FeedState.IDLE
        self.exchange = ""
        self.reconnects = 0  # connections that carried data after one was lost
        self.failovers = 0
        self.errors = 0
        self.breaker = breaker
        self._clock = clock
        self._lost = False
        self.dispatcher = Dispatcher(self._report, clock=clock.monotonic, copies=COPIES, clean=clean)

    def note(self, event: str, exchange: str, **details: Any) -> None:
        """Report that ``event`` happened at ``exchange``; ``details`` has the details except exchange and time."""
        event = StatusEvent(event)
        kind = KINDS[event]
        states, then = _MOVES.get(event, ((), self.state))
        if self.state in states:
            self.state = then
        if kind.places:
            self.exchange = exchange
        if event is StatusEvent.CONNECTED:
            self.reconnects += self._lost
            self._lost = False
        self._lost |= event is StatusEvent.DISCONNECTED
        self.failovers += event is StatusEvent.FAILOVER
        self.errors += kind.error
        self._publish(event, exchange, details)
        if kind.failure:
            self._told(self.breaker.failure(event, self._clock.monotonic()))

    def aside(self, event: str, exchange: str, **details: Any) -> None:
        """Report an event of a connection that only carries coins which the active venue does not list.

        It is logged and delivered, but neither changes the state nor counts as a failure of the feed.
        """
        self._publish(event, exchange, details)

    def repeat(self, event: str, details: Mapping[str, Any]) -> None:
        """Report an event of a recording again, as it was recorded; the caller sets the state and the counts."""
        told = {name: value for name, value in details.items() if name != "exchange"}
        self._publish(event, details["exchange"], told)

    def leave_behind(self) -> None:
        """Set the state in a forked child, where the feed is not connected. No subscriber is called."""
        self.state = FeedState.CLOSED if self.state is not FeedState.IDLE else FeedState.IDLE

    def look(self, last_data: float | None) -> None:
        """Pass to the circuit breaker the time now and the time of the last data (monotonic seconds)."""
        now = self._clock.monotonic()
        self._told(self.breaker.tick(now))
        if last_data is not None and now - last_data < FLOWING and self.state is FeedState.LIVE:
            self._told(self.breaker.data(now))

    def _publish(self, event: str, exchange: str, details: Mapping[str, Any]) -> None:
        told = " ".join(f"{key}={value}" for key, value in details.items())
        logger.log(KINDS[StatusEvent(event)].level, "{} {} {}", event, exchange, told)
        details = {"exchange": exchange, "at": self._clock.now_ms(), **details}
        self.dispatcher.publish("status", "", (str(event), details))

    def _told(self, transitions: Iterable[Transition]) -> None:
        for transition in transitions:
            details: dict[str, Any] = {}
            if transition.seconds is not None:
                until = int((self._clock.now() + transition.seconds) * 1000)
                details = {"reason": transition.reason, "until": until}
            self.note(transition.event, self.exchange, **details)

    def _report(self, event: str, details: dict[str, Any]) -> None:
        self.note(event, self.exchange, **details)
