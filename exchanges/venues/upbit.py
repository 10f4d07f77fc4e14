"""Upbit: limits of requests, past trades, the time of a trade, one request for all subscriptions.

Limits: "rate limits" and "list of recent pair trades" of its documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from exchanges import normalize
from exchanges.books.proof import BookRules, ProofKind
from exchanges.events import TradeEvent
from exchanges.venue import Limits
from exchanges.venues.joined_requests import joined_by_type
from exchanges.venues.profile import Profile


class _Upbit(Profile):
    def correct_trade(self, trade: TradeEvent, info: Mapping[str, Any]) -> None:
        """Correct the time: ccxt uses "timestamp", the time at which the message was sent."""
        trade.timestamp = normalize.milliseconds(info.get("trade_timestamp")) or trade.timestamp


PROFILES = (
    _Upbit(
        "upbit",
        Limits(recent_trades=500, requests=300),  # 10 requests for trades per second
        history=("stream_type", "SNAPSHOT"),
        chunk=500,  # one request has all subscriptions
        joined=joined_by_type,  # each replaces the last one; at most 5 per second and 100 per minute
        books=BookRules(ProofKind.SNAPSHOTS),
    ),
)
