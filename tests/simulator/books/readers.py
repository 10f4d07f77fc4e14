"""Readers of order book streams that follow the venues' documentation and do nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Levels = list[tuple[float, float]]


class Book:
    """A book with both sides by price; ``sequence`` is the venue's number of the state."""

    def __init__(self) -> None:
        self.bids: dict[float, float] = {}
        self.asks: dict[float, float] = {}
        self.sequence = 0

    def take(self, bids: Iterable[Any], asks: Iterable[Any]) -> None:
        for side, rows in ((self.bids, bids), (self.asks, asks)):
            for price, size in rows:
                side[float(price)] = float(size)
                if float(size) == 0:
                    del side[float(price)]

    def best(self, depth: int) -> tuple[Levels, Levels]:
        bids = sorted(self.bids.items(), reverse=True)[:depth]
        return bids, sorted(self.asks.items())[:depth]


class BinanceReader(Book):
    """A snapshot to which differences are applied; ``gaps`` counts those that do not continue the book's state."""

    def __init__(self, snapshot: dict[str, Any]) -> None:
        super().__init__()
        self.sequence = snapshot["lastUpdateId"]
        self.take(snapshot["bids"], snapshot["asks"])
        self.joined = False
        self.gaps = 0

    def apply(self, event: dict[str, Any]) -> bool:
        """Apply a difference; return False if it is older than the book or does not continue the book's state."""
        if event["u"] <= self.sequence:
            return False
        follows = event["U"] == self.sequence + 1 if self.joined else event["U"] <= self.sequence + 1
        if not follows:
            self.gaps += 1
            return False
        self.joined, self.sequence = True, event["u"]
        self.take(event["b"], event["a"])
        return True


class BybitReader(Book):
    """A book to which Bybit's frames are applied: a snapshot replaces it, and a delta must have the next number.

    At most ``depth`` levels are kept; ``gaps`` counts deltas with another number.
    """

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.depth = depth
        self.gaps = 0

    def apply(self, event: dict[str, Any]) -> bool:
        data = event["data"]
        if event["type"] == "snapshot":
            self.bids, self.asks = {}, {}
        elif data["u"] != self.sequence + 1:
            self.gaps += 1
            return False
        self.take(data["b"], data["a"])
        self.sequence = data["u"]
        bids, asks = self.best(self.depth)
        self.bids, self.asks = dict(bids), dict(asks)
        return True
