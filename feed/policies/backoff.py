"""Computes all waits that grow with each failed attempt: before a dial, a trial, a request for a venue's list.

The wait before a dial becomes short again only after data has flowed for a while: see ``Backoff.note_data``.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from feed.settings.schema import Connection

LONGEST_WAIT = 600.0  # seconds: the longest GrowingWait
BUSY = 20  # a GrowingWait is short again if no attempt was made for this many times its length


def doubled(first: float, attempts: int, longest: float = inf) -> float:
    """The wait after this many failed ``attempts``: ``first`` after none, doubled after each, up to ``longest``."""
    return min(first * 2.0 ** min(attempts, 20), longest)


class GrowingWait:
    """Seconds to wait before an attempt: doubled by each attempt, up to LONGEST_WAIT."""

    def __init__(self, first: float) -> None:
        self._first = first
        self.attempts = 0
        self._tried_at = -inf

    def at(self, now: float) -> float:
        """The wait at ``now`` (monotonic seconds), in seconds."""
        if now - self._tried_at > BUSY * self._length:
            self.attempts = 0
        return self._length

    def spend(self, now: float) -> None:
        """Call this when an attempt is made at ``now``."""
        self._tried_at = now
        self.attempts += 1

    @property
    def _length(self) -> float:
        return doubled(self._first, self.attempts, LONGEST_WAIT) if self.attempts else self._first


@dataclass(eq=False, repr=False)
class Backoff:
    """Delays in seconds before attempt 1, 2, ... on one venue: doubling from ``initial`` to ``maximum``, with jitter.

    Each delay is drawn evenly from ``[d * (1 - jitter), min(d * (1 + jitter), maximum)]``, d being the doubled value.
    So ``maximum`` is never exceeded, and clients that have all reached it do not dial at the same moment.

    The delay starts from ``initial`` again only after data has flowed for ``stable_after`` seconds on one connection,
    counted from the first piece to the last. Otherwise a venue that accepts every dial and drops it would be dialled
    every second. A stall does not count as flow.
    """

    initial: float
    maximum: float
    jitter: float
    stable_after: float
    draw: Callable[[], float] = random.random

    def __post_init__(self) -> None:
        self.attempt = 0
        """The attempt whose delay was drawn last: 1, 2, ...; 0 after data has flowed for long enough."""
        self._first_data: float | None = None  # when this connection's first data came, monotonic seconds

    def __repr__(self) -> str:
        return f"<Backoff attempt {self.attempt}, next about {self._delay:g} s>"

    @property
    def _delay(self) -> float:
        """The delay before the next attempt, without jitter."""
        return doubled(self.initial, self.attempt, self.maximum)

    def next_delay(self) -> float:
        """Seconds to wait before the next dial. Counts one attempt."""
        self._first_data = None  # the caller has lost the connection
        low = self._delay * (1 - self.jitter)
        high = min(self._delay * (1 + self.jitter), self.maximum)
        self.attempt += 1
        return low + (high - low) * self.draw()

    def delay_for(self, retry_after: float | None) -> float:
        """Like :meth:`next_delay`, but at least the venue's Retry-After (seconds), which may exceed ``maximum``."""
        return max(self.next_delay(), retry_after or 0.0)

    def note_data(self, now: float) -> None:
        """Call this when a piece of data came at ``now`` (monotonic seconds)."""
        if self._first_data is None:
            self._first_data = now
        if self.attempt and now - self._first_data >= self.stable_after:
            self.attempt = 0

    def note_disconnect(self, now: float) -> None:
        """Call this when the connection is lost: on the next connection, the time of flow is counted from zero."""
        self._first_data = None


def backoff_of(settings: Connection) -> Backoff:
    """Make a backoff with the values of the settings."""
    return Backoff(settings.backoff_initial, settings.backoff_max, settings.backoff_jitter, settings.stable_after)
