"""Frames of Kraken Futures' order books, which are documented under "Book feed"."""

from __future__ import annotations

from typing import Any

from tests.venues.books.depth import Change, Depth, Levels

NOTICES = frozenset({"lost", "late"})


def opening(depth: Depth) -> list[Any]:
    book = {"bids": _rows(depth.bids), "asks": _rows(depth.asks)}
    told = {"feed": "book_snapshot", "product_id": f"PF_{depth.coin}USD", "timestamp": depth.timestamp}
    return [{**told, "seq": _seq(depth.coin, 0), "tickSize": None, **book}]


def change(change: Change) -> list[Any]:
    levels = [("buy", level) for level in change.bids] + [("sell", level) for level in change.asks]
    return [
        {
            "feed": "book", "product_id": f"PF_{change.coin}USD", "side": side, "seq": _seq(change.coin, 1),
            "price": price, "qty": size, "timestamp": change.after.timestamp,
        }
        for side, (price, size) in levels
    ]  # fmt: skip


_numbers: dict[str, int] = {}


def _seq(coin: str, step: int) -> int:
    _numbers[coin] = _numbers[coin] + 1 if step else 326_072_249
    return _numbers[coin]


def _rows(levels: Levels) -> list[dict[str, float]]:
    return [{"price": price, "qty": size} for price, size in levels]
