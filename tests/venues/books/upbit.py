"""Frames of Upbit's order books, documented under "Orderbook" of the WebSocket: each is a whole book."""

from __future__ import annotations

from typing import Any

from tests.venues.books.depth import Change, Depth
from tests.venues.upbit import binary

NOTICES: frozenset[str] = frozenset()
WHOLE = True


def opening(depth: Depth) -> list[Any]:
    return [_pushed(depth, "SNAPSHOT")]


def change(change: Change) -> list[Any]:
    return [_pushed(change.after, "REALTIME")]


def wanted(request: Any) -> list[str]:
    parts = request if isinstance(request, list) else []
    return [code.removeprefix("KRW-") for part in parts if part.get("type") == "orderbook" for code in part["codes"]]


def _pushed(depth: Depth, kind: str) -> bytes:
    units = [
        {"ask_price": ask[0], "bid_price": bid[0], "ask_size": ask[1], "bid_size": bid[1]}
        for bid, ask in zip(depth.bids[:20], depth.asks[:20], strict=True)
    ]
    return binary({
        "type": "orderbook", "code": f"KRW-{depth.coin}", "timestamp": depth.timestamp, "total_ask_size": 1.0,
        "total_bid_size": 1.0, "orderbook_units": units, "level": 0, "stream_type": kind,
    })  # fmt: skip
