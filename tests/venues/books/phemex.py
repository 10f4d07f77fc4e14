"""Frames of Phemex's spot order books, documented under "Subscribe orderbook"; prices and sizes are units of 1e-8."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.venues.books.depth import Change, Depth, Levels

NOTICES = frozenset({"late"})


def opening(depth: Depth) -> list[Any]:
    told = {"error": None, "id": 1, "result": {"status": "success"}}
    return [told, _pushed(depth, depth.bids, depth.asks, "snapshot")]


def change(change: Change) -> list[Any]:
    return [_pushed(change.after, change.bids, change.asks, "incremental")]


def _pushed(depth: Depth, bids: Levels, asks: Levels, kind: str) -> dict[str, Any]:
    return {
        "book": {"asks": _rows(asks), "bids": _rows(bids)}, "depth": 30, "sequence": 1_191_904 + 5 * depth.number,
        "symbol": f"s{depth.coin}USDT", "timestamp": depth.timestamp * 1_000_000, "type": kind,
    }  # fmt: skip


def _rows(levels: Levels) -> list[list[int]]:
    return [[round(price * 1e8), round(size * 1e8)] for price, size in levels]


def wanted(request: Any) -> list[str]:
    return [market[1:-4] for market in request["params"]] if request["method"] == "orderbook.subscribe" else []


def answer(request: Any, depths: Mapping[str, Depth]) -> list[Any]:
    told, *books = [frame for coin in wanted(request) for frame in opening(depths[coin])]
    return [{**told, "id": request["id"]}, *books]
