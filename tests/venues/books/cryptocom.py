"""Frames of Crypto.com's order books, documented under "book.{instrument_name}" (SNAPSHOT_AND_UPDATE)."""

from __future__ import annotations

from typing import Any

from tests.venues.books.depth import Change, Depth, Levels, texts

NOTICES = frozenset({"lost", "late"})


def opening(depth: Depth) -> list[Any]:
    row = {
        **_rows(depth.bids, depth.asks),
        "t": depth.timestamp,
        "tt": depth.timestamp,
        "u": 13 * depth.number,
        "cs": 0,
    }
    return [_pushed("book", depth.coin, row)]


def change(change: Change) -> list[Any]:
    row = {
        "update": _rows(change.bids, change.asks), "t": change.after.timestamp, "tt": change.after.timestamp,
        "u": 13 * change.number, "pu": 13 * (change.number - 1), "cs": -781_431_132,
    }  # fmt: skip
    return [_pushed("book.update", change.coin, row)]


def _rows(bids: Levels, asks: Levels) -> dict[str, list[list[str]]]:
    counts = {True: "1", False: "0"}
    return {
        name: [[price, size, counts[size != "0"]] for price, size in texts(levels)]
        for name, levels in (("bids", bids), ("asks", asks))
    }


def _pushed(channel: str, coin: str, row: dict[str, Any]) -> dict[str, Any]:
    result = {
        "instrument_name": f"{coin}_USDT", "subscription": f"book.{coin}_USDT.50", "channel": channel, "depth": 50,
        "data": [row],
    }  # fmt: skip
    return {"id": -1, "method": "subscribe", "code": 0, "result": result}


def wanted(request: Any) -> list[str]:
    return _coins(request, "subscribe")


def unwanted(request: Any) -> list[str]:
    return _coins(request, "unsubscribe")


def left(request: Any) -> list[Any]:
    return [{"id": request["id"], "code": 0, "method": "unsubscribe"}]


def _coins(request: Any, method: str) -> list[str]:
    names = [name.split(".") for name in request["params"]["channels"]] if request["method"] == method else []
    return [name[1].partition("_")[0] for name in names if name[0] == "book"]
