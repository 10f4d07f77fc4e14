"""Computes the wait before the next dial, so that clients do not flood a venue after an outage."""

from __future__ import annotations

import random
from collections.abc import Callable


class Backoff:
    """Delays in seconds before attempt 1, 2, ... on one venue: doubling from ``initial`` to ``maximum``, with jitter.

    Each delay is drawn evenly from ``[d * (1 - jitter), min(d * (1 + jitter), maximum)]``, d being the doubled value.
    So ``maximum`` is never exceeded, and clients that have all reached it still spread out instead of meeting there.

    The growth starts anew only when data has flowed for ``stable_after`` seconds on one connection, counted from the
    first piece to the last: a venue that accepts every dial and drops it must not be dialled every second, and a stall
    is not a flow.
    """

    def __init__(
        self,
        initial: float,
        maximum: float,
        jitter: float,
        stable_after: float,
        draw: Callable[[], float] = random.random,
    ) -> None:
        if not 0 < initial <= maximum:
            raise ValueError(f"initial is {initial!r} and maximum {maximum!r}; allowed is 0 < initial <= maximum")
        if not 0 <= jitter <= 1:
            raise ValueError(f"jitter is {jitter!r}; allowed is 0 <= jitter <= 1")
        self._initial = initial
        self._maximum = maximum
        self._jitter = jitter
        self._stable_after = stable_after
        self._draw = draw
        self._attempt = 0
        self._delay = initial  # before jitter, of the next attempt
        self._first_data: float | None = None  # on this connection

    def __repr__(self) -> str:
        return f"<Backoff attempt {self._attempt}, next about {self._delay:g} s>"

    @property
    def attempt(self) -> int:
        """The attempt whose delay was drawn last: 1, 2, ...; 0 when none was needed since data flowed stably."""
        return self._attempt

    def next_delay(self) -> float:
        """Seconds to wait before the next dial. Counts one attempt."""
        self._first_data = None  # whoever asks has no connection any more
        low = self._delay * (1 - self._jitter)
        high = min(self._delay * (1 + self._jitter), self._maximum)
        self._attempt += 1
        self._delay = min(2 * self._delay, self._maximum)
        return low + (high - low) * self._draw()

    def delay_for(self, retry_after: float | None) -> float:
        """Like :meth:`next_delay`, but at least the venue's Retry-After (seconds), which may exceed ``maximum``."""
        delay = self.next_delay()
        return delay if retry_after is None or not retry_after > delay else retry_after

    def note_data(self, now: float) -> None:
        """A piece of data came at ``now`` (monotonic seconds)."""
        if self._first_data is None:
            self._first_data = now
        if self._attempt and now - self._first_data >= self._stable_after:
            self._attempt = 0
            self._delay = self._initial

    def note_disconnect(self, now: float) -> None:
        """The connection is gone: the next one has to prove itself from its own first piece of data."""
        self._first_data = None
