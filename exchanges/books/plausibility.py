"""Decides whether a book can be right: its sides are sorted, sizes are above 0, and it is not crossed for long.

One update may leave a book crossed or locked, because some venues send the sides one after the other. Such a book is
not delivered. If the next state is crossed too, the book is not proven any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from exchanges.books.order_book import Level

CROSSED_FOR = 1.0  # seconds after which a crossed book counts as not proven even without another update


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
    """Finds crossed or locked books: one crossed state is ignored, two in a row or CROSSED_FOR seconds are a fault."""

    __slots__ = ("since",)

    def __init__(self) -> None:
        self.since: float | None = None  # monotonic seconds

    def on_book(self, bid: float | None, ask: float | None, now: float) -> tuple[bool, str]:
        """Whether the state may be delivered, and the reason if the book is unproven from now on (otherwise "")."""
        if bid is None or ask is None or bid < ask:
            self.since = None
            return True, ""
        if self.since is None:
            self.since = now
            return False, ""
        return False, f"it is crossed: bid {bid:g}, ask {ask:g}"

    def overdue(self, now: float) -> bool:
        """Whether the book has been crossed for too long without an update."""
        return self.since is not None and now - self.since >= CROSSED_FOR
