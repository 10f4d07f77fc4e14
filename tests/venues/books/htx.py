"""Frames of HTX's order books, documented under "Market by price, incremental update"; the snapshot is requested."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.venues.books.depth import Change, Depth, Levels

NOTICES = frozenset({"lost", "late"})
PACKED = True


def opening(depth: Depth) -> list[Any]:
    """The answer to the request for a snapshot, which ccxt sends after the first update."""
    book = {"seqNum": 17 * depth.number, "bids": _rows(depth.bids), "asks": _rows(depth.asks)}
    told = {"id": "1", "rep": _topic(depth.coin), "status": "ok", "ts": depth.timestamp, "data": book}
    return [told]


def change(change: Change) -> list[Any]:
    tick = {
        "seqNum": 17 * change.number, "prevSeqNum": 17 * (change.number - 1), "bids": _rows(change.bids),
        "asks": _rows(change.asks),
    }  # fmt: skip
    return [{"ch": _topic(change.coin), "ts": change.after.timestamp, "tick": tick}]


def _topic(coin: str) -> str:
    return f"market.{coin.lower()}usdt.mbp.150"


def _rows(levels: Levels) -> list[list[float]]:
    return [list(level) for level in levels]


def wanted(request: Any) -> list[str]:
    return _coins(request, "sub")


def unwanted(request: Any) -> list[str]:
    return _coins(request, "unsub")


def answer(request: Any, depths: Mapping[str, Depth]) -> list[Any]:
    return [{"id": request["id"], "status": "ok", "subbed": request["sub"], "ts": 1_494_326_028_889}]


def left(request: Any) -> list[Any]:
    return [{"id": request["id"], "status": "ok", "unsubbed": request["unsub"], "ts": 1_494_326_028_889}]


def reply(request: Any, depths: Mapping[str, Depth]) -> list[Any]:
    """The snapshot that a client requests in addition to its subscription."""
    return [{**frame, "id": request["id"]} for coin in _coins(request, "req") for frame in opening(depths[coin])]


def _coins(request: Any, what: str) -> list[str]:
    _, market, *name = str(request.get(what)).split(".") if what in request else ("", "", "")
    return [market.removesuffix("usdt").upper()] if name == ["mbp", "150"] else []
