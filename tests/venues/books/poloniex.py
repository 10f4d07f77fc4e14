"""Frames of Poloniex's order books, which are documented under "Book level 2"."""

from __future__ import annotations

from typing import Any

from tests.venues.books.depth import Change, Depth, Levels, texts

NOTICES = frozenset({"lost", "late"})


def opening(depth: Depth) -> list[Any]:
    told = {"event": "subscribe", "channel": "book_lv2", "symbols": [f"{depth.coin}_USDT"]}
    return [told, _pushed(depth, depth.bids, depth.asks, "snapshot")]


def change(change: Change) -> list[Any]:
    return [_pushed(change.after, change.bids, change.asks, "update")]


def _pushed(depth: Depth, bids: Levels, asks: Levels, action: str) -> dict[str, Any]:
    row = {
        "symbol": f"{depth.coin}_USDT", "createTime": depth.timestamp, "asks": texts(asks), "bids": texts(bids),
        "lastId": 164_148_723 + depth.number, "id": 164_148_724 + depth.number, "ts": depth.timestamp + 8,
    }  # fmt: skip
    return {"channel": "book_lv2", "data": [row], "action": action}


def wanted(request: Any) -> list[str]:
    return _coins(request, "subscribe")


def unwanted(request: Any) -> list[str]:
    return _coins(request, "unsubscribe")


def left(request: Any) -> list[Any]:
    return [{"channel": "book_lv2", "event": "unsubscribe", "symbols": request["symbols"]}]


def _coins(request: Any, event: str) -> list[str]:
    if request["event"] != event or request["channel"] != ["book_lv2"]:
        return []
    return [market.partition("_")[0] for market in request["symbols"]]
