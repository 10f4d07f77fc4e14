"""Gate, API v4: https://www.gate.com/docs/developers/apiv4 (spot, REST and WebSocket)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tests.venues.market import LISTED, MINUTE, Day, Deal, VenueCandle, rest_candle, rest_day
from tests.venues.wire import Frame, Topic, VenueLaws, Wire

LAWS = VenueLaws(paths=dict.fromkeys(("trades", "ticker", "candles"), "/ws/v4/"))
LACKS = frozenset({"timestamp"})
SENDS_OLD_TRADES = False
REFUSES_WHOLE = True
GREETING: Sequence[Frame] = ()
HEARTBEATS: Sequence[Frame] = ({"time": 1767000000, "channel": "spot.pong", "event": "", "result": None},)
_CHANNELS = {"spot.trades": "trades", "spot.tickers": "ticker", "spot.candlesticks": "candles"}


def rest(path: str, query: Mapping[str, str], wire: Wire) -> Any:
    if path == "/api/v4/spot/currency_pairs":
        return [_market(coin) for coin in LISTED]
    if path == "/api/v4/margin/currency_pairs":
        return [{"id": "BTC_USDT", "base": "BTC", "quote": "USDT", "leverage": 10, "min_base_amount": "0.0001",
                 "min_quote_amount": "1", "max_quote_amount": "1000000", "status": 1}]  # fmt: skip
    if path == "/api/v4/spot/tickers":
        return [_day(rest_day(coin, 0)) for coin in LISTED]
    coin = query.get("currency_pair", "").partition("_")[0]
    if path == "/api/v4/spot/candlesticks":
        first = int(query["from"]) * 1000
        return [_row(rest_candle(coin, first + number * MINUTE)) for number in range(3)]
    if path == "/api/v4/spot/trades":
        return [_deal(deal) for deal in reversed(wire.history.get(coin, ()))]
    return None


def asked(request: Any) -> Iterable[Topic]:
    if request["event"] == "subscribe":
        channel = _CHANNELS[request["channel"]]
        for market in request["payload"][1:] if channel == "candles" else request["payload"]:
            yield channel, market.partition("_")[0]


def answer(request: Any, wire: Wire) -> Iterable[Frame]:
    told = {
        "time": request["time"], "time_ms": request["time"] * 1000 + 201, "id": request["id"],
        "conn_id": "62f2c1dabbe186d7", "trace_id": "cdb02a8c0b61086b2fe6f8fad2f98c54", "channel": request["channel"],
        "event": request["event"], "payload": request["payload"], "requestId": "cdb02a8c0b61086b2fe6f8fad2f98c54",
    }  # fmt: skip
    for _, coin in asked(request):
        if coin in wire.refused:
            error = {"code": 2, "message": f"unknown currency pair: {coin}_USDT"}
            yield {**told, "error": error, "result": {"status": "fail"}}
            return
    yield {**told, "result": {"status": "success"}}


def trades(deals: Sequence[Deal]) -> Iterable[Frame]:
    for deal in deals:
        yield _pushed("spot.trades", deal.timestamp, _deal(deal))


def ticker(day: Day) -> Iterable[Frame]:
    yield _pushed("spot.tickers", day.timestamp, _day(day))


def candle(candle: VenueCandle) -> Iterable[Frame]:
    row = {
        "t": str(candle.timestamp // 1000), "v": str(candle.volume * candle.close), "c": str(candle.close),
        "h": str(candle.high),
        "l": str(candle.low), "o": str(candle.open), "n": f"1m_{candle.coin}_USDT", "a": str(candle.volume),
        "w": candle.closed,
    }  # fmt: skip
    yield _pushed("spot.candlesticks", candle.timestamp, row)


def _pushed(channel: str, timestamp: int, result: dict[str, Any]) -> dict[str, Any]:
    time = timestamp // 1000
    return {"time": time, "time_ms": timestamp, "channel": channel, "event": "update", "result": result}


def _deal(deal: Deal) -> dict[str, Any]:
    return {
        "id": deal.number, "id_market": deal.number, "create_time": deal.timestamp // 1000,
        "create_time_ms": f"{deal.timestamp}.457000", "side": "sell" if deal.sold else "buy",
        "currency_pair": f"{deal.coin}_USDT", "amount": str(deal.quantity), "price": str(deal.price),
        "range": "2390902-2390902",
    }  # fmt: skip


def _day(day: Day) -> dict[str, str]:
    return {
        "currency_pair": f"{day.coin}_USDT", "last": str(day.last), "lowest_ask": str(day.ask),
        "highest_bid": str(day.bid), "change_percentage": str(day.change), "base_volume": str(day.volume),
        "quote_volume": str(day.turnover), "high_24h": str(day.high), "low_24h": str(day.low),
    }  # fmt: skip


def _row(candle: VenueCandle) -> list[str]:
    values = (candle.volume * candle.close, candle.close, candle.high, candle.low, candle.open, candle.volume)
    return [str(candle.timestamp // 1000), *map(str, values), "true"]


def _market(coin: str) -> dict[str, Any]:
    return {
        "id": f"{coin}_USDT", "base": coin, "base_name": coin, "quote": "USDT", "quote_name": "Tether", "fee": "0.2",
        "min_base_amount": "0.0001", "min_quote_amount": "3", "max_quote_amount": "5000000", "amount_precision": 5,
        "precision": 2, "trade_status": "tradable", "sell_start": 0, "buy_start": 1700492400, "delisting_time": 0,
        "type": "normal", "trade_url": f"https://www.gate.com/trade/{coin}_USDT", "st_tag": False,
    }  # fmt: skip
