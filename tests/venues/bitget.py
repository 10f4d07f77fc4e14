"""Bitget v2: https://www.bitget.com/api-doc/spot/ (market, WebSocket)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from time import time_ns
from typing import Any

from tests.venues.market import LISTED, Day, Deal, VenueCandle, rest_candles, rest_day
from tests.venues.wire import Frame, Topic, VenueLaws, Wire

PACE = 10  # messages are sent ten times as fast here, and the venue's rule allows ten times as many
LAWS = VenueLaws(
    messages=(10, 0.1),
    size=4096,
    topics=1000,
    ping_within=120.0,
    paths=dict.fromkeys(("trades", "ticker", "candles"), "/v2/ws/public"),
)
LACKS: frozenset[str] = frozenset()
SENDS_OLD_TRADES = True
SENDS_OLD_CANDLES = True
REFUSES_WHOLE = False
GREETING: Sequence[Frame] = ()
HEARTBEATS: Sequence[Frame] = ("pong",)
_CHANNELS = {"trade": "trades", "ticker": "ticker", "candle1m": "candles"}


def rest(path: str, query: Mapping[str, str], wire: Wire) -> Any:
    now = time_ns() // 1_000_000
    if path == "/api/v2/spot/public/symbols":
        return _ok([_market(coin) for coin in LISTED])
    if path == "/api/v2/margin/currencies":
        return _ok([{"symbol": "BTCUSDT", "baseCoin": "BTC", "quoteCoin": "USDT", "maxCrossedLeverage": "5",
                     "maxIsolatedLeverage": "10", "warningRiskRatio": "0.8", "liquidationRiskRatio": "1",
                     "minTradeAmount": "0.0001", "maxTradeAmount": "10000", "takerFeeRate": "0.001",
                     "makerFeeRate": "0.001", "pricePrecision": "2", "quantityPrecision": "6", "minTradeUSDT": "1",
                     "isBorrowable": True, "userMinBorrow": "0.0001", "status": "1", "isCrossBorrowable": True,
                     "isIsolatedBaseBorrowable": True, "isIsolatedQuoteBorrowable": True}])  # fmt: skip
    if path == "/api/v2/spot/market/tickers":
        return _ok([{**_day(rest_day(coin, now)), "symbol": f"{coin}USDT", "usdtVolume": "1"} for coin in LISTED])
    coin = query.get("symbol", "").removesuffix("USDT")
    if path == "/api/v2/spot/market/candles":
        return _ok(list(map(_candle, rest_candles(coin, int(query["startTime"]) if "startTime" in query else None))))
    if path == "/api/v2/spot/market/fills-history":
        return _ok([{"symbol": f"{coin}USDT", **_deal(deal)} for deal in reversed(wire.history.get(coin, ()))])
    return None


def asked(request: Any) -> Iterable[Topic]:
    if isinstance(request, dict) and request.get("op") == "subscribe":
        for arg in request["args"]:
            yield _CHANNELS[arg["channel"]], arg["instId"].removesuffix("USDT")


def answer(request: Any, wire: Wire) -> Iterable[Frame]:
    if request == "ping":
        yield "pong"
        return
    for arg, (channel, coin) in zip(request["args"], asked(request), strict=True):
        if coin in wire.refused:
            text = f"instType:{arg['instType']},channel:{arg['channel']},instId:{arg['instId']} doesn't exist"
            yield {"event": "error", "arg": arg, "code": 30001, "msg": text, "op": "subscribe"}
            continue
        yield {"event": "subscribe", "arg": arg}
        if channel == "trades" and coin in wire.history:
            yield _pushed("trade", coin, [_deal(deal) for deal in reversed(wire.history[coin])], "snapshot")
        if channel == "candles" and coin in wire.old_candles:
            yield _pushed("candle1m", coin, [_candle(candle) for candle in wire.old_candles[coin]], "snapshot")


def trades(deals: Sequence[Deal]) -> Iterable[Frame]:
    yield _pushed("trade", deals[0].coin, [_deal(deal) for deal in reversed(deals)])  # the newest trade first


def ticker(day: Day) -> Iterable[Frame]:
    yield _pushed("ticker", day.coin, [{"instId": f"{day.coin}USDT", **_day(day)}], "snapshot")


def candle(candle: VenueCandle) -> Iterable[Frame]:
    yield _pushed("candle1m", candle.coin, [_candle(candle)])


def _ok(data: list[Any]) -> dict[str, Any]:
    return {"code": "00000", "msg": "success", "requestTime": time_ns() // 1_000_000, "data": data}


def _pushed(channel: str, coin: str, data: list[Any], action: str = "update") -> dict[str, Any]:
    arg = {"instType": "SPOT", "channel": channel, "instId": f"{coin}USDT"}
    return {"action": action, "arg": arg, "data": data, "ts": time_ns() // 1_000_000}


def _market(coin: str) -> dict[str, Any]:
    return {
        "symbol": f"{coin}USDT", "baseCoin": coin, "quoteCoin": "USDT", "minTradeAmount": "0",
        "maxTradeAmount": "900000000000000000000", "takerFeeRate": "0.002", "makerFeeRate": "0.002",
        "pricePrecision": "2", "quantityPrecision": "6", "quotePrecision": "8", "status": "online", "minTradeUSDT": "1",
        "buyLimitPriceRatio": "0.05", "sellLimitPriceRatio": "0.05", "areaSymbol": "no", "orderQuantity": "200",
        "openTime": "1532454360000", "offTime": "",
    }  # fmt: skip


def _deal(deal: Deal) -> dict[str, Any]:
    return {
        "ts": str(deal.timestamp), "price": str(deal.price), "size": str(deal.quantity),
        "side": "sell" if deal.sold else "buy", "tradeId": trade_id(deal.number),
    }  # fmt: skip


def trade_id(number: int) -> str:
    return str(1_116_461_060_594_286_593 + number)


def _day(day: Day) -> dict[str, Any]:
    return {
        "lastPr": str(day.last), "open24h": str(day.opened), "high24h": str(day.high), "low24h": str(day.low),
        "change24h": str(day.change / 100), "bidPr": str(day.bid), "askPr": str(day.ask), "bidSz": "0.0334",
        "askSz": "0.1917", "baseVolume": str(day.volume), "quoteVolume": str(day.turnover), "openUtc": str(day.opened),
        "changeUtc24h": str(day.change / 100), "ts": str(day.timestamp),
    }  # fmt: skip


def _candle(candle: VenueCandle) -> list[str]:
    turnover = candle.volume * candle.close
    return list(
        map(
            str,
            (candle.timestamp, candle.open, candle.high, candle.low, candle.close, candle.volume, turnover, turnover),
        )
    )
