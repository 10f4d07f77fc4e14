"""Bitget v2: limits of dials, messages and a connection's age, past trades; its books are in bitget_books.py.

Limits: "WebSocket" of its documentation; 50 topics are within its 4096 bytes per request.
"""

from __future__ import annotations

from exchanges.venue import Limits
from exchanges.venues import bitget_books, frame_markets
from exchanges.venues.profile import Profile

PROFILES = (
    Profile(
        "bitget",
        Limits(dials=300, session_limit=86_400),  # dials per 5 minutes and IP
        history=("action", "snapshot"),  # past trades are "snapshot", live trades "update"
        markets_named=frame_markets.okx,
        books=bitget_books.RULES,
        options={
            "ws": {"cost": 2.5},  # times 50 ms between messages: allowed are 10 per second, pings included
            "watchOrderBook": {"checksum": False},  # turns off ccxt's check: ours is in bitget_books.py
        },
    ),
)
