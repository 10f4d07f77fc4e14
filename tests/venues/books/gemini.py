"""Frames of Gemini's order books, which are documented under "Multi market data" (v1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.venues.books.depth import Change, Depth, Levels, texts

NOTICES = frozenset({"lost", "late"})
COUNTED = "socket_sequence"


def opening(depth: Depth) -> list[Any]:
    return [_pushed(depth, depth.bids, depth.asks, "initial")]


def change(change: Change) -> list[Any]:
    return [_pushed(change.after, change.bids, change.asks, "place")]


def _pushed(depth: Depth, bids: Levels, asks: Levels, reason: str) -> dict[str, Any]:
    events = [
        {
            "type": "change", "symbol": f"{depth.coin}USD", "price": price, "side": side, "reason": reason,
            "remaining": size, "delta": size,
        }
        for side, levels in (("bid", bids), ("ask", asks))
        for price, size in texts(levels)
    ]  # fmt: skip
    return {
        "type": "update", "eventId": 5_375_504_717 + depth.number, "timestamp": depth.timestamp // 1000,
        "timestampms": depth.timestamp, "socket_sequence": 0, "events": events,
    }  # fmt: skip


def dialled(path: str, query: Mapping[str, str]) -> list[str]:
    """The coins to whose books the address subscribes."""
    if path != "/v1/multimarketdata" or query.get("bids") != "true" or "top_of_book" in query:
        return []
    return [market.removesuffix("usd").upper() for market in query["symbols"].split(",")]
