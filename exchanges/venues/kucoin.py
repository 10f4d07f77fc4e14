"""KuCoin. Limits: "WebSocket, introduction" and "Get trade history" of its documentation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from exchanges import normalize
from exchanges.events import TradeEvent
from exchanges.venue import Capacity, Limits
from exchanges.venues import frame_markets
from exchanges.venues.profile import Profile, Rejection


class _KuCoin(Profile):
    def rejection(self, frame: Any) -> Rejection | None:
        return Rejection(str(frame.get("data"))) if frame.get("type") == "error" else None

    def correct_trade(self, trade: TradeEvent, info: Mapping[str, Any]) -> None:
        """REST has the id under "sequence" alone; ccxt takes the nanoseconds through a float, which may cost 1 ms."""
        trade.trade_id = normalize.trade_id(info.get("tradeId")) or normalize.trade_id(info.get("sequence"))
        trade.timestamp = normalize.milliseconds(info.get("time")) or trade.timestamp


PROFILES = (
    _KuCoin(
        "kucoin",
        "kucoin",
        Limits(capacity=Capacity(300), recent_trades=100),  # topics
        markets_named=frame_markets.kucoin,
        chunk=100,  # topics per batch
        singly=frozenset({"ticker"}),  # /market/ticker, which takes many, has no turnover and no change
        options={
            "ws": {"cost": 14},  # times 7.5 ms: 100 messages per 10 s and connection
            "fetchMarkets": {"fetchTickersFees": False},
        },
        candles_in_contracts=True,  # the sixth column (futures, klines), which ccxt's parse_ohlcv hands on
    ),
)
