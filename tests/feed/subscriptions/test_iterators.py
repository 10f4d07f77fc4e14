"""Iterators over a channel: what they yield and drop, and how they end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feed.errors import SlowConsumerError
from feed.subscriptions.dispatcher import Dispatcher
from feed.subscriptions.queues import POLICIES
from tests.feed.subscriptions.support import TIMEOUT, Hands, Reports, until


async def test_an_iterator_yields_events_since_it_was_made_and_ends_at_close(reports: Reports) -> None:
    dispatcher = Dispatcher(reports)
    stream = dispatcher.iterate("trades", ["BTC"])
    for number in range(3):
        dispatcher.publish("trades", "BTC", number)
        dispatcher.publish("trades", "ETH", -1)
    seen: list[int] = []

    async def consume() -> None:
        seen.extend([event async for event in stream])

    async with asyncio.timeout(TIMEOUT), asyncio.TaskGroup() as group:
        group.create_task(consume())
        await until(lambda: len(seen) == 0)
        dispatcher.publish("trades", "BTC", 3)
        await dispatcher.close(1)
    assert seen == [0, 1, 2, 3]
    assert [event async for event in dispatcher.iterate("trades")] == []  # the dispatcher is closed


async def test_leaving_the_for_loop_releases_the_iterator(dispatcher: Dispatcher) -> None:
    async def produce() -> None:
        await until(lambda: dispatcher.route("trades", "BTC").wanted())
        dispatcher.publish("trades", "BTC", 1)

    producer = asyncio.create_task(produce())
    async with asyncio.timeout(TIMEOUT):
        async for _ in dispatcher.iterate("trades"):
            break
    await producer
    assert not dispatcher.route("trades", "BTC").wanted()


async def test_a_kept_iterator_continues_where_it_stopped_until_it_is_closed(dispatcher: Dispatcher) -> None:
    async with dispatcher.iterate("trades") as stream:
        for number in (1, 2, 3):
            dispatcher.publish("trades", "BTC", number)
        async for event in stream:
            assert event == 1
            break
        assert await anext(stream) == 2
    assert not dispatcher.route("trades", "BTC").wanted()
    with pytest.raises(StopAsyncIteration):
        await anext(stream)
    await stream.aclose()


async def test_closing_an_iterator_ends_the_wait_for_its_next_event(dispatcher: Dispatcher) -> None:
    stream = dispatcher.iterate("trades")
    waiting = asyncio.create_task(_all(stream))
    await asyncio.sleep(0)
    stream.close()
    async with asyncio.timeout(TIMEOUT):
        assert await waiting == []


async def _all(stream: AsyncIterator[Any]) -> list[Any]:
    return [event async for event in stream]


async def test_cancelling_the_wait_for_an_event_loses_no_event(dispatcher: Dispatcher) -> None:
    stream = dispatcher.iterate("trades")
    for number in range(20):
        waiting = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        if number % 2:
            dispatcher.publish("trades", "BTC", number)  # an event at the moment of the cancellation
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        if number % 2:
            assert await anext(stream) == number


async def test_a_full_iterator_drops_its_oldest_events_and_counts_them(
    dispatcher: Dispatcher, reports: Reports
) -> None:
    stream = dispatcher.iterate("trades", size=3)
    for number in range(10):
        dispatcher.publish("trades", "BTC", number)
    assert [await anext(stream) for _ in range(3)] == [7, 8, 9]
    assert stream.dropped == 7
    assert reports.kinds() == ["slow_callback"]
    assert reports[0][1]["callback"] == "iterator over trades"


async def test_the_error_policy_raises_in_place_of_the_first_lost_event(dispatcher: Dispatcher) -> None:
    stream = dispatcher.iterate("trades", on_full="error", size=2)
    for number in range(5):
        dispatcher.publish("trades", "BTC", number)
    assert [await anext(stream), await anext(stream)] == [0, 1]
    with pytest.raises(SlowConsumerError, match="trades: too slow, 2 events were waiting") as caught:
        await anext(stream)
    assert (caught.value.coin, caught.value.event, caught.value.size) == ("BTC", 2, 2)
    with pytest.raises(StopAsyncIteration):
        await anext(stream)
    assert not dispatcher.route("trades", "BTC").wanted()


async def test_a_busy_coin_does_not_delay_other_coins(dispatcher: Dispatcher) -> None:
    stream = dispatcher.iterate("prices", on_full="latest")
    for number in range(100):
        dispatcher.publish("prices", "BTC", f"BTC{number}")
        if number in (50, 60):
            dispatcher.publish("prices", "ETH", f"ETH{number}")
    assert [await anext(stream), await anext(stream)] == ["BTC99", "ETH60"]


async def test_a_for_loop_that_never_suspends_does_not_block_the_event_loop(reports: Reports) -> None:
    clock = Hands()
    dispatcher = Dispatcher(reports, clock=clock)
    stream = dispatcher.iterate("trades")
    for number in range(100):
        dispatcher.publish("trades", "BTC", number)
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counter = asyncio.create_task(count_turns())
    for number in range(100):
        assert await anext(stream) == number
        clock.now += 0.001
    counter.cancel()
    assert turns >= 10


@given(
    policy=st.sampled_from(POLICIES),
    size=st.integers(1, 5),
    steps=st.lists(st.one_of(st.none(), st.sampled_from(["BTC", "ETH", "SOL"])), max_size=40),
)
def test_buffers_follow_their_policy(policy: str, size: int, steps: list[str | None]) -> None:
    """A list is the model: a coin in ``steps`` is an event of that coin, None means that the consumer takes an
    event."""

    async def main() -> None:
        dispatcher = Dispatcher(Reports())
        stream = dispatcher.iterate("trades", on_full=policy, size=size)
        model: list[tuple[str, int]] = []
        lost, failed = 0, False
        for number, coin in enumerate(steps):
            if coin is not None:
                event = (coin, number)
                dispatcher.publish("trades", coin, event)
                places = [place for place, (other, _) in enumerate(model) if other == coin]
                if policy == "latest" and places:
                    model[places[0]] = event
                    lost += 1
                elif failed or len(model) == size:
                    lost += 1
                    if policy == "error":
                        failed = True
                    else:
                        model = [*model[1:], event]
                else:
                    model.append(event)
            elif model:
                assert await anext(stream) == model.pop(0)
            elif failed:
                with pytest.raises(SlowConsumerError):
                    await anext(stream)
                break
        assert stream.dropped == lost

    asyncio.run(main())
