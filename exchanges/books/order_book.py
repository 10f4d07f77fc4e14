"""The two sides of an order book, kept sorted, and only as deep as snapshot and updates prove it.

A side is a list of its prices, sorted with bisect so that the best one is the last, and a dict of its levels. Changes
come near the best price, so near the end of the list, where an insertion moves little: it takes half of the time of
sortedcontainers (python -m tests.benchmarks.books --sides).
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable
from math import inf

Level = tuple[float, float]
"""Price in quote currency, size in base currency; a size of 0 removes the price."""

MOST_LEVELS = 6_000  # levels of a side; with more, the worst are dropped and the proven range ends there
KEPT_LEVELS = 5_000  # levels that are left then


class Side:
    """The bids (``sign`` 1) or the asks (``sign`` -1) of a book. Levels outside of the proven range are not kept."""

    __slots__ = ("_bound", "_keys", "_levels", "_sign")

    def __init__(self, sign: int) -> None:
        self._sign = sign
        self._keys: list[float] = []  # sign * price: the best is the last on both sides
        self._levels: dict[float, Level] = {}  # key -> level, as in the frames
        self._bound = -inf  # keys below are not proven

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def best(self) -> float | None:
        """The best price; None of an empty side."""
        return self._keys[-1] * self._sign if self._keys else None

    @property
    def bounded(self) -> bool:
        """Whether the venue may have levels beyond the proven range that it has not sent."""
        return self._bound != -inf

    def proves(self, price: float) -> bool:
        """Whether a level at ``price`` would be known."""
        return price * self._sign >= self._bound

    def replace(self, levels: Iterable[Level], *, whole: bool) -> None:
        """Replace all levels with a snapshot's. Unless ``whole``, levels beyond the worst of them are unknown."""
        sign = self._sign
        self._levels = {level[0] * sign: level for level in levels if level[1]}
        self._keys = sorted(self._levels)
        self._bound = -inf if whole else self._keys[0] if self._keys else inf

    def apply(self, levels: Iterable[Level], depth: int) -> bool:
        """Set or remove levels; True when one of the best ``depth`` may have changed."""
        keys, known, sign, bound = self._keys, self._levels, self._sign, self._bound
        edge = keys[-depth] if len(keys) >= depth else -inf
        changed = False
        for level in levels:
            price, size = level
            key = price * sign
            if key < bound:
                continue
            if size:
                old = known.get(key)
                if old == level:
                    continue
                known[key] = level
                if old is None:
                    insort(keys, key)
            elif known.pop(key, None) is None:
                continue
            else:
                del keys[bisect_left(keys, key)]
            if key >= edge:
                changed = True
        if len(keys) > MOST_LEVELS:
            self.drop_beyond(KEPT_LEVELS)
            self._bound = keys[0]
        return changed

    def drop_beyond(self, most: int) -> None:
        """Keep the best ``most`` levels, for a venue that keeps as many and sends those that come back."""
        if len(self._keys) > most:
            for key in self._keys[:-most]:
                del self._levels[key]
            del self._keys[:-most]

    def top(self, depth: int) -> list[Level]:
        """The best ``depth`` levels as (price, size), best first."""
        return list(map(self._levels.__getitem__, self._keys[: -depth - 1 : -1]))

    def within(self, other: Side) -> dict[float, Level]:
        """The levels that this side and ``other`` both prove, by price * sign."""
        bound = max(self._bound, other._bound)
        start = bisect_left(self._keys, bound)
        return {key: self._levels[key] for key in self._keys[start:]}


class LocalBook:
    """Both sides of one market's book."""

    __slots__ = ("asks", "bids")

    def __init__(self) -> None:
        self.bids = Side(1)
        self.asks = Side(-1)

    def replace(self, bids: Iterable[Level], asks: Iterable[Level], *, whole: tuple[bool, bool]) -> None:
        """Replace all levels with a snapshot's; ``whole``: for bids and asks, whether the venue has no more."""
        self.bids.replace(bids, whole=whole[0])
        self.asks.replace(asks, whole=whole[1])

    def apply(self, bids: Iterable[Level], asks: Iterable[Level], depth: int) -> bool:
        """Set or remove levels; True when one of the best ``depth`` of a side may have changed."""
        changed = self.bids.apply(bids, depth)
        return self.asks.apply(asks, depth) or changed

    def drop_beyond(self, most: int) -> None:
        """Keep the best ``most`` levels of each side."""
        self.bids.drop_beyond(most)
        self.asks.drop_beyond(most)

    @property
    def crossed(self) -> bool:
        """Whether the best bid is at or above the best ask; no venue's book stays so for long."""
        bid, ask = self.bids.best, self.asks.best
        return bid is not None and ask is not None and bid >= ask

    @property
    def is_outside(self) -> bool:
        """Whether the best price of a side lies beyond the proven range: no level is left inside."""
        return any(side.bounded and not len(side) for side in (self.bids, self.asks))

    def levels_left(self) -> float:
        """How many levels the shorter side has inside its proven range; inf if both are known completely."""
        return min((len(side) for side in (self.bids, self.asks) if side.bounded), default=inf)

    def difference(self, other: LocalBook) -> str:
        """The best price at which the two books differ inside the range that both prove; "" when there is none."""
        for name, sign, own, others in (("bid", 1, self.bids, other.bids), ("ask", -1, self.asks, other.asks)):
            ours, theirs = own.within(others), others.within(own)
            if ours != theirs:
                keys = [key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key)]
                key = max(keys)
                here, there = (levels[key][1] if key in levels else 0.0 for levels in (ours, theirs))
                return f"{name} {key * sign:g}: {here:g} here, {there:g} there"
        return ""
