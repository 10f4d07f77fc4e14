"""Everything that happens to the feed goes through here once: logged, counted, told, and moving its state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from loguru import logger

from feed.clock import Clock
from feed.dispatch import Dispatcher
from feed.events import FeedState

# state -> the event that moves the feed on -> where to. Journal.note is the one place that applies it.
_MOVES: Mapping[FeedState, Mapping[str, FeedState]] = {
    FeedState.IDLE: {"connecting": FeedState.CONNECTING, "closed": FeedState.CLOSED},
    FeedState.CONNECTING: {"connected": FeedState.LIVE, "closed": FeedState.CLOSED},
    FeedState.LIVE: {
        "feed_stale": FeedState.STALE,
        "disconnected": FeedState.RECONNECTING,
        "closed": FeedState.CLOSED,
    },
    FeedState.STALE: {
        "feed_recovered": FeedState.LIVE,
        "disconnected": FeedState.RECONNECTING,
        "closed": FeedState.CLOSED,
    },
    FeedState.RECONNECTING: {"connected": FeedState.LIVE, "closed": FeedState.CLOSED},
    FeedState.CLOSED: {"connecting": FeedState.CONNECTING},
}
_LEVELS: Mapping[str, str] = {  # of the log; what is not here is INFO
    "disconnected": "WARNING",
    "feed_stale": "WARNING",
    "coin_unavailable": "WARNING",
    "exchange_blocked": "WARNING",
    "bad_frame": "WARNING",
    "slow_callback": "WARNING",
    "error": "WARNING",
    "callback_error": "DEBUG",  # the dispatcher logs the error itself, with its traceback
}
_ERRORS = frozenset({"error", "disconnected", "exchange_blocked", "callback_error"})


class Journal:
    """Keeps the feed's state and counts, and tells the log and the status subscribers.

    ``exchange`` is the venue that the last connection event was about.
    """

    def __init__(self, clock: Clock) -> None:
        self.state = FeedState.IDLE
        self.exchange = ""
        self.reconnects = 0  # connections that carried data after one was lost
        self.failovers = 0
        self.errors = 0
        self._clock = clock
        self._lost = False
        self.dispatcher = Dispatcher(self._report)

    def note(self, event: str, exchange: str, **details: Any) -> None:
        """Tell that ``event`` happened at ``exchange``; ``details`` are its own, beside exchange and time."""
        self.state = _MOVES[self.state].get(event, self.state)
        self.exchange = exchange or self.exchange
        if event == "connected":
            self.reconnects += self._lost
            self._lost = False
        self._lost |= event == "disconnected"
        self.failovers += event == "failover"
        self.errors += event in _ERRORS
        told = " ".join(f"{key}={value}" for key, value in details.items())
        logger.log(_LEVELS.get(event, "INFO"), "{} {} {}", event, exchange, told)
        details = {"exchange": exchange, "at": int(self._clock.now() * 1000), **details}
        self.dispatcher.publish("status", "", (event, details))

    def _report(self, event: str, details: dict[str, Any]) -> None:
        self.note(event, self.exchange, **details)
