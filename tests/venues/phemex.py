"""Phemex spot, REST and WebSocket: https://phemex-docs.github.io (spot). Prices and quantities are scaled integers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from time import time_ns
from typing import Any

from tests.venues.market import LISTED, MINUTE, Day, Deal, VenueCandle, rest_candle, rest_day
from tests.venues.wire import Frame, Topic, VenueLaws, Wire

PACE = 10  # messages are sent ten times as fast here, and the venue's rule allows ten times as many
LAWS = VenueLaws(messages=(20, 0.1), requests=20, ping_within=30.0)
LACKS: frozenset[str] = frozenset()
SENDS_OLD_TRADES = True
SENDS_OLD_CANDLES = True
REFUSES_WHOLE = False
GREETING: Sequence[Frame] = ()
HEARTBEATS: Sequence[Frame] = ({"error": None, "id": 0, "result": "pong"},)
TRADE_IDS = False
_CHANNELS = {"trade.subscribe": "trades", "kline.subscribe": "candles"}


def rest(path: str, query: Mapping[str, str], wire: Wire) -> Any:
    now = time_ns() // 1_000_000
    coin = query.get("symbol", "")[1:-4]
    if path == "/public/products":
        return {"code": 0, "msg": "", "data": {"currencies": [], "products": [_market(coin) for coin in LISTED]}}
    if path == "/v1/exchange/public/products":
        return {"code": 0, "msg": "", "data": []}
    if path == "/v1/md/spot/ticker/24hr/all":
        return _ok([{**_day(day), "timestamp": _ns(day.timestamp)} for day in (rest_day(coin, now) for coin in LISTED)])
    if path == "/exchange/public/md/v2/kline" and query["limit"] in ("5", "10", "50", "100", "500", "1000"):
        opened = now // MINUTE * MINUTE
        rows = [_row(rest_candle(coin, opened - number * MINUTE)) for number in range(10)]
        return {"code": 0, "msg": "OK", "data": {"total": -1, "rows": rows}}
    if path == "/v1/md/trade":
        rows = [_deal(deal) for deal in reversed(wire.history.get(coin, ()))]
        return _ok({"sequence": 1, "symbol": f"s{coin}USDT", "trades": rows, "type": "snapshot"})
    return None


def asked(request: Any) -> Iterable[Topic]:
    method, wanted = request["method"], request["params"]
    if method == "spot_market24h.subscribe":  # the venue then sends the tickers of all markets
        yield from (("ticker", coin) for coin in LISTED)
    elif method in _CHANNELS:  # the venue ignores a second market in a request
        yield _CHANNELS[method], wanted[0][1:-4]


def answer(request: Any, wire: Wire) -> Iterable[Frame]:
    if request["method"] == "server.ping":
        yield {"error": None, "id": request["id"], "result": "pong"}
        return
    topics = list(asked(request))
    if len(topics) == 1 and topics[0][1] in wire.refused:
        yield {"error": {"code": 6001, "message": "invalid argument"}, "id": request["id"], "result": None}
        return
    yield {"error": None, "id": request["id"], "result": {"status": "success"}}
    for channel, coin in topics:
        if channel == "trades" and coin in wire.history:  # the venue sends up to 1,000 past trades
            yield _trades("snapshot", wire.history[coin])
        if channel == "candles" and coin in wire.old_candles:
            yield _kline("snapshot", list(reversed(wire.old_candles[coin])))


def trades(deals: Sequence[Deal]) -> Iterable[Frame]:
    yield _trades("incremental", deals)


def ticker(day: Day) -> Iterable[Frame]:
    yield {"spot_market24h": _day(day), "timestamp": _ns(day.timestamp)}


def candle(candle: VenueCandle) -> Iterable[Frame]:
    yield _kline("incremental", [candle])


def _ok(result: Any) -> dict[str, Any]:
    return {"error": None, "id": 0, "result": result}


def _ns(timestamp: int) -> int:
    return timestamp * 1_000_000 + 516_600


def _scaled(value: float) -> int:
    return round(value * 100_000_000)


def _trades(kind: str, deals: Sequence[Deal]) -> dict[str, Any]:
    rows = [_deal(deal) for deal in reversed(deals)]
    return {"sequence": deals[-1].number, "symbol": f"s{deals[0].coin}USDT", "trades": rows, "type": kind}


def _kline(kind: str, candles: Sequence[VenueCandle]) -> dict[str, Any]:
    rows = [_row(candle) for candle in candles]
    return {"kline": rows, "sequence": 1804401474, "symbol": f"s{candles[0].coin}USDT", "type": kind}


def _deal(deal: Deal) -> list[Any]:
    return [_ns(deal.timestamp), "Sell" if deal.sold else "Buy", _scaled(deal.price), _scaled(deal.quantity)]


def _day(day: Day) -> dict[str, Any]:
    return {
        "askEp": _scaled(day.ask), "bidEp": _scaled(day.bid), "highEp": _scaled(day.high), "lastEp": _scaled(day.last),
        "lowEp": _scaled(day.low), "openEp": _scaled(day.opened), "symbol": f"s{day.coin}USDT",
        "turnoverEv": _scaled(day.turnover), "volumeEv": _scaled(day.volume),
    }  # fmt: skip


def _row(candle: VenueCandle) -> list[int]:
    values = (
        candle.open,
        candle.open,
        candle.high,
        candle.low,
        candle.close,
        candle.volume,
        candle.volume * candle.close,
    )
    return [candle.timestamp // 1000, 60, *map(_scaled, values)]


def _market(coin: str) -> dict[str, Any]:
    return {
        "symbol": f"s{coin}USDT", "code": 1001, "type": "Spot", "displaySymbol": f"{coin} / USDT",
        "quoteCurrency": "USDT", "priceScale": 8, "ratioScale": 8, "pricePrecision": 2, "baseCurrency": coin,
        "baseTickSize": f"0.000001 {coin}", "baseTickSizeEv": 100, "quoteTickSize": "0.01 USDT",
        "quoteTickSizeEv": 1000000, "baseQtyPrecision": 6, "quoteQtyPrecision": 2, "minOrderValue": "10 USDT",
        "minOrderValueEv": 1000000000, "maxBaseOrderSize": f"1000 {coin}", "maxBaseOrderSizeEv": 100000000000,
        "maxOrderValue": "5,000,000 USDT", "maxOrderValueEv": 500000000000000, "defaultTakerFee": "0.001",
        "defaultTakerFeeEr": 100000, "defaultMakerFee": "0.001", "defaultMakerFeeEr": 100000,
        "description": f"{coin}USDT is a {coin}/USDT spot trading pair.", "status": "Listed", "tipOrderQty": 2,
        "listTime": 1589338800000, "buyPriceUpperLimitPct": 110, "sellPriceLowerLimitPct": 90, "leverage": 5,
    }  # fmt: skip
