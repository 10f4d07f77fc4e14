"""Bithumb: limits of requests, past trades, trades without ids, one request for all subscriptions.

Limits: "recent trades" and "request limits" of its documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from exchanges.books.proof import BookRules, ProofKind
from exchanges.events import TradeEvent
from exchanges.venue import Limits
from exchanges.venues.joined_requests import joined_by_type
from exchanges.venues.profile import Profile


class _Bithumb(Profile):
    def correct_trade(self, trade: TradeEvent, info: Mapping[str, Any]) -> None:
        """Drop the id: REST has other ids (17829816707050000) than the stream (862683813820523888)."""
        trade.trade_id = ""


PROFILES = (
    _Bithumb(
        "bithumb",
        Limits(recent_trades=500, requests=600),  # 150 requests for trades per second
        history=("stream_type", "SNAPSHOT"),
        joined=joined_by_type,  # each request replaces the previous one (measured; ccxt says so for the private socket)
        books=BookRules(ProofKind.SNAPSHOTS),
    ),
)
