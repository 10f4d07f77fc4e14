"""HTX spot: https://www.htx.com/en-us/opend/newApiPages/ (market data, WebSocket market data)."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping, Sequence
from time import time_ns
from typing import Any

from tests.venues.market import LISTED, Day, Deal, VenueCandle, rest_candles, rest_day
from tests.venues.wire import Frame, Topic, VenueLaws, Wire

OPTIONS = {"ws": {"cost": 0.1}}  # without this, ccxt spaces its messages by 100 ms
LAWS = VenueLaws(paths=dict.fromkeys(("trades", "ticker", "candles"), "/ws"))
LACKS: frozenset[str] = frozenset()
SENDS_OLD_TRADES = True
SENDS_OLD_CANDLES = False
REFUSES_WHOLE = False
GREETING: Sequence[Frame] = ()
_NAMES = {"trade.detail": "trades", "detail": "ticker", "kline.1min": "candles"}


def _packed(frame: dict[str, Any]) -> bytes:
    return gzip.compress(json.dumps(frame).encode())


HEARTBEATS: Sequence[Frame] = (_packed({"ping": 1_492_420_473_027}),)
ANSWERED = {"pong": 1_492_420_473_027}


def trade_id(number: int) -> str:
    return str(102_090_727_790 + number)


def rest(path: str, query: Mapping[str, str], wire: Wire) -> Any:
    now = time_ns() // 1_000_000
    if path == "/v1/common/symbols":
        return {"status": "ok", "data": [_market(coin) for coin in LISTED]}
    if path == "/market/tickers":
        rows = [{**_day(rest_day(coin, now)), "symbol": f"{coin.lower()}usdt"} for coin in LISTED]
        return {"data": rows, "status": "ok", "ts": now}
    market = query.get("symbol", "")
    coin = market.removesuffix("usdt").upper()
    if path == "/market/history/candles":
        candles = reversed(rest_candles(coin, int(query["from"]) * 1000 if "from" in query else None))
        return {
            "status": "ok",
            "ch": f"market.{market}.kline.1min",
            "ts": now,
            "data": [_candle(candle) for candle in candles],
        }
    if path == "/market/history/trade":
        ticks = [_tick([deal]) for deal in reversed(wire.history.get(coin, ()))]
        for tick in ticks:
            tick["data"][0]["trade-id"] = tick["data"][0].pop("tradeId")
        return {"ch": f"market.{market}.trade.detail", "status": "ok", "ts": now, "data": ticks}
    return None


def asked(request: Any) -> Iterable[Topic]:
    if "sub" in request:
        _, market, name = request["sub"].split(".", 2)
        yield _NAMES[name], market.removesuffix("usdt").upper()


def answer(request: Any, wire: Wire) -> Iterable[Frame]:
    now = time_ns() // 1_000_000
    for channel, coin in asked(request):
        if coin in wire.refused:
            text = f"invalid topic {request['sub']}"
            yield _packed({"id": request["id"], "status": "error", "err-code": "bad-request", "err-msg": text,
                           "ts": now})  # fmt: skip
            continue
        yield _packed({"id": request["id"], "status": "ok", "subbed": request["sub"], "ts": now})
        if channel == "trades":  # the last trade before the subscription comes first
            yield from (_traded([deal], now) for deal in wire.history.get(coin, [])[-1:])


def trades(deals: Sequence[Deal]) -> Iterable[Frame]:
    yield _traded(deals, deals[-1].timestamp)


def ticker(day: Day) -> Iterable[Frame]:
    yield _packed({"ch": f"market.{day.coin.lower()}usdt.detail", "ts": day.timestamp, "tick": _day(day)})


def candle(candle: VenueCandle) -> Iterable[Frame]:
    channel = f"market.{candle.coin.lower()}usdt.kline.1min"
    yield _packed({"ch": channel, "ts": time_ns() // 1_000_000, "tick": _candle(candle)})


def _traded(deals: Sequence[Deal], now: int) -> bytes:
    return _packed({"ch": f"market.{deals[0].coin.lower()}usdt.trade.detail", "ts": now, "tick": _tick(deals)})


def _tick(deals: Sequence[Deal]) -> dict[str, Any]:
    """Rows of trades, newest first; "id" has so many digits that a parser may make it a float."""
    rows = [
        {
            "id": 10_500_464_537_273_190_000_000_000 + deal.number, "ts": deal.timestamp,
            "tradeId": int(trade_id(deal.number)), "amount": deal.quantity, "price": deal.price,
            "direction": "sell" if deal.sold else "buy",
        }
        for deal in reversed(deals)
    ]  # fmt: skip
    return {"id": 105_004_645_372, "ts": deals[-1].timestamp, "data": rows}


def _market(coin: str) -> dict[str, Any]:
    return {
        "base-currency": coin.lower(), "quote-currency": "usdt", "price-precision": 2, "amount-precision": 6,
        "symbol-partition": "main", "symbol": f"{coin.lower()}usdt", "state": "online", "value-precision": 8,
        "min-order-amt": 0.0001, "max-order-amt": 1000, "min-order-value": 5, "limit-order-min-order-amt": 0.0001,
        "limit-order-max-order-amt": 1000, "limit-order-max-buy-amt": 1000, "limit-order-max-sell-amt": 1000,
        "sell-market-min-order-amt": 0.0001, "sell-market-max-order-amt": 100, "buy-market-max-order-value": 1000000,
        "leverage-ratio": 5, "api-trading": "enabled", "tags": "",
    }  # fmt: skip


def _day(day: Day) -> dict[str, Any]:
    """The 24 h statistics: "amount" is in base currency, "vol" in quote currency. The stream's statistics have no bid
    and no ask."""
    return {
        "id": 209_988_464_418, "low": day.low, "high": day.high, "open": day.opened, "close": day.last,
        "vol": day.turnover, "amount": day.volume, "version": 209_988_464_418, "count": 265_673,
    }  # fmt: skip


def _candle(candle: VenueCandle) -> dict[str, Any]:
    return {
        "id": candle.timestamp // 1000, "open": candle.open, "close": candle.close, "low": candle.low,
        "high": candle.high,
        "amount": candle.volume, "vol": candle.volume * candle.close, "count": 12,
    }  # fmt: skip
