"""Crypto.com Exchange v1, REST and WebSocket: https://exchange-docs.crypto.com/exchange/v1/rest-ws.

The documentation does not say whether a subscription is answered with earlier trades; here it is answered with the last
trade. The limit of channels per connection was measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from time import time_ns
from typing import Any

from tests.venues.market import LISTED, MINUTE, Day, Deal, VenueCandle, rest_candle, rest_day
from tests.venues.wire import Frame, Topic, VenueLaws, Wire

OPTIONS = {"ws": {"settle": 0.05}}  # the pause after the dial and the rule for it are both 20 times as short here
LAWS = VenueLaws(
    messages=(100, 1.0),
    topics=400,
    settle=0.05,
    paths=dict.fromkeys(("trades", "ticker", "candles"), "/exchange/v1/market"),
)
LACKS: frozenset[str] = frozenset()
SENDS_OLD_TRADES = True
REFUSES_WHOLE = True
GREETING: Sequence[Frame] = ()
HEARTBEATS: Sequence[Frame] = ({"id": 1587523073344, "method": "public/heartbeat", "code": 0},)
ANSWERED = {
    "id": 1587523073344,
    "method": "public/respond-heartbeat",
}  # the answer to a heartbeat; without it the venue closes the connection after 5 s
_CHANNELS = {"trade": "trades", "ticker": "ticker", "candlestick": "candles"}


def rest(path: str, query: Mapping[str, str], wire: Wire) -> Any:
    what = path.removeprefix("/exchange/v1/public/")
    if what == "get-instruments":
        return _ok(what, {"data": [_market(coin) for coin in LISTED]})
    if what == "get-tickers":  # the ticker of one market, or of all
        wanted = [query["instrument_name"].partition("_")[0]] if "instrument_name" in query else LISTED
        return _ok(what, {"data": [_day(rest_day(coin, time_ns() // 1_000_000)) for coin in wanted]})
    coin = query.get("instrument_name", "").partition("_")[0]
    if what == "get-candlestick" and int(query["count"]) <= 300:
        asked_from = int(query.get("start_ts", time_ns() // 1_000_000 - 3 * MINUTE))
        first = -(-(asked_from + MINUTE) // MINUTE) * MINUTE
        candles = [_candle(rest_candle(coin, first + number * MINUTE)) for number in range(3)]
        return _ok(what, {"interval": query["timeframe"], "data": candles, "instrument_name": f"{coin}_USDT"})
    if what == "get-trades":
        return _ok(what, {"data": [_old(deal) for deal in reversed(wire.history.get(coin, ()))]})
    return None


def asked(request: Any) -> Iterable[Topic]:
    if request["method"] == "subscribe":
        for channel in request["params"]["channels"]:
            yield _CHANNELS[channel.partition(".")[0]], channel.rpartition(".")[2].partition("_")[0]


def answer(request: Any, wire: Wire) -> Iterable[Frame]:
    topics = list(asked(request))
    if any(coin in wire.refused for _, coin in topics):
        named = [name for name in request["params"]["channels"] if name.rpartition(".")[2][:-5] in wire.refused]
        text = f'invalid channel {{"channels":["{named[0]}"]}}'
        yield {"id": 0, "code": 10004, "method": "subscribe", "message": text}
        return
    for name, (channel, coin) in zip(request["params"].get("channels", ()) if topics else (), topics, strict=True):
        yield {"id": -1, "method": "subscribe", "code": 0, "channel": name}
        if channel == "trades" and wire.history.get(coin):
            yield from trades(wire.history[coin][-1:])


def trades(deals: Sequence[Deal]) -> Iterable[Frame]:
    yield _pushed("trade", "trade", deals[0].coin, [_deal(deal) for deal in deals])


def ticker(day: Day) -> Iterable[Frame]:
    yield _pushed("ticker", "ticker", day.coin, [{**_day(day), "bs": "0.12", "ks": "0.35", "oi": "0"}])


def candle(candle: VenueCandle) -> Iterable[Frame]:
    yield _pushed("candlestick", "candlestick.1m", candle.coin, [_candle(candle)], interval="1m", depth=300)


def _ok(what: str, result: dict[str, Any]) -> dict[str, Any]:
    return {"id": -1, "method": f"public/{what}", "code": 0, "result": result}


def _pushed(channel: str, topic: str, coin: str, data: list[Any], **more: Any) -> dict[str, Any]:
    name = f"{coin}_USDT"
    result = {"instrument_name": name, "subscription": f"{topic}.{name}", "channel": channel, **more, "data": data}
    return {"id": -1, "method": "subscribe", "code": 0, "result": result}


def _deal(deal: Deal) -> dict[str, Any]:
    return {
        "d": str(deal.number), "t": deal.timestamp, "tn": str(deal.timestamp * 1_000_000 + 404_123),
        "q": str(deal.quantity), "p": str(deal.price), "s": "SELL" if deal.sold else "BUY", "i": f"{deal.coin}_USDT",
        "m": "76423",
    }  # fmt: skip


def _old(deal: Deal) -> dict[str, Any]:
    return {**_deal(deal), "s": "sell" if deal.sold else "buy"}


def _day(day: Day) -> dict[str, Any]:
    return {
        "i": f"{day.coin}_USDT", "h": str(day.high), "l": str(day.low), "a": str(day.last), "v": str(day.volume),
        "vv": str(day.turnover), "c": str(day.change / 100), "b": str(day.bid), "k": str(day.ask), "t": day.timestamp,
    }  # fmt: skip


def _candle(candle: VenueCandle) -> dict[str, Any]:
    return {
        "o": str(candle.open), "h": str(candle.high), "l": str(candle.low), "c": str(candle.close),
        "v": str(candle.volume),
        "t": candle.timestamp, "ut": candle.timestamp + 32_000,
    }  # fmt: skip


def _market(coin: str) -> dict[str, Any]:
    return {
        "symbol": f"{coin}_USDT", "inst_type": "CCY_PAIR", "display_name": f"{coin}/USDT", "base_ccy": coin,
        "quote_ccy": "USDT", "quote_decimals": 2, "quantity_decimals": 5, "price_tick_size": "0.01",
        "qty_tick_size": "0.00001", "max_leverage": "50", "tradable": True, "expiry_timestamp_ms": 0,
        "beta_product": False, "margin_buy_enabled": False, "margin_sell_enabled": True,
    }  # fmt: skip
