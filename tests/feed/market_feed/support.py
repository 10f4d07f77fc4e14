"""Waits until a feed is known to be connected."""

from __future__ import annotations

import asyncio

from exchanges.simulator import SimulatedVenue
from feed import (
    MarketFeed,
)
from tests.support import until

VENUES = ["binance", "bybit"]


async def connected(feed: MarketFeed, venue: SimulatedVenue) -> None:
    """Connect the feed, make a trade, and return when it has arrived."""
    arrived = asyncio.Event()
    handle = feed.subscribe_trades(lambda trade: arrived.set())
    connecting = asyncio.create_task(feed.connect())
    await subscribed(venue)
    await venue.trade("BTC")
    await connecting
    async with asyncio.timeout(10):
        await arrived.wait()
    handle.cancel()


async def subscribed(venue: SimulatedVenue, after: int = 0) -> None:
    """Wait for more than ``after`` dials, and until the only connection has all subscriptions: 2 coins, 3 channels.

    There must be no other connection: an old connection that is about to end would get the trade that the test makes.
    """
    await until(lambda: len(venue.dials) > after and [len(each.subscriptions) for each in venue.connections] == [6])
