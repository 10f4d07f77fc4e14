"""Bybit v5, linear perpetuals: https://bybit-exchange.github.io/docs/v5 (market, WebSocket public)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from time import time_ns
from typing import Any

from tests.venues.market import LISTED, MINUTE, PRICES, Day, Deal, VenueCandle, rest_candle, rest_day
from tests.venues.wire import Frame, Topic, VenueLaws, Wire

VENUE = "bybit"
MARKET_TYPE = "swap"
LAWS = VenueLaws(
    size=21_000,
    ping_within=20.0 + 1,
    paths=dict.fromkeys(("trades", "ticker", "candles", "quotes"), "/v5/public/linear"),
)
LACKS: frozenset[str] = frozenset()
SENDS_OLD_TRADES = False
REFUSES_WHOLE = True
GREETING: Sequence[Frame] = ()
HEARTBEATS: Sequence[Frame] = ()
_CHANNELS = {"publicTrade": "trades", "tickers": "ticker", "kline.1": "candles", "orderbook.1": "quotes"}
_SIDES = {True: "Sell", False: "Buy"}


def rest(path: str, query: Mapping[str, str], wire: Wire) -> Any:
    now = time_ns() // 1_000_000
    if query.get("category") != "linear":
        return None
    coin = query.get("symbol", "").removesuffix("USDT")
    if path == "/v5/market/instruments-info":
        markets = [_market(each) for each in LISTED] if query.get("status") != "PreLaunch" else []
        return _ok({"category": "linear", "list": markets, "nextPageCursor": ""}, now)
    if path == "/v5/market/tickers":
        return _ok({"category": "linear", "list": [_day(rest_day(each, now)) for each in LISTED]}, now)
    if path == "/v5/market/kline":
        first = int(query.get("start", now // MINUTE * MINUTE - 2 * MINUTE))
        candles = [_row(rest_candle(coin, first + number * MINUTE)) for number in (2, 1, 0)]
        return _ok({"category": "linear", "symbol": query["symbol"], "list": candles}, now)
    if path == "/v5/market/recent-trade" and int(query["limit"]) <= 1000:
        deals = [_rest_deal(deal) for deal in reversed(wire.history.get(coin, ()))]
        return _ok({"category": "linear", "list": deals}, now)
    return None


def asked(request: Any) -> Iterable[Topic]:
    if request["op"] == "subscribe":
        for topic in request["args"]:
            channel, _, market = topic.rpartition(".")
            yield _CHANNELS[channel], market.removesuffix("USDT")


def answer(request: Any, wire: Wire) -> Iterable[Frame]:
    told = {"success": True, "ret_msg": "", "conn_id": "6d2a8f9c", "req_id": request["req_id"], "op": request["op"]}
    if request["op"] == "ping":
        yield {**told, "ret_msg": "pong"}
        return
    for topic, (_, coin) in zip(request["args"], asked(request), strict=True):
        if coin in wire.refused:
            yield {**told, "success": False, "ret_msg": f"error:handler not found,topic:{topic}"}
            return
    yield told
    for channel, coin in asked(request):
        if channel == "ticker":  # the first frame has the whole ticker, later frames only changes
            yield _pushed("tickers", coin, "snapshot", wire_day(coin), time_ns() // 1_000_000)


def trades(deals: Sequence[Deal]) -> Iterable[Frame]:
    rows = [_deal(deal) for deal in deals]
    yield _pushed("publicTrade", deals[0].coin, "snapshot", rows, deals[-1].timestamp)


def trade_id(number: int) -> str:
    """A trade's id: a UUID, which is not a number and does not show the trades' order."""
    return f"{number * 7919 % 10_000:04}f425-e4da-5af6-b868-{number:012}"


def ticker(day: Day) -> Iterable[Frame]:
    """A later frame of the ticker, with only the fields that have changed."""
    whole, before = _day(day), wire_day(day.coin)
    changed = {name: value for name, value in whole.items() if before[name] != value}
    yield _pushed("tickers", day.coin, "delta", {**changed, "symbol": f"{day.coin}USDT"}, day.timestamp)


def candle(candle: VenueCandle) -> Iterable[Frame]:
    row = {
        "start": candle.timestamp, "end": candle.timestamp + MINUTE - 1, "interval": "1", "open": str(candle.open),
        "close": str(candle.close), "high": str(candle.high), "low": str(candle.low), "volume": str(candle.volume),
        "turnover": str(candle.volume * candle.close), "confirm": candle.closed, "timestamp": candle.timestamp + 30_000,
    }  # fmt: skip
    yield _pushed("kline.1", candle.coin, "snapshot", [row], candle.timestamp + 30_000)


def quote(day: Day, bid_size: float, ask_size: float) -> Iterable[Frame]:
    data = {"s": f"{day.coin}USDT", "b": [[str(day.bid), str(bid_size)]], "a": [[str(day.ask), str(ask_size)]]}
    yield _pushed("orderbook.1", day.coin, "snapshot", {**data, "u": 18_521_288, "seq": 7_961_638_724}, day.timestamp)


def wire_day(coin: str) -> dict[str, str]:
    """The data of the snapshot that answers a subscription."""
    last = PRICES[coin] * 0.9
    return _day(Day(coin, last, last / 1.25, 1_000.0, 0))


def _ok(result: Any, now: int) -> dict[str, Any]:
    return {"retCode": 0, "retMsg": "OK", "result": result, "retExtInfo": {}, "time": now}


def _pushed(channel: str, coin: str, kind: str, data: Any, timestamp: int) -> dict[str, Any]:
    return {"topic": f"{channel}.{coin}USDT", "type": kind, "ts": timestamp, "cs": 24_987_956_059, "data": data}


def _deal(deal: Deal) -> dict[str, Any]:
    return {
        "T": deal.timestamp, "s": f"{deal.coin}USDT", "S": _SIDES[deal.sold], "v": str(deal.quantity),
        "p": str(deal.price), "L": "PlusTick", "i": trade_id(deal.number), "BT": False, "RPI": False,
        "seq": 7_961_638_724 + deal.number,
    }  # fmt: skip


def _rest_deal(deal: Deal) -> dict[str, Any]:
    return {
        "execId": trade_id(deal.number), "symbol": f"{deal.coin}USDT", "price": str(deal.price),
        "size": str(deal.quantity), "side": _SIDES[deal.sold], "time": str(deal.timestamp), "isBlockTrade": False,
        "isRPITrade": False, "seq": str(7_961_638_724 + deal.number),
    }  # fmt: skip


def _day(day: Day) -> dict[str, str]:
    return {
        "symbol": f"{day.coin}USDT", "tickDirection": "PlusTick", "price24hPcnt": f"{day.change / 100:.18f}",
        "lastPrice": str(day.last), "prevPrice24h": str(day.opened), "highPrice24h": str(day.high),
        "lowPrice24h": str(day.low), "prevPrice1h": str(day.opened), "markPrice": str(day.last * 1.001),
        "indexPrice": str(day.last * 0.999), "openInterest": "68744.761", "openInterestValue": "1183601235.91",
        "turnover24h": str(day.turnover), "volume24h": str(day.volume), "nextFundingTime": "1767024000000",
        "fundingRate": "-0.000212", "bid1Price": str(day.bid), "bid1Size": "84.489", "ask1Price": str(day.ask),
        "ask1Size": "83.020",
    }  # fmt: skip


def _row(candle: VenueCandle) -> list[str]:
    values = (candle.open, candle.high, candle.low, candle.close, candle.volume, candle.volume * candle.close)
    return [str(candle.timestamp), *map(str, values)]


def _market(coin: str) -> dict[str, Any]:
    return {
        "symbol": f"{coin}USDT", "contractType": "LinearPerpetual", "status": "Trading", "baseCoin": coin,
        "quoteCoin": "USDT", "launchTime": "1585526400000", "deliveryTime": "0", "deliveryFeeRate": "",
        "priceScale": "2", "leverageFilter": {"minLeverage": "1", "maxLeverage": "100.00", "leverageStep": "0.01"},
        "priceFilter": {"minPrice": "0.10", "maxPrice": "1999999.80", "tickSize": "0.10"},
        "lotSizeFilter": {
            "maxOrderQty": "1190.000", "minOrderQty": "0.001", "qtyStep": "0.001", "minNotionalValue": "5",
            "postOnlyMaxOrderQty": "1190.000", "maxMktOrderQty": "500.000",
        },
        "unifiedMarginTrade": True, "fundingInterval": 480, "settleCoin": "USDT", "copyTrading": "both",
        "upperFundingRate": "0.00375", "lowerFundingRate": "-0.00375", "isPreListing": False,
    }  # fmt: skip
