"""Binance spot and USD-M perpetuals, Binance US, and Binance's spot testnet: limits, requests, unusual trades.

Limits: "WebSocket streams, limits" and "REST limits" of Binance's documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from exchanges.venue import Capacity, Limits
from exchanges.venues import binance_books, frame_markets
from exchanges.venues.binance_frames import BINANCE
from exchanges.venues.profile import Profile

# One connection for all coins and channels: without these limits ccxt opens one per call. The full ticker is used
# instead of the mini ticker, which has no bid and ask (pro/binance.py, watchTickers).
_OPTIONS: Mapping[str, Any] = {
    "streamLimits": {"spot": 1, "linear": 1, "inverse": 1},
    "subscriptionLimitByStream": {"spot": 1024, "linear": 1024, "inverse": 1024},
    "watchTickers": {"name": "ticker"},
}
_LIMITS = Limits(
    capacity=Capacity(1024),  # streams
    dials=300,  # the limit per 5 minutes and IP
    requests=140,  # of weight 25; allowed is a weight of 6000 per minute and IP, of which order books use 2400
    session_limit=86_400,
    consecutive_ids=True,
    older_trades=True,
)


class _Binance(Profile):
    def candle_is_closed(self, frame: Any, row: Any) -> bool | None:
        return bool(frame["k"]["x"])

    def announces_cut(self, frame: Any) -> bool:
        return isinstance(frame, dict) and frame.get("e") == "serverShutdown"

    def is_no_trade(self, info: Any) -> bool:
        """On perpetuals, about 15 rows a minute have an id but are no trades; most of them have a price of zero."""
        return isinstance(info, dict) and info.get("X") == "NA"

    def is_off_book(self, info: Any) -> bool:
        """On perpetuals: a trade of the insurance fund or of deleveraging; REST does not have these trades."""
        return isinstance(info, dict) and info.get("X") in ("INSURANCE_FUND", "ADL")


_SPOT = _Binance(
    "binance",
    _LIMITS,
    options=_OPTIONS,
    chunk=100,
    recent_trades={"fetchTradesMethod": "publicGetTrades"},  # aggTrades, ccxt's default, have ids of their own
    older_trades={"fetchTradesMethod": "publicGetHistoricalTrades"},  # ccxt counts 40 times the weight of recent trades
    keyless=frozenset({"historicalTrades"}),  # since 2023-08: binance-connector-python 3.2.0, changelog
    swap={
        "recent_trades": {"fetchTradesMethod": "fapiPublicGetTrades"},  # spot's methods would return spot trades
        "older_trades": {},  # REST allows this only with an API key
        # ids are not documented as consecutive; two sockets per connection: trades and tickers have paths of their own
        "limits": replace(_LIMITS, requests=240, older_trades=False, consecutive_ids=False, dials=150),
        "books": binance_books.SWAP,
    },
    markets_named=frame_markets.binance,
    fast_frames=BINANCE,
    ticker_market="symbol",
    lean=True,
    books=binance_books.SPOT,
)

PROFILES = (
    _SPOT,
    replace(
        _SPOT,
        name="binance_us",
        testnet=False,
        books=binance_books.US,
        note="no testnet of its own",
    ),
    replace(_SPOT, name="binance_testnet", sandbox=True, note="paper money"),
)
