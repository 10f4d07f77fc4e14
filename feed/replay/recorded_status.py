"""Sets the feed's status during a replay: reports the recorded events again, and decides nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from exchanges.recording.rows import StatusRow
from feed.events import FeedState
from feed.policies.circuit_breaker import BreakerState, CircuitBreakerPolicy, Transition
from feed.subscriptions.status import StatusReporter
from feed.subscriptions.status_events import StatusEvent

OF_CONSUMERS = frozenset({StatusEvent.CALLBACK_ERROR, StatusEvent.SLOW_CALLBACK})
"""Events about programs that used the recorded feed; the programs that use the replay cause their own."""


class RecordedBreaker(CircuitBreakerPolicy):
    """A circuit breaker that is open whenever it was open in the recording; failures do not change it.

    Time and data do not change it either: ``FeedRunner._guard``, which passes them on, does not run in a replay.
    """

    def __init__(self) -> None:
        super().__init__(1, 1.0, 1.0)

    def failure(self, reason: str, now: float) -> list[Transition]:
        return []


class RecordedStatus:
    """Reports the recording's status events through the feed's reporter, for the coins that are played."""

    def __init__(self, reporter: StatusReporter, breaker: RecordedBreaker, coins: frozenset[str]) -> None:
        self._reporter = reporter
        self._breaker = breaker
        self.coins = coins
        self._closed: StatusRow | None = None  # the last event if it was ``closed``: a replay reports its own end

    def tell(self, row: StatusRow) -> None:
        """Report a recorded event again, and set the feed's status to what it was at that time."""
        details: dict[str, Any] = json.loads(row.details)
        closed, self._closed = self._closed, None
        if closed is not None:
            self._repeat(closed, json.loads(closed.details))
        is_wanted = "coin" not in details or details["coin"] in self.coins
        if row.event == StatusEvent.CLOSED:
            self._closed = row
        elif is_wanted and row.event not in OF_CONSUMERS:
            self._repeat(row, details)

    def _repeat(self, row: StatusRow, details: Mapping[str, Any]) -> None:
        feed: Mapping[str, Any] = json.loads(row.feed)
        reporter = self._reporter
        reporter.exchange = feed["exchange"]
        reporter.reconnects, reporter.failovers = feed["reconnect_count"], feed["failover_count"]
        reporter.errors = feed["errors"]
        reporter.state = FeedState(feed["state"])
        self._breaker.state = BreakerState.CLOSED if feed["tradable"] else BreakerState.OPEN
        reporter.repeat(row.event, details)

    def begin(self, exchange: str) -> None:
        """Call this when data begins without a recorded event ``connected``."""
        if self._reporter.state in (FeedState.IDLE, FeedState.CLOSED, FeedState.RECONNECTING):
            self._reporter.note("connecting", exchange)
            self._reporter.note("connected", exchange)

    def hole(self, exchange: str, reason: str) -> None:
        """Call this at a hole of the recording: nothing was recorded for a while."""
        if self._reporter.state not in (FeedState.IDLE, FeedState.CLOSED):
            self._reporter.note("disconnected", exchange, reason=f"the recording has a hole: {reason}")
