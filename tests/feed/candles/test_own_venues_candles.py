"""Candles of venues without ccxt: the feed closes them, using the venue's candles or its trades."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from exchanges import register
from feed import Candle, MarketFeed, Settings, TradeEvent
from feed.settings import ExchangeConfig
from tests.feed.memory_venue import MemoryVenue
from tests.support import until

MINUTE = 60_000
START = time.time_ns() // 1_000_000 // MINUTE * MINUTE + MINUTE


@pytest.fixture
async def venue(monkeypatch: pytest.MonkeyPatch) -> MemoryVenue:
    """A venue whose timestamps may be far from the local clock, so that no test has to wait for minutes."""
    monkeypatch.setattr("feed.candles.stamp_check.AHEAD", 60 * MINUTE)
    monkeypatch.setattr("feed.candles.venue_candles.GRACE", 0.0)
    venue = MemoryVenue("memory_candles", ["BTC"])
    register(venue.name, lambda access: venue)
    return venue


@pytest.fixture
async def feed(venue: MemoryVenue) -> AsyncIterator[MarketFeed]:
    channels: list[str] = ["trades", "candles"]
    settings = Settings(exchanges=[ExchangeConfig(venue.name)], channels=channels)
    feed = MarketFeed(["BTC"], settings=settings)
    yield feed
    await feed.disconnect()


async def connected(feed: MarketFeed, venue: MemoryVenue) -> list[Candle]:
    """Connect the feed, and return the list to which it adds each candle of BTC that it delivers."""
    candles: list[Candle] = []
    feed.subscribe_candles(candles.append, "BTC")
    connecting = asyncio.create_task(feed.connect(10))
    await until(lambda: bool(venue.connections))
    venue.trade("BTC", 100.0, at=START - 1000)
    await connecting
    return candles


def minute(number: int, price: float, volume: float, closed: bool = False) -> Candle:
    return Candle(
        "BTC", "1m", START + number * MINUTE, price, price, price, price, volume, closed, "memory_candles",
        market="BTC/USDT",
    )  # fmt: skip


def closed(candles: list[Candle]) -> list[tuple[int, float, float]]:
    """Minute, close and volume of the closed candles."""
    return [((c.timestamp - START) // MINUTE, c.close, c.volume) for c in candles if c.closed]


async def test_candles_are_built_from_trades_if_the_venue_has_no_candles(feed: MarketFeed, venue: MemoryVenue) -> None:
    candles = await connected(feed, venue)
    for second, price in ((1, 101.0), (30, 99.0), (61, 105.0)):
        venue.trade("BTC", price, at=START + second * 1000)
    assert closed(candles) == [(0, 99.0, 2.0)]
    assert [candle.close for candle in candles] == [100.0, 101.0, 99.0, 99.0, 105.0]


async def test_a_subscriber_that_changes_its_trade_changes_no_candle(feed: MarketFeed, venue: MemoryVenue) -> None:
    def spoil(trade: TradeEvent) -> None:
        trade.coin, trade.price, trade.quantity, trade.timestamp = "NONE", 1.0, 1.0, 1

    feed.subscribe_trades(spoil)
    candles = await connected(feed, venue)
    for second, price in ((1, 101.0), (61, 105.0)):
        venue.trade("BTC", price, at=START + second * 1000)
    assert closed(candles) == [(0, 101.0, 1.0)]


async def test_a_candle_with_a_trade_that_was_fetched_later_is_closed_from_the_record(
    feed: MarketFeed, venue: MemoryVenue
) -> None:
    """The stream loses a trade of minute 0. Minute 1 is closed with its own trades, as usual."""
    venue.candles = [replace(minute(n, 101.0, 4.0, True), high=120.0, low=90.0, close=103.0) for n in range(3)]
    trades: list[TradeEvent] = []
    feed.subscribe_trades(trades.append)
    candles = await connected(feed, venue)
    venue.trade("BTC", 101.0, at=START + 1000)
    venue.trade("BTC", 120.0, at=START + 2000, told=False)
    venue.trade("BTC", 103.0, at=START + 3000)
    await until(lambda: len(trades) == 4)
    for second, price in ((61, 105.0), (121, 106.0)):
        venue.trade("BTC", price, at=START + second * 1000)
    await until(lambda: len(closed(candles)) == 2)
    assert sorted(closed(candles)) == [(0, 103.0, 4.0), (1, 105.0, 1.0)]


@pytest.mark.parametrize("flagged", [True, False])
async def test_streamed_candles_are_tracked_and_each_is_closed_once(
    feed: MarketFeed, venue: MemoryVenue, flagged: bool
) -> None:
    venue.channels |= {"candles"}
    candles = await connected(feed, venue)
    for told in (minute(0, 101.0, 1.0), minute(0, 102.0, 2.0), minute(0, 101.0, 1.0)):
        venue.candle(told, flagged=flagged)
    for told in (minute(0, 103.0, 3.0, closed=flagged), minute(1, 104.0, 1.0), minute(0, 99.0, 9.0, closed=flagged)):
        venue.candle(told, flagged=flagged)
    assert closed(candles) == [(0, 103.0, 3.0)]
    open_ones = [(candle.close, candle.volume) for candle in candles if not candle.closed]
    assert open_ones == [(101.0, 1.0), (102.0, 2.0), *([] if flagged else [(103.0, 3.0)]), (104.0, 1.0)]
