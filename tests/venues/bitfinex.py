"""Bitfinex v2: https://docs.bitfinex.com/docs/ws-public and https://docs.bitfinex.com/reference (public endpoints)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tests.venues.market import LISTED, Day, Deal, VenueCandle, rest_candles, rest_day
from tests.venues.wire import Frame, Topic, VenueLaws, Wire

OPTIONS = {"ws": {"cost": 0.05}}  # without this, ccxt spaces its messages by 250 ms
LAWS = VenueLaws(topics=25, dials=(20, 60.0), paths=dict.fromkeys(("trades", "ticker", "candles"), "/ws/2"))
LACKS = frozenset({"timestamp", "turnover"})
SENDS_OLD_TRADES = True
SENDS_OLD_CANDLES = True
REFUSES_WHOLE = False
GREETING: Sequence[Frame] = (
    {"event": "info", "version": 2, "serverId": "b6aaa6d2-7a5c-4bf5-8a3c", "platform": {"status": 1}},
)
HEARTBEATS: Sequence[Frame] = ([1, "hb"],)
_CHANNELS = ("trades", "ticker", "candles")
_PAIRS = {coin: f"{coin}USD" if len(coin) == 3 else f"{coin}:USD" for coin in LISTED} | {"BTC": "BTCUST"}
_COINS = {f"t{pair}": coin for coin, pair in _PAIRS.items()}


def rest(path: str, query: Mapping[str, str], wire: Wire) -> Any:
    if path.startswith("/v2/conf/"):
        limits = [None, None, None, "0.00006", "2000.0", None, None, None, None, None, None, None]
        return [[[pair, limits] for pair in _PAIRS.values()], [], [], ["BTCUSD"]]
    if path == "/v2/tickers":
        return [[market, *_day(rest_day(_COINS[market], 0))] for market in query["symbols"].split(",")]
    if path.startswith("/v2/candles/trade:1m:"):
        coin = _COINS[path.split(":", 2)[2].removesuffix("/hist")]
        return list(map(_candle, rest_candles(coin, int(query["start"]) if "start" in query else None)))
    if path.startswith("/v2/trades/"):
        return [_deal(deal) for deal in reversed(wire.history.get(_COINS[path.split("/")[3]], ()))]
    return None


def asked(request: Any) -> Iterable[Topic]:
    if request.get("event") == "subscribe":
        market = request["symbol"] if "symbol" in request else request["key"].removeprefix("trade:1m:")
        yield request["channel"], _COINS[market]


def answer(request: Any, wire: Wire) -> Iterable[Frame]:
    for channel, coin in asked(request):
        given = {key: request[key] for key in ("channel", "symbol", "key") if key in request}
        if coin in wire.refused:
            yield {"event": "error", "msg": "symbol: invalid", "code": 10300, **given}
            continue
        pair = {} if channel == "candles" else {"pair": _PAIRS[coin]}
        yield {"event": "subscribed", "chanId": _id(channel, coin), **given, **pair}
        if channel == "trades":
            yield [_id(channel, coin), [_deal(deal) for deal in reversed(wire.history.get(coin, ()))]]
        if channel == "candles" and coin in wire.old_candles:
            yield [_id(channel, coin), [_candle(candle) for candle in reversed(wire.old_candles[coin])]]


def trades(deals: Sequence[Deal]) -> Iterable[Frame]:
    """Frames of trades; each trade is sent twice: as executed (te) and as updated (tu)."""
    for deal in deals:
        for kind in ("te", "tu"):
            yield [_id("trades", deal.coin), kind, _deal(deal)]


def ticker(day: Day) -> Iterable[Frame]:
    yield [_id("ticker", day.coin), _day(day)]


def candle(candle: VenueCandle) -> Iterable[Frame]:
    yield [_id("candles", candle.coin), _candle(candle)]


def _id(channel: str, coin: str) -> int:
    """The channel's number, which the venue chooses."""
    return 17_000 + 10 * LISTED.index(coin) + _CHANNELS.index(channel)


def _deal(deal: Deal) -> list[Any]:
    return [deal.number, deal.timestamp, -deal.quantity if deal.sold else deal.quantity, deal.price]


def _day(day: Day) -> list[Any]:
    change = day.last - day.opened
    return [day.bid, 9.0029, day.ask, 7.1138, change, day.change / 100, day.last, day.volume, day.high, day.low]


def _candle(candle: VenueCandle) -> list[Any]:
    return [candle.timestamp, candle.open, candle.close, candle.high, candle.low, candle.volume]
