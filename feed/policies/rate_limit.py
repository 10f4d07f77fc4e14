"""Decides how long a dial or request waits, so that a venue's limit is kept; margin and slack are set here."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable

from feed.clock import Clock


class RateLimit:
    """Keeps dials below a venue's limit of ``limit`` per ``per`` seconds (Binance 300, Bybit 500, each per 300 s).

    The venue counts a dial when it arrives, but we count it when it leaves. So the window here is ``slack`` seconds
    longer: a dial may take that long to arrive. The limit holds per address, which other programs may share, so a
    part of it, ``margin``, is not used. Memory is bounded by the limit.
    """

    def __init__(self, limit: int, per: float = 300.0, *, margin: float = 0.1, slack: float = 10.0) -> None:
        self._whole = self.allowed = max(1, int(limit * (1 - margin)))
        self.window = per + slack
        self._dials: deque[float] = deque(maxlen=self.allowed)

    def __repr__(self) -> str:
        return f"<RateLimit {self.allowed} per {self.window:g} s>"

    def wait(self, now: float) -> float:
        """Seconds until the next dial is allowed, 0.0 if it is allowed at ``now`` (monotonic seconds)."""
        if len(self._dials) < self.allowed:
            return 0.0
        return max(0.0, self._dials[-self.allowed] + self.window - now)

    def share(self, parts: int) -> None:
        """Use only one of ``parts`` equal parts from now on: other programs behind the same address use the rest."""
        self.allowed = max(1, self._whole // parts)

    def plenty(self, now: float) -> bool:
        """Whether at most half of the limit is used within the window."""
        half = self.allowed // 2
        return len(self._dials) <= half or now - self._dials[-half - 1] > self.window

    def spend(self, now: float) -> None:
        """Count a dial that leaves at ``now``."""
        self._dials.append(now)

    async def take(self, clock: Clock, sleep: Callable[[float], Awaitable[object]] | None = None) -> None:
        """Wait until a dial is allowed, and count it. ``sleep`` is used in place of the clock's sleep."""
        while (wait := self.wait(clock.monotonic())) > 0:
            await (sleep or clock.sleep)(wait)
        self.spend(clock.monotonic())
