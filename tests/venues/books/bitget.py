"""Frames of Bitget's order books, which are documented under "Depth channel" (v2)."""

from __future__ import annotations

from typing import Any
from zlib import crc32

from tests.venues.books.depth import Change, Depth, Levels, texts

NOTICES = frozenset({"lost", "late", "level"})


def opening(depth: Depth) -> list[Any]:
    told = {"event": "subscribe", "arg": _arg(depth.coin)}
    return [told, _pushed(depth, depth.bids, depth.asks, "snapshot")]


def change(change: Change) -> list[Any]:
    return [_pushed(change.after, change.bids, change.asks, "update")]


def _arg(coin: str) -> dict[str, str]:
    return {"instType": "SPOT", "channel": "books", "instId": f"{coin}USDT"}


def _pushed(depth: Depth, bids: Levels, asks: Levels, action: str) -> dict[str, Any]:
    row = {
        "asks": texts(asks), "bids": texts(bids), "checksum": checksum(depth), "seq": 11 * depth.number,
        "ts": str(depth.timestamp),
    }  # fmt: skip
    return {"action": action, "arg": _arg(depth.coin), "data": [row], "ts": depth.timestamp + 1}


def checksum(depth: Depth) -> int:
    """The checksum of the 25 best levels, alternating bid and ask, as a signed number."""
    pairs = zip(texts(depth.bids)[:25], texts(depth.asks)[:25], strict=True)
    value = crc32(":".join(text for bid, ask in pairs for text in (*bid, *ask)).encode())
    return value - (1 << 32) if value >= 1 << 31 else value


def wanted(request: Any) -> list[str]:
    return _coins(request, "subscribe")


def unwanted(request: Any) -> list[str]:
    return _coins(request, "unsubscribe")


def left(request: Any) -> list[Any]:
    return [{"event": "unsubscribe", "arg": arg} for arg in request["args"]]


def _coins(request: Any, op: str) -> list[str]:
    if not isinstance(request, dict) or request.get("op") != op:
        return []
    return [arg["instId"].removesuffix("USDT") for arg in request["args"] if arg["channel"] == "books"]
