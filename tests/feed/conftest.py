"""The feed on the one venue of a module's own ``simulator`` fixture."""

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
    """A venue's clock that is put forward makes its next candles candles of the future, until its stamps show it."""
    monkeypatch.setattr("feed.candles.stamp_check.AHEAD", 600_000)
