"""The whole feed over venues without ccxt: a venue that a program registers works like an exchange."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator

import pytest

from exchanges.errors import Blocked, Disconnected
from feed import MarketFeed, Settings, TradeEvent
from feed.settings import Connection, ExchangeConfig, Staleness
from tests.feed.memory_venue import MemoryVenue
from tests.support import until

FAST = Connection(connect_timeout=2, backoff_initial=0.05, backoff_max=0.1, attempts_before_failover=1)


@pytest.fixture
async def feed(venues: tuple[MemoryVenue, MemoryVenue]) -> AsyncIterator[MarketFeed]:
    settings = Settings(
        exchanges=[ExchangeConfig(venue.name) for venue in venues],
        channels=["trades"],
        connection=FAST,
        staleness=Staleness(feed_stale_after=1, reconnect_after=2),
    )
    feed = MarketFeed(["BTC", "ETH"], settings=settings)
    yield feed
    await feed.disconnect()


async def connected(feed: MarketFeed, venue: MemoryVenue) -> None:
    connecting = asyncio.create_task(feed.connect(10))
    await until(lambda: bool(venue.connections))
    venue.trade("BTC", 100.0)
    await connecting


async def test_trades_and_prices_come_from_a_registered_venue(
    feed: MarketFeed, venues: tuple[MemoryVenue, MemoryVenue]
) -> None:
    trades: list[TradeEvent] = []
    feed.subscribe_trades(trades.append)
    await connected(feed, venues[0])
    venues[0].trade("ETH", 10.0)
    assert [(trade.coin, trade.price) for trade in trades] == [("BTC", 100.0), ("ETH", 10.0)]
    assert feed.require_fresh("BTC", 1).price == 100.0
    assert feed.status.exchange == "memory_one"


async def test_a_gap_is_fetched_from_a_registered_venue(
    feed: MarketFeed, venues: tuple[MemoryVenue, MemoryVenue]
) -> None:
    trades: list[TradeEvent] = []
    feed.subscribe_trades(trades.append)
    await connected(feed, venues[0])
    venues[0].trade("BTC", 101.0, told=False)
    venues[0].trade("BTC", 102.0)
    await until(lambda: len(trades) == 3)
    assert [trade.trade_id for trade in trades] == ["1", "2", "3"]
    assert [trade.backfilled for trade in trades] == [False, True, False]


async def test_the_feed_fails_over_from_one_registered_venue_to_another(
    feed: MarketFeed, venues: tuple[MemoryVenue, MemoryVenue]
) -> None:
    await connected(feed, venues[0])
    with venues[0].failing(Blocked("memory_one", "not from here", 451)):
        await until(lambda: bool(venues[1].connections))
        venues[1].trade("BTC", 103.0)
        await until(lambda: feed.status.exchange == "memory_two" and feed.status.connected)
    assert feed.require_fresh("BTC", 1).exchange == "memory_two"


async def test_the_feed_reconnects_to_a_registered_venue_and_misses_no_trade(
    feed: MarketFeed, venues: tuple[MemoryVenue, MemoryVenue]
) -> None:
    trades: list[TradeEvent] = []
    feed.subscribe_trades(trades.append)
    await connected(feed, venues[0])
    with venues[0].failing(Disconnected("memory_one", "gone")), venues[1].failing(Disconnected("memory_two", "gone")):
        venues[0].trade("BTC", 101.0)
        await until(lambda: not feed.status.connected)
    await until(lambda: any(not each.ended.is_set() for each in venues[0].connections))
    venues[0].trade("BTC", 102.0)
    await until(lambda: len(trades) == 3)
    assert [trade.trade_id for trade in trades] == ["1", "2", "3"]


WITHOUT_CCXT = """
import asyncio, sys
from exchanges import register
from feed import MarketFeed, Settings
from feed.settings import ExchangeConfig
from tests.feed.memory_venue import MemoryVenue

async def main():
    venue = MemoryVenue("mine", ["BTC"])
    register("mine", lambda access: venue)
    feed = MarketFeed(["BTC"], settings=Settings(exchanges=[ExchangeConfig("mine")], channels=["trades"]))
    connecting = asyncio.create_task(feed.connect(10))
    while not venue.connections:
        await asyncio.sleep(0.01)
    venue.trade("BTC", 1.0)
    await connecting
    await feed.disconnect()

asyncio.run(main())
assert "ccxt" not in sys.modules, "imported"
"""


def test_ccxt_is_not_imported_for_a_registered_venue() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", WITHOUT_CCXT], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
