"""A feed that is known to be connected."""

from __future__ import annotations

import asyncio

from exchanges.simulator import SimulatedVenue
from feed import (
    MarketFeed,
)
from tests.support import until

VENUES = ["binance", "bybit"]


async def connected(feed: MarketFeed, venue: SimulatedVenue) -> None:
    """Connect, and return when the one trade that it takes for data to flow has arrived."""
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
    """Wait until a connection of more than ``after`` dials carries all that the feed asks for: 2 coins, 3 channels.

    It is the only one: an earlier one that is on its way out would take the trade that the feed waits for.
    """
    await until(lambda: len(venue.dials) > after and [len(each.subscriptions) for each in venue.connections] == [6])
