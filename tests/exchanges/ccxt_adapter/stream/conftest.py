"""Fixtures for a simulated venue whose stream runs over each transport."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from exchanges.ccxt_adapter.venue import CcxtVenue
from exchanges.simulator import SimulatedVenue as Simulated
from exchanges.simulator import Simulator
from tests.exchanges.support import opened


@pytest.fixture
def transport(request: pytest.FixtureRequest) -> str | None:
    """The transport; None for the default. A test that depends on the transport runs once on each transport."""
    return getattr(request, "param", None)


@pytest.fixture
async def venue(simulator: Simulator, simulated: Simulated, transport: str | None) -> AsyncIterator[CcxtVenue]:
    options = {} if transport is None else {"transport": transport}
    async with opened(simulated.name, simulator, options=options) as venue:
        yield venue
