"""Frames of Bitfinex's order books, which are documented under "Books" and "WebSocket checksum"."""

from __future__ import annotations

from typing import Any
from zlib import crc32

from tests.venues.books.depth import Change, Depth, Level

NOTICES = frozenset({"lost", "late", "level"})
PAIRS = {"BTC": "BTCUST", "ETH": "ETHUSD", "SOL": "SOLUSD"}
DEPTH = 25


def opening(depth: Depth) -> list[Any]:
    told = {
        "event": "subscribed", "channel": "book", "chanId": channel(depth.coin), "symbol": f"t{PAIRS[depth.coin]}",
        "prec": "P0", "freq": "F0", "len": "25", "pair": PAIRS[depth.coin],
    }  # fmt: skip
    rows = [_row(level, 1) for level in depth.bids[:DEPTH]] + [_row(level, -1) for level in depth.asks[:DEPTH]]
    return [told, [channel(depth.coin), rows]]


def change(change: Change) -> list[Any]:
    """One frame for each level, then the checksum, which the real venue sends only about every two seconds."""
    after, frames = change.after, []
    for levels, now, sign in ((change.bids, after.bids, 1), (change.asks, after.asks, -1)):
        kept = dict(now[:DEPTH])
        told = [level for level in levels if level[0] in kept or not level[1]]
        if any(not size for _, size in levels):
            told.append(now[DEPTH - 1])  # the change moved this level into the depth
        frames += [[channel(change.coin), _row(level, sign)] for level in told]
        frames += [[channel(change.coin), _row((now[DEPTH][0], 0.0), sign)]]  # the change pushed this level out
    return [*frames, [channel(change.coin), "cs", checksum(after)]]


def channel(coin: str) -> int:
    return {"BTC": 17082, "ETH": 17083, "SOL": 17084}[coin]


def _row(level: Level, sign: int) -> list[float]:
    price, size = level
    return [price, 0, sign] if not size else [price, 3, sign * size]


def checksum(depth: Depth) -> int:
    texts = []
    for bid, ask in zip(depth.bids[:25], depth.asks[:25], strict=True):
        texts += [str(bid[0]), str(bid[1]), str(ask[0]), str(-ask[1])]
    value = crc32(":".join(texts).encode())
    return value - (1 << 32) if value >= 1 << 31 else value


def wanted(request: Any) -> list[str]:
    if request.get("event") != "subscribe" or request["channel"] != "book":
        return []
    assert request["len"] == DEPTH
    return [coin for coin, pair in PAIRS.items() if request["symbol"] == f"t{pair}"]


def unwanted(request: Any) -> list[str]:
    return [coin for coin in PAIRS if request.get("event") == "unsubscribe" and request["chanId"] == channel(coin)]


def left(request: Any) -> list[Any]:
    return [{"event": "unsubscribed", "status": "OK", "chanId": request["chanId"]}]
