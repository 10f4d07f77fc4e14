"""Public methods and events keep the names, order and defaults of their parameters; new ones are added at the end."""

from __future__ import annotations

import inspect

import pytest

import feed
from feed import MarketFeed

CALLS = {
    "__init__": "coins=None, exchange=None, *, settings=None",
    "subscribe_price": "cb, coins=None",
    "subscribe_trades": "cb, coins=None",
    "subscribe_candles": "cb, coins=None, timeframe='1m'",
    "subscribe_quotes": "cb, coins=None",
    "subscribe_books": "cb, coins=None, depth=20",
    "subscribe_tickers": "cb, coins=None",
    "subscribe_status": "cb",
    "prices": "",
    "trades": "",
    "candles": "",
    "quotes": "",
    "books": "coins=None, depth=20",
    "tickers": "",
    "events": "",
    "connect": "timeout=30",
    "disconnect": "",
    "run": "",
    "start": "",
    "stop": "",
    "get_price": "coin",
    "get_all_prices": "",
    "require_fresh": "coin, max_age=None",
    "get_book": "coin, depth=20",
    "require_fresh_book": "coin, max_age=None",
    "volatility": "coin, window=60",
    "get_status": "",
    "get_health": "",
    "add_coins": "coins",
    "remove_coins": "coins",
}
EVENTS = {
    "PriceTick": "coin, price, timestamp, volume_24h, change_24h, exchange='', received_at=0, market=''",
    "TradeEvent": "coin, price, quantity, is_buyer_maker, timestamp, exchange='', trade_id='', received_at=0, "
    "backfilled=False, market=''",
    "Candle": "coin, timeframe, timestamp, open, high, low, close, volume, closed, exchange='', received_at=0, "
    "market=''",
    "Quote": "coin, bid, bid_size, ask, ask_size, timestamp, exchange='', received_at=0, market=''",
    "Ticker": "coin, last, timestamp, volume_24h=None, change_24h=None, bid=None, bid_size=None, ask=None, "
    "ask_size=None, exchange='', received_at=0, market=''",
    "OrderBook": "coin, bids, asks, timestamp, exchange='', received_at=0, sequence=None, market=''",
    "CoinConfig": "symbol, tier=3, name='', markets=<factory>",
    "FeedStatus": "connected, exchange, state, last_message_time, reconnect_count, failover_count, "
    "messages_received, errors",
}


def taken(call: object) -> str:
    """The parameters of ``call`` without their annotations."""
    signature = inspect.signature(call)  # type: ignore[arg-type] # any public object
    bare = [each.replace(annotation=each.empty) for each in signature.parameters.values() if each.name != "self"]
    return str(signature.replace(parameters=bare, return_annotation=signature.empty))[1:-1]


@pytest.mark.parametrize("name", CALLS)
def test_the_first_parameters_of_methods_keep_their_names_and_order(name: str) -> None:
    assert taken(getattr(MarketFeed, name)).startswith(CALLS[name])


@pytest.mark.parametrize("name", EVENTS)
def test_the_fields_of_an_event_keep_their_names_and_order(name: str) -> None:
    kind = getattr(feed, name)
    assert taken(kind).startswith(EVENTS[name])
    assert hasattr(kind, "__slots__")


@pytest.mark.parametrize("name", ["connect", "disconnect", "add_coins", "remove_coins"])
def test_methods_that_are_awaited_are_coroutine_functions(name: str) -> None:
    assert inspect.iscoroutinefunction(getattr(MarketFeed, name))


@pytest.mark.parametrize("name", ["current_prices", "tradable", "status", "coin_configs"])
def test_values_that_programs_only_read_are_properties(name: str) -> None:
    assert isinstance(inspect.getattr_static(MarketFeed, name), property)
