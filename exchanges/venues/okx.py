"""OKX v5: limits of sockets and requests, closed candles, past trades; its books are in okx_books.py.

Limits: "Overview, connection count limit" and "Market data, trades" of its documentation.
"""

from __future__ import annotations

from typing import Any

from exchanges.venue import Limits
from exchanges.venues import frame_markets, okx_books
from exchanges.venues.profile import Profile


class _Okx(Profile):
    def candle_is_closed(self, frame: Any, row: Any) -> bool | None:
        """The last column, "confirm" (candlesticks channel)."""
        return next((candle[8] == "1" for candle in frame["data"] if int(candle[0]) == row[0]), None)


PROFILES = (
    _Okx(
        "okx",
        Limits(
            dials=450,  # connections of two sockets each, because candles need a socket of their own
            recent_trades=500,
            requests=600,  # 100 within 2 s
        ),
        sockets=(3, 1.0),  # 3 per second and IP
        markets_named=frame_markets.okx,
        replays_last=True,
        books=okx_books.RULES,
        swap={"tickers_in_contracts": True},  # "vol24h", which ccxt takes (okx.py, parse_ticker)
    ),
)
