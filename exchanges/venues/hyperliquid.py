"""Hyperliquid: limits of dials and requests, recent trades and tickers over REST; its books come whole.

Limits: "rate limits and user limits" of its documentation.
"""

from __future__ import annotations

from exchanges.books.proof import BookRules, ProofKind
from exchanges.venue import Limits
from exchanges.venues.profile import MARKET_ID, Profile

PROFILES = (
    Profile(
        "hyperliquid",
        Limits(
            dials=150,  # 30 per minute and IP
            requests=60,  # of weight 20; allowed is a weight of 1200 per minute and IP
        ),
        rows_by_place=True,  # assets and tokens are identified by their places in two lists
        singly=frozenset({"ticker"}),  # allMids, the one request for all coins, has only middle prices
        # public trades; ccxt's own request is for a user's fills and needs an address
        recent_trades={"type": "recentTrades", "coin": MARKET_ID, "user": f"0x{0:040x}"},
        books=BookRules(ProofKind.SNAPSHOTS),
        replays_last=True,  # measured, not documented
    ),
)
