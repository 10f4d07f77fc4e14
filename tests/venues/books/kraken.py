"""Frames of Kraken's order books, which are documented under "Book" and "Book checksum (WebSocket v2)".

All numbers are written with all their decimals.
"""

from __future__ import annotations

import json
from typing import Any
from zlib import crc32

from tests.venues.books.depth import Change, Depth, Levels
from tests.venues.market import iso

NOTICES = frozenset({"lost", "late", "level"})
DEPTH = 25
SYMBOLS = {"BTC": "BTC/USDT", "ETH": "ETH/USD", "SOL": "SOL/USD"}


def opening(depth: Depth) -> list[Any]:
    told = {"channel": "book", "depth": DEPTH, "snapshot": True, "symbol": SYMBOLS[depth.coin], "warnings": []}
    taken = {"method": "subscribe", "result": told, "success": True, "time_in": iso(0), "time_out": iso(0)}
    return [taken, _pushed(depth, depth.bids[:DEPTH], depth.asks[:DEPTH], "snapshot")]


def change(change: Change) -> list[Any]:
    """Levels outside of the depth are not sent, except those that move up into it."""
    after = change.after
    sides = []
    for levels, now in ((change.bids, after.bids), (change.asks, after.asks)):
        kept = dict(now[:DEPTH])
        told = [level for level in levels if level[0] in kept or not level[1]]
        moved = [] if not any(not size for _, size in levels) else [now[DEPTH - 1]]
        sides.append((*told, *moved))
    return [_pushed(after, sides[0], sides[1], "update")]


def _pushed(depth: Depth, bids: Levels, asks: Levels, kind: str) -> str:
    book = {"symbol": SYMBOLS[depth.coin], "bids": _rows(bids), "asks": _rows(asks), "checksum": checksum(depth)}
    message = {"channel": "book", "type": kind, "data": [{**book, "timestamp": iso(depth.timestamp)}]}
    return json.dumps(message).replace('"#', "").replace('#"', "")  # so that numbers keep their written form


def _rows(levels: Levels) -> list[dict[str, str]]:
    return [{"price": f"#{price:.2f}#", "qty": f"#{size:.8f}#"} for price, size in levels]


def checksum(depth: Depth) -> int:
    """The checksum of the ten best asks and the ten best bids, made of their digits without leading zeros."""
    digits = ""
    for price, size in (*depth.asks[:10], *depth.bids[:10]):
        digits += f"{price:.2f}".replace(".", "").lstrip("0") + f"{size:.8f}".replace(".", "").lstrip("0")
    return crc32(digits.encode())


def wanted(request: Any) -> list[str]:
    return _coins(request, "subscribe")


def unwanted(request: Any) -> list[str]:
    return _coins(request, "unsubscribe")


def left(request: Any) -> list[Any]:
    told = [{"channel": "book", "symbol": symbol, "depth": DEPTH} for symbol in request["params"]["symbol"]]
    return [{"method": "unsubscribe", "result": each, "success": True} for each in told]


def _coins(request: Any, method: str) -> list[str]:
    params = request.get("params", {})
    if request["method"] != method or params.get("channel") != "book":
        return []
    assert params["depth"] == DEPTH
    return [symbol.partition("/")[0] for symbol in params["symbol"]]
