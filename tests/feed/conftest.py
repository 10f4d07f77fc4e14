"""Fixtures: a feed over the simulator that the test module defines, venues in memory, and clocks."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from exchanges import register
from exchanges.simulator import SimulatedVenue, Simulator
from feed import MarketFeed
from tests.feed.memory_venue import MemoryVenue
from tests.support import Recorder, settings_for


@pytest.fixture
def venue(simulator: Simulator) -> SimulatedVenue:
    return next(iter(simulator.venues.values()))


@pytest.fixture
async def feed(simulator: Simulator) -> AsyncIterator[MarketFeed]:
    feed = MarketFeed(settings=settings_for(simulator))
    yield feed
    await feed.disconnect()


@pytest.fixture
def got(feed: MarketFeed) -> Recorder:
    return Recorder(feed)


@pytest.fixture
def venues() -> tuple[MemoryVenue, MemoryVenue]:
    """Two registered venues in memory, each with BTC and ETH."""
    first, second = (MemoryVenue(name, ["BTC", "ETH"]) for name in ("memory_one", "memory_two"))
    for venue in (first, second):
        register(venue.name, lambda access, venue=venue: venue)  # type: ignore[misc] # mypy refuses a lambda with a default
    return first, second


@pytest.fixture
def leaping_clocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accept timestamps that are ten minutes ahead, because tests put a venue's clock forward."""
    monkeypatch.setattr("feed.candles.stamp_check.AHEAD", 600_000)
