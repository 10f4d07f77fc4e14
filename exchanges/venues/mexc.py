"""MEXC v3: markets per connection, channels that do not work in ccxt, rejections; its books are in mexc_books.py.

Limits: "WebSocket market streams" of its documentation.
"""

from __future__ import annotations

from typing import Any

from exchanges.venue import Capacity, Limits
from exchanges.venues import mexc_books
from exchanges.venues.profile import Profile, Rejection


class _Mexc(Profile):
    def rejection(self, frame: Any) -> Rejection | None:
        text = frame.get("msg") if isinstance(frame, dict) else None
        return Rejection(text.strip()) if isinstance(text, str) and text.startswith("Not Subscribed") else None


PROFILES = (
    _Mexc(
        "mexc",
        Limits(capacity=Capacity(30), session_limit=86_400),
        needs={"google.protobuf": "mexc"},  # MEXC's frames are protobuf (pro/mexc.py, handle_message)
        # for spot, in this order: its rows have only bid and ask; the venue refuses it; ccxt stores rows in another way
        has={"watchTicker": False, "watchTickers": False, "watchBidsAsks": False},
        options={
            "useCcxtTradeId": False,  # over REST ccxt makes ids that differ from ours for the stream
            "watchOrderBook": {"snapshotDelay": 0},  # updates before ccxt fetches a book; joining.py waits for more
        },
        books=mexc_books.RULES,
        candles_in_contracts=True,  # "vol" (futures, klines), which ccxt's parse_ohlcv passes on
    ),
)
