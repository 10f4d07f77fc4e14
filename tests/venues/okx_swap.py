"""OKX v5, linear perpetuals: https://www.okx.com/docs-v5/en/. Sizes are in contracts: one of BTC is 0.01 BTC."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from time import time_ns
from typing import Any

from tests.venues import okx
from tests.venues.market import LISTED, MINUTE, Day, Deal, VenueCandle, rest_candle, rest_day
from tests.venues.wire import Frame, Topic, VenueLaws, Wire

VENUE = "okx"
MARKET_TYPE = "swap"
LAWS = VenueLaws(
    dials=okx.LAWS.dials, ping_within=okx.LAWS.ping_within, paths={**okx.LAWS.paths, "quotes": "/ws/v5/public"}
)
LACKS: frozenset[str] = frozenset()
SENDS_OLD_TRADES = True
REFUSES_WHOLE = False
GREETING: Sequence[Frame] = ()
HEARTBEATS = okx.HEARTBEATS
_CHANNELS = {"trades": "trades", "tickers": "ticker", "candle1m": "candles", "bbo-tbt": "quotes"}
_SIZES = {"BTC": 0.01, "ETH": 0.1, "DOGE": 1000.0}  # size of a contract in base currency; 1 for other coins


def rest(path: str, query: Mapping[str, str], wire: Wire) -> Any:
    now = time_ns() // 1_000_000
    coin = query.get("instId", "").partition("-")[0]
    if path == "/api/v5/public/instruments":
        return _ok([_market(coin) for coin in LISTED] if query["instType"] == "SWAP" else [])
    if path == "/api/v5/market/tickers":
        return _ok([_day(rest_day(coin, now)) for coin in LISTED] if query["instType"] == "SWAP" else [])
    if path == "/api/v5/market/candles":
        first = int(query.get("before", now - 3 * MINUTE)) // MINUTE * MINUTE + MINUTE
        return _ok([_candle(rest_candle(coin, opened)) for opened in range(first + 2 * MINUTE, first - 1, -MINUTE)])
    if path == "/api/v5/market/trades":
        return _ok([_deal(deal) for deal in reversed(wire.history.get(coin, ()))])
    return None


def asked(request: Any) -> Iterable[Topic]:
    if isinstance(request, dict) and request.get("op") == "subscribe":
        for arg in request["args"]:
            yield _CHANNELS[arg["channel"]], arg["instId"].removesuffix("-USDT-SWAP")


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
        if channel == "trades":
            yield from trades(wire.history.get(coin, [])[-1:])


def trades(deals: Sequence[Deal]) -> Iterable[Frame]:
    for deal in deals:
        yield _pushed("trades", deal.coin, {**_deal(deal), "count": "1", "source": "0", "seqId": deal.number})


def ticker(day: Day) -> Iterable[Frame]:
    yield _pushed("tickers", day.coin, _day(day))


def candle(candle: VenueCandle) -> Iterable[Frame]:
    yield _pushed("candle1m", candle.coin, _candle(candle))


def quote(day: Day, bid_size: float, ask_size: float) -> Iterable[Frame]:
    bid, ask = _contracts(day.coin, bid_size), _contracts(day.coin, ask_size)
    row = {"asks": [[str(day.ask), ask, "0", "13"]], "bids": [[str(day.bid), bid, "0", "2"]]}
    yield _pushed("bbo-tbt", day.coin, {**row, "ts": str(day.timestamp), "seqId": 363_996_337})


def _contracts(coin: str, quantity: float) -> str:
    return f"{quantity / _SIZES.get(coin, 1.0):.10g}"


def _ok(data: list[Any]) -> dict[str, Any]:
    return {"code": "0", "msg": "", "data": data}


def _pushed(channel: str, coin: str, row: Any) -> dict[str, Any]:
    return {"arg": {"channel": channel, "instId": f"{coin}-USDT-SWAP"}, "data": [row]}


def _market(coin: str) -> dict[str, Any]:
    return {
        "alias": "", "baseCcy": "", "category": "1", "ctMult": "1", "ctType": "linear",
        "ctVal": f"{_SIZES.get(coin, 1.0):g}", "ctValCcy": coin, "expTime": "", "instFamily": f"{coin}-USDT",
        "instId": f"{coin}-USDT-SWAP", "instType": "SWAP", "lever": "100", "listTime": "1611916828000",
        "lotSz": "0.01", "minSz": "0.01", "optType": "", "quoteCcy": "", "ruleType": "normal", "settleCcy": "USDT",
        "state": "live", "stk": "", "tickSz": "0.1", "uly": f"{coin}-USDT",
    }  # fmt: skip


def _deal(deal: Deal) -> dict[str, Any]:
    return {
        "instId": f"{deal.coin}-USDT-SWAP", "tradeId": str(deal.number), "px": str(deal.price),
        "sz": _contracts(deal.coin, deal.quantity), "side": "sell" if deal.sold else "buy", "ts": str(deal.timestamp),
    }  # fmt: skip


def _day(day: Day) -> dict[str, Any]:
    """The 24 h statistics: "vol24h" is the volume in contracts, "volCcy24h" is the volume in base currency. On spot,
    "volCcy24h" is the turnover."""
    return {
        "instType": "SWAP", "instId": f"{day.coin}-USDT-SWAP", "last": str(day.last), "lastSz": "17",
        "askPx": str(day.ask), "askSz": "150", "bidPx": str(day.bid), "bidSz": "250", "open24h": str(day.opened),
        "high24h": str(day.high), "low24h": str(day.low), "sodUtc0": str(day.opened), "sodUtc8": str(day.opened),
        "volCcy24h": str(day.volume), "vol24h": _contracts(day.coin, day.volume), "ts": str(day.timestamp),
    }  # fmt: skip


def _candle(candle: VenueCandle) -> list[str]:
    """A candle with the volume in contracts, in base currency and in quote currency."""
    values = (candle.open, candle.high, candle.low, candle.close, _contracts(candle.coin, candle.volume), candle.volume)
    return [str(candle.timestamp), *map(str, values), str(candle.volume * candle.close), "1" if candle.closed else "0"]
