"""A feed on the only venue of the ``simulator`` fixture, which each module defines."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from exchanges.simulator import SimulatedVenue, Simulator
from feed import MarketFeed
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
def leaping_clocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accept stamps that are ten minutes ahead: tests put a venue's clock forward, and its candles must be believed."""
    monkeypatch.setattr("feed.candles.stamp_check.AHEAD", 600_000)
