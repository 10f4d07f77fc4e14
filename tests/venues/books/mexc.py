"""Frames of MEXC's order books (protobuf), documented under "Diff. depth stream"; the snapshot comes over REST."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from tests.venues.books.depth import Change, Depth, Levels, texts

NOTICES = frozenset({"lost", "late"})
JOINS_LATE = True
_CHANNEL = "spot@public.aggre.depth.v3.api.pb@100ms"


def opening(depth: Depth) -> list[Any]:
    return [{"id": 0, "code": 0, "msg": f"{_CHANNEL}@{depth.coin}USDT"}]


def change(change: Change) -> list[Any]:
    book = {
        "asks": _rows(change.asks), "bids": _rows(change.bids), "eventType": _CHANNEL,
        "fromVersion": str(3 * (change.number - 1) + 1), "toVersion": str(3 * change.number),
    }  # fmt: skip
    return [packed(f"{_CHANNEL}@{change.coin}USDT", f"{change.coin}USDT", change.after.timestamp, book)]


def packed(channel: str, symbol: str, sent: int, book: dict[str, Any]) -> bytes:
    wrapper = import_module("ccxt.protobuf.mexc.PushDataV3ApiWrapper_pb2").PushDataV3ApiWrapper
    message = wrapper(channel=channel, symbol=symbol, sendTime=sent, publicAggreDepths=book)
    return bytes(message.SerializeToString())


def _rows(levels: Levels) -> list[dict[str, str]]:
    return [{"price": price, "quantity": size} for price, size in texts(levels)]


def rest(path: str, query: Mapping[str, str], depths: Mapping[str, Depth]) -> Any:
    if path != "/api/v3/depth":
        return None
    depth = depths[query["symbol"].removesuffix("USDT")]
    book = {
        "lastUpdateId": 3 * depth.number - 1,
        "timestamp": depth.timestamp,
    }  # the snapshot's number is in the middle of an update
    return {**book, "bids": texts(depth.bids), "asks": texts(depth.asks)}


def wanted(request: Any) -> list[str]:
    return _coins(request, "SUBSCRIPTION")


def unwanted(request: Any) -> list[str]:
    return _coins(request, "UNSUBSCRIPTION")


def left(request: Any) -> list[Any]:
    return [{"id": 0, "code": 0, "msg": topic} for topic in request["params"]]


def _coins(request: Any, method: str) -> list[str]:
    topics = request["params"] if request["method"] == method else []
    return [topic.rpartition("@")[2].removesuffix("USDT") for topic in topics if topic.startswith(_CHANNEL)]
