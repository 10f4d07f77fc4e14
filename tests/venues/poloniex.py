"""Poloniex spot, REST and WebSocket: https://api-docs.poloniex.com/spot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from time import time_ns
from typing import Any

from tests.venues.market import LISTED, MINUTE, Day, Deal, VenueCandle, rest_candle, rest_day
from tests.venues.wire import Frame, Topic, VenueLaws, Wire

LAWS = VenueLaws(
    messages=(500, 1.0), ping_within=30.0, paths=dict.fromkeys(("trades", "ticker", "candles"), "/ws/public")
)  # fmt: skip
LACKS: frozenset[str] = frozenset()
SENDS_OLD_TRADES = False
REFUSES_WHOLE = True
GREETING: Sequence[Frame] = ()
HEARTBEATS: Sequence[Frame] = ({"event": "pong"},)
_CHANNELS = {"trades": "trades", "ticker": "ticker", "candles_minute_1": "candles"}


def rest(path: str, query: Mapping[str, str], wire: Wire) -> Any:
    if path == "/markets":
        return [_market(coin) for coin in LISTED]
    if path == "/v3/market/allInstruments":
        return {"code": "200", "msg": "Success", "data": []}
    if path == "/markets/ticker24h":
        return [_day(rest_day(coin, time_ns() // 1_000_000)) for coin in LISTED]
    market, _, what = path.removeprefix("/markets/").partition("/")
    coin = market.partition("_")[0]
    if what == "candles" and 100 <= int(query["limit"]) <= 500:
        first = -(-int(query["startTime"]) // MINUTE) * MINUTE
        return [_row(rest_candle(coin, first + number * MINUTE)) for number in range(3)]
    if what == "trades" and int(query["limit"]) <= 1000:
        return [_old(deal) for deal in reversed(wire.history.get(coin, ()))]
    return None


def asked(request: Any) -> Iterable[Topic]:
    if request["event"] == "subscribe":
        for channel in request["channel"]:
            for market in request["symbols"]:
                yield _CHANNELS[channel], market.partition("_")[0]


def answer(request: Any, wire: Wire) -> Iterable[Frame]:
    if request["event"] == "ping":
        yield {"event": "pong"}
        return
    for _, coin in asked(request):
        if coin in wire.refused:
            yield {"event": "error", "message": f"Invalid symbol value [{coin}_USDT]"}
            return
    for channel in request["channel"]:
        yield {"event": "subscribe", "channel": channel, "symbols": request["symbols"]}


def trades(deals: Sequence[Deal]) -> Iterable[Frame]:
    yield {"channel": "trades", "data": [_deal(deal) for deal in deals]}


def ticker(day: Day) -> Iterable[Frame]:
    row = _day(day)
    yield {"channel": "ticker", "data": [{key: row[key] for key in row if not key.startswith(("bid", "ask", "disp"))}]}


def candle(candle: VenueCandle) -> Iterable[Frame]:
    row = {
        "symbol": f"{candle.coin}_USDT", "amount": str(candle.volume * candle.close), "high": str(candle.high),
        "quantity": str(candle.volume), "tradeCount": 7, "low": str(candle.low),
        "closeTime": candle.timestamp + MINUTE - 1,
        "startTime": candle.timestamp, "close": str(candle.close), "open": str(candle.open),
        "ts": candle.timestamp + 32_072,
    }  # fmt: skip
    yield {"channel": "candles_minute_1", "data": [row]}


def _deal(deal: Deal) -> dict[str, Any]:
    return {
        "symbol": f"{deal.coin}_USDT", "amount": str(deal.quantity * deal.price), "quantity": str(deal.quantity),
        "takerSide": "sell" if deal.sold else "buy", "createTime": deal.timestamp, "price": str(deal.price),
        "id": str(deal.number), "ts": deal.timestamp + 5,
    }  # fmt: skip


def _old(deal: Deal) -> dict[str, Any]:
    row = {key: value for key, value in _deal(deal).items() if key != "symbol"}
    return {**row, "takerSide": "SELL" if deal.sold else "BUY"}


def _day(day: Day) -> dict[str, Any]:
    return {
        "symbol": f"{day.coin}_USDT", "open": str(day.opened), "low": str(day.low), "high": str(day.high),
        "close": str(day.last), "quantity": str(day.volume), "amount": str(day.turnover), "tradeCount": 17582,
        "startTime": day.timestamp - 86_400_000, "closeTime": day.timestamp - 53, "displayName": f"{day.coin}/USDT",
        "dailyChange": str(day.change / 100), "bid": str(day.bid), "bidQuantity": "0.016313", "ask": str(day.ask),
        "askQuantity": "0.068307", "ts": day.timestamp, "markPrice": str(day.last),
    }  # fmt: skip


def _row(candle: VenueCandle) -> list[Any]:
    prices = (candle.low, candle.high, candle.open, candle.close)
    amounts = (candle.volume * candle.close, candle.volume, candle.volume * candle.close / 2, candle.volume / 2)
    return [*map(str, prices), *map(str, amounts), 33, 0, str(candle.close), "MINUTE_1", candle.timestamp,
            candle.timestamp + MINUTE - 1]  # fmt: skip


def _market(coin: str) -> dict[str, Any]:
    limits = {
        "symbol": f"{coin}_USDT", "priceScale": 2, "quantityScale": 6, "amountScale": 2, "minQuantity": "0.000001",
        "minAmount": "1", "maxQuantity": "100", "maxAmount": "10000000", "highestBid": "0", "lowestAsk": "0",
    }  # fmt: skip
    return {
        "symbol": f"{coin}_USDT", "baseCurrencyName": coin, "quoteCurrencyName": "USDT", "displayName": f"{coin}/USDT",
        "state": "NORMAL", "visibleStartTime": 1659018819512, "tradableStartTime": 1659018819512,
        "symbolTradeLimit": limits, "crossMargin": {"supportCrossMargin": True, "maxLeverage": 3},
    }  # fmt: skip
