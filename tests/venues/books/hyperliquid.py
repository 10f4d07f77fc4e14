"""Frames of Hyperliquid's order books, documented under "l2Book": each is a whole book."""

from __future__ import annotations

from typing import Any

from tests.venues.books.depth import Change, Depth, Levels
from tests.venues.hyperliquid import _COINS, _IDS

NOTICES: frozenset[str] = frozenset()
WHOLE = True


def opening(depth: Depth) -> list[Any]:
    subscription = {"type": "l2Book", "coin": _IDS[depth.coin], "nSigFigs": None, "mantissa": None}
    told = {"channel": "subscriptionResponse", "data": {"method": "subscribe", "subscription": subscription}}
    return [told, _pushed(depth)]


def change(change: Change) -> list[Any]:
    return [_pushed(change.after)]


def wanted(request: Any) -> list[str]:
    return _coins(request, "subscribe")


def unwanted(request: Any) -> list[str]:
    return _coins(request, "unsubscribe")


def left(request: Any) -> list[Any]:
    return [{"channel": "subscriptionResponse", "data": request}]


def _pushed(depth: Depth) -> dict[str, Any]:
    data = {"coin": _IDS[depth.coin], "time": depth.timestamp, "levels": [_rows(depth.bids), _rows(depth.asks)]}
    return {"channel": "l2Book", "data": data}


def _rows(levels: Levels) -> list[dict[str, Any]]:
    return [{"px": str(price), "sz": str(size), "n": 3} for price, size in levels[:20]]


def _coins(request: Any, method: str) -> list[str]:
    subscription = request.get("subscription", {}) if request["method"] == method else {}
    return [_COINS[subscription["coin"]]] if subscription.get("type") == "l2Book" else []
