"""The candles that were missed: asked for over REST and filled, never guessed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from exchanges.events import Candle

MAX_HOLES = 1_000  # what one REST request brings; older candles are history, not a hole in the stream


class MissingCandles:
    """The missed candles (holes) that are to be fetched, at most the newest MAX_HOLES."""

    def __init__(self) -> None:
        self._missed: set[int] = set()
        self.lost = 0
        """Candles given up: too many at once, or forgotten."""

    def holes(self) -> list[int]:
        """The open times (ms) of the candles that were missed, oldest first: fetch them over REST and call ``fill``."""
        return sorted(self._missed)

    def forget(self) -> list[int]:
        """Give up the missed candles, for instance when the venue does not answer; returns and counts them."""
        given_up = self.holes()
        self.lost += len(given_up)
        self._missed.clear()
        return given_up

    def _miss(self, opened: Iterable[int]) -> None:
        self._missed.update(opened)
        excess = self.holes()[:-MAX_HOLES]
        self.lost += len(excess)
        self._missed.difference_update(excess)

    def _found(self, rows: Iterable[Any], read: Callable[[Any], Candle | None]) -> list[Candle]:
        candles = [candle for candle in map(read, rows) if candle is not None]
        if not candles:
            return []
        found = {candle.timestamp: candle for candle in candles if candle.timestamp in self._missed}
        first, last = min(c.timestamp for c in candles), max(c.timestamp for c in candles)
        self._missed = {opened for opened in self._missed if not first <= opened <= last}
        return [found[opened] for opened in sorted(found)]
