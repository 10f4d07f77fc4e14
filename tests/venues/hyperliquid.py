"""Hyperliquid spot, info endpoint and WebSocket: https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api.

Spot markets are named by their index ("@107"), and coins that Unit has bridged by a special name (UBTC). Others have
measured that a subscription is answered with past trades; here it is answered with the last trade. The answer for a
wrong market is not documented: here it is the error in ccxt's comments; others have seen the venue close the
connection.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from time import time_ns
from typing import Any

from tests.venues.market import LISTED, MINUTE, Day, Deal, VenueCandle, rest_candle, rest_day
from tests.venues.wire import Frame, Topic, VenueLaws, Wire

PACE = 10  # messages are sent ten times as fast here, and the venue's rule allows ten times as many
LAWS = VenueLaws(
    messages=(2000, 6.0), dials=(30, 60.0), topics=1000, ping_within=60.0,
    paths=dict.fromkeys(("trades", "ticker", "candles"), "/ws"),
)  # fmt: skip
LACKS = frozenset({"timestamp"})
SENDS_OLD_TRADES = True
REFUSES_WHOLE = True
GREETING: Sequence[Frame] = ()
HEARTBEATS: Sequence[Frame] = ({"channel": "pong"},)
_CHANNELS = {"trades": "trades", "activeAssetCtx": "ticker", "candle": "candles"}
_IDS = {coin: f"@{107 + number}" for number, coin in enumerate(LISTED)}
_COINS = {market: coin for coin, market in _IDS.items()}
_BRIDGED = ("BTC", "ETH", "SOL")


def rest(path: str, query: Mapping[str, Any], wire: Wire) -> Any:
    now = time_ns() // 1_000_000
    kind = query["type"] if path == "/info" else ""
    if kind == "spotMetaAndAssetCtxs":
        return _meta(now)
    if kind == "candleSnapshot":
        asked_for = query["req"]
        first = -(-asked_for["startTime"] // MINUTE) * MINUTE
        return [_candle(rest_candle(_COINS[asked_for["coin"]], first + number * MINUTE)) for number in range(3)]
    if kind == "recentTrades":
        return [_deal(deal) for deal in reversed(wire.history.get(_COINS[query["coin"]], ()))]
    return None


def asked(request: Any) -> Iterable[Topic]:
    if request["method"] == "subscribe":
        wanted = request["subscription"]
        yield _CHANNELS[wanted["type"]], _COINS[wanted["coin"]]


def answer(request: Any, wire: Wire) -> Iterable[Frame]:
    if request["method"] == "ping":
        yield {"channel": "pong"}
        return
    wanted = request["subscription"]
    for channel, coin in asked(request):
        if coin in wire.refused:
            spelled = f'{{"type":"{wanted["type"]}","coin":"{wanted["coin"]}"}}'
            yield {"channel": "error", "data": f"Invalid subscription {spelled}"}
            continue
        yield {"channel": "subscriptionResponse", "data": request}
        if channel == "trades" and wire.history.get(coin):
            yield from trades(wire.history[coin][-1:])


def trades(deals: Sequence[Deal]) -> Iterable[Frame]:
    yield {"channel": "trades", "data": [_deal(deal) for deal in deals]}


def ticker(day: Day) -> Iterable[Frame]:
    yield {"channel": "activeSpotAssetCtx", "data": {"coin": _IDS[day.coin], "ctx": _day(day)}}


def candle(candle: VenueCandle) -> Iterable[Frame]:
    yield {"channel": "candle", "data": _candle(candle)}


def _deal(deal: Deal) -> dict[str, Any]:
    return {
        "coin": _IDS[deal.coin], "side": "A" if deal.sold else "B", "px": str(deal.price), "sz": str(deal.quantity),
        "time": deal.timestamp, "hash": f"0x{deal.number:064x}", "tid": deal.number,
        "users": ["0x2b804617c6f63c040377e95bb276811747006f4b", "0xecb63caa47c7c4e77f60f1ce858cf28dc2b82b00"],
    }  # fmt: skip


def _day(day: Day) -> dict[str, Any]:
    return {
        "prevDayPx": str(day.opened), "dayNtlVlm": str(day.turnover), "markPx": str(day.last),
        "midPx": str(day.last), "circulatingSupply": "20999999.0", "coin": _IDS[day.coin],
        "totalSupply": "20999999.0", "dayBaseVlm": str(day.volume),
    }  # fmt: skip


def _candle(candle: VenueCandle) -> dict[str, Any]:
    return {
        "t": candle.timestamp, "T": candle.timestamp + MINUTE - 1, "s": _IDS[candle.coin], "i": "1m",
        "o": str(candle.open),
        "c": str(candle.close), "h": str(candle.high), "l": str(candle.low), "v": str(candle.volume), "n": 20,
    }  # fmt: skip


def _meta(now: int) -> list[Any]:
    tokens = [_token(0, "USDC", "USDC"), *(
        _token(number, f"U{coin}" if coin in _BRIDGED else coin, coin) for number, coin in enumerate(LISTED, 1)
    )]  # fmt: skip
    universe = [
        {"name": _IDS[coin], "tokens": [number, 0], "index": number - 1, "isCanonical": False}
        for number, coin in enumerate(LISTED, 1)
    ]
    return [{"universe": universe, "tokens": tokens}, [_day(rest_day(coin, now)) for coin in LISTED]]


def _token(index: int, name: str, full: str) -> dict[str, Any]:
    return {
        "name": name, "szDecimals": 5, "weiDecimals": 10, "index": index, "tokenId": f"0x{index:032x}",
        "isCanonical": index == 0, "evmContract": None, "fullName": full, "deployerTradingFeeShare": "1.0",
    }  # fmt: skip
