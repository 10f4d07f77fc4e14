"""Finds an order book that is wrong: one side stands still while trades or quotes show that this side moves.

Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

BEHIND = 2.0  # seconds that a book may take to follow the trades
MISSED = 3  # trades that took orders which the book does not have; one or two may have been hidden orders
ALONE = 20  # after this many changes of only the other side, one of these trades is enough
APART = 3  # quotes in succession whose best price is not the book's; one or two may be from a slow source

Level = tuple[float, float]
"""Price and size."""


class StandingSides:
    """Finds a side of one coin's book that stands still although trades or quotes show that it moves.

    A trade above the best ask, or below the best bid, uses up levels, so that side has to change within BEHIND seconds.
    The bids also have to change when takers sell above the best bid, and the asks when takers buy below the best ask:
    the orders they took are not in the book. MISSED of these trades prove that the side stands still. A single one does
    if only the other side has changed, ALONE times; coins with few trades need that. A side that changed after the
    trade does not stand still, whatever its price is now. The venue's own quotes may prove it too: APART quotes with
    another best price, while the side does not change for BEHIND seconds. Times are monotonic seconds.

    Do not pass a trade that is older than the book: the orders that it took are gone from the book already. If the
    venue does not stamp its books, it is not known which is older: then ``stamped`` is False.
    """

    __slots__ = ("_asks", "_bids")

    def __init__(self) -> None:
        self._bids = _Watched("bids", -1)
        self._asks = _Watched("asks", 1)

    def on_book(self, bids: Sequence[Level], asks: Sequence[Level], now: float) -> None:
        """Take the levels of the book now, best first."""
        self._bids.on_levels(bids, now)
        self._asks.on_levels(asks, now)

    def on_trade(self, price: float, sold: bool, now: float, *, stamped: bool = True) -> None:
        """Take a trade at ``price`` that came at ``now``; ``sold``: whether the taker sold."""
        self._bids.on_trade(price, sold and stamped, now)
        self._asks.on_trade(price, stamped and not sold, now)

    def on_quote(self, bid: float, ask: float, now: float) -> None:
        """Take the venue's best prices, which are newer than the book's last change."""
        self._bids.on_best(bid, now)
        self._asks.on_best(ask, now)

    def fault(self, now: float) -> str:
        """Which side stands still; "" when none does."""
        return self._bids.fault(now) or self._asks.fault(now)


@dataclass(slots=True, eq=False)
class _Watched:
    _name: str
    _sign: int
    _levels: Sequence[Level] = ()
    _passed: float | None = None  # when the first trade since the last change was beyond the best price
    _missed_since: float = 0.0  # when the first of the _missed trades came
    _missed: int = 0  # trades since the last change that took an order which the side does not have
    _alone: int = 0  # changes of the other side since this side's last change
    _price: float = 0.0
    _apart_since: float = 0.0  # when the first of the _apart quotes came
    _apart: int = 0  # quotes in succession whose best price is not this side's
    _best: float = 0.0

    def on_levels(self, levels: Sequence[Level], now: float) -> None:
        if levels != self._levels:
            self._levels, self._passed, self._missed, self._apart, self._alone = levels, None, 0, 0, 0
        else:
            self._alone += 1

    def on_best(self, price: float, now: float) -> None:
        """Take the venue's best price of this side."""
        if not self._levels or price == self._levels[0][0]:
            self._apart = 0
            return
        if not self._apart:
            self._apart_since = now
        self._apart += 1
        self._best = price

    def on_trade(self, price: float, taken: bool, now: float) -> None:
        """Take a trade; ``taken``: it took an order of this side."""
        beyond = (price - self._levels[0][0]) * self._sign if self._levels else 0.0
        if beyond > 0:
            self._price = price
            if self._passed is None:
                self._passed = now
        elif beyond < 0 and taken:
            self._price = price
            if not self._missed:
                self._missed_since = now
            self._missed += 1

    def fault(self, now: float) -> str:
        if self._passed is not None and now - self._passed > BEHIND:
            how = "pass through them"
        elif self._missed >= (MISSED if self._alone < ALONE else 1) and now - self._missed_since > BEHIND:
            how = "take better ones"
        elif self._apart >= APART and now - self._apart_since > BEHIND:
            return f"its {self._name} stand still at {self._levels[0][0]:g} while its quotes say {self._best:g}"
        else:
            return ""
        return f"its {self._name} stand still at {self._levels[0][0]:g} while trades at {self._price:g} {how}"
