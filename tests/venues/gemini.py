"""Gemini: https://docs.gemini.com/ (multi market data of WebSocket v1, market data of v2, REST market data).

Trades come over v1, where the address names the subscriptions; candles come over v2.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tests.venues.market import LISTED, MINUTE, Day, Deal, VenueCandle, rest_candle, rest_day
from tests.venues.wire import Frame, Topic, VenueLaws, Wire

OPTIONS = {"ws": {"cost": 0.1}}  # without this, ccxt spaces its messages by 100 ms
LAWS = VenueLaws(paths={"trades": "/v1/multimarketdata", "candles": "/v2/marketdata"})
LACKS = frozenset({"ticker", "turnover"})
SENDS_OLD_TRADES = False  # only the API v2 sends old trades, and it is not used for trades
SENDS_OLD_CANDLES = True
REFUSES_WHOLE = False
GREETING: Sequence[Frame] = ()
HEARTBEATS: Sequence[Frame] = (
    {"type": "heartbeat", "timestampms": 1_659_740_268_958, "sequence": 7, "socket_sequence": 7},
)


def rest(path: str, query: Mapping[str, str], wire: Wire) -> Any:
    if path == "/v1/symbols":
        return [f"{coin.lower()}usd" for coin in LISTED]
    if path == "/v1/pricefeed":
        return [_day(rest_day(coin, 0)) for coin in LISTED]
    coin = next((part.removesuffix("usd").upper() for part in path.split("/") if part.endswith("usd")), "")
    if path.startswith("/v2/candles/"):
        minute = wire.began - wire.began % MINUTE  # every request gets the newest candles
        return [_candle(rest_candle(coin, minute - number * MINUTE)) for number in range(3, 10)]
    if path.startswith("/v1/trades/"):
        return [_old(deal) for deal in reversed(wire.history.get(coin, ()))]
    return None


def dialled(path: str, query: Mapping[str, str]) -> Iterable[Topic]:
    """The topics of the subscriptions in the address."""
    if path == "/v1/multimarketdata" and query["trades"] == "true":
        for market in query["symbols"].split(","):
            yield "trades", market.removesuffix("usd").upper()


def asked(request: Any) -> Iterable[Topic]:
    if request["type"] == "subscribe":
        for subscription in request["subscriptions"]:
            assert subscription["name"] == "candles_1m"
            for market in subscription["symbols"]:
                yield "candles", market.removesuffix("USD")


def answer(request: Any, wire: Wire) -> Iterable[Frame]:
    for _, coin in asked(request):
        if coin in wire.refused:
            yield {"result": "error", "reason": "NoValidTradingPairs"}
        else:
            yield _updates(coin, reversed(wire.old_candles.get(coin, ())))


def trades(deals: Sequence[Deal]) -> Iterable[Frame]:
    """All trades of one order come in one message with one time."""
    for time in dict.fromkeys(deal.timestamp for deal in deals):
        events = [_event(deal) for deal in deals if deal.timestamp == time]
        yield {
            "type": "update", "eventId": 1_683_002_242_170_204, "timestamp": time // 1000, "timestampms": time,
            "socket_sequence": 2, "events": events,
        }  # fmt: skip


def ticker(day: Day) -> Iterable[Frame]:
    return ()


def candle(candle: VenueCandle) -> Iterable[Frame]:
    yield _updates(candle.coin, [candle])


def _updates(coin: str, candles: Iterable[VenueCandle]) -> Frame:
    return {"type": "candles_1m_updates", "symbol": f"{coin}USD", "changes": [_candle(candle) for candle in candles]}


def trade_id(number: int) -> str:
    return str(1_683_002_242_170_204 + number)


def _event(deal: Deal) -> dict[str, Any]:
    return {
        "type": "trade", "symbol": f"{deal.coin}USD", "tid": int(trade_id(deal.number)), "price": str(deal.price),
        "amount": str(deal.quantity), "makerSide": "bid" if deal.sold else "ask",
    }  # fmt: skip


def _old(deal: Deal) -> dict[str, Any]:
    return {
        "timestamp": deal.timestamp // 1000, "timestampms": deal.timestamp, "tid": int(trade_id(deal.number)),
        "price": str(deal.price), "amount": str(deal.quantity), "exchange": "gemini",
        "type": "sell" if deal.sold else "buy",
    }  # fmt: skip


def _day(day: Day) -> dict[str, Any]:
    return {"pair": f"{day.coin}USD", "price": str(day.last), "percentChange24h": str(day.change)}


def _candle(candle: VenueCandle) -> list[Any]:
    return [candle.timestamp, candle.open, candle.high, candle.low, candle.close, candle.volume]
