"""Bithumb's second API, REST and WebSocket: https://apidocs.bithumb.com. It is modelled on Upbit's API.

The pages do not say whether a request replaces the previous one, as on Upbit. ccxt's authors found that it does on the
private socket, and others have measured that it does on the public socket. Trades over REST have other ids than in the
stream.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from time import time_ns
from typing import Any

from tests.venues import upbit
from tests.venues.market import LISTED, MINUTE, Day, Deal, VenueCandle, rest_candle, rest_day
from tests.venues.wire import Frame, Topic, VenueLaws, Wire

LAWS = VenueLaws(dials=(10, 1.0), replaces=True, paths=dict.fromkeys(("trades", "ticker"), "/websocket/v1"))
LACKS = frozenset({"candles"})
QUOTES = ("KRW",)
SENDS_OLD_TRADES = True
REFUSES_WHOLE = False
REFUSES_SILENTLY = True
GREETING: Sequence[Frame] = ()
HEARTBEATS: Sequence[Frame] = ({"status": "UP"},)
TRADE_IDS = False


def rest(path: str, query: Mapping[str, str], wire: Wire) -> Any:
    now = time_ns() // 1_000_000
    if path == "/v1/market/all":
        names = {"korean_name": "비트코인", "english_name": "Bitcoin", "market_warning": "NONE"}
        return [{"market": f"KRW-{coin}", **names} for coin in LISTED]
    if path == "/v1/ticker":
        coins = [market.removeprefix("KRW-") for market in query["markets"].split(",")]
        return [{"market": f"KRW-{coin}", **upbit.day(rest_day(coin, now))} for coin in coins]
    coin = query.get("market", "").removeprefix("KRW-")
    if path == "/v1/candles/minutes/1" and int(query["count"]) <= 200:  # every request gets the newest candles
        newest = now // MINUTE * MINUTE + 3 * MINUTE
        return [upbit.row(rest_candle(coin, newest - number * MINUTE)) for number in range(12)]
    if path == "/v1/trades/ticks" and int(query["count"]) <= 500:
        return [_old(deal) for deal in reversed(wire.history.get(coin, ()))]
    return None


def asked(request: Any) -> Iterable[Topic]:
    return upbit.asked(request)


def answer(request: Any, wire: Wire) -> Iterable[Frame]:
    for channel, coin in asked(request):
        if channel == "trades" and coin not in wire.refused and wire.history.get(coin):
            yield upbit.binary({**_trade(wire.history[coin][-1]), "stream_type": "SNAPSHOT"})


def trades(deals: Sequence[Deal]) -> Iterable[Frame]:
    yield from (upbit.binary({**_trade(deal), "stream_type": "REALTIME"}) for deal in deals)


def ticker(told: Day) -> Iterable[Frame]:
    yield from upbit.ticker(told)


def candle(candle: VenueCandle) -> Iterable[Frame]:
    return ()


def _trade(deal: Deal) -> dict[str, Any]:
    return {
        "type": "trade", "code": f"KRW-{deal.coin}", "trade_price": deal.price, "trade_volume": deal.quantity,
        "ask_bid": "ASK" if deal.sold else "BID", "prev_closing_price": deal.price, "change": "EVEN",
        "change_price": 0, "trade_date": "2026-07-10", "trade_time": "13:39:41", "trade_timestamp": deal.timestamp,
        "sequential_id": f"86268381382{deal.number:07}", "timestamp": deal.timestamp + 260,
    }  # fmt: skip


def _old(deal: Deal) -> dict[str, Any]:
    return {
        "market": f"KRW-{deal.coin}", "trade_date_utc": "2026-07-10", "trade_time_utc": "04:39:41",
        "timestamp": str(deal.timestamp), "trade_price": str(deal.price), "trade_volume": str(deal.quantity),
        "prev_closing_price": str(deal.price), "change_price": "0", "ask_bid": "ASK" if deal.sold else "BID",
        "sequential_id": f"{deal.timestamp}0000",
    }  # fmt: skip
