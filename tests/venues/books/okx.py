"""Frames of OKX's order books, which are documented under "WS, order book channel"."""

from __future__ import annotations

from typing import Any

from tests.venues.books.depth import Change, Depth, Levels, texts

NOTICES = frozenset({"lost", "late"})


def opening(depth: Depth) -> list[Any]:
    arg = {"channel": "books", "instId": f"{depth.coin}-USDT"}
    told = {"event": "subscribe", "arg": arg, "connId": "a4d3ae55"}
    return [told, _pushed(depth, depth.bids, depth.asks, "snapshot", -1)]


def change(change: Change) -> list[Any]:
    return [_pushed(change.after, change.bids, change.asks, "update", 7 * (change.number - 1))]


def _pushed(depth: Depth, bids: Levels, asks: Levels, action: str, previous: int) -> dict[str, Any]:
    row = {
        "asks": [[*level, "0", "1"] for level in texts(asks)], "bids": [[*level, "0", "1"] for level in texts(bids)],
        "ts": str(depth.timestamp), "checksum": 0, "prevSeqId": previous, "seqId": 7 * depth.number,
    }  # fmt: skip
    return {"arg": {"channel": "books", "instId": f"{depth.coin}-USDT"}, "action": action, "data": [row]}


def wanted(request: Any) -> list[str]:
    return _coins(request, "subscribe")


def unwanted(request: Any) -> list[str]:
    return _coins(request, "unsubscribe")


def left(request: Any) -> list[Any]:
    return [{"event": "unsubscribe", "arg": arg, "connId": "a4d3ae55"} for arg in request["args"]]


def _coins(request: Any, op: str) -> list[str]:
    if not isinstance(request, dict) or request.get("op") != op:
        return []
    return [arg["instId"].partition("-")[0] for arg in request["args"] if arg["channel"] == "books"]
