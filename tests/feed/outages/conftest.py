"""Two venues; each venue has a simulator of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from exchanges.simulator import Simulator


@pytest.fixture
async def bybit() -> AsyncIterator[Simulator]:
    async with Simulator(venues=("bybit",), rate=0, seed=1) as simulator:
        yield simulator


@pytest.fixture
async def binance() -> AsyncIterator[Simulator]:
    async with Simulator(venues=("binance",), rate=100, seed=1) as simulator:
        yield simulator
