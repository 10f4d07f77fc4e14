"""The code of a bot as an author would write it; ``test_user_code.py`` only checks its types with mypy --strict."""

from __future__ import annotations

from typing import Any, assert_type

from feed import Candle, FeedState, MarketFeed, PriceTick, Quote, Settings, StaleDataError, TradeEvent, load_settings
from feed.settings import Connection, ExchangeConfig


def on_price(tick: PriceTick) -> None:
    assert_type(tick.price, float)
    assert_type(tick.timestamp, int)


async def on_trade(trade: TradeEvent) -> None:
    assert_type(trade.is_buyer_maker, bool)


def on_candle(candle: Candle) -> None:
    assert_type(candle.closed, bool)


def on_quote(quote: Quote) -> None:
    assert_type(quote.ask - quote.bid, float)


def on_status(event: str, details: dict[str, Any]) -> None: ...


async def main() -> None:
    assert_type(load_settings(), Settings)
    settings = Settings(exchanges=[ExchangeConfig("kraken")], connection=Connection(connect_timeout=5))
    feed = MarketFeed(["BTC"], exchange=["kraken"], settings=settings)
    handle = feed.subscribe_price(on_price, coins=["BTC"])
    feed.subscribe_trades(on_trade)
    feed.subscribe_candles(on_candle, timeframe="5m")
    feed.subscribe_quotes(on_quote)
    feed.subscribe_status(on_status)
    async with feed as connected:
        assert_type(connected, MarketFeed)
        try:
            assert_type(feed.require_fresh("BTC", max_age=2), PriceTick)
        except StaleDataError as error:
            assert_type(error.coin, str)
        assert_type(feed.get_price("BTC"), PriceTick | None)
        assert_type(feed.get_all_prices(), dict[str, PriceTick])
        assert_type(feed.tradable, bool)
        assert_type(feed.volatility("BTC"), float | None)
        assert_type(feed.status.state, FeedState)
        assert_type(await feed.candles_history("BTC", "1h", 10), list[Candle])
        async for tick in feed.prices("BTC"):
            assert_type(tick, PriceTick)
            break
        async for trade in feed.trades(on_full="error"):
            assert_type(trade, TradeEvent)
            break
        async for event, details in feed.events():
            assert_type(event, str)
            assert_type(details, dict[str, Any])
            break
    handle.cancel()


def blocking() -> None:
    feed = MarketFeed()
    feed.start(timeout=10)
    feed.stop()
