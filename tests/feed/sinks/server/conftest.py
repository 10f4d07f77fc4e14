"""A server over a feed on the simulator, on a free port, and an HTTP client for it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from exchanges.simulator import SimulatedVenue, Simulator
from feed import MarketFeed
from feed.settings import Settings, Staleness
from feed.sinks.server.app import Server
from tests.support import settings_for, until


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator(0, ("binance",), rate=200.0) as simulator:
        yield simulator


@pytest.fixture
def venue(simulator: Simulator) -> SimulatedVenue:
    return simulator["binance"]


@pytest.fixture
def staleness() -> Staleness:
    """Prices count as fresh for a long time, so that a pause of the machine makes no price old; see ``soon_stale``."""
    return Staleness(feed_stale_after=30, reconnect_after=60)


@pytest.fixture
def settings(simulator: Simulator, staleness: Staleness) -> Settings:
    return settings_for(simulator, staleness=staleness)


@pytest.fixture
async def feed(settings: Settings) -> AsyncIterator[MarketFeed]:
    feed = MarketFeed(settings=settings)
    yield feed
    await feed.disconnect()


@pytest.fixture
async def server(feed: MarketFeed, settings: Settings) -> AsyncIterator[Server]:
    async with Server(feed, settings, port=0) as server:
        await feed.connect()
        await until(lambda: len(feed.get_all_prices()) == 2)
        yield server


@pytest.fixture
async def http(server: Server) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(server.url, timeout=aiohttp.ClientTimeout(30)) as session:
        yield session
