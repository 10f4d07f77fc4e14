"""Kraken, REST and WebSocket v2: https://docs.kraken.com/api (spot)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tests.venues.market import LISTED, MINUTE, Day, Deal, VenueCandle, iso, rest_candle, rest_day
from tests.venues.wire import Frame, Topic, VenueLaws, Wire

# The limit is not published; ccxt sends one message per second. Here the rule and ccxt are both twenty times as fast,
# and the rule allows some more messages, for a busy machine.
PACE = 20
LAWS = VenueLaws(messages=(4, 0.1), ping_within=60.0, paths=dict.fromkeys(("trades", "ticker", "candles"), "/v2"))
LACKS = frozenset({"timestamp"})
SENDS_OLD_TRADES = True
SENDS_OLD_CANDLES = True
REFUSES_WHOLE = False
_STATUS = {"version": "2.0.9", "system": "online", "api_version": "v2", "connection_id": 12393906104898154338}
GREETING: Sequence[Frame] = ({"channel": "status", "type": "update", "data": [_STATUS]},)
HEARTBEATS: Sequence[Frame] = ({"channel": "heartbeat"}, *GREETING)
SYMBOLS = {coin: f"{coin}/USD" for coin in LISTED} | {"BTC": "BTC/USDT"}
_PAIRS = {coin: f"{coin}USD" for coin in LISTED} | {"BTC": "XBTUSDT", "ETH": "XETHZUSD"}
_ASSETS = {"BTC": "XXBT", "ETH": "XETH", "USD": "ZUSD"}
_CHANNELS = {"trade": "trades", "ticker": "ticker", "ohlc": "candles"}


def rest(path: str, query: Mapping[str, str], wire: Wire) -> Any:
    if path == "/0/public/AssetPairs":
        return _ok({_PAIRS[coin]: _pair(coin) for coin in LISTED})
    coins = {pair: coin for coin, pair in _PAIRS.items()}
    if path == "/0/public/Ticker":
        return _ok({pair: _day(rest_day(coins[pair], 0)) for pair in query["pair"].split(",")})
    pair = query.get("pair", "")
    if path == "/0/public/OHLC":
        first = int(query["since"]) * 1000 + MINUTE
        return _ok({pair: [_row(rest_candle(coins[pair], first + number * MINUTE)) for number in range(3)], "last": 0})
    if path == "/0/public/Trades":
        rows = [_old(deal) for deal in wire.history.get(coins[pair], ())]
        return _ok({pair: rows, "last": "1616663618000000000"})
    return None


def asked(request: Any) -> Iterable[Topic]:
    if request["method"] == "subscribe":
        for symbol in request["params"]["symbol"]:
            yield _CHANNELS[request["params"]["channel"]], symbol.partition("/")[0]


def answer(request: Any, wire: Wire) -> Iterable[Frame]:
    if request["method"] == "ping":
        yield {"method": "pong", "req_id": request.get("req_id"), "time_in": iso(0), "time_out": iso(0)}
        return
    kind = request["params"]["channel"]
    for channel, coin in asked(request):
        told = {"method": "subscribe", "req_id": request["req_id"], "time_in": iso(0), "time_out": iso(0)}
        if coin in wire.refused:
            symbol = SYMBOLS[coin]
            yield {**told, "error": f"Currency pair not supported {symbol}", "success": False, "symbol": symbol}
            continue
        yield {**told, "result": {"channel": kind, "snapshot": True, "symbol": SYMBOLS[coin]}, "success": True}
        if channel == "trades" and coin in wire.history:
            yield _pushed("trade", "snapshot", [_deal(deal) for deal in wire.history[coin]])
        if channel == "candles" and coin in wire.old_candles:
            yield {
                **_pushed("ohlc", "snapshot", [_candle(candle) for candle in wire.old_candles[coin]]),
                "timestamp": iso(0, 9),
            }


def trades(deals: Sequence[Deal]) -> Iterable[Frame]:
    yield _pushed("trade", "update", [_deal(deal) for deal in deals])


def ticker(day: Day) -> Iterable[Frame]:
    row = {
        "symbol": SYMBOLS[day.coin], "bid": day.bid, "bid_qty": 0.01362603, "ask": day.ask, "ask_qty": 17.17988863,
        "last": day.last, "volume": day.volume, "vwap": day.last, "low": day.low, "high": day.high,
        "change": day.last - day.opened, "change_pct": day.change,
    }  # fmt: skip
    yield _pushed("ticker", "update", [row])


def candle(candle: VenueCandle) -> Iterable[Frame]:
    yield {**_pushed("ohlc", "update", [_candle(candle)]), "timestamp": iso(candle.timestamp, 9)}


def _candle(candle: VenueCandle) -> dict[str, Any]:
    return {
        "symbol": SYMBOLS[candle.coin], "open": candle.open, "high": candle.high, "low": candle.low,
        "close": candle.close,
        "trades": 12, "volume": candle.volume, "vwap": candle.close, "interval_begin": iso(candle.timestamp, 9),
        "interval": 1,
        "timestamp": iso(candle.timestamp + MINUTE),
    }  # fmt: skip


def _ok(result: dict[str, Any]) -> dict[str, Any]:
    return {"error": [], "result": result}


def _pushed(channel: str, kind: str, rows: list[Any]) -> dict[str, Any]:
    return {"channel": channel, "type": kind, "data": rows}


def _deal(deal: Deal) -> dict[str, Any]:
    return {
        "symbol": SYMBOLS[deal.coin], "side": "sell" if deal.sold else "buy", "price": deal.price,
        "qty": deal.quantity, "ord_type": "market", "trade_id": deal.number, "timestamp": iso(deal.timestamp),
    }  # fmt: skip


def _old(deal: Deal) -> list[Any]:
    side = "s" if deal.sold else "b"
    return [str(deal.price), str(deal.quantity), deal.timestamp / 1000, side, "m", "", deal.number]


def _day(day: Day) -> dict[str, Any]:
    last, volume, low, high = str(day.last), str(day.volume), str(day.low), str(day.high)
    return {
        "a": [str(day.ask), "1", "1.000"], "b": [str(day.bid), "2", "2.000"], "c": [last, "0.04408910"],
        "v": [volume, volume], "p": [last, last], "t": [3907, 10056], "l": [low, low], "h": [high, high],
        "o": str(day.opened),
    }  # fmt: skip


def _row(candle: VenueCandle) -> list[Any]:
    return [
        candle.timestamp // 1000,
        *map(str, (candle.open, candle.high, candle.low, candle.close, candle.close, candle.volume)),
        5,
    ]


def _pair(coin: str) -> dict[str, Any]:
    base, quote = SYMBOLS[coin].split("/")
    alias = {"BTC": "XBT"}.get(coin, coin)
    return {
        "altname": f"{alias}{quote}", "wsname": f"{alias}/{quote}", "aclass_base": "currency",
        "base": _ASSETS.get(base, base), "aclass_quote": "currency", "quote": _ASSETS.get(quote, quote), "lot": "unit",
        "cost_decimals": 5, "pair_decimals": 1, "lot_decimals": 8, "lot_multiplier": 1, "leverage_buy": [2, 3],
        "leverage_sell": [2, 3], "fees": [[0, 0.26], [50000, 0.24]], "fees_maker": [[0, 0.16], [50000, 0.14]],
        "fee_volume_currency": "ZUSD", "margin_call": 80, "margin_stop": 40, "ordermin": "0.0001", "costmin": "0.5",
        "tick_size": "0.1", "status": "online", "long_position_limit": 270, "short_position_limit": 180,
    }  # fmt: skip
