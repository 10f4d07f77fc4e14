"""The clock that the feed reads, which also measures suspends of the machine; tests pass another clock."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from math import inf
from types import MethodType

NOISE = 0.05  # seconds; two clocks read in succession differ by less than this, unless the machine was suspended


def _boot_clock() -> Callable[[], float] | None:
    """Return the system's clock that also runs during a suspend; None if ``time.monotonic`` is such a clock itself.

    Linux: CLOCK_BOOTTIME. macOS: CLOCK_MONOTONIC (clock_gettime(3)); ``time.monotonic`` is mach_absolute_time there,
    which stops during a suspend. Windows: ``time.monotonic`` itself.
    """
    if sys.platform == "win32":
        return None
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC if sys.platform == "darwin" else None)
    return None if clock is None else MethodType(time.clock_gettime, clock)


_boot = _boot_clock()


class Clock:
    """The system's clocks.

    ``now`` is Unix seconds and may step. ``monotonic`` never steps, and durations use it. If it stops during a suspend
    of the machine, ``suspended`` and ``running`` count that time.
    """

    def __init__(self) -> None:
        self._start = self._gap()
        self._noted = 0.0  # seconds of all suspends that look() has found
        self._suspends: list[tuple[float, float]] = []  # when each suspend was found (monotonic), and its seconds

    def now(self) -> float:
        return time.time()

    def now_ms(self) -> int:
        """``now`` in whole Unix ms."""
        return int(self.now() * 1000)

    monotonic = staticmethod(time.monotonic)  # the function itself, not a wrapper: it is called for every trade

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def running(self) -> float:
        """Seconds on a clock that also runs during a suspend; equal to ``monotonic`` until the first suspend."""
        return self.monotonic() + self.suspended()

    def suspended(self) -> float:
        """Seconds that the machine was suspended since this clock was made."""
        return max(self._noted, found) if (found := self._gap() - self._start) > self._noted + NOISE else self._noted

    def running_at(self, at: float) -> float:
        """The value of ``running()`` when ``monotonic()`` was ``at``.

        If ``look`` found a suspend, a moment between this call and the previous call counts as before the suspend,
        because it is not known whether it was before or after.
        """
        return at + self._noted - sum(seconds for found, seconds in self._suspends if found >= at)

    def since(self, at: float) -> float:
        """Seconds since ``monotonic()`` was ``at``, suspends included."""
        return self.running() - self.running_at(at)

    def look(self) -> float:
        """Remember a suspend that has happened since the last call; returns its seconds, or 0.0 if there was none."""
        missed = self.suspended() - self._noted
        if missed:
            self._suspends.append((self.monotonic(), missed))
            self._noted += missed
        return missed

    def _gap(self) -> float:
        return 0.0 if _boot is None else _boot() - self.monotonic()


async def is_set_within(event: asyncio.Event, seconds: float) -> bool:
    """Wait until ``event`` is set, but at most ``seconds`` of the machine's time; returns whether it was set."""
    with suppress(TimeoutError):
        async with asyncio.timeout(None if seconds == inf else max(0.0, seconds)):  # wait_for() may lose a cancellation
            return await event.wait()
    return False
