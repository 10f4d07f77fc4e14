"""Bitfinex v2: channels per connection, dials, past trades, rejections, the request for checksums.

Limits: "WebSocket, public channels" of its documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from exchanges.venue import Capacity, Limits
from exchanges.venues import bitfinex_books
from exchanges.venues.profile import Profile, Rejection


class _Bitfinex(Profile):
    def is_history(self, frame: Any) -> bool:
        return isinstance(frame, list) and len(frame) == 2  # [channel, rows]; a live trade is [channel, "te", row]

    def rejection(self, frame: Any) -> Rejection | None:
        if not isinstance(frame, dict) or frame.get("event") != "error":
            return None
        return Rejection(str(frame.get("msg")), channel=str(frame.get("channel", "")))

    def extra_requests(self) -> Mapping[str, Mapping[str, Any]]:
        """Ask for checksums: ccxt asks for them when a watch call for a book returns, but here no such call returns."""
        return {"conf": {"event": "conf", "flags": bitfinex_books.OB_CHECKSUM}}


PROFILES = (
    _Bitfinex(
        "bitfinex",
        Limits(capacity=Capacity(25), dials=100),  # 25 channels per connection; 20 dials per minute and IP
        books=bitfinex_books.RULES,
    ),
)
