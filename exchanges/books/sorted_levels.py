"""Keeps one side of an order book sorted in two lists, one of prices and one of levels, with the best at the end.

Most changes are near the best price, that is near the end of the lists, where an insertion moves few items. The best
levels are one slice. sortedcontainers takes several times as long (python -m tests.benchmarks.books --sides).
"""

from __future__ import annotations

from typing import Generic, TypeVar

AnyLevel = TypeVar("AnyLevel")


class SortedLevels(Generic[AnyLevel]):
    """The bids (``sign`` 1) or the asks (``sign`` -1) of a book."""

    __slots__ = ("_keys", "_levels", "_sign")

    def __init__(self, sign: int) -> None:
        self._sign = sign
        self._keys: list[float] = []  # sign * price: the best is the last on both sides
        self._levels: list[AnyLevel] = []  # at the same places: the levels as in the frames

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def best(self) -> float | None:
        """The best price; None for an empty side."""
        return self._keys[-1] * self._sign if self._keys else None

    def top(self, depth: int) -> list[AnyLevel]:
        """The best ``depth`` levels, best first."""
        return self._levels[: -depth - 1 : -1]

    def drop_beyond(self, most: int) -> None:
        """Keep the best ``most`` levels."""
        if len(self._keys) > most:
            del self._keys[:-most], self._levels[:-most]
