"""KuCoin classic: https://www.kucoin.com/docs-new (spot market data, REST and WebSocket)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from time import time_ns
from typing import Any

from tests.venues.market import LISTED, MINUTE, Day, Deal, VenueCandle, rest_candle, rest_day
from tests.venues.wire import Frame, Topic, VenueLaws, Wire

PACE = 10  # messages are sent ten times as fast here, and the venue's rule allows ten times as many
LAWS = VenueLaws(messages=(100, 1.0), batch=100, topics=300, ping_within=60.0, token="open sesame")
LACKS: frozenset[str] = frozenset()
SENDS_OLD_TRADES = False
REFUSES_WHOLE = True
GREETING: Sequence[Frame] = ({"id": "hQvf8jkno", "type": "welcome"},)
HEARTBEATS: Sequence[Frame] = ({"id": "1545910590801", "type": "pong", "timestamp": 1764147106204103},)
_CHANNELS = {"/market/match": "trades", "/market/snapshot": "ticker", "/market/candles": "candles"}


def trade_id(number: int) -> str:
    return f"1106799671196{number}"


def rest(path: str, query: Mapping[str, str], wire: Wire) -> Any:
    now = time_ns() // 1_000_000
    if path == "/api/v2/symbols":
        return _ok([_market(coin) for coin in LISTED])
    if path == "/api/v1/market/allTickers":
        return _ok({"time": now, "ticker": [_ticker(rest_day(coin, now)) for coin in LISTED]})
    if path == "/api/v1/bullet-public":
        server = {
            "endpoint": "wss://ws-api-spot.kucoin.com/", "encrypt": True, "protocol": "websocket",
            "pingInterval": 400, "pingTimeout": 200,
        }  # fmt: skip
        return _ok({"token": LAWS.token, "instanceServers": [server]})
    coin = query.get("symbol", "").partition("-")[0]
    if path == "/api/v1/market/candles":
        first = int(query["startAt"]) * 1000
        return _ok([_candle(rest_candle(coin, first + number * MINUTE)) for number in (2, 1, 0)])
    if path == "/api/v1/market/histories":
        rows = [_deal(deal) for deal in wire.history.get(coin, ())]
        return _ok([{key: row[key] for key in ("sequence", "side", "size", "price", "time")} for row in rows])
    return None


def asked(request: Any) -> Iterable[Topic]:
    if request["type"] == "subscribe":
        name, _, markets = request["topic"].partition(":")
        for market in markets.split(","):
            yield _CHANNELS[name], market.partition("-")[0]


def answer(request: Any, wire: Wire) -> Iterable[Frame]:
    if request["type"] == "ping":
        yield {"id": request["id"], "type": "pong", "timestamp": time_ns() // 1000}
    elif any(coin in wire.refused for _, coin in asked(request)):
        yield {"id": request["id"], "type": "error", "code": 404, "data": f"topic {request['topic']} is not found"}
    else:
        yield {"id": request["id"], "type": "ack"}


def trades(deals: Sequence[Deal]) -> Iterable[Frame]:
    for deal in deals:
        yield _pushed("/market/match", deal.coin, "trade.l3match", _deal(deal))


def ticker(day: Day) -> Iterable[Frame]:
    figures = {
        "changePrice": day.last - day.opened, "changeRate": day.change / 100, "high": day.high, "low": day.low,
        "open": day.opened, "vol": day.volume, "volValue": day.turnover,
    }  # fmt: skip
    row = {
        "askSize": 0.0015, "baseCurrency": day.coin, "bidSize": 0.0048, "board": 1, "buy": day.bid, "close": day.last,
        "datetime": day.timestamp, "lastTradedPrice": day.last, "marginTrade": True, "mark": 0, "market": "USDS",
        "marketChange1h": figures, "marketChange24h": figures, "marketChange4h": figures, "markets": ["USDS"],
        "quoteCurrency": "USDT", "sell": day.ask, "siteTypes": ["global"], "sort": 100, "symbol": f"{day.coin}-USDT",
        "symbolCode": f"{day.coin}-USDT", "trading": True, **figures,
    }  # fmt: skip
    yield _pushed("/market/snapshot", day.coin, "trade.snapshot", {"sequence": "15029362498", "data": row})


def candle(candle: VenueCandle) -> Iterable[Frame]:
    data = {
        "symbol": f"{candle.coin}-USDT",
        "candles": _candle(candle),
        "time": (candle.timestamp + 30_000) * 1_000_000,
    }
    frame = _pushed("/market/candles", candle.coin, "trade.candles.update", data)
    yield {**frame, "topic": f"/market/candles:{candle.coin}-USDT_1min"}


def _ok(data: Any) -> dict[str, Any]:
    return {"code": "200000", "data": data}


def _pushed(name: str, coin: str, subject: str, data: dict[str, Any]) -> dict[str, Any]:
    return {"topic": f"{name}:{coin}-USDT", "type": "message", "subject": subject, "data": data}


def _deal(deal: Deal) -> dict[str, Any]:
    return {
        "makerOrderId": "671b5007389355000701b1d3", "price": str(deal.price), "sequence": trade_id(deal.number),
        "side": "sell" if deal.sold else "buy", "size": str(deal.quantity), "symbol": f"{deal.coin}-USDT",
        "takerOrderId": "671b50161777ff00074c168d", "time": str(deal.timestamp * 1_000_000),
        "tradeId": trade_id(deal.number), "type": "match",
    }  # fmt: skip


def _ticker(day: Day) -> dict[str, str]:
    symbol = f"{day.coin}-USDT"
    return {
        "symbol": symbol, "symbolName": symbol, "buy": str(day.bid), "bestBidSize": "0.236", "sell": str(day.ask),
        "bestAskSize": "0.5", "changeRate": str(day.change / 100), "changePrice": str(day.last - day.opened),
        "high": str(day.high), "low": str(day.low), "vol": str(day.volume), "volValue": str(day.turnover),
        "last": str(day.last), "averagePrice": str(day.last), "takerFeeRate": "0.001", "makerFeeRate": "0.001",
        "takerCoefficient": "1", "makerCoefficient": "1",
    }  # fmt: skip


def _candle(candle: VenueCandle) -> list[str]:
    values = (candle.open, candle.close, candle.high, candle.low, candle.volume, candle.volume * candle.close)
    return [str(candle.timestamp // 1000), *map(str, values)]


def _market(coin: str) -> dict[str, Any]:
    return {
        "symbol": f"{coin}-USDT", "name": f"{coin}-USDT", "baseCurrency": coin, "quoteCurrency": "USDT",
        "feeCurrency": "USDT", "market": "USDS", "baseMinSize": "0.00001", "quoteMinSize": "0.1",
        "baseMaxSize": "10000000000", "quoteMaxSize": "99999999", "baseIncrement": "0.00000001",
        "quoteIncrement": "0.000001", "priceIncrement": "0.1", "priceLimitRate": "0.1", "minFunds": "0.1",
        "isMarginEnabled": True, "enableTrading": True, "feeCategory": 1, "makerFeeCoefficient": "1.00",
        "takerFeeCoefficient": "1.00", "st": False, "callauctionIsEnabled": False, "tradingStartTime": None,
    }  # fmt: skip
