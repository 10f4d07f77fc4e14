"""Passes a channel's events on in batches, for metrics: the delivery of an event only appends it to a list."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

Take = Callable[[Sequence[Any], Sequence[float]], None]
"""take(events, times): each event, and when its turn came, in seconds of ``time.monotonic``."""


class Observation:
    """Collects events and passes them to ``take`` in batches: when ``size`` events have come, and at each ``flush``.

    ``failed`` is called with what ``take`` raises; ``unsubscribe`` ends the subscription.
    """

    def __init__(
        self, take: Take, size: int, failed: Callable[[BaseException], None], unsubscribe: Callable[[], None]
    ) -> None:
        self._take = take
        self._size = size
        self._failed = failed
        self._handing = threading.Lock()
        self._unsubscribe = unsubscribe
        self._begin()

    def _begin(self) -> None:
        events: list[Any] = []
        times: list[float] = []
        self._batch = events, times

    def publish(self, event: Any, before: float) -> float:
        """Collect an event that was delivered at ``before``; returns ``before``: collecting takes almost no time."""
        events, times = self._batch
        times.append(before)
        events.append(event)
        if len(events) >= self._size:
            self.flush()
        return before

    def flush(self) -> None:
        """Pass on the collected events now; may be called from any thread."""
        with self._handing:
            events, times = self._batch
            self._begin()
        try:
            self._take(events, times)
        except Exception as error:  # noqa: BLE001 - foreign code, which must not end the reading of the socket
            self._failed(error)

    def cancel(self) -> None:
        """Collect no more events, and pass on those that were collected. Idempotent."""
        self._unsubscribe()
        self.flush()
