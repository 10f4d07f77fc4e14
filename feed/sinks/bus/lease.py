"""Decides which of several collectors publishes: who has the lease, and when another collector takes it. Pure.

Times are seconds of a clock that never steps. A collector that has lost the lease without knowing it does no harm: the
bus refuses what it publishes (feed/sinks/bus/writer.py).
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any

LEASE = 1.0  # seconds without a renewal after which the lease expires
RENEW = 0.2  # seconds between two renewals
OVERDUE = 0.45  # seconds without a renewal after which the bus is asked whether the holder is still connected
SILENT = 1.0  # seconds without data of the exchange after which a publisher gives way, if another collector has data
MARGIN = 0.4  # seconds by which data may reach one collector later than another, and by which a renewal may be late
HAS_DATA = 3.0  # seconds; a collector without data for longer than this does not take the lease
STEADY = 2.0  # seconds of data that a collector must have had before it takes the lease from one whose data is late
REMEMBERED = 5.0  # seconds for which the times of own data are kept
TICK = 0.05  # seconds of one tick


class OwnData:
    """When this collector had data of the exchange, in ticks of TICK seconds."""

    def __init__(self) -> None:
        self.first: float | None = None
        self.last = -inf
        self._ticks: deque[float] = deque(maxlen=int(REMEMBERED / TICK))

    def note(self, now: float) -> None:
        """Call this when data came."""
        if now - self.last > HAS_DATA:
            self.first = now
        if not self._ticks or now - self._ticks[-1] >= TICK:
            self._ticks.append(now)
        self.last = now

    def between(self, begin: float, end: float) -> bool:
        """Whether data came between these two times."""
        at = bisect_right(list(self._ticks), begin)
        return at < len(self._ticks) and self._ticks[at] < end

    def steady_for(self, now: float) -> float:
        """Seconds since data began to come without a long break; 0.0 while none comes."""
        return 0.0 if self.first is None or now - self.last > HAS_DATA else now - self.first


@dataclass(slots=True)
class LeaseState:
    """The lease as it was last seen: ``holder`` (its collector's name), ``revision`` and what the holder ``says``."""

    own: str
    holder: str = ""
    revision: int = 0
    seen_at: float = -inf
    says: Mapping[str, Any] = field(default_factory=dict)

    @property
    def mine(self) -> bool:
        return self.holder == self.own

    def note(self, says: Mapping[str, Any], revision: int, now: float) -> None:
        """Call this when the lease's key on the bus has changed, or is seen for the first time."""
        if revision < self.revision:
            return
        self.says, self.revision, self.seen_at = says, revision, now
        self.holder = "" if says.get("released") else str(says.get("collector", ""))

    def begin(self, now: float) -> None:
        """Call this when the bus can be reached again. In the meantime, the holder may have renewed the lease unseen.

        The revisions may have begun at 1 again, if the bus has lost its stream.
        """
        self.seen_at = max(self.seen_at, now)
        self.revision = 0

    def read(self) -> None:
        """Call this when all messages on the bus about the lease have been read since ``begin``."""
        if not self.revision:
            self.holder, self.says = "", {}

    def is_vacant(self, now: float) -> bool:
        """Whether nobody holds the lease, or it has expired."""
        return not self.holder or now - self.seen_at > LEASE

    def is_overdue(self, now: float) -> bool:
        """Whether another collector holds the lease, and its renewal should have been seen by now."""
        return bool(self.holder) and not self.mine and now - self.seen_at > OVERDUE

    def reason_to_take(self, data: OwnData, now: float, *, lagging: bool = False, gone: bool = False) -> str:
        """Why this collector, which does not hold the lease, must take it now; "" if it must not.

        ``lagging``: this collector's data is late. ``gone``: the holder is not connected to the bus.
        """
        if self.mine or now - data.last > HAS_DATA:
            return ""
        if not self.holder:
            return "no collector publishes" if not self.says else f"{self.says.get('collector')} has handed over"
        if gone:
            return f"{self.holder} is not connected to the bus any more"
        if now - self.seen_at > LEASE:
            return f"{self.holder} has not been heard for {now - self.seen_at:.1f} s"
        silent = self.says.get("silent")
        if silent is None or silent >= SILENT:
            since = -inf if silent is None else self.seen_at - silent
            if data.between(since + MARGIN, self.seen_at - MARGIN) and data.steady_for(now) > SILENT:
                return f"{self.holder} has no data of the exchange" + ("" if silent is None else f" for {silent:.1f} s")
        if self.says.get("state") == "lagging" and not lagging and data.steady_for(now) > STEADY:
            return f"the data of {self.holder} is late"
        return ""
