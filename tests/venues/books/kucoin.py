"""Frames of KuCoin's order books, documented under "Orderbook, increment"; the snapshot comes over REST."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.venues.books.depth import Change, Depth, texts

NOTICES = frozenset({"lost", "late"})
JOINS_LATE = True


def opening(depth: Depth) -> list[Any]:
    return [{"id": "1545910660739", "type": "ack"}]


def change(change: Change) -> list[Any]:
    first, last = 3 * (change.number - 1) + 1, 3 * change.number
    changes = {
        "asks": [[*level, str(last)] for level in texts(change.asks)],
        "bids": [[*level, str(last)] for level in texts(change.bids)],
    }
    data = {
        "changes": changes, "sequenceEnd": last, "sequenceStart": first, "symbol": f"{change.coin}-USDT",
        "time": change.after.timestamp,
    }  # fmt: skip
    topic = f"/market/level2:{change.coin}-USDT"
    return [{"topic": topic, "type": "message", "subject": "trade.l2update", "data": data}]


def rest(path: str, query: Mapping[str, str], depths: Mapping[str, Depth]) -> Any:
    if path != "/api/v1/market/orderbook/level2_100":
        return None
    depth = depths[query["symbol"].partition("-")[0]]
    book = {
        "time": depth.timestamp,
        "sequence": str(3 * depth.number - 1),
    }  # the snapshot's number is in the middle of an update
    return {"code": "200000", "data": {**book, "bids": texts(depth.bids), "asks": texts(depth.asks)}}


def wanted(request: Any) -> list[str]:
    return _coins(request, "subscribe")


def unwanted(request: Any) -> list[str]:
    return _coins(request, "unsubscribe")


def answer(request: Any, depths: Mapping[str, Depth]) -> list[Any]:
    return [{"id": request["id"], "type": "ack"}]


def left(request: Any) -> list[Any]:
    return [{"id": request["id"], "type": "ack"}]


def _coins(request: Any, kind: str) -> list[str]:
    path, _, markets = str(request.get("topic")).partition(":")
    if request["type"] != kind or path != "/market/level2":
        return []
    return [market.partition("-")[0] for market in markets.split(",")]
