"""Coinbase Exchange: https://docs.cdp.coinbase.com/exchange (WebSocket feed, REST)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tests.venues.market import LISTED, MINUTE, Day, Deal, VenueCandle, iso, ms, rest_candle, rest_day
from tests.venues.wire import Frame, Topic, VenueLaws, Wire

LAWS = VenueLaws(messages=(100, 1.0), dials=(8, 1.0), subscribe_within=5.0)
LACKS = frozenset({"candles"})
SENDS_OLD_TRADES = True
REFUSES_WHOLE = True
GREETING: Sequence[Frame] = ()
HEARTBEATS: Sequence[Frame] = (
    {"type": "heartbeat", "sequence": 90, "last_trade_id": 20, "product_id": "BTC-USD", "time": iso(1_767_000_000_000)},
)
_CHANNELS = {"matches": "trades", "ticker": "ticker"}


def rest(path: str, query: Mapping[str, str], wire: Wire) -> Any:
    if path == "/products":
        return [_product(coin) for coin in LISTED]
    if path == "/products/spark-lines":
        return {f"{coin}-USD": [_spark(coin, hour) for hour in range(3)] for coin in LISTED}
    product, _, what = path.removeprefix("/products/").partition("/")
    coin = product.partition("-")[0]
    if what == "candles":
        candles = [rest_candle(coin, ms(query["start"]) + number * MINUTE) for number in (2, 1, 0)]
        return [
            [candle.timestamp // 1000, candle.low, candle.high, candle.open, candle.close, candle.volume]
            for candle in candles
        ]
    if what == "trades":
        rows = [_match(deal) for deal in reversed(wire.history.get(coin, ()))]
        return [{key: row[key] for key in ("trade_id", "side", "size", "price", "time")} for row in rows]
    return None


def asked(request: Any) -> Iterable[Topic]:
    if request["type"] == "subscribe":
        for channel in request["channels"]:
            for product in request["product_ids"]:
                yield _CHANNELS[channel], product.partition("-")[0]


def answer(request: Any, wire: Wire) -> Iterable[Frame]:
    topics = list(asked(request))
    for _, coin in topics:
        if coin in wire.refused:
            reason = f"{coin}-USD is not a valid product"
            yield {"type": "error", "message": "Failed to subscribe", "reason": reason}
            return
    channels = [{"name": name, "product_ids": request["product_ids"]} for name in request["channels"]]
    yield {"type": "subscriptions", "channels": channels}
    for channel, coin in topics:
        if channel == "trades":
            yield from ({**_match(deal), "type": "last_match"} for deal in wire.history.get(coin, [])[-1:])


def trades(deals: Sequence[Deal]) -> Iterable[Frame]:
    yield from map(_match, deals)


def ticker(day: Day) -> Iterable[Frame]:
    yield {
        "type": "ticker", "sequence": 37475248783, "product_id": f"{day.coin}-USD", "price": str(day.last),
        "open_24h": str(day.opened), "volume_24h": str(day.volume), "low_24h": str(day.low),
        "high_24h": str(day.high), "volume_30d": str(30 * day.volume), "best_bid": str(day.bid),
        "best_bid_size": "0.00046847", "best_ask": str(day.ask), "best_ask_size": "1.16", "side": "buy",
        "time": iso(day.timestamp), "trade_id": 370843401, "last_size": "11.4396987",
    }  # fmt: skip


def candle(candle: VenueCandle) -> Iterable[Frame]:
    return ()


def _match(deal: Deal) -> dict[str, Any]:
    return {
        "type": "match", "trade_id": deal.number, "maker_order_id": "ac928c66-ca53-498f-9c13-a110027a60e8",
        # "side" is the maker's
        "taker_order_id": "132fb6ae-456b-4654-b4e0-d681ac05cea1", "side": "buy" if deal.sold else "sell",
        "size": str(deal.quantity), "price": str(deal.price), "product_id": f"{deal.coin}-USD",
        "sequence": 50 + deal.number, "time": iso(deal.timestamp),
    }  # fmt: skip


def _spark(coin: str, hours_ago: int) -> list[float]:
    day = rest_day(coin, 0)
    return [1_767_000_000 - 3600 * hours_ago, day.low, day.high, day.opened, day.last]


def _product(coin: str) -> dict[str, Any]:
    return {
        "id": f"{coin}-USD", "base_currency": coin, "quote_currency": "USD", "quote_increment": "0.01",
        "base_increment": "0.00000001", "display_name": f"{coin}-USD", "min_market_funds": "1",
        "margin_enabled": False, "post_only": False, "limit_only": False, "cancel_only": False, "status": "online",
        "status_message": "", "trading_disabled": False, "fx_stablecoin": False,
        "max_slippage_percentage": "0.02000000", "auction_mode": False, "high_bid_limit_percentage": "",
    }  # fmt: skip
