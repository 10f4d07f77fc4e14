"""Frames of Deribit's order books, which are documented under "book.{instrument_name}.{interval}"."""

from __future__ import annotations

from typing import Any

from tests.venues.books.depth import Change, Depth, Levels

NOTICES = frozenset({"lost", "late"})


def opening(depth: Depth) -> list[Any]:
    return [_pushed(depth, depth.bids, depth.asks, {"type": "snapshot"})]


def change(change: Change) -> list[Any]:
    links = {"type": "change", "prev_change_id": 1_550_694_837 + 5 * (change.number - 1)}
    return [_pushed(change.after, change.bids, change.asks, links)]


def _pushed(depth: Depth, bids: Levels, asks: Levels, links: dict[str, Any]) -> dict[str, Any]:
    name = f"{depth.coin}_USDT"
    data = {
        **links, "timestamp": depth.timestamp, "instrument_name": name, "change_id": 1_550_694_837 + 5 * depth.number,
        "bids": _rows(bids), "asks": _rows(asks),
    }  # fmt: skip
    return {"jsonrpc": "2.0", "method": "subscription", "params": {"channel": f"book.{name}.100ms", "data": data}}


def _rows(levels: Levels) -> list[list[Any]]:
    return [["new" if size else "delete", price, size] for price, size in levels]
