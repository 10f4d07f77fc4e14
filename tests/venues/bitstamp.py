"""Bitstamp: https://www.bitstamp.net/websocket/v2/ and https://www.bitstamp.net/api/ (market info, tickers)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from time import time_ns
from typing import Any

from tests.venues.market import LISTED, Day, Deal, VenueCandle, rest_candles, rest_day
from tests.venues.wire import Frame, Topic, VenueLaws, Wire

OPTIONS = {"ws": {"cost": 0.1}}  # without this, ccxt spaces its messages by 75 ms; the venue has published no limit
LAWS = VenueLaws(paths={"trades": "/"})
LACKS = frozenset({"candles", "ticker"})
SENDS_OLD_TRADES = False
SENDS_OLD_CANDLES = False
REST_SECONDS = True
REFUSES_WHOLE = False
GREETING: Sequence[Frame] = ()
HEARTBEATS: Sequence[Frame] = ({"event": "bts:heartbeat", "channel": "", "data": {"status": "success"}},)


def rest(path: str, query: Mapping[str, str], wire: Wire) -> Any:
    if path == "/api/v2/markets/":
        return [_market(coin) for coin in LISTED]
    if path == "/api/v2/ticker/":
        return [_day(rest_day(coin, time_ns() // 1_000_000)) for coin in LISTED]
    coin = path.strip("/").rpartition("/")[2].removesuffix("usd").upper()
    if path.startswith("/api/v2/ohlc/"):
        candles = rest_candles(coin, int(query["start"]) * 1000 if "start" in query else None)
        return {"data": {"pair": f"{coin}/USD", "ohlc": [_candle(candle) for candle in candles]}}
    if path.startswith("/api/v2/transactions/"):
        return [_old(deal) for deal in reversed(wire.history.get(coin, ()))]
    return None


def asked(request: Any) -> Iterable[Topic]:
    if request["event"] == "bts:subscribe":
        yield "trades", request["data"]["channel"].removeprefix("live_trades_").removesuffix("usd").upper()


def answer(request: Any, wire: Wire) -> Iterable[Frame]:
    for _, coin in asked(request):
        if coin in wire.refused:
            yield {"event": "bts:error", "channel": "", "data": {"code": None, "message": "Bad subscription string."}}
        else:
            channel = request["data"]["channel"]
            yield {"event": "bts:subscription_succeeded", "channel": channel, "data": {}}


def trades(deals: Sequence[Deal]) -> Iterable[Frame]:
    for deal in deals:
        data = {
            "id": deal.number, "timestamp": str(deal.timestamp // 1000), "amount": deal.quantity,
            "amount_str": f"{deal.quantity:.8f}", "price": deal.price, "price_str": f"{deal.price:.2f}",
            "type": int(deal.sold), "microtimestamp": str(deal.timestamp * 1000), "buy_order_id": 1207733769326592,
            "sell_order_id": 1207733765476352,
        }  # fmt: skip
        yield {"data": data, "channel": f"live_trades_{deal.coin.lower()}usd", "event": "trade"}


def ticker(day: Day) -> Iterable[Frame]:
    return ()


def candle(candle: VenueCandle) -> Iterable[Frame]:
    return ()


def _market(coin: str) -> dict[str, Any]:
    return {
        "name": f"{coin}/USD", "market_symbol": f"{coin.lower()}usd", "base_currency": coin, "base_decimals": 8,
        "counter_currency": "USD", "counter_decimals": 2, "minimum_order_value": "10", "trading": "Enabled",
        "instant_order_counter_decimals": 2, "instant_and_market_orders": "Enabled", "description": f"{coin} / dollar",
        "market_type": "SPOT",
    }  # fmt: skip


def _old(deal: Deal) -> dict[str, Any]:
    return {
        "date": str(deal.timestamp // 1000), "tid": str(deal.number), "price": str(deal.price),
        "type": str(int(deal.sold)), "amount": str(deal.quantity),
    }  # fmt: skip


def _day(day: Day) -> dict[str, Any]:
    """The ticker in REST answers; its "open" is the calendar day's opening price."""
    return {
        "timestamp": str(day.timestamp // 1000), "open": str(day.last), "high": str(day.high), "low": str(day.low),
        "last": str(day.last), "volume": str(day.volume), "vwap": str(day.last), "bid": str(day.bid),
        "ask": str(day.ask), "side": "0", "open_24": str(day.opened), "percent_change_24": str(day.change),
        "market_type": "SPOT", "pair": f"{day.coin}/USD", "market": f"{day.coin}/USD",
    }  # fmt: skip


def _candle(candle: VenueCandle) -> dict[str, Any]:
    return {
        "timestamp": str(candle.timestamp // 1000), "open": str(candle.open), "high": str(candle.high),
        "low": str(candle.low),
        "close": str(candle.close), "volume": str(candle.volume),
    }  # fmt: skip
