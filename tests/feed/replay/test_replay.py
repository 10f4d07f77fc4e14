"""The clock, the speed and the end of a replay, with slow and fast consumers."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from exchanges.events import TradeEvent
from feed import FeedError, MarketFeed
from tests.feed.replay.support import START
from tests.recordings import played


async def test_the_replays_clock_shows_the_time_of_the_recording(minute: Path) -> None:
    feed = MarketFeed.from_recording(minute, speed=None)
    told: list[tuple[float, float]] = []
    feed.subscribe_trades(lambda each: told.append((each.received_at / 1e9, feed.now())))
    assert feed.now() == START / 1e9
    async with feed:
        await feed.wait_closed()
    assert len(told) == 60
    assert all(received == now for received, now in told)


async def test_a_sleeping_bot_wakes_up_between_the_same_events_as_with_a_live_feed(minute: Path) -> None:
    feed = MarketFeed.from_recording(minute, speed=None)
    woken: list[tuple[float, float]] = []

    async def bot() -> None:
        while feed.status.connected:
            await feed.sleep(2.5)
            price = feed.get_price("BTC")
            woken.append((feed.now() - START / 1e9, price.price if price is not None else 0.0))

    async with feed:
        running = asyncio.create_task(bot())
        await feed.wait_closed()
        await running
    assert woken[:3] == [(2.5, 101.0), (5.0, 105.0), (7.5, 107.0)]
    assert len(woken) == 24  # the bot wakes for the 24th time at the end of the replay
    with pytest.raises(FeedError, match="over"):
        await feed.sleep(1)


@pytest.mark.parametrize("kind", ["iterator", "coroutine"])
async def test_while_an_event_is_handled_the_feed_answers_with_the_data_of_the_events_time(
    kind: str, minute: Path
) -> None:
    """A consumer never sees the future, however long it handles an event."""
    feed = MarketFeed.from_recording(minute, ["BTC"], speed=None)
    seen: list[tuple[float, float]] = []

    async def handle(each: TradeEvent) -> None:
        for _ in range(3):
            await asyncio.sleep(0)
        known = feed.get_price("BTC")
        assert known is not None
        seen.append((each.price, known.price))

    if kind == "coroutine":
        feed.subscribe_trades(handle)
    async with feed:
        if kind == "iterator":
            async for each in feed.trades():
                await handle(each)
        await feed.wait_closed()
    assert [price for price, _ in seen] == [100.0 + n for n in range(1, 60, 2)]
    assert all(price == known for price, known in seen)


async def test_a_slow_iterator_gets_every_event(minute: Path) -> None:
    feed = MarketFeed.from_recording(minute, speed=None)
    count = 0
    async with feed:
        async for _ in feed.trades(size=2):
            await asyncio.sleep(0.002)
            count += 1
    assert count == 60


async def test_a_consumer_that_takes_no_more_events_does_not_stop_the_replay(minute: Path) -> None:
    feed = MarketFeed.from_recording(minute, speed=None)
    async with feed, asyncio.timeout(20):
        stream = feed.trades()
        await anext(stream)
        await feed.wait_closed()
    assert [each.price async for each in stream][-1] == 159.0


async def test_the_speed_decides_when_events_come(minute: Path) -> None:
    feed = MarketFeed.from_recording(minute, speed=60.0)
    came: list[tuple[float, float]] = []
    feed.subscribe_trades(lambda each: came.append((each.received_at / 1e9 - START / 1e9, time.monotonic())))
    began = time.monotonic()
    async with feed:
        began = time.monotonic()
        await feed.wait_closed()
    assert 0.95 <= time.monotonic() - began < 3
    early = min((at - began) - due / 60 for due, at in came)
    assert early > -0.05  # no event comes before its time


async def test_the_start_and_the_end_of_a_replay_can_be_chosen(minute: Path) -> None:
    whole = (await played(minute)).of(TradeEvent)
    start = datetime.fromtimestamp(START / 1e9 + 10, UTC)
    for begin, end in (
        (start, START // 10**6 + 20_000),
        (START // 10**6 + 10_000, "2025-11-28T00:00:20Z"),
        ("2025-11-28T00:00:10", "2025-11-28T01:00:20+01:00"),
    ):
        part = (await played(minute, start=begin, end=end)).of(TradeEvent)
        assert part == whole[10:21]


async def test_seek_continues_at_another_time(minute: Path) -> None:
    feed = MarketFeed.from_recording(minute, speed=None)
    prices: list[float] = []

    async def on_trade(each: TradeEvent) -> None:
        prices.append(each.price)
        if len(prices) == 5:
            await feed.seek(START // 10**6 + 50_000)
            assert feed.get_price("BTC") is None
        elif len(prices) == 8:
            await feed.seek("2025-11-28T00:00:58Z")

    feed.subscribe_trades(on_trade)
    async with feed:
        await feed.wait_closed()
    assert prices == [100.0, 101.0, 102.0, 103.0, 104.0, 150.0, 151.0, 152.0, 158.0, 159.0]


def test_run_returns_at_the_end(minute: Path) -> None:
    feed = MarketFeed.from_recording(minute, speed=None)
    trades: list[TradeEvent] = []
    feed.subscribe_trades(trades.append)
    feed.run()
    feed.run()  # a second run plays the recording again
    assert len(trades) == 120
    assert trades[:60] == trades[60:]


async def test_disconnecting_ends_a_replay_at_once(minute: Path) -> None:
    feed = MarketFeed.from_recording(minute, speed=0.01)
    async with feed:
        sleeping = asyncio.create_task(feed.sleep(1000))
        await asyncio.sleep(0.05)
    async with asyncio.timeout(5):
        await sleeping
    assert feed.status.state == "closed"
