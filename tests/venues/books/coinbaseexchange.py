"""Frames of Coinbase Exchange's order books, which are documented under "Level2 channel"."""

from __future__ import annotations

from typing import Any

from tests.venues.books.depth import Change, Depth, texts
from tests.venues.market import iso

NOTICES = frozenset({"late"})


def opening(depth: Depth) -> list[Any]:
    product = f"{depth.coin}-USD"
    told = {"type": "subscriptions", "channels": [{"name": "level2_50", "product_ids": [product]}]}
    book = {"bids": texts(depth.bids), "asks": texts(depth.asks)}
    return [told, {"type": "snapshot", "product_id": product, **book}]


def change(change: Change) -> list[Any]:
    changes = [
        [side, *level]
        for side, levels in (("buy", change.bids), ("sell", change.asks))
        for level in texts(levels)
    ]  # fmt: skip
    time = iso(change.after.timestamp)
    return [{"type": "l2update", "product_id": f"{change.coin}-USD", "changes": changes, "time": time}]


def wanted(request: Any) -> list[str]:
    return _coins(request, "subscribe")


def unwanted(request: Any) -> list[str]:
    return _coins(request, "unsubscribe")


def left(request: Any) -> list[Any]:
    return [{"type": "subscriptions", "channels": []}]


def _coins(request: Any, kind: str) -> list[str]:
    if request["type"] != kind or request["channels"] != ["level2_batch"]:
        return []
    return [product.partition("-")[0] for product in request["product_ids"]]
