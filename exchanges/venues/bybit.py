"""Bybit v5, spot and perpetuals, and its testnet: limits, topics per subscription request, unusual trades.

Limits: "WebSocket connect", "Get recent public trades" and "Rate limits" of Bybit's v5 documentation.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from exchanges.venue import Capacity, Limits
from exchanges.venues import frame_markets
from exchanges.venues.bybit_books import BOOKS
from exchanges.venues.bybit_frames import BYBIT
from exchanges.venues.profile import Profile

_LIMITS = Limits(
    capacity=Capacity(21_000, 15, 1),  # characters of args: 15 for "publicTrade." with quotes and comma, and the market
    dials=500,
    requests=600,  # 600 within 5 s
    recent_trades=60,  # trades of one request on spot
)


class _Bybit(Profile):
    def candle_is_closed(self, frame: Any, row: Any) -> bool | None:
        return next((bool(candle["confirm"]) for candle in frame["data"] if candle["start"] == row[0]), None)

    def is_off_book(self, info: Any) -> bool:
        """A block trade, in the trade channel or in REST's recent trades. RPI orders are matched in the book."""
        return isinstance(info, dict) and bool(info.get("BT") or info.get("isBlockTrade"))


_BYBIT = _Bybit(
    "bybit",
    _LIMITS,
    chunk=10,  # args per subscribe request on spot
    trade_market="s",
    trade_texts=("i", "S"),  # if missing, ccxt uses the time as id and "sell" as side (pro/bybit.py, parse_ws_trade)
    swap={"limits": replace(_LIMITS, recent_trades=1000)},
    markets_named=frame_markets.bybit,
    fast_frames=BYBIT,
    ticker_market="symbol",
    lean=True,
    books=BOOKS,
)

PROFILES = (_BYBIT, replace(_BYBIT, name="bybit_testnet", sandbox=True, note="paper money"))
