"""Runs each test of this folder twice: on a simulated Binance, and on a simulated Bybit."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from exchanges.simulator import Simulator
from tests.feed.market_feed.support import VENUES


@pytest.fixture(params=VENUES)
async def simulator(request: pytest.FixtureRequest) -> AsyncIterator[Simulator]:
    async with Simulator(venues=(request.param,), rate=0) as simulator:
        yield simulator
