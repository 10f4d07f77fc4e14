"""What holds of every order book, whatever its venue: the sides are sorted, sizes are above 0, and it is not crossed.

One update may leave a book crossed or locked, because some venues send the sides one after the other. Such a state is
not delivered, and the next one that is crossed too makes the book unproven.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from exchanges.books.order_book import Level

CROSSED_FOR = 1.0  # seconds after which a crossed book is unproven although no further update came
BEHIND = 2.0  # seconds that a book may take to follow the trades


def fault_in(bids: Sequence[Level], asks: Sequence[Level]) -> str:
    """What is wrong with the levels (best first); "" when they are sorted, and prices and sizes are above 0."""
    for name, side, sign in (("bids", bids, -1), ("asks", asks, 1)):
        before = -inf
        for price, size in side:
            if not 0 < price < inf or not 0 < size < inf:
                return f"{name} have a level of size {size:g} at {price:g}"
            if price * sign <= before:
                return f"{name} are not sorted at {price:g}"
            before = price * sign
    return ""


class CrossedBooks:
    """Tells a crossed or locked book: once is borne, twice in a row, or for longer than CROSSED_FOR, is not."""

    __slots__ = ("since",)

    def __init__(self) -> None:
        self.since: float | None = None  # monotonic seconds

    def on_book(self, bid: float | None, ask: float | None, now: float) -> tuple[bool, str]:
        """Whether the state may be delivered, and why the book is unproven now ("" when it is not)."""
        if bid is None or ask is None or bid < ask:
            self.since = None
            return True, ""
        if self.since is None:
            self.since = now
            return False, ""
        return False, f"it is crossed: bid {bid:g}, ask {ask:g}"

    def overdue(self, now: float) -> bool:
        """Whether it has been crossed for too long without an update."""
        return self.since is not None and now - self.since >= CROSSED_FOR


class StandingSide:
    """Finds a side of one coin's book that stands still while trades pass through it.

    A trade above the best ask, or below the best bid, uses up levels, so that side has to change within BEHIND seconds.
    A side that changed after the trade does not stand still, wherever it is now. Times are monotonic seconds.
    """

    __slots__ = ("_asks", "_bids")

    def __init__(self) -> None:
        self._bids = _Watched("bids", -1)
        self._asks = _Watched("asks", 1)

    def on_book(self, bids: Sequence[Level], asks: Sequence[Level], now: float) -> None:
        """The levels that are known now, best first."""
        self._bids.on_levels(bids, now)
        self._asks.on_levels(asks, now)

    def on_trade(self, price: float, now: float) -> None:
        """A trade at ``price`` came at ``now``."""
        self._bids.on_trade(price, now)
        self._asks.on_trade(price, now)

    def fault(self, now: float) -> str:
        """Which side stands still; "" when none does."""
        return self._bids.fault(now) or self._asks.fault(now)


class _Watched:
    __slots__ = ("_levels", "_name", "_passed", "_price", "_sign")

    def __init__(self, name: str, sign: int) -> None:
        self._name = name
        self._sign = sign
        self._levels: Sequence[Level] = ()
        self._passed: float | None = None  # when the first trade since the last change passed through
        self._price = 0.0

    def on_levels(self, levels: Sequence[Level], now: float) -> None:
        if levels != self._levels:
            self._levels, self._passed = levels, None

    def on_trade(self, price: float, now: float) -> None:
        if self._levels and (price - self._levels[0][0]) * self._sign > 0:
            self._price = price
            if self._passed is None:
                self._passed = now

    def fault(self, now: float) -> str:
        if self._passed is None or now - self._passed <= BEHIND:
            return ""
        best = self._levels[0][0]
        return f"its {self._name} stand still at {best:g} while trades at {self._price:g} pass through them"
