"""The short form of the soak: half a minute of random faults, one after the other, on three venues."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiohttp import ClientSession

from exchanges.ccxt_adapter.stream.connection import CcxtConnection
from feed.market_data.connection_listener import ConnectionListener
from tests.soak.report import LEFT_NOTHING, left_behind, table
from tests.soak.run import soak


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc, which only Linux has")
@pytest.mark.parametrize("seed", [8])
async def test_half_a_minute_of_random_faults_breaks_no_promise(seed: int) -> None:
    """There is a fault every second or two. No trade is lost, repeated or out of order, no price is wrong, and nothing
    stays open."""
    result = await soak(0.55, seed, mean_pause=1.5)
    assert not result.broken, table(result)
    assert result.strikes > 10
    assert sum(tally.trades for tally in result.referee.tallies.values()) > 1000


def test_objects_left_after_disconnect_break_a_promise() -> None:
    """The test takes the names from the classes, so it fails if a class was renamed and the list has the old name."""
    assert {CcxtConnection.__name__, ConnectionListener.__name__, ClientSession.__name__} < set(LEFT_NOTHING)
    clean = {"counts": {"Future": 3}, "tasks": 1, "task_names": ["main"]}
    assert left_behind(clean) == []
    assert len(left_behind({**clean, "counts": {"CcxtConnection": 1}, "tasks": 2})) == 2
