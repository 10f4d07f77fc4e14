"""Frames of WhiteBIT's order books, which are documented under "Depth"."""

from __future__ import annotations

from typing import Any

from tests.venues.books.depth import Change, Depth, texts

NOTICES = frozenset({"lost", "late"})


def opening(depth: Depth) -> list[Any]:
    book = {
        "timestamp": depth.timestamp / 1000, "update_id": 4 * depth.number, "event_time": depth.timestamp / 1000,
        "asks": texts(depth.asks), "bids": texts(depth.bids),
    }  # fmt: skip
    return [_pushed(True, book, depth.coin)]


def change(change: Change) -> list[Any]:
    book = {
        "timestamp": change.after.timestamp / 1000, "update_id": 4 * change.number,
        "past_update_id": 4 * (change.number - 1), "event_time": change.after.timestamp / 1000,
    }  # fmt: skip
    sides = {name: texts(levels) for name, levels in (("asks", change.asks), ("bids", change.bids)) if levels}
    return [_pushed(False, {**book, **sides}, change.coin)]


def _pushed(whole: bool, book: dict[str, Any], coin: str) -> dict[str, Any]:
    return {"method": "depth_update", "params": [whole, book, f"{coin}_USDT"], "id": None}
