"""A captured order book, as REST shows it during a replay: the captured snapshot and the differences after it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from heapq import nlargest, nsmallest
from typing import Any

Levels = dict[float, list[str]]
"""Price -> the level as the venue wrote it."""


class RecordedBook:
    """One market's book. ``number`` is the number of its state, None until the snapshot of the capture has come.

    The book has the snapshot's levels and the levels that changed since. Outside of the snapshot's range, some levels
    are missing.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._bids: Levels = {}
        self._asks: Levels = {}
        self._early: list[Mapping[str, Any]] = []  # differences that came before the snapshot

    def begin(self, snapshot: Mapping[str, Any]) -> None:
        """Take the captured snapshot; later snapshots are ignored, because the differences have led to their states."""
        if self.number is not None:
            return
        self.number = int(snapshot["lastUpdateId"])
        _take(self._bids, snapshot["bids"])
        _take(self._asks, snapshot["asks"])
        for difference in self._early:
            self.apply(difference)
        self._early.clear()

    def apply(self, difference: Mapping[str, Any]) -> None:
        """Take a difference in the stream's form."""
        if self.number is None:
            self._early.append(difference)
        elif difference["u"] > self.number:
            self.number = int(difference["u"])
            _take(self._bids, difference["b"])
            _take(self._asks, difference["a"])

    def row(self, limit: int) -> dict[str, Any]:
        """The answer of REST: the best ``limit`` levels of each side that are known."""
        bids = [self._bids[price] for price in nlargest(limit, self._bids)]
        asks = [self._asks[price] for price in nsmallest(limit, self._asks)]
        return {"lastUpdateId": self.number, "bids": bids, "asks": asks}


def _take(side: Levels, levels: Iterable[list[str]]) -> None:
    for level in levels:
        price = float(level[0])
        if float(level[1]):
            side[price] = level
        else:
            side.pop(price, None)
