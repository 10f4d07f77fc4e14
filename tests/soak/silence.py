"""Measures how long no up-to-date data came although a venue worked, and how long data was interrupted by a failback.

Stalls of the event loops are subtracted from both times, because a busy machine is not the feed's fault. A stall is
often reported after the data that ended it, so a silence is checked some moments later.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tests.soak.truth import Truth

LONGEST = 7.0  # longest allowed silence (s) while a venue works: feed_stale_after plus 2
LONGEST_BREAK = 1.0  # longest allowed time (s) without data at a failback
REDIAL = 6.0  # seconds until the feed must notice that a venue works again: the longest backoff with jitter
SETTLE = 1.5  # seconds after the end of a silence: by then, the stalls during the silence have been reported
NOTED = 1.0  # shorter silences (s) are not checked
SHORT = 0.1  # shorter stalls (s) are not subtracted


@dataclass(frozen=True, slots=True)
class Silent:
    """A time without data, from ``begun`` to ``until`` (monotonic seconds); ``well_from``: when a venue began to
    work.
    """

    begun: float
    until: float
    well_from: float | None
    failback: bool


class Silences:
    """Call ``data`` for up-to-date data, ``stall`` for stalls of the loops, and ``look`` at intervals."""

    def __init__(self, truths: Mapping[str, Truth], began: float, breach: Callable[[str, float, str], None]) -> None:
        self.longest = 0.0
        self.longest_healthy = 0.0
        self.breaks: list[float] = []
        self.begun = began  # when the last data came
        self._truths = truths
        self._breach = breach
        self._stalls: deque[tuple[float, float]] = deque(maxlen=500)
        self._pending: list[Silent] = []
        self._failback: tuple[str, str] | None = None
        self._told: float | None = None  # when the last reported silence began
        self._heard = False

    def connecting(self, at: float) -> None:
        """Call this when the feed dials; time before the first dial does not count as silence."""
        if not self._heard:
            self._heard, self.begun = True, at

    def stall(self, begun: float, until: float) -> None:
        if until - begun > SHORT:
            self._stalls.append((begun, until))

    def failback(self, left: str, to: str) -> None:
        """Note a failback; the next data ends the time without data."""
        self._failback = (left, to) if self._well(left) and self._well(to) else None

    def left(self) -> None:
        """Note a failover; the next data does not count for a failback any more."""
        self._failback = None

    def _well(self, venue: str) -> bool:
        return self._truths[venue].well_since is not None

    def _well_from(self) -> float | None:
        """The time since which a venue has worked and the feed could know this."""
        since = [
            truth.well_since + (REDIAL if truth.was_ill else 0.0)
            for truth in self._truths.values()
            if truth.well_since is not None
        ]
        return min(since, default=None)

    def data(self, at: float) -> None:
        """Call this when up-to-date data came."""
        back = self._failback is not None and all(map(self._well, self._failback))
        self._failback = None
        self._note(at, back)
        self.begun = at

    def before_strike(self, now: float) -> None:
        """Call this when a fault begins: venues that worked until now may stop working."""
        self._note(now, False)

    def _note(self, until: float, failback: bool) -> None:
        if failback or until - self.begun > NOTED:
            self._pending.append(Silent(self.begun, until, self._well_from(), failback))

    def look(self, now: float, *, all_of_them: bool = False) -> None:
        """Check the silences whose stalls are known by now."""
        ripe = [each for each in self._pending if all_of_them or now - each.until > SETTLE]
        self._pending = [each for each in self._pending if each not in ripe]
        for each in ripe:
            self._judge(each)

    def _judge(self, silent: Silent) -> None:
        seconds = self._lasted(silent.begun, silent.until)
        self.longest = max(self.longest, seconds)
        if silent.failback:
            self.breaks.append(seconds)
            if seconds > LONGEST_BREAK:
                self._breach("failback break", silent.until, f"{seconds:.2f} s without data around a failback")
        if silent.well_from is None or silent.well_from >= silent.until:
            return
        healthy = self._lasted(max(silent.begun, silent.well_from), silent.until)
        self.longest_healthy = max(self.longest_healthy, healthy)
        if healthy > LONGEST and silent.begun != self._told:  # a silence over several faults counts as one
            self._told = silent.begun
            self._breach("silence", silent.until, f"{healthy:.1f} s without up-to-date data beside a healthy venue")

    def _lasted(self, begun: float, until: float) -> float:
        """The seconds between two times, without the seconds in which a loop was stalled."""
        taken, covered = 0.0, begun
        for first, last in sorted(self._stalls):
            first, last = max(first, covered), min(last, until)
            if last > first:
                taken += last - first
                covered = last
        return until - begun - taken
