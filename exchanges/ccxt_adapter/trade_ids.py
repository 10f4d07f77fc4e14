"""Turns ccxt's rows into trades, with ids and times as the profile says; makes the id of a trade that has none."""

from __future__ import annotations

from typing import Any

from exchanges import normalize
from exchanges.events import TradeEvent
from exchanges.venues.profile import Profile


class TradeReader:
    """Reads the rows of one source, in their order.

    A trade without an id gets one made of its time, price, quantity and side, and of its number among the coin's trades
    that are equal in all of these. So its id is the same from every source, and equal trades stay distinct.
    """

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._twins: dict[str, tuple[int, dict[str, int]]] = {}  # coin -> newest time (ms), count of each trade then

    def read(self, row: Any, coin: str, received_at: int, scale: float = 1.0, market: str = "") -> TradeEvent | None:
        """Read a row with :func:`exchanges.normalize.trade`, correct the trade and give it an id if it has none."""
        trade = normalize.trade(row, coin, self._profile.name, received_at, scale, market)
        if trade is None:
            return None
        if isinstance(info := row.get("info"), dict):
            self._profile.correct_trade(trade, info)
        if not trade.trade_id:
            trade.trade_id = self._made(trade)
        return trade

    def _made(self, trade: TradeEvent) -> str:
        at, counts = self._twins.get(trade.coin, (0, {}))
        if at != trade.timestamp:
            counts = {}
        side = "sell" if trade.is_buyer_maker else "buy"
        name = f"{trade.timestamp}-{trade.price!r}-{trade.quantity!r}-{side}"
        counts[name] = counts.get(name, 0) + 1
        self._twins[trade.coin] = trade.timestamp, counts
        return f"{name}-{counts[name]}"
