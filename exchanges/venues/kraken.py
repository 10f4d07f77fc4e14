"""Kraken v2: limit of dials, past trades, rejections; its books are in kraken_books.py.

Dials: "Spot WebSocket FAQ, connection rate limits", about 150 per rolling 10 minutes and IP.
"""

from __future__ import annotations

from typing import Any

from exchanges.venue import Limits
from exchanges.venues import kraken_books
from exchanges.venues.profile import Profile, Rejection


class _Kraken(Profile):
    def rejection(self, frame: Any) -> Rejection | None:
        if frame.get("method") != "subscribe" or frame.get("success") is not False:
            return None
        return Rejection(str(frame.get("error")), alone=True)


PROFILES = (
    _Kraken(
        "kraken",
        Limits(dials=75),
        history=("type", "snapshot"),
        books=kraken_books.RULES,
        note="candles are requested for one coin per second",
    ),
)
