"""Keeps the two sides of an order book sorted: only their proven levels, and at most 6,000 of each side."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from math import inf

from exchanges.books.sorted_levels import SortedLevels

Level = tuple[float, float]
"""Price in quote currency, size in base currency; a size of 0 removes the price."""

MOST_LEVELS = 6_000  # levels of a side; if there are more, the worst are dropped, and the proven range ends there
KEPT_LEVELS = 5_000  # levels of a side that are left when the worst are dropped


class Side(SortedLevels[Level]):
    """The bids (``sign`` 1) or the asks (``sign`` -1) of a book. Levels outside of the proven range are not kept."""

    __slots__ = ("_bound",)

    def __init__(self, sign: int) -> None:
        super().__init__(sign)
        self._bound = -inf  # levels with lower keys are not proven

    @property
    def bounded(self) -> bool:
        """Whether the venue may have levels beyond the proven range that it has not sent."""
        return self._bound != -inf

    def replace(self, levels: Iterable[Level], *, whole: bool) -> None:
        """Replace all levels with those of a snapshot. Unless the snapshot has the ``whole`` side, the levels beyond
        its worst level are unknown.
        """
        sign = self._sign
        known = {level[0] * sign: level for level in levels if level[1]}
        self._keys = sorted(known)
        self._levels = [known[key] for key in self._keys]
        self._bound = -inf if whole else self._keys[0] if self._keys else inf

    # no function calls here, because this runs for every level of every update
    def apply(self, levels: Iterable[Level]) -> None:
        """Set or remove levels."""
        keys, known, sign, bound = self._keys, self._levels, self._sign, self._bound
        for level in levels:
            key = level[0] * sign
            if key < bound:
                continue
            place = bisect_left(keys, key)
            if place < len(keys) and keys[place] == key:
                if level[1]:
                    known[place] = level
                else:
                    del keys[place], known[place]
            elif level[1]:
                keys.insert(place, key)
                known.insert(place, level)
        if len(keys) > MOST_LEVELS:
            self.drop_beyond(KEPT_LEVELS)
            self._bound = keys[0]

    def within(self, other: Side) -> dict[float, Level]:
        """The levels that this side and ``other`` both prove, by price * sign."""
        start = bisect_left(self._keys, max(self._bound, other._bound))
        return dict(zip(self._keys[start:], self._levels[start:], strict=True))


class LocalBook:
    """Both sides of one market's book."""

    __slots__ = ("asks", "bids")

    def __init__(self) -> None:
        self.bids = Side(1)
        self.asks = Side(-1)

    def replace(self, bids: Iterable[Level], asks: Iterable[Level], *, whole: tuple[bool, bool]) -> None:
        """Replace all levels with those of a snapshot; ``whole``: for bids and for asks, whether the venue has no more
        levels.
        """
        self.bids.replace(bids, whole=whole[0])
        self.asks.replace(asks, whole=whole[1])

    def apply(self, bids: Iterable[Level], asks: Iterable[Level]) -> None:
        """Set or remove levels."""
        self.bids.apply(bids)
        self.asks.apply(asks)

    def drop_beyond(self, most: int) -> None:
        """Keep the best ``most`` levels of each side."""
        self.bids.drop_beyond(most)
        self.asks.drop_beyond(most)

    @property
    def is_outside(self) -> bool:
        """Whether the best price of a side lies beyond the proven range: no level is left inside."""
        return any(side.bounded and not len(side) for side in (self.bids, self.asks))

    def levels_left(self) -> float:
        """How many levels the shorter side has inside its proven range; inf if both are known completely."""
        return min((len(side) for side in (self.bids, self.asks) if side.bounded), default=inf)

    def difference(self, other: LocalBook) -> str:
        """The best price at which the books differ inside the range that both prove, as a text; "" if none differs."""
        for name, sign, own, others in (("bid", 1, self.bids, other.bids), ("ask", -1, self.asks, other.asks)):
            ours, theirs = own.within(others), others.within(own)
            if ours != theirs:
                keys = [key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key)]
                key = max(keys)
                here, there = (levels[key][1] if key in levels else 0.0 for levels in (ours, theirs))
                return f"{name} {key * sign:g}: {here:g} here, {there:g} there"
        return ""
