"""Frames of Coinbase Advanced Trade's order books, documented under "Level2 channel" and "Sequence numbers"."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.venues.books.depth import Change, Depth, Levels, texts
from tests.venues.market import iso

NOTICES = frozenset({"lost", "late"})
COUNTED = "sequence_num"
IDS = {"BTC": "BTC-USDT", "ETH": "ETH-USDT", "SOL": "SOL-USD"}


def opening(depth: Depth) -> list[Any]:
    return [_pushed(depth, depth.bids, depth.asks, "snapshot")]


def change(change: Change) -> list[Any]:
    return [_pushed(change.after, change.bids, change.asks, "update")]


def _pushed(depth: Depth, bids: Levels, asks: Levels, kind: str) -> dict[str, Any]:
    moment = iso(depth.timestamp)
    updates = [
        {"side": side, "event_time": moment, "price_level": price, "new_quantity": size}
        for side, levels in (("bid", bids), ("offer", asks))
        for price, size in texts(levels)
    ]
    events = [{"type": kind, "product_id": IDS[depth.coin], "updates": updates}]
    return {"channel": "l2_data", "client_id": "", "timestamp": moment, "sequence_num": 0, "events": events}


def wanted(request: Any) -> list[str]:
    return _coins(request, "subscribe")


def unwanted(request: Any) -> list[str]:
    return _coins(request, "unsubscribe")


def answer(request: Any, depths: Mapping[str, Depth]) -> list[Any]:
    return [frame for coin in wanted(request) for frame in opening(depths[coin])] + left(request)


def left(request: Any) -> list[Any]:
    told = {"channel": "subscriptions", "client_id": "", "timestamp": iso(0), "sequence_num": 0}
    return [{**told, "events": [{"subscriptions": {"level2": request["product_ids"]}}]}]


def _coins(request: Any, kind: str) -> list[str]:
    if request["type"] != kind or request["channel"] != "level2":
        return []
    return [product.partition("-")[0] for product in request["product_ids"]]
