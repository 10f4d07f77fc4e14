"""Decides when the next socket to a venue may be opened: a limit per time that all its connections share."""

from __future__ import annotations

import asyncio
from collections import deque
from time import monotonic

SLACK = 0.1  # seconds: the venue counts a dial when it arrives, we count it when it leaves


class DialRate:
    """Lets at most ``most`` dials begin within any ``per`` seconds, in the order of the calls."""

    def __init__(self, most: int, per: float) -> None:
        self._span = per + SLACK
        self._begun: deque[float] = deque(maxlen=most)
        self._asking = asyncio.Lock()

    async def turn(self) -> None:
        """Wait until one more dial may begin."""
        async with self._asking:
            if len(self._begun) == self._begun.maxlen:
                await asyncio.sleep(max(0.0, self._begun[0] + self._span - monotonic()))
            self._begun.append(monotonic())
