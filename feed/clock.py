"""Time as a seam: the feed asks this clock, and tests own another."""

from __future__ import annotations

import asyncio
import time


class Clock:
    """The system's clocks. ``now`` is Unix seconds and may step; ``monotonic`` never does, and durations use it."""

    def now(self) -> float:
        return time.time()

    monotonic = staticmethod(time.monotonic)  # itself, not a call around it: it is read for every trade

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
