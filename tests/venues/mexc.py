"""MEXC spot v3: https://www.mexc.com/api-docs/spot-v3/ (WebSocket market streams, market data endpoints)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from time import time_ns
from typing import Any

from tests.venues.market import LISTED, Day, Deal, VenueCandle, rest_candles, rest_day
from tests.venues.wire import Frame, Topic, VenueLaws, Wire

OPTIONS = {"ws": {"cost": 0.2}}  # without this, ccxt spaces its messages by 50 ms
LAWS = VenueLaws(topics=30, ping_within=60.0, paths=dict.fromkeys(("trades", "candles"), "/ws"))
LACKS = frozenset({"ticker"})  # ccxt uses the book ticker, which has no last price
SENDS_OLD_TRADES = False
REFUSES_WHOLE = False
TRADE_IDS = False
GREETING: Sequence[Frame] = ()
HEARTBEATS: Sequence[Frame] = ({"id": 0, "code": 0, "msg": "PONG"},)
_NAMES = {"public.aggre.deals.v3.api.pb": "trades", "public.kline.v3.api.pb": "candles"}


def rest(path: str, query: Mapping[str, str], wire: Wire) -> Any:
    now = time_ns() // 1_000_000
    if path == "/api/v3/exchangeInfo":
        return {"timezone": "CST", "serverTime": now, "rateLimits": [], "exchangeFilters": [],
                "symbols": [_market(coin) for coin in LISTED]}  # fmt: skip
    if path == "/api/v1/contract/detail":  # ccxt always requests the swaps too
        return {"success": True, "code": 0, "data": []}
    if path == "/api/v3/ticker/24hr":
        return [_day(rest_day(coin, now)) for coin in LISTED]
    coin = query.get("symbol", "").removesuffix("USDT")
    if path == "/api/v3/klines":
        return list(map(_old_candle, rest_candles(coin, int(query["startTime"]) if "startTime" in query else None)))
    if path == "/api/v3/aggTrades":
        return [_old(deal) for deal in reversed(wire.history.get(coin, ()))]
    return None


def asked(request: Any) -> Iterable[Topic]:
    if request["method"] == "SUBSCRIPTION":
        for topic in request["params"]:
            market = next(part for part in topic.split("@") if part.endswith("USDT"))
            yield _NAMES[topic.split("@")[1]], market.removesuffix("USDT")


def answer(request: Any, wire: Wire) -> Iterable[Frame]:
    if request["method"] == "ping":
        yield {"id": 0, "code": 0, "msg": "PONG"}
        return
    for topic, (_, coin) in zip(request["params"], asked(request), strict=True):
        refused = f"Not Subscribed successfully! [{topic}].  Reason: Blocked! "
        yield {"id": 0, "code": 0, "msg": refused if coin in wire.refused else topic}


def trades(deals: Sequence[Deal]) -> Iterable[Frame]:
    coin, channel = deals[0].coin, "spot@public.aggre.deals.v3.api.pb@100ms"
    rows = [
        {"price": str(deal.price), "quantity": str(deal.quantity), "tradeType": 2 if deal.sold else 1,
         "time": deal.timestamp}
        for deal in deals
    ]  # fmt: skip
    yield _pushed(f"{channel}@{coin}USDT", coin, publicAggreDeals={"deals": rows, "eventType": channel})


def ticker(day: Day) -> Iterable[Frame]:
    return ()


def candle(candle: VenueCandle) -> Iterable[Frame]:
    row = {
        "interval": "Min1", "windowStart": candle.timestamp // 1000, "openingPrice": str(candle.open),
        "closingPrice": str(candle.close), "highestPrice": str(candle.high), "lowestPrice": str(candle.low),
        "volume": str(candle.volume), "amount": str(candle.volume * candle.close),
        "windowEnd": candle.timestamp // 1000 + 60,
    }  # fmt: skip
    yield _pushed(f"spot@public.kline.v3.api.pb@{candle.coin}USDT@Min1", candle.coin, publicSpotKline=row)


def _pushed(channel: str, coin: str, **body: Any) -> bytes:
    wrapper: Any = import_module("ccxt.protobuf.mexc.PushDataV3ApiWrapper_pb2")
    frame = wrapper.PushDataV3ApiWrapper(
        channel=channel, symbol=f"{coin}USDT", symbolId="2fb942154ef44a4ab2ef98c8afb6a4a7",
        createTime=time_ns() // 1_000_000, **body,
    )  # fmt: skip
    return bytes(frame.SerializeToString())


def _market(coin: str) -> dict[str, Any]:
    return {
        "symbol": f"{coin}USDT", "status": "1", "baseAsset": coin, "baseAssetPrecision": 6, "quoteAsset": "USDT",
        "quotePrecision": 2, "quoteAssetPrecision": 2, "baseCommissionPrecision": 6, "quoteCommissionPrecision": 2,
        "orderTypes": ["LIMIT", "MARKET", "LIMIT_MAKER"], "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False, "quoteAmountPrecision": "1", "baseSizePrecision": "0.000001",
        "permissions": ["SPOT"], "filters": [], "maxQuoteAmount": "4000000", "makerCommission": "0",
        "takerCommission": "0.0005", "quoteAmountPrecisionMarket": "1", "maxQuoteAmountMarket": "4000000",
        "fullName": coin, "tradeSideType": 1,
    }  # fmt: skip


def _old(deal: Deal) -> dict[str, Any]:
    return {
        "a": None, "f": None, "l": None, "p": str(deal.price), "q": str(deal.quantity), "T": deal.timestamp,
        "m": deal.sold, "M": True,
    }  # fmt: skip


def _day(day: Day) -> dict[str, Any]:
    return {
        "symbol": f"{day.coin}USDT", "priceChange": str(day.last - day.opened),
        "priceChangePercent": str(day.change / 100), "prevClosePrice": str(day.opened), "lastPrice": str(day.last),
        "bidPrice": str(day.bid), "bidQty": "1.5", "askPrice": str(day.ask), "askQty": "2.5",
        "openPrice": str(day.opened), "highPrice": str(day.high), "lowPrice": str(day.low), "volume": str(day.volume),
        "quoteVolume": str(day.turnover), "openTime": day.timestamp - 86_400_000, "closeTime": day.timestamp,
        "count": None,
    }  # fmt: skip


def _old_candle(candle: VenueCandle) -> list[Any]:
    values = (candle.open, candle.high, candle.low, candle.close, candle.volume)
    return [candle.timestamp, *map(str, values), candle.timestamp + 60_000, str(candle.volume * candle.close)]
