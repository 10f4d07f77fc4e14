"""A defect of the feed itself ends the feed with a report, and no caller waits for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from exchanges.simulator import Simulator
from feed import FeedError, MarketFeed
from feed.sessions.supervisor import Supervisor
from tests.support import Recorder, settings_for


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator(venues=("binance",), rate=100) as simulator:
        yield simulator


def break_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the supervisor raise an error at its next check."""

    def look(self: Supervisor, now: float) -> None:
        raise KeyError("a defect")

    monkeypatch.setattr(Supervisor, "look", look)


async def test_iterators_end_with_the_error_of_the_defect(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The iterators end after their buffered events. Status subscribers get the error, and the feed can be connected
    again."""
    feed = MarketFeed(settings=settings_for(simulator))
    got = Recorder(feed)
    told: list[tuple[str, dict[str, Any]]] = []
    trades, events = feed.trades(), feed.events()
    await feed.connect()
    with monkeypatch.context() as defect:
        break_it(defect)
        with pytest.raises(FeedError, match="a defect"):
            async for _ in trades:
                pass

    async def keep() -> None:
        async for event in events:
            told.append(event)

    with pytest.raises(FeedError, match="a defect"):
        await keep()
    assert [event for event, _ in told[-2:]] == got.events[-2:] == ["error", "closed"]
    assert "a defect" in told[-2][1]["error"]
    assert not feed.status.connected
    assert [trade async for trade in trades] == []
    await feed.connect()
    assert feed.status.connected
    await feed.disconnect()


async def test_a_program_that_runs_the_feed_gets_the_error_of_the_defect(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = MarketFeed(settings=settings_for(simulator))
    got = Recorder(feed)
    feed.subscribe_trades(lambda trade: break_it(monkeypatch))
    with pytest.raises(FeedError, match="a defect"):
        await asyncio.wait_for(asyncio.to_thread(feed.run), 20)
    assert got.events[-2:] == ["error", "closed"]


async def test_a_feed_in_a_thread_ends_with_the_error_of_the_defect(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error happens after start() has returned: events report it, the thread ends, and stop() does nothing."""
    feed = MarketFeed(settings=settings_for(simulator))
    got = Recorder(feed)
    await asyncio.to_thread(feed.start)
    assert feed._runner._background is not None
    thread = feed._runner._background._thread
    assert thread is not None
    break_it(monkeypatch)
    await asyncio.to_thread(thread.join, 20)
    assert not thread.is_alive()
    assert got.events[-2:] == ["error", "closed"]
    await asyncio.to_thread(feed.stop)


async def test_a_caller_that_waits_for_the_first_data_gets_the_error_of_the_defect(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_it(monkeypatch)
    with pytest.raises(FeedError, match="a defect"):
        await MarketFeed(settings=settings_for(simulator)).connect()
