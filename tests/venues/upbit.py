"""Upbit, REST and WebSocket: https://docs.upbit.com/kr/reference. It answers in binary frames that hold JSON.

It gives no answer for a market that it does not list.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from time import time_ns
from typing import Any

from tests.venues.market import LISTED, MINUTE, Day, Deal, VenueCandle, iso, ms, rest_candle, rest_day
from tests.venues.wire import Frame, Topic, VenueLaws, Wire

LAWS = VenueLaws(
    messages=(5, 1.0), dials=(5, 1.0), replaces=True, ping_within=120.0,
    paths=dict.fromkeys(("trades", "ticker"), "/websocket/v1"),
)  # fmt: skip
LACKS = frozenset({"candles"})
QUOTES = ("KRW",)
SENDS_OLD_TRADES = True
REFUSES_WHOLE = False
REFUSES_SILENTLY = True
GREETING: Sequence[Frame] = ()
HEARTBEATS: Sequence[Frame] = (b'{"status":"UP"}',)
_CHANNELS = {"trade": "trades", "ticker": "ticker"}


def trade_id(number: int) -> str:
    return f"1584508285{number:07}"


def rest(path: str, query: Mapping[str, str], wire: Wire) -> Any:
    if path == "/v1/market/all":
        names = {"korean_name": "비트코인", "english_name": "Bitcoin"}
        return [{"market": f"KRW-{coin}", **names} for coin in LISTED]
    if path == "/v1/ticker":
        now = time_ns() // 1_000_000
        coins = [market.removeprefix("KRW-") for market in query["markets"].split(",")]
        return [{"market": f"KRW-{coin}", **day(rest_day(coin, now))} for coin in coins]
    coin = query.get("market", "").removeprefix("KRW-")
    if path == "/v1/candles/minutes/1" and int(query["count"]) <= 200:
        first = ms(query["to"]) - int(query["count"]) * MINUTE
        return [row(rest_candle(coin, first + number * MINUTE)) for number in (2, 1, 0)]
    if path == "/v1/trades/ticks" and int(query["count"]) <= 500:
        return [_old(deal) for deal in reversed(wire.history.get(coin, ()))]
    return None


def asked(request: Any) -> Iterable[Topic]:
    for part in request if isinstance(request, list) else ():
        if "type" in part:
            for code in part["codes"]:
                yield _CHANNELS[part["type"]], code.removeprefix("KRW-")


def answer(request: Any, wire: Wire) -> Iterable[Frame]:
    if request == "PING":
        yield {"status": "UP"}
        return
    for channel, coin in asked(request):
        if channel == "trades" and coin not in wire.refused and wire.history.get(coin):
            yield binary({**_trade(wire.history[coin][-1]), "stream_type": "SNAPSHOT"})


def trades(deals: Sequence[Deal]) -> Iterable[Frame]:
    yield from (binary({**_trade(deal), "stream_type": "REALTIME"}) for deal in deals)


def ticker(told: Day) -> Iterable[Frame]:
    yield binary({"type": "ticker", "code": f"KRW-{told.coin}", **day(told), "stream_type": "REALTIME"})


def candle(candle: VenueCandle) -> Iterable[Frame]:
    return ()


def binary(frame: Any) -> bytes:
    return json.dumps(frame, ensure_ascii=False).encode()


def day(told: Day) -> dict[str, Any]:
    change = told.last - told.opened
    return {
        "opening_price": told.opened, "high_price": told.high, "low_price": told.low, "trade_price": told.last,
        "prev_closing_price": told.opened, "change": "RISE", "change_price": change, "signed_change_price": change,
        "change_rate": told.change / 100, "signed_change_rate": told.change / 100, "trade_volume": 0.00104195,
        "acc_trade_volume": told.volume / 2, "acc_trade_volume_24h": told.volume, "acc_trade_price": told.turnover / 2,
        "acc_trade_price_24h": told.turnover, "trade_date": "20250704", "trade_time": "051130",
        "trade_timestamp": told.timestamp, "ask_bid": "BID", "acc_ask_volume": 481.67, "acc_bid_volume": 390.28,
        "highest_52_week_price": told.high, "highest_52_week_date": "2025-01-20", "lowest_52_week_price": told.low,
        "lowest_52_week_date": "2024-08-05", "market_state": "ACTIVE", "is_trading_suspended": False,
        "delisting_date": None, "market_warning": "NONE", "timestamp": told.timestamp + 85,
    }  # fmt: skip


def row(candle: VenueCandle) -> dict[str, Any]:
    return {
        "market": f"KRW-{candle.coin}", "candle_date_time_utc": iso(candle.timestamp)[:19],
        "candle_date_time_kst": iso(candle.timestamp + 9 * 3_600_000)[:19], "opening_price": candle.open,
        "high_price": candle.high, "low_price": candle.low, "trade_price": candle.close,
        "timestamp": candle.timestamp + 51_000,
        "candle_acc_trade_price": candle.volume * candle.close, "candle_acc_trade_volume": candle.volume, "unit": 1,
    }  # fmt: skip


def _trade(deal: Deal) -> dict[str, Any]:
    return {
        "type": "trade", "code": f"KRW-{deal.coin}", "timestamp": deal.timestamp + 1_812, "trade_date": "2025-07-04",
        "trade_time": "05:11:25", "trade_timestamp": deal.timestamp, "trade_price": deal.price,
        "trade_volume": deal.quantity, "ask_bid": "ASK" if deal.sold else "BID", "prev_closing_price": deal.price,
        "change": "EVEN", "change_price": 0.0, "sequential_id": int(trade_id(deal.number)),
        "best_ask_price": deal.price, "best_ask_size": 0.0025, "best_bid_price": deal.price, "best_bid_size": 0.0317,
    }  # fmt: skip


def _old(deal: Deal) -> dict[str, Any]:
    return {
        "market": f"KRW-{deal.coin}", "trade_date_utc": "2025-07-04", "trade_time_utc": "05:11:25",
        "timestamp": deal.timestamp, "trade_price": deal.price, "trade_volume": deal.quantity,
        "prev_closing_price": deal.price, "change_price": 0.0, "ask_bid": "ASK" if deal.sold else "BID",
        "sequential_id": int(trade_id(deal.number)),
    }  # fmt: skip
