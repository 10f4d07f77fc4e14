"""Frames of Bitstamp's order books, documented under "Live full order book"; the snapshot comes over REST."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.venues.books.depth import Change, Depth, texts

NOTICES = frozenset({"late"})
JOINS_LATE = True


def opening(depth: Depth) -> list[Any]:
    channel = f"diff_order_book_{depth.coin.lower()}usd"
    return [{"event": "bts:subscription_succeeded", "channel": channel, "data": {}}]


def change(change: Change) -> list[Any]:
    data = {**_times(change.after), "bids": texts(change.bids), "asks": texts(change.asks)}
    return [{"data": data, "channel": f"diff_order_book_{change.coin.lower()}usd", "event": "data"}]


def rest(path: str, query: Mapping[str, str], depths: Mapping[str, Depth]) -> Any:
    if not path.startswith("/api/v2/order_book/"):
        return None
    depth = depths[path.strip("/").rpartition("/")[2].removesuffix("usd").upper()]
    times = _times(depth)
    times["microtimestamp"] = str(int(times["microtimestamp"]) + 20)  # a time that no update has
    return {**times, "bids": texts(depth.bids), "asks": texts(depth.asks)}


def _times(depth: Depth) -> dict[str, str]:
    return {"timestamp": str(depth.timestamp // 1000), "microtimestamp": str(depth.timestamp * 1000 + 37)}


def wanted(request: Any) -> list[str]:
    return _coins(request, "bts:subscribe")


def unwanted(request: Any) -> list[str]:
    return _coins(request, "bts:unsubscribe")


def left(request: Any) -> list[Any]:
    return [{"event": "bts:unsubscription_succeeded", "channel": request["data"]["channel"], "data": {}}]


def _coins(request: Any, event: str) -> list[str]:
    kind, _, market = str(request.get("data", {}).get("channel")).rpartition("_")
    return [market.removesuffix("usd").upper()] if (request["event"], kind) == (event, "diff_order_book") else []
