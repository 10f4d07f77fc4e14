"""Finds an order book whose side stands still while trades pass through it: it is not the market any more. Pure."""

from __future__ import annotations

from collections.abc import Sequence

BEHIND = 2.0  # seconds that a book may take to follow the trades

Level = tuple[float, float]
"""Price and size."""


class StandingSides:
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
