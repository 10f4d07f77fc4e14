"""OKX v5: https://www.okx.com/docs-v5/en/ (public data, order book trading, WebSocket)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from time import time_ns
from typing import Any

from tests.venues.market import LISTED, MINUTE, Day, Deal, VenueCandle, rest_candle, rest_day
from tests.venues.wire import Frame, Topic, VenueLaws, Wire

LAWS = VenueLaws(
    dials=(3, 1.0),
    ping_within=30.0,
    paths={"trades": "/ws/v5/public", "ticker": "/ws/v5/public", "candles": "/ws/v5/business"},
)
LACKS: frozenset[str] = frozenset()
SENDS_OLD_TRADES = True
REFUSES_WHOLE = False
GREETING: Sequence[Frame] = ()
HEARTBEATS: Sequence[Frame] = ("pong",)
_CHANNELS = {"trades": "trades", "ticker": "tickers", "candles": "candle1m"}
_NAMES = {spelled: channel for channel, spelled in _CHANNELS.items()}


def rest(path: str, query: Mapping[str, str], wire: Wire) -> Any:
    now = time_ns() // 1_000_000
    if path == "/api/v5/public/instruments":
        return _ok([_market(coin) for coin in LISTED] if query["instType"] == "SPOT" else [])
    if path == "/api/v5/market/tickers":
        return _ok([_day(rest_day(coin, now)) for coin in LISTED])
    if path == "/api/v5/market/candles":
        coin = query["instId"].partition("-")[0]
        first = int(query["before"]) // MINUTE * MINUTE + MINUTE
        return _ok([_candle(rest_candle(coin, opened)) for opened in range(first + 2 * MINUTE, first - 1, -MINUTE)])
    if path == "/api/v5/market/trades":
        return _ok([_deal(deal) for deal in reversed(wire.history.get(query["instId"].partition("-")[0], ()))])
    return None


def asked(request: Any) -> Iterable[Topic]:
    if isinstance(request, dict) and request.get("op") == "subscribe":
        for arg in request["args"]:
            yield _NAMES[arg["channel"]], arg["instId"].partition("-")[0]


def answer(request: Any, wire: Wire) -> Iterable[Frame]:
    if request == "ping":
        yield "pong"
        return
    for arg, (channel, coin) in zip(request["args"], asked(request), strict=True):
        if coin in wire.refused:
            text = f"channel:{arg['channel']},instId:{arg['instId']} doesn't exist"
            yield {"event": "error", "code": "60018", "msg": text, "connId": "a4d3ae55"}
            continue
        yield {"event": "subscribe", "arg": arg, "connId": "a4d3ae55"}
        if channel == "trades":  # the last trade before the subscription comes first
            yield from trades(wire.history.get(coin, [])[-1:])


def trades(deals: Sequence[Deal]) -> Iterable[Frame]:
    for deal in deals:  # one trade per frame, as documented; "count" is its number of matches
        yield _pushed("trades", deal.coin, [{**_deal(deal), "count": "1", "source": "0", "seqId": deal.number}])


def ticker(day: Day) -> Iterable[Frame]:
    yield _pushed("tickers", day.coin, [_day(day)])


def candle(candle: VenueCandle) -> Iterable[Frame]:
    yield _pushed("candle1m", candle.coin, [_candle(candle)])


def _ok(data: list[Any]) -> dict[str, Any]:
    return {"code": "0", "msg": "", "data": data}


def _pushed(channel: str, coin: str, data: list[Any]) -> dict[str, Any]:
    return {"arg": {"channel": channel, "instId": f"{coin}-USDT"}, "data": data}


def _market(coin: str) -> dict[str, Any]:
    return {
        "alias": "", "baseCcy": coin, "category": "1", "ctMult": "", "ctType": "", "ctVal": "", "ctValCcy": "",
        "expTime": "", "instFamily": "", "instId": f"{coin}-USDT", "instType": "SPOT", "lever": "10",
        "listTime": "1548133413000", "lotSz": "0.00000001", "minSz": "0.00001", "optType": "", "quoteCcy": "USDT",
        "ruleType": "normal", "settleCcy": "", "state": "live", "stk": "", "tickSz": "0.1", "uly": "",
    }  # fmt: skip


def _deal(deal: Deal) -> dict[str, Any]:
    return {
        "instId": f"{deal.coin}-USDT", "tradeId": str(deal.number), "px": str(deal.price), "sz": str(deal.quantity),
        "side": "sell" if deal.sold else "buy", "ts": str(deal.timestamp),
    }  # fmt: skip


def _day(day: Day) -> dict[str, Any]:
    return {
        "instType": "SPOT", "instId": f"{day.coin}-USDT", "last": str(day.last), "lastSz": "0.0017",
        "askPx": str(day.ask), "askSz": "1.5", "bidPx": str(day.bid), "bidSz": "2.5", "open24h": str(day.opened),
        "high24h": str(day.high), "low24h": str(day.low), "sodUtc0": str(day.opened), "sodUtc8": str(day.opened),
        "volCcy24h": str(day.turnover), "vol24h": str(day.volume), "ts": str(day.timestamp),
    }  # fmt: skip


def _candle(candle: VenueCandle) -> list[str]:
    values = (
        candle.open,
        candle.high,
        candle.low,
        candle.close,
        candle.volume,
        candle.volume * candle.close,
        candle.volume * candle.close,
    )
    return [str(candle.timestamp), *map(str, values), "1" if candle.closed else "0"]
