"""HTX."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from exchanges import normalize
from exchanges.events import TradeEvent
from exchanges.venues.profile import Profile


class _Htx(Profile):
    def sent_at(self, frame: Any) -> int | None:
        return int(frame["ts"])

    def correct_trade(self, trade: TradeEvent, info: Mapping[str, Any]) -> None:
        """Its "id" has 27 digits, which become a float on the way; over REST the other one is spelled otherwise."""
        trade.trade_id = normalize.trade_id(info.get("tradeId")) or normalize.trade_id(info.get("trade-id"))


PROFILES = (_Htx("htx", "htx", replays_last=True, order="newest first"),)
