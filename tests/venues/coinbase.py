"""Coinbase Advanced Trade: https://docs.cdp.coinbase.com/coinbase-app/advanced-trade-apis (WebSocket, REST)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from time import time_ns
from typing import Any

from tests.venues.market import LISTED, MINUTE, Day, Deal, VenueCandle, iso, rest_candle, rest_day
from tests.venues.wire import Frame, Topic, VenueLaws, Wire

LAWS = VenueLaws(messages=(8, 1.0), subscribe_within=5.0, wanted=("heartbeats",))
LACKS = frozenset({"candles"})
SENDS_OLD_TRADES = True
REFUSES_WHOLE = True
GREETING: Sequence[Frame] = ()
# names in the stream, in which -USDC pairs are called -USD
IDS = {coin: f"{coin}-USD" for coin in LISTED} | {"BTC": "BTC-USDT", "ETH": "ETH-USDT"}
_LISTED = (*IDS.values(), "SOL-USDC")
_CHANNELS = {"market_trades": "trades", "ticker_batch": "ticker", "heartbeats": "heartbeats"}
_PRODUCTS = "/api/v3/brokerage/market/products"


def rest(path: str, query: Mapping[str, str], wire: Wire) -> Any:
    if path == _PRODUCTS:
        if query.get("product_type") == "FUTURE":
            return {"products": [], "num_products": 0}
        products = [_product(spelled) for spelled in _LISTED]
        return {"products": products, "num_products": len(products)}
    product, _, what = path.removeprefix(f"{_PRODUCTS}/").partition("/")
    coin = product.partition("-")[0]
    if what == "candles":
        first = int(query["start"]) * 1000
        candles = [rest_candle(coin, first + number * MINUTE) for number in (2, 1, 0)]
        return {"candles": [_candle(candle) for candle in candles]}
    if what == "ticker":
        rows = [{**_deal(deal), "product_id": product} for deal in reversed(wire.history.get(coin, ()))]
        return {"trades": rows, "best_bid": "", "best_ask": ""}
    return None


def asked(request: Any) -> Iterable[Topic]:
    if request["type"] == "subscribe":
        for spelled in request.get("product_ids") or [""]:
            yield _CHANNELS[request["channel"]], spelled.partition("-")[0]


def answer(request: Any, wire: Wire) -> Iterable[Frame]:
    topics = list(asked(request))
    for _, coin in topics:
        if coin in wire.refused:
            yield {"type": "error", "message": f"{IDS[coin]} is not a valid product"}
            return
    for channel, coin in topics:
        if channel == "trades" and coin in wire.history:
            yield _pushed("market_trades", "snapshot", "trades", _newest_first(wire.history[coin]))
    yield _message("subscriptions", [{"subscriptions": {request["channel"]: request.get("product_ids") or ["_all"]}}])


def trades(deals: Sequence[Deal]) -> Iterable[Frame]:
    yield _pushed("market_trades", "update", "trades", _newest_first(deals))


def ticker(day: Day) -> Iterable[Frame]:
    row = {
        "type": "ticker", "product_id": IDS[day.coin], "price": str(day.last), "volume_24_h": str(day.volume),
        "low_24_h": str(day.low), "high_24_h": str(day.high), "low_52_w": str(day.low), "high_52_w": str(day.high),
        "price_percent_chg_24_h": str(day.change), "best_bid": str(day.bid), "best_bid_quantity": "0.02",
        "best_ask": str(day.ask), "best_ask_quantity": "0.015",
    }  # fmt: skip
    yield _pushed("ticker_batch", "update", "tickers", [row], day.timestamp)


def candle(candle: VenueCandle) -> Iterable[Frame]:
    return ()


def _message(channel: str, events: list[Any], timestamp: int | None = None) -> dict[str, Any]:
    now = time_ns() // 1_000_000 if timestamp is None else timestamp
    return {"channel": channel, "client_id": "", "timestamp": iso(now, 9), "sequence_num": 0, "events": events}


def _pushed(channel: str, kind: str, key: str, rows: list[Any], timestamp: int | None = None) -> dict[str, Any]:
    return _message(channel, [{"type": kind, key: rows}], timestamp)


_BEAT = {"current_time": "2026-01-05 20:31:56.121961769 +0000 UTC m=+91717.525857105", "heartbeat_counter": 3049}
HEARTBEATS: Sequence[Frame] = (_message("heartbeats", [_BEAT]),)


def _newest_first(deals: Sequence[Deal]) -> list[Any]:
    return [_deal(deal) for deal in reversed(deals)]


def _deal(deal: Deal) -> dict[str, Any]:
    return {
        "trade_id": str(deal.number), "product_id": IDS[deal.coin], "price": str(deal.price),
        "size": str(deal.quantity), "side": "BUY" if deal.sold else "SELL",  # "side" is the maker's
        "time": iso(deal.timestamp),
    }  # fmt: skip


def _candle(candle: VenueCandle) -> dict[str, str]:
    values = {
        "low": candle.low,
        "high": candle.high,
        "open": candle.open,
        "close": candle.close,
        "volume": candle.volume,
    }
    return {"start": str(candle.timestamp // 1000), **{key: str(value) for key, value in values.items()}}


def _product(spelled: str) -> dict[str, Any]:
    coin, quote = spelled.split("-")
    day = rest_day(coin, time_ns() // 1_000_000)
    return {
        "product_id": spelled, "price": str(day.last), "price_percentage_change_24h": str(day.change),
        "volume_24h": str(day.volume), "volume_percentage_change_24h": "3.5", "base_increment": "0.00000001",
        "quote_increment": "0.01", "quote_min_size": "1", "quote_max_size": "150000000", "base_min_size": "0.00000001",
        "base_max_size": "3400", "base_name": coin, "quote_name": quote, "watched": False, "is_disabled": False,
        "new": False, "status": "online", "cancel_only": False, "limit_only": False, "post_only": False,
        "trading_disabled": False, "auction_mode": False, "product_type": "SPOT", "quote_currency_id": quote,
        "base_currency_id": coin, "fcm_trading_session_details": None, "mid_market_price": "",
        "alias": f"{coin}-USD" if quote == "USDC" else "", "alias_to": [f"{coin}-USDC"] if quote == "USD" else [],
        "base_display_symbol": coin, "quote_display_symbol": quote, "view_only": False, "price_increment": "0.01",
        "display_name": spelled, "product_venue": "CBE", "approximate_quote_24h_volume": str(day.turnover),
    }  # fmt: skip
