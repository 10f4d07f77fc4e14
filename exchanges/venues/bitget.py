"""Bitget v2. Limits: "WebSocket" of its documentation; 50 topics are within its 4096 bytes per request."""

from __future__ import annotations

from typing import Any

from exchanges.venue import Limits
from exchanges.venues import bitget_books, frame_markets
from exchanges.venues.profile import Profile


class _Bitget(Profile):
    def is_history(self, frame: Any) -> bool:
        return isinstance(frame, dict) and frame.get("action") == "snapshot"  # live trades are "update"


PROFILES = (
    _Bitget(
        "bitget",
        Limits(dials=300, session_limit=86_400),  # per 5 minutes and IP
        markets_named=frame_markets.okx,
        books=bitget_books.RULES,
        options={
            "ws": {"cost": 2.5},  # times 50 ms: 10 messages per second and connection, pings too
            "watchOrderBook": {"checksum": False},  # ccxt's own check: ours is in bitget_books.py
        },
    ),
)
