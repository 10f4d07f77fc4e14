"""The soak of the bus in its short form; ``python -m tests.bus_soak --minutes 20`` runs the long form."""

from __future__ import annotations

from tests.bus.support import needs_bus
from tests.bus_soak import soak

pytestmark = needs_bus


async def test_half_a_minute_of_faults_loses_no_trade() -> None:
    result = await soak(0.5, seed=7)
    assert result.faults == []
    assert result.trades > 1000
