"""One source of a venue's trades, a connection or an answer: ccxt's rows to events, with what the profile says."""

from __future__ import annotations

from typing import Any

from exchanges import normalize
from exchanges.events import TradeEvent
from exchanges.venues.profile import Profile


class TradeReader:
    """Reads the rows of one source, in their order.

    A trade without an id is given one made of its time, price, quantity and side, and of its number among those of its
    coin that are equal in all of that. So it is the same trade whatever brings it, and twins stay two.
    """

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._raw = bool(profile.trade_id or profile.trade_time)
        self._twins: dict[str, tuple[int, dict[str, int]]] = {}  # coin -> its newest ms, and how often each came in it

    def read(self, row: Any, coin: str, received_at: int, scale: float = 1.0, market: str = "") -> TradeEvent | None:
        """As :func:`exchanges.normalize.trade`."""
        trade = normalize.trade(row, coin, self._profile.name, received_at, scale, market)
        if trade is None:
            return None
        if self._raw:
            self._correct(trade, row.get("info"))
        if not trade.trade_id:
            trade.trade_id = self._made(trade)
        return trade

    def _correct(self, trade: TradeEvent, info: Any) -> None:
        """Take from the venue's own row what ccxt's does not have as it was."""
        if not isinstance(info, dict):
            return
        profile = self._profile
        if profile.trade_id:
            trade.trade_id = next((name for key in profile.trade_id if (name := normalize.trade_id(info.get(key)))), "")
        if profile.trade_time:
            trade.timestamp = normalize.milliseconds(info.get(profile.trade_time)) or trade.timestamp

    def _made(self, trade: TradeEvent) -> str:
        at, counts = self._twins.get(trade.coin, (0, {}))
        if at != trade.timestamp:
            counts = {}
        side = "sell" if trade.is_buyer_maker else "buy"
        name = f"{trade.timestamp}-{trade.price!r}-{trade.quantity!r}-{side}"
        counts[name] = counts.get(name, 0) + 1
        self._twins[trade.coin] = trade.timestamp, counts
        return f"{name}-{counts[name]}"
