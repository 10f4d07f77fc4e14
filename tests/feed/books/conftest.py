"""Two venues in memory, and a program that uses a feed over them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from feed import MarketFeed
from tests.feed.books.support import SETTINGS, Program
from tests.feed.memory_venue import MemoryVenue


@pytest.fixture
async def program(venues: tuple[MemoryVenue, MemoryVenue]) -> AsyncIterator[Program]:
    program = Program(MarketFeed(["BTC", "ETH"], settings=SETTINGS))
    yield program
    await program.feed.disconnect()


@pytest.fixture
def venue(venues: tuple[MemoryVenue, MemoryVenue]) -> MemoryVenue:
    return venues[0]
