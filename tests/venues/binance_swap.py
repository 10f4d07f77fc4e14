"""Binance USDⓈ-M futures: https://developers.binance.com/docs/derivatives/usds-margined-futures (REST, market streams).

Since 2026 its streams are under two paths: data of the matching engine under /public, aggregated data under /market.
Raw trades are not documented; on the live stream they have the form of spot's trades, with "X" for the kind.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from time import time_ns
from typing import Any

from tests.venues.market import LISTED, MINUTE, Day, Deal, VenueCandle, rest_candle, rest_day
from tests.venues.wire import Frame, Topic, VenueLaws, Wire

VENUE = "binance"
MARKET_TYPE = "swap"
LAWS = VenueLaws(
    messages=(10, 1.0),
    topics=1024,
    batch=200,
    paths={"trades": "/public/ws/0", "quotes": "/public/ws/0", "ticker": "/market/ws/0", "candles": "/market/ws/0"},
)
LACKS: frozenset[str] = frozenset()
SENDS_OLD_TRADES = False
REFUSES_SILENTLY = True
REFUSES_WHOLE = False
GREETING: Sequence[Frame] = ()
HEARTBEATS: Sequence[Frame] = ()  # none: the venue uses the WebSocket's own pings
OPTIONS = {"ws": {"cost": 2}}  # ccxt spaces messages by 2 times 50 ms, as the venue's rule demands
_CHANNELS = {"trade": "trades", "ticker": "ticker", "kline_1m": "candles", "bookTicker": "quotes"}


def rest(path: str, query: Mapping[str, str], wire: Wire) -> Any:
    now = time_ns() // 1_000_000
    if path == "/fapi/v1/exchangeInfo":
        return {"timezone": "UTC", "serverTime": now, "futuresType": "U_MARGINED", "rateLimits": [],
                "exchangeFilters": [], "assets": [], "symbols": [_market(coin) for coin in LISTED]}  # fmt: skip
    if path == "/fapi/v1/ticker/24hr":
        return [_rest_day(rest_day(coin, now)) for coin in LISTED]
    coin = query.get("symbol", "").removesuffix("USDT")
    if path == "/fapi/v1/klines":
        first = int(query.get("startTime", now // MINUTE * MINUTE - 2 * MINUTE))
        return [_row(rest_candle(coin, first + number * MINUTE)) for number in range(3)]
    if path == "/fapi/v1/trades":  # this path has the stream's ids; aggTrades has other ids
        return [_rest_deal(deal) for deal in wire.history.get(coin, ())]
    return None


def asked(request: Any) -> Iterable[Topic]:
    if request["method"] == "SUBSCRIBE":
        for name in request["params"]:
            market, _, channel = name.partition("@")
            yield _CHANNELS[channel], market.removesuffix("usdt").upper()


def answer(request: Any, wire: Wire) -> Iterable[Frame]:
    yield {"result": None, "id": request["id"]}


def trades(deals: Sequence[Deal]) -> Iterable[Frame]:
    """The frames of trades. Before each of them come two other rows, which the live stream has 15 times a minute: an
    id without a trade, and a trade of the insurance fund."""
    for deal in deals:
        yield {**_deal(deal), "t": deal.number * 10 - 2, "p": "0", "q": "0", "X": "NA"}
        yield {**_deal(deal), "t": deal.number * 10 - 1, "p": "0", "q": "0", "X": "INSURANCE_FUND"}
        yield _deal(deal)


def trade_id(number: int) -> str:
    return str(number * 10)


def ticker(day: Day) -> Iterable[Frame]:
    yield {
        "e": "24hrTicker", "E": day.timestamp + 1, "s": f"{day.coin}USDT", "p": str(day.last - day.opened),
        "P": str(day.change), "w": str(day.last), "c": str(day.last), "Q": "0.002", "o": str(day.opened),
        "h": str(day.high), "l": str(day.low), "v": str(day.volume), "q": str(day.turnover),
        "O": day.timestamp - 86_400_000, "C": day.timestamp, "F": 1, "L": 18_151, "n": 18_151,
    }  # fmt: skip


def candle(candle: VenueCandle) -> Iterable[Frame]:
    yield {
        "e": "kline", "E": candle.timestamp + 30_000, "s": f"{candle.coin}USDT",
        "k": {
            "t": candle.timestamp, "T": candle.timestamp + MINUTE - 1, "s": f"{candle.coin}USDT", "i": "1m",
            "f": 100, "L": 200,
            "o": str(candle.open), "c": str(candle.close), "h": str(candle.high), "l": str(candle.low),
            "v": str(candle.volume),
            "n": 100, "x": candle.closed, "q": str(candle.volume * candle.close), "V": "0.5", "Q": "0.5", "B": "0",
        },
    }  # fmt: skip


def quote(day: Day, bid_size: float, ask_size: float) -> Iterable[Frame]:
    yield {
        "e": "bookTicker", "u": 400_900_217, "E": day.timestamp, "T": day.timestamp, "s": f"{day.coin}USDT",
        "b": str(day.bid), "B": str(bid_size), "a": str(day.ask), "A": str(ask_size),
    }  # fmt: skip


def _deal(deal: Deal) -> dict[str, Any]:
    return {
        "e": "trade", "E": deal.timestamp, "T": deal.timestamp, "s": f"{deal.coin}USDT", "t": deal.number * 10,
        "p": str(deal.price), "q": str(deal.quantity), "X": "MARKET", "m": deal.sold,
    }  # fmt: skip


def _rest_deal(deal: Deal) -> dict[str, Any]:
    return {
        "id": deal.number * 10, "price": str(deal.price), "qty": str(deal.quantity),
        "quoteQty": str(deal.price * deal.quantity), "time": deal.timestamp, "isBuyerMaker": deal.sold,
        "isRPITrade": False,
    }  # fmt: skip


def _rest_day(day: Day) -> dict[str, Any]:
    return {
        "symbol": f"{day.coin}USDT", "priceChange": str(day.last - day.opened), "priceChangePercent": str(day.change),
        "weightedAvgPrice": str(day.last), "lastPrice": str(day.last), "lastQty": "0.002",
        "openPrice": str(day.opened), "highPrice": str(day.high), "lowPrice": str(day.low),
        "volume": str(day.volume), "quoteVolume": str(day.turnover), "openTime": day.timestamp - 86_400_000,
        "closeTime": day.timestamp, "firstId": 1, "lastId": 18_151, "count": 18_151,
    }  # fmt: skip


def _row(candle: VenueCandle) -> list[Any]:
    prices = [str(value) for value in (candle.open, candle.high, candle.low, candle.close, candle.volume)]
    return [
        candle.timestamp,
        *prices,
        candle.timestamp + MINUTE - 1,
        str(candle.volume * candle.close),
        308,
        "0.5",
        "0.5",
        "0",
    ]


def _market(coin: str) -> dict[str, Any]:
    return {
        "symbol": f"{coin}USDT", "pair": f"{coin}USDT", "contractType": "PERPETUAL", "deliveryDate": 4133404800000,
        "onboardDate": 1569398400000, "status": "TRADING", "maintMarginPercent": "2.5000",
        "requiredMarginPercent": "5.0000", "baseAsset": coin, "quoteAsset": "USDT", "marginAsset": "USDT",
        "pricePrecision": 2, "quantityPrecision": 3, "baseAssetPrecision": 8, "quotePrecision": 8,
        "underlyingType": "COIN", "underlyingSubType": ["PoW"], "triggerProtect": "0.0500",
        "liquidationFee": "0.012500", "marketTakeBound": "0.05", "maxMoveOrderLimit": 10_000,
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "4529764", "tickSize": "0.01"},
            {"filterType": "LOT_SIZE", "minQty": "0.001", "maxQty": "1000", "stepSize": "0.001"},
            {"filterType": "MARKET_LOT_SIZE", "minQty": "0.001", "maxQty": "120", "stepSize": "0.001"},
            {"filterType": "MIN_NOTIONAL", "notional": "100"},
        ],
        "orderTypes": ["LIMIT", "MARKET"], "timeInForce": ["GTC", "IOC", "FOK", "GTX"],
    }  # fmt: skip
