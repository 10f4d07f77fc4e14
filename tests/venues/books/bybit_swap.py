"""Frames of Bybit's order books of linear perpetuals, documented under "Orderbook"; ``u`` counts messages."""

from __future__ import annotations

from typing import Any

from tests.venues.books.depth import Change, Depth, Levels, texts

NOTICES = frozenset({"lost", "late"})
DEPTH = 50  # the smallest depth with as many levels as wanted


def opening(depth: Depth) -> list[Any]:
    return [_pushed(depth, depth.bids, depth.asks, "snapshot")]


def change(change: Change) -> list[Any]:
    return [_pushed(change.after, change.bids, change.asks, "delta")]


def _pushed(depth: Depth, bids: Levels, asks: Levels, kind: str) -> dict[str, Any]:
    market = f"{depth.coin}USDT"
    data = {
        "s": market, "b": texts(bids), "a": texts(asks), "u": 18_521_288 + depth.number,
        "seq": 7_961_638_724 + 3 * depth.number,
    }  # fmt: skip
    stamps = {"ts": depth.timestamp, "cts": depth.timestamp - 2}
    return {"topic": f"orderbook.{DEPTH}.{market}", "type": kind, **stamps, "data": data}


def wanted(request: Any) -> list[str]:
    return _coins(request, "subscribe")


def unwanted(request: Any) -> list[str]:
    return _coins(request, "unsubscribe")


def left(request: Any) -> list[Any]:
    return [_told(request)]


def answer(request: Any, depths: dict[str, Depth]) -> list[Any]:
    return [_told(request), *(frame for coin in wanted(request) for frame in opening(depths[coin]))]


def _told(request: Any) -> dict[str, Any]:
    named = {"req_id": request["req_id"]} if "req_id" in request else {}
    return {"success": True, "ret_msg": "", "conn_id": "6d2a8f9c", **named, "op": request["op"]}


def _coins(request: Any, op: str) -> list[str]:
    if not isinstance(request, dict) or request.get("op") != op:
        return []
    topics = [topic.rpartition(".") for topic in request["args"]]
    return [market.removesuffix("USDT") for channel, _, market in topics if channel == f"orderbook.{DEPTH}"]
