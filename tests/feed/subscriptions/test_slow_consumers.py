"""Consumers that fall behind are reported; consumers that keep up are not reported."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable

import pytest

from feed.subscriptions.dispatcher import Dispatcher
from feed.subscriptions.queues import POLICIES
from tests.feed.subscriptions.support import Hands, Reports


def look_every_half_second(dispatcher: Dispatcher, hands: Hands, seconds: float, each: Callable[[], object]) -> None:
    for _ in range(int(2 * seconds)):
        each()
        hands.now += 0.5
        dispatcher.look(lambda at: hands.now - at)


@pytest.mark.parametrize("on_full", POLICIES)
async def test_an_iterator_that_falls_behind_is_reported_at_one_second_and_at_each_doubling(
    reports: Reports, on_full: str
) -> None:
    hands = Hands()
    dispatcher = Dispatcher(reports, clock=hands)
    stream = dispatcher.iterate("trades", on_full=on_full)
    publish = functools.partial(dispatcher.publish, "trades", "BTC")
    dispatcher.publish("trades", "ETH", 0)
    look_every_half_second(dispatcher, hands, 20, lambda: publish(1))
    assert reports.kinds() == ["slow_callback"] * 5
    assert [details["behind"] for _, details in reports] == [1, 2, 4, 8, 16]
    assert reports[0][1]["callback"] == "iterator over trades"
    assert reports[0][1]["waiting"] > 0
    while stream._buffer:
        await anext(stream)
    look_every_half_second(dispatcher, hands, 20, lambda: None)  # no event waits
    assert len(reports) == 5
    publish(2)
    look_every_half_second(dispatcher, hands, 1, lambda: None)
    assert [details["behind"] for _, details in reports[5:]] == [1]
    stream.close()


async def test_a_coroutine_callback_that_never_returns_is_reported(reports: Reports) -> None:
    hands = Hands()
    dispatcher = Dispatcher(reports, clock=hands)
    begun = asyncio.Event()

    async def stuck(event: int) -> None:
        begun.set()
        await asyncio.Event().wait()

    dispatcher.subscribe("trades", stuck)
    dispatcher.publish("trades", "BTC", 1)
    await begun.wait()
    look_every_half_second(dispatcher, hands, 5, lambda: None)
    assert reports == []  # the callback takes long for its event, but no other event waits
    dispatcher.publish("trades", "BTC", 2)
    look_every_half_second(dispatcher, hands, 5, lambda: None)
    assert [details["behind"] for _, details in reports] == [1, 2, 4]
    await dispatcher.close(0.1)


async def test_a_consumer_that_keeps_up_is_not_reported(reports: Reports) -> None:
    hands = Hands()
    dispatcher = Dispatcher(reports, clock=hands)
    stream = dispatcher.iterate("trades")
    for number in range(100):
        dispatcher.publish("trades", "BTC", number)
        await anext(stream)
        look_every_half_second(dispatcher, hands, 1, lambda: None)
    assert reports == []
    stream.close()
