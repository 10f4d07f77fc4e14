"""Frames of Gate's order books, which are documented under "Order book v2"."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.venues.books.depth import Change, Depth, texts

NOTICES = frozenset({"lost", "late"})


def opening(depth: Depth) -> list[Any]:
    book = {
        "t": depth.timestamp, "full": True, "s": f"ob.{depth.coin}_USDT.50", "u": 3 * depth.number,
        "b": texts(depth.bids), "a": texts(depth.asks),
    }  # fmt: skip
    return [_pushed(book)]


def change(change: Change) -> list[Any]:
    first, last = 3 * (change.number - 1) + 1, 3 * change.number
    return [
        _pushed({
            "t": change.after.timestamp, "s": f"ob.{change.coin}_USDT.50", "U": first, "u": last,
            "b": texts(change.bids), "a": texts(change.asks),
        })
    ]  # fmt: skip


def _pushed(book: dict[str, Any]) -> dict[str, Any]:
    return {"channel": "spot.obu", "result": book, "time_ms": book["t"] + 1, "event": "update"}


def wanted(request: Any) -> list[str]:
    return _coins(request, "subscribe")


def unwanted(request: Any) -> list[str]:
    return _coins(request, "unsubscribe")


def answer(request: Any, depths: Mapping[str, Depth]) -> list[Any]:
    return left(request) + [frame for coin in wanted(request) for frame in opening(depths[coin])]


def left(request: Any) -> list[Any]:
    told = {key: request[key] for key in ("time", "channel", "event", "payload", "id") if key in request}
    return [{**told, "result": {"status": "success"}, "requestId": "cdb02a8c0b61086b2fe6f8fad2f98c54"}]


def _coins(request: Any, event: str) -> list[str]:
    if request["event"] != event or request["channel"] != "spot.obu":
        return []
    return [book.split(".")[1].partition("_")[0] for book in request["payload"]]
