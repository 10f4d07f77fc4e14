"""A venue of the simulator, and settings that point at it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from exchanges.simulator import Simulator


@pytest.fixture
async def venue() -> AsyncIterator[Simulator]:
    async with Simulator(0, ("binance",), rate=200.0) as simulator:
        yield simulator


@pytest.fixture
def settings(venue: Simulator, tmp_path: Path) -> str:
    """A settings file that points at the venue."""
    file = tmp_path / "settings.yaml"
    file.write_text(venue.settings_yaml() + "connection: {connect_timeout: 5}")
    return str(file)
