"""The candles that were missed: asked for over REST and filled, never guessed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

from exchanges.events import Candle

MAX_HOLES = 1_000  # what one REST request brings; older candles are history, not a hole in the stream
ROUNDED = 1e-9  # share of a volume that rounding may cost


class MissingCandles:
    """The missed candles (holes) that are to be fetched, at most the newest MAX_HOLES."""

    def __init__(self) -> None:
        self._missed: dict[int, float] = {}  # open time -> the volume that was seen of the candle
        self.lost = 0
        """Candles given up: too many at once, or forgotten."""

    def holes(self) -> list[int]:
        """The open times (ms) of the candles that were missed, oldest first: fetch them over REST and call ``fill``."""
        return sorted(self._missed)

    def forget(self, opened: Iterable[int] | None = None) -> list[int]:
        """Give up the missed candles, of all or of these open times; returns and counts them."""
        given_up = self.holes() if opened is None else sorted(self._missed.keys() & set(opened))
        self.lost += len(given_up)
        for each in given_up:
            del self._missed[each]
        return given_up

    def _miss(self, opened: Iterable[int], seen: float = 0.0) -> None:
        """Note these open times as missed; ``seen`` is the volume that was seen of each."""
        for each in opened:
            self._missed[each] = max(seen, self._missed.get(each, 0.0))
        self.forget(self.holes()[:-MAX_HOLES])

    def _found(
        self,
        rows: Iterable[Any],
        read: Callable[[Any], Candle | None],
        among: Collection[int] | None,
        *,
        final: bool,
    ) -> list[Candle]:
        candles = [candle for candle in map(read, rows) if candle is not None]
        if not candles:
            return []
        asked = set(self._missed) if among is None else self._missed.keys() & set(among)
        found = {candle.timestamp: candle for candle in candles if candle.timestamp in asked}
        first, last = min(c.timestamp for c in candles), max(c.timestamp for c in candles)
        incomplete = {
            opened
            for opened, candle in found.items()
            if not final and candle.volume < self._missed[opened] * (1 - ROUNDED)
        }
        for opened in asked - incomplete:
            if first <= opened <= last:
                del self._missed[opened]
        return [found[opened] for opened in sorted(found.keys() - incomplete)]
