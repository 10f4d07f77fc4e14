"""Coroutine callbacks are awaited event by event, do not delay other callbacks when they are slow, and end in time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from unittest.mock import MagicMock

import pytest

from feed.subscriptions.dispatcher import Dispatcher
from tests.feed.subscriptions.support import TIMEOUT, Bot, Hands, Reports, own_tasks, until


@pytest.mark.parametrize("form", ["method", "object", "partial", "lambda", "task", "mock", "mixed"])
async def test_every_form_of_coroutine_callback_is_awaited_in_order(dispatcher: Dispatcher, form: str) -> None:
    bot = Bot()
    forms: dict[str, Callable[[int], Any]] = {
        "method": bot.on_trade,
        "object": bot,
        "partial": bot.twice(),
        "lambda": bot.hidden(),
        "task": bot.task(),
        "mock": bot.mock(),
        "mixed": bot.mixed(),
    }
    dispatcher.subscribe("trades", forms[form])
    for start in (0, 4, 8):
        for number in range(start, start + 4):
            dispatcher.publish("trades", "BTC", number)
        expected = start + 4
        await until(lambda: len(bot.seen) == expected)  # noqa: B023 - awaited before the next round
    assert bot.seen == list(range(12))


async def test_a_callback_that_returns_no_coroutine_is_called_directly(dispatcher: Dispatcher) -> None:
    mock = MagicMock()
    dispatcher.subscribe("trades", mock)
    dispatcher.publish("trades", "BTC", 1)
    dispatcher.publish("trades", "BTC", 2)
    assert mock.call_count == 2
    assert own_tasks() == []


async def test_a_coroutine_callback_runs_one_event_at_a_time(dispatcher: Dispatcher) -> None:
    gate = asyncio.Event()
    running = 0
    most = 0
    done: list[int] = []

    async def callback(event: int) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await gate.wait()
        running -= 1
        done.append(event)

    dispatcher.subscribe("trades", callback)
    for number in range(4):
        dispatcher.publish("trades", "BTC", number)
    await until(lambda: running)
    gate.set()
    await until(lambda: len(done) == 4)
    assert (most, done) == (1, [0, 1, 2, 3])


async def test_a_slow_coroutine_callback_delays_no_other_callback_and_loses_its_oldest_events(
    dispatcher: Dispatcher, reports: Reports
) -> None:
    gate = asyncio.Event()
    slow: list[int] = []
    fast: list[int] = []
    quick: list[int] = []

    async def stuck(event: int) -> None:
        await gate.wait()
        slow.append(event)

    async def flowing(event: int) -> None:
        quick.append(event)

    subscription = dispatcher.subscribe("trades", stuck)
    dispatcher.subscribe("trades", fast.append)
    dispatcher.subscribe("trades", flowing)
    for number in range(100):
        dispatcher.publish("trades", "BTC", number)
        await until(lambda: quick[-1:] == [number])  # noqa: B023 - awaited before the next round
    assert fast == quick == list(range(100))
    gate.set()
    await until(lambda: len(slow) == 5)
    assert slow == [0, 96, 97, 98, 99]  # the event that the callback was handling, and four from the queue
    assert subscription.dropped == 95
    assert reports.kinds() == ["slow_callback"]
    assert reports[0][1]["dropped"] == 1
    assert reports[0][1]["callback"].endswith("stuck")


async def test_the_policy_latest_keeps_the_newest_event_of_each_coin(dispatcher: Dispatcher, reports: Reports) -> None:
    gate = asyncio.Event()
    seen: list[str] = []

    async def callback(event: str) -> None:
        await gate.wait()
        seen.append(event)

    subscription = dispatcher.subscribe("prices", callback, on_full="latest")
    for number in range(50):
        for coin in ("BTC", "ETH", "SOL"):
            dispatcher.publish("prices", coin, f"{coin}{number}")
    gate.set()
    await until(lambda: len(seen) == 3)
    assert sorted(seen) == ["BTC49", "ETH49", "SOL49"]
    assert subscription.dropped == 147
    assert reports == []  # with "latest", a replaced event is no loss


async def test_the_policy_error_ends_a_coroutine_callback_that_falls_behind(
    dispatcher: Dispatcher, reports: Reports
) -> None:
    gate = asyncio.Event()
    seen: list[int] = []

    async def callback(event: int) -> None:
        await gate.wait()
        seen.append(event)

    subscription = dispatcher.subscribe("trades", callback, on_full="error")
    for number in range(10):
        dispatcher.publish("trades", "BTC", number)
    gate.set()
    await until(lambda: not subscription.active)
    assert seen == [0, 1, 2, 3]  # all events before the first lost event
    assert not dispatcher.route("trades", "BTC").wanted()
    kind, details = reports[-1]
    assert kind == "callback_error"
    assert "SlowConsumerError('trades', 'BTC', 4, 4)" in details["error"]


async def test_a_cancellation_inside_a_coroutine_callback_affects_nothing_else(dispatcher: Dispatcher) -> None:
    seen: list[int] = []
    future = asyncio.get_running_loop().create_future()
    future.cancel()

    async def callback(event: int) -> None:
        if event == 0:
            await future
        seen.append(event)

    subscription = dispatcher.subscribe("trades", callback)
    dispatcher.publish("trades", "BTC", 0)
    dispatcher.publish("trades", "BTC", 1)
    await until(lambda: seen == [1])
    assert subscription.errors == 1


async def test_a_consumer_continues_with_the_next_event_after_its_task_was_cancelled(dispatcher: Dispatcher) -> None:
    seen: list[int] = []

    async def callback(event: int) -> None:
        if event == 0:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.sleep(TIMEOUT)
        seen.append(event)

    dispatcher.subscribe("trades", callback)
    dispatcher.publish("trades", "BTC", 0)
    await until(lambda: own_tasks() == [])
    dispatcher.publish("trades", "BTC", 1)
    await until(lambda: seen == [1])


async def test_a_coroutine_callback_that_cancels_its_subscription_finishes(dispatcher: Dispatcher) -> None:
    seen: list[str] = []

    async def callback(event: int) -> None:
        subscription.cancel()
        await asyncio.sleep(0)
        seen.append(f"end of {event}")

    subscription = dispatcher.subscribe("trades", callback)
    dispatcher.publish("trades", "BTC", 1)
    dispatcher.publish("trades", "BTC", 2)
    await until(lambda: own_tasks() == [])
    assert seen == ["end of 1"]


async def test_cancelling_an_idle_coroutine_callback_ends_its_task(dispatcher: Dispatcher) -> None:
    seen: list[int] = []

    async def callback(event: int) -> None:
        seen.append(event)

    subscription = dispatcher.subscribe("trades", callback)
    dispatcher.publish("trades", "BTC", 1)
    await until(lambda: seen == [1] and own_tasks())
    await asyncio.to_thread(subscription.cancel)
    await until(lambda: own_tasks() == [])


async def test_a_consumer_that_never_suspends_does_not_block_the_loop(reports: Reports) -> None:
    clock = Hands()
    dispatcher = Dispatcher(reports, clock=clock)
    seen: list[int] = []

    async def callback(event: int) -> None:
        clock.now += 0.001
        seen.append(event)

    dispatcher.subscribe("trades", callback)
    for number in range(1000):
        dispatcher.publish("trades", "BTC", number)
    turns = 0
    async with asyncio.timeout(TIMEOUT):
        while len(seen) < 1000:
            await asyncio.sleep(0)
            turns += 1
    assert turns >= 100
    await dispatcher.close(1)


def test_events_published_outside_a_loop_wait_for_a_loop() -> None:
    dispatcher = Dispatcher(Reports())
    seen: list[int] = []

    async def callback(event: int) -> None:
        seen.append(event)

    dispatcher.subscribe("status", callback)
    dispatcher.publish("status", "", 1)

    async def main() -> None:
        dispatcher.publish("status", "", 2)
        await dispatcher.close(1)

    asyncio.run(main())
    assert seen == [1, 2]


def test_subscriptions_stay_after_the_end_of_a_loop_and_after_close() -> None:
    dispatcher = Dispatcher(Reports())
    seen: list[int] = []

    async def callback(event: int) -> None:
        await asyncio.sleep(0)
        seen.append(event)

    dispatcher.subscribe("trades", callback)

    async def main(number: int, close: bool) -> None:
        dispatcher.publish("trades", "BTC", number)
        await until(lambda: seen[-1:] == [number])
        if close:
            await dispatcher.close(1)
            dispatcher.reopen()

    for number, close in ((1, True), (2, False), (3, True)):
        asyncio.run(main(number, close))
    assert seen == [1, 2, 3]
