"""Poloniex."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from exchanges import normalize
from exchanges.events import TradeEvent
from exchanges.venues.profile import Profile


class _Poloniex(Profile):
    def correct_trade(self, trade: TradeEvent, info: Mapping[str, Any]) -> None:
        """Over REST ccxt takes "ts", when it was sent."""
        trade.timestamp = normalize.milliseconds(info.get("createTime")) or trade.timestamp


PROFILES = (_Poloniex("poloniex", "poloniex"),)
