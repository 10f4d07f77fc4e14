"""No subscriber of the dispatcher can delay, block or break another subscriber."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from feed.errors import SlowConsumerError
from feed.events import OrderBook
from feed.subscriptions.dispatcher import Dispatcher, Subscriber
from tests.feed.subscriptions.support import TIMEOUT, Bot, Hands, Reports, async_raiser, own_tasks, raiser, until

# --- which subscriber receives which events ---------------------------------------------------------------------------


async def test_plain_callbacks_are_called_at_once_in_the_order_of_subscription(dispatcher: Dispatcher) -> None:
    seen: list[tuple[str, Any]] = []
    for name in "abc":
        dispatcher.subscribe("trades", lambda event, name=name: seen.append((name, event)))
    event = object()
    dispatcher.publish("trades", "BTC", event)
    assert seen == [("a", event), ("b", event), ("c", event)]


async def test_the_same_callback_may_be_subscribed_twice(dispatcher: Dispatcher) -> None:
    seen: list[int] = []
    first = dispatcher.subscribe("trades", seen.append)
    dispatcher.subscribe("trades", seen.append)
    dispatcher.publish("trades", "BTC", 1)
    first.cancel()
    dispatcher.publish("trades", "BTC", 2)
    assert seen == [1, 1, 2]


async def test_a_subscriber_gets_only_its_channel_and_coins(dispatcher: Dispatcher) -> None:
    seen: list[int] = []
    dispatcher.subscribe("candles:1m", seen.append, ["BTC", "ETH"])
    dispatcher.subscribe("candles:1m", seen.append, "SOL")
    for number, (channel, coin) in enumerate(
        [("candles:1m", "BTC"), ("candles:5m", "BTC"), ("candles:1m", "XRP"), ("candles:1m", "SOL"), ("trades", "BTC")]
    ):
        dispatcher.publish(channel, coin, number)
    assert seen == [0, 3]


async def test_a_subscriber_to_a_whole_channel_receives_every_part_of_it(dispatcher: Dispatcher) -> None:
    seen: list[int] = []
    dispatcher.publish("candles:1m", "BTC", 0)
    whole = dispatcher.subscribe("candles", seen.append, ["BTC"])
    dispatcher.publish("candles:1m", "BTC", 1)
    dispatcher.publish("candles:5m", "BTC", 2)
    dispatcher.publish("candles:5m", "ETH", 3)
    whole.cancel()
    dispatcher.publish("candles:1m", "BTC", 4)
    assert seen == [1, 2]


async def test_wanted_is_true_if_a_subscriber_would_receive_the_event(dispatcher: Dispatcher) -> None:
    assert not dispatcher.route("trades", "BTC").wanted()
    subscription = dispatcher.subscribe("trades", print, ["BTC"])
    assert dispatcher.route("trades", "BTC").wanted()
    assert not dispatcher.route("trades", "ETH").wanted()
    assert not dispatcher.route("quotes", "BTC").wanted()
    subscription.cancel()
    subscription.cancel()
    assert not dispatcher.route("trades", "BTC").wanted()


async def test_unpack_passes_the_parts_of_an_event_as_arguments(dispatcher: Dispatcher) -> None:
    seen: list[tuple[str, dict[str, int]]] = []

    async def later(event: str, details: dict[str, int]) -> None:
        seen.append((event, details))

    dispatcher.subscribe("status", lambda event, details: seen.append((event, details)), unpack=True)
    dispatcher.subscribe("status", later, unpack=True)
    dispatcher.publish("status", "", ("connected", {"at": 1}))
    await until(lambda: len(seen) == 2)
    assert seen == [("connected", {"at": 1})] * 2


async def test_subscribing_and_cancelling_inside_a_callback_is_safe(dispatcher: Dispatcher) -> None:
    seen: list[str] = []
    handles: dict[str, Subscriber] = {}

    def first(event: Any) -> None:
        seen.append("first")
        handles["first"].cancel()
        handles["second"].cancel()
        handles["new"] = dispatcher.subscribe("trades", lambda _: seen.append("new"))

    handles["first"] = dispatcher.subscribe("trades", first)
    handles["second"] = dispatcher.subscribe("trades", lambda _: seen.append("second"))
    dispatcher.subscribe("trades", lambda _: seen.append("third"))
    dispatcher.publish("trades", "BTC", 1)
    assert seen == ["first", "third"]
    dispatcher.publish("trades", "BTC", 2)
    assert seen == ["first", "third", "third", "new"]


async def test_an_object_that_cannot_be_called_is_refused(dispatcher: Dispatcher) -> None:
    def generator(event: Any) -> Iterator[Any]:
        yield event

    async def async_generator(event: Any) -> AsyncIterator[Any]:
        yield event

    for wrong in (None, 1, "print"):
        with pytest.raises(TypeError, match="must be callable"):
            dispatcher.subscribe("trades", wrong)  # type: ignore[arg-type] # wrong on purpose
    for silent in (generator, async_generator):
        with pytest.raises(TypeError, match="generator function"):
            dispatcher.subscribe("trades", silent)
    with pytest.raises(ValueError, match="allowed are drop_oldest, latest, error"):
        dispatcher.subscribe("trades", print, on_full="block")
    with pytest.raises(ValueError, match="allowed are drop_oldest, latest, error"):
        dispatcher.iterate("trades", on_full="block")
    for size in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match="whole number from 1"):
            dispatcher.iterate("trades", size=size)  # type: ignore[arg-type] # wrong on purpose
    assert not dispatcher.route("trades", "BTC").wanted()


async def test_threads_may_subscribe_and_cancel_while_events_flow(dispatcher: Dispatcher) -> None:
    kept: list[int] = []
    dispatcher.subscribe("trades", kept.append)
    stop = threading.Event()

    def churn() -> None:
        while not stop.is_set():
            subscription = dispatcher.subscribe("trades", lambda event: None, ["BTC"])
            dispatcher.subscribe("trades", async_raiser, ["ETH"]).cancel()
            subscription.cancel()

    threads = [threading.Thread(target=churn) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(20_000):
        dispatcher.publish("trades", "BTC", number)
    last: list[int] = []
    for thread in threads:
        stop.set()
        await asyncio.to_thread(thread.join)
    dispatcher.subscribe("trades", last.append)
    dispatcher.publish("trades", "BTC", -1)
    assert kept == [*range(20_000), -1]
    assert last == [-1]
    assert len(dispatcher._subscriptions["trades"]) == 2


# --- errors -----------------------------------------------------------------------------------------------------------


async def test_a_callback_that_raises_does_not_affect_other_callbacks(dispatcher: Dispatcher, reports: Reports) -> None:
    seen: list[int] = []
    plain = dispatcher.subscribe("trades", raiser)
    dispatcher.subscribe("trades", seen.append)
    queued = dispatcher.subscribe("trades", async_raiser)
    for number in range(3):
        dispatcher.publish("trades", "BTC", number)
    await until(lambda: queued.errors == 3)
    assert seen == [0, 1, 2]
    assert (plain.errors, dispatcher.errors) == (3, 6)
    assert reports == [
        ("callback_error", {"callback": "raiser", "error": "RuntimeError('over 0')", "count": 1}),
        ("callback_error", {"callback": "async_raiser", "error": "RuntimeError('over 0')", "count": 1}),
    ]


async def test_errors_are_reported_once_a_second_with_their_count(reports: Reports) -> None:
    clock = Hands()
    dispatcher = Dispatcher(reports, clock=clock)
    dispatcher.subscribe("trades", raiser)
    for now in (100.0, 100.5, 100.9, 101.0, 101.5, 102.5):
        clock.now = now
        dispatcher.publish("trades", "BTC", now)
    assert [details["count"] for _, details in reports] == [1, 3, 2]


async def test_reading_a_cancelled_future_in_a_plain_callback_is_an_error_and_cancels_nothing(
    dispatcher: Dispatcher,
) -> None:
    seen: list[int] = []
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    subscription = dispatcher.subscribe("trades", lambda event: future.result())
    dispatcher.subscribe("trades", seen.append)
    dispatcher.publish("trades", "BTC", 1)
    assert seen == [1]
    assert subscription.errors == 1


async def test_keyboard_interrupt_is_not_caught(dispatcher: Dispatcher) -> None:
    def interrupt(event: Any) -> None:
        raise KeyboardInterrupt

    dispatcher.subscribe("trades", interrupt)
    with pytest.raises(KeyboardInterrupt):
        dispatcher.publish("trades", "BTC", 1)


@pytest.mark.parametrize("callback", [raiser, async_raiser])
async def test_a_raising_status_callback_causes_no_endless_reports(callback: Callable[[Any], Any]) -> None:
    """Each report is an event that the failing callback gets too."""
    clock = Hands()
    reports: list[str] = []

    def report(event: str, details: dict[str, Any]) -> None:
        reports.append(details["callback"])
        watched.publish("status", "", (event, details))

    watched = Dispatcher(report, clock=clock)
    seen: list[Any] = []
    failing = watched.subscribe("status", callback)
    watched.subscribe("status", seen.append)
    watched.publish("status", "", "connected")
    await until(lambda: failing.errors == 2)
    for _ in range(5):
        clock.now += 10
        for _ in range(5):
            await asyncio.sleep(0)
    assert failing.errors == 2  # at "connected", and at the report of the first error
    assert reports == [callback.__name__]
    assert len(seen) == 2
    await watched.close(1)


async def test_a_report_that_fails_does_not_affect_other_callbacks() -> None:
    def report(event: str, details: dict[str, Any]) -> None:
        raise RuntimeError(event)

    dispatcher = Dispatcher(report)
    seen: list[int] = []
    dispatcher.subscribe("trades", raiser)
    dispatcher.subscribe("trades", seen.append)
    dispatcher.publish("trades", "BTC", 1)
    assert seen == [1]


async def test_a_slow_plain_callback_is_reported_with_its_name_and_time(reports: Reports) -> None:
    clock = Hands()
    dispatcher = Dispatcher(reports, slow_after=0.1, clock=clock)

    def slow(event: float) -> None:
        clock.now += event

    dispatcher.subscribe("trades", lambda event: None)
    subscription = dispatcher.subscribe("trades", slow)
    dispatcher.subscribe("trades", lambda event: None)
    for seconds in (0.05, 0.25, 0.25):
        dispatcher.publish("trades", "BTC", seconds)
    assert subscription.slow == 2
    [(event, details)] = reports
    assert event == "slow_callback"
    assert details["callback"].endswith("slow")
    assert details["ms"] == pytest.approx(250)


# --- close ------------------------------------------------------------------------------------------------------------


async def test_close_waits_until_the_queues_are_empty(reports: Reports) -> None:
    dispatcher = Dispatcher(reports)
    seen: list[int] = []

    async def callback(event: int) -> None:
        await asyncio.sleep(0)
        seen.append(event)

    dispatcher.subscribe("trades", callback)
    for number in range(100):
        dispatcher.publish("trades", "BTC", number)
    await dispatcher.close(TIMEOUT)
    assert seen == list(range(100))
    assert own_tasks() == []
    await dispatcher.close(TIMEOUT)


async def test_close_cancels_callbacks_that_do_not_end_in_time(reports: Reports) -> None:
    dispatcher = Dispatcher(reports)
    cleaned: list[int] = []

    async def callback(event: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.append(event)

    subscription = dispatcher.subscribe("trades", callback)
    # the lambda hides that callback is a coroutine function, so a task starts the coroutine
    hidden = dispatcher.subscribe("trades", lambda event: callback(event))
    for number in range(3):
        dispatcher.publish("trades", "BTC", number)
    await until(lambda: own_tasks())
    await asyncio.sleep(0)
    async with asyncio.timeout(TIMEOUT):
        await dispatcher.close(0.01)
    assert cleaned == [0, 0]
    assert (subscription.dropped, hidden.dropped) == (2, 2)
    await until(lambda: own_tasks() == [])


def test_a_slow_consumers_error_shows_the_beginning_of_a_deep_book() -> None:
    levels = [(60_000.0 + step, 1.0) for step in range(1000)]
    error = SlowConsumerError("books:1000", "BTC", OrderBook("BTC", levels, levels, 0), 4)
    for text in (str(error), repr(error)):
        assert "OrderBook(coin='BTC', bids=[(60000.0, 1.0)" in text
        assert len(text) < 700
    assert len(error.event.bids) == 1000


async def test_close_with_a_timeout_of_zero_leaves_neither_task_nor_unawaited_coroutine(reports: Reports) -> None:
    dispatcher = Dispatcher(reports)
    bot = Bot()
    dispatcher.subscribe("trades", bot.hidden())
    dispatcher.publish("trades", "BTC", 1)
    await dispatcher.close(0)
    dispatcher.publish("trades", "BTC", 2)
    dispatcher.publish("trades", "BTC", 3)
    await until(lambda: own_tasks() == [])
    gc.collect()  # a coroutine that was never awaited would warn here, and warnings are errors


async def test_close_returns_in_time_even_if_a_callback_ignores_its_cancellation(reports: Reports) -> None:
    dispatcher = Dispatcher(reports)
    gate = asyncio.Event()

    async def stubborn(event: int) -> None:
        while not gate.is_set():
            try:
                await gate.wait()
            except asyncio.CancelledError:
                continue

    dispatcher.subscribe("trades", stubborn)
    dispatcher.publish("trades", "BTC", 1)
    await asyncio.sleep(0)
    async with asyncio.timeout(TIMEOUT):
        await dispatcher.close(0.01)
    assert len(own_tasks()) == 1
    gate.set()
    await until(lambda: own_tasks() == [])


async def test_a_coroutine_callback_may_close_its_own_dispatcher(reports: Reports) -> None:
    dispatcher = Dispatcher(reports)
    seen: list[int] = []

    async def callback(event: int) -> None:
        async with asyncio.timeout(TIMEOUT / 2):
            await dispatcher.close(TIMEOUT)
        seen.append(event)

    dispatcher.subscribe("trades", callback)
    dispatcher.publish("trades", "BTC", 1)
    dispatcher.publish("trades", "BTC", 2)
    await until(lambda: own_tasks() == [])
    assert seen == [1]
