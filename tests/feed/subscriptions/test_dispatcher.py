"""No subscriber can slow, starve or break another."""

from __future__ import annotations

import asyncio
import functools
import gc
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from unittest.mock import AsyncMock, MagicMock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feed.errors import SlowConsumerError
from feed.events import OrderBook
from feed.subscriptions.dispatcher import Dispatcher, Subscriber
from feed.subscriptions.queues import POLICIES

PATIENCE = 10.0  # seconds within which anything that is to happen has happened


class Reports(list[tuple[str, dict[str, Any]]]):
    """What the dispatcher reported."""

    def __call__(self, event: str, details: dict[str, Any]) -> None:
        self.append((event, details))

    def kinds(self) -> list[str]:
        return [event for event, _ in self]


class Hands:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def reports() -> Reports:
    return Reports()


@pytest.fixture
async def dispatcher(reports: Reports) -> AsyncIterator[Dispatcher]:
    made = Dispatcher(reports, queue_size=4)
    yield made
    await made.close(1)
    assert own_tasks() == []


def own_tasks() -> list[str]:
    return [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("market-feed")]


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event of its own
            await asyncio.sleep(0)


def raiser(event: Any) -> None:
    raise RuntimeError(f"over {event}")


async def async_raiser(event: Any) -> None:
    raise RuntimeError(f"over {event}")


# --- who receives what ------------------------------------------------------------------------------------------------


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


async def test_channels_and_coins_are_kept_apart(dispatcher: Dispatcher) -> None:
    seen: list[int] = []
    dispatcher.subscribe("candles:1m", seen.append, ["BTC", "ETH"])
    dispatcher.subscribe("candles:1m", seen.append, "SOL")
    for number, (channel, coin) in enumerate(
        [("candles:1m", "BTC"), ("candles:5m", "BTC"), ("candles:1m", "XRP"), ("candles:1m", "SOL"), ("trades", "BTC")]
    ):
        dispatcher.publish(channel, coin, number)
    assert seen == [0, 3]


async def test_who_subscribes_to_a_whole_channel_receives_every_part_of_it(dispatcher: Dispatcher) -> None:
    seen: list[int] = []
    dispatcher.publish("candles:1m", "BTC", 0)
    whole = dispatcher.subscribe("candles", seen.append, ["BTC"])
    dispatcher.publish("candles:1m", "BTC", 1)
    dispatcher.publish("candles:5m", "BTC", 2)
    dispatcher.publish("candles:5m", "ETH", 3)
    whole.cancel()
    dispatcher.publish("candles:1m", "BTC", 4)
    assert seen == [1, 2]


async def test_wanted_says_whether_anybody_would_receive(dispatcher: Dispatcher) -> None:
    assert not dispatcher.wanted("trades", "BTC")
    subscription = dispatcher.subscribe("trades", print, ["BTC"])
    assert dispatcher.wanted("trades", "BTC")
    assert not dispatcher.wanted("trades", "ETH")
    assert not dispatcher.wanted("quotes", "BTC")
    subscription.cancel()
    subscription.cancel()
    assert not dispatcher.wanted("trades", "BTC")


async def test_unpack_spreads_the_event(dispatcher: Dispatcher) -> None:
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
            dispatcher.subscribe("trades", wrong)  # type: ignore[arg-type] # what is tested
    for silent in (generator, async_generator):
        with pytest.raises(TypeError, match="generator function"):
            dispatcher.subscribe("trades", silent)
    with pytest.raises(ValueError, match="allowed are drop_oldest, latest, error"):
        dispatcher.subscribe("trades", print, on_full="block")
    with pytest.raises(ValueError, match="allowed are drop_oldest, latest, error"):
        dispatcher.iterate("trades", on_full="block")
    for size in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match="whole number from 1"):
            dispatcher.iterate("trades", size=size)  # type: ignore[arg-type] # what is tested
    assert not dispatcher.wanted("trades", "BTC")


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


async def test_a_raising_callback_disturbs_nobody(dispatcher: Dispatcher, reports: Reports) -> None:
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


async def test_a_plain_callback_that_reads_a_cancelled_future_is_an_error_and_no_cancellation(
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


async def test_keyboard_interrupt_is_not_held_up(dispatcher: Dispatcher) -> None:
    def interrupt(event: Any) -> None:
        raise KeyboardInterrupt

    dispatcher.subscribe("trades", interrupt)
    with pytest.raises(KeyboardInterrupt):
        dispatcher.publish("trades", "BTC", 1)


@pytest.mark.parametrize("callback", [raiser, async_raiser])
async def test_a_raising_status_callback_causes_no_endless_reports(callback: Callable[[Any], Any]) -> None:
    """Each report is an event for the very callback that fails over it."""
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
    assert failing.errors == 2  # over "connected", and over the report of that
    assert reports == [callback.__name__]
    assert len(seen) == 2
    await watched.close(1)


async def test_a_report_that_fails_disturbs_nobody() -> None:
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


# --- coroutine callbacks ----------------------------------------------------------------------------------------------


class Bot:
    def __init__(self) -> None:
        self.seen: list[int] = []

    async def on_trade(self, event: int) -> None:
        await asyncio.sleep(0)
        self.seen.append(event)

    async def __call__(self, event: int) -> None:
        await self.on_trade(event)

    def twice(self) -> Callable[[int], Any]:
        return functools.partial(functools.partial(self.on_trade))

    def hidden(self) -> Callable[[int], Any]:
        return lambda event: self.on_trade(event)

    def task(self) -> Callable[[int], Any]:
        return lambda event: asyncio.ensure_future(self.on_trade(event))

    def mock(self) -> Callable[[int], Any]:
        return AsyncMock(side_effect=self.on_trade)

    def mixed(self) -> Callable[[int], Any]:
        return lambda event: self.on_trade(event) if event % 2 else self.seen.append(event)


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
        await until(lambda: len(bot.seen) == expected)  # noqa: B023 - it is over before the next round
    assert bot.seen == list(range(12))


async def test_a_callback_that_returns_anything_else_stays_plain(dispatcher: Dispatcher) -> None:
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


async def test_a_slow_coroutine_callback_slows_nobody_and_loses_its_oldest(
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
        await until(lambda: quick[-1:] == [number])  # noqa: B023 - it is over before the next round
    assert fast == quick == list(range(100))
    gate.set()
    await until(lambda: len(slow) == 5)
    assert slow == [0, 96, 97, 98, 99]  # the one in hand, and the four that the queue holds
    assert subscription.dropped == 95
    assert reports.kinds() == ["slow_callback"]
    assert reports[0][1]["dropped"] == 1
    assert reports[0][1]["callback"].endswith("stuck")


async def test_latest_keeps_the_newest_of_each_coin(dispatcher: Dispatcher, reports: Reports) -> None:
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
    assert reports == []  # that is what was asked for


async def test_error_ends_a_coroutine_callback_that_falls_behind(dispatcher: Dispatcher, reports: Reports) -> None:
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
    assert seen == [0, 1, 2, 3]  # all before the first that was lost
    assert not dispatcher.wanted("trades", "BTC")
    kind, details = reports[-1]
    assert kind == "callback_error"
    assert "SlowConsumerError('trades', 'BTC', 4, 4)" in details["error"]


async def test_a_cancellation_inside_a_coroutine_callback_is_its_own_affair(dispatcher: Dispatcher) -> None:
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
            await asyncio.sleep(PATIENCE)
        seen.append(event)

    dispatcher.subscribe("trades", callback)
    dispatcher.publish("trades", "BTC", 0)
    await until(lambda: own_tasks() == [])
    dispatcher.publish("trades", "BTC", 1)
    await until(lambda: seen == [1])


async def test_a_coroutine_callback_may_cancel_itself_and_finishes(dispatcher: Dispatcher) -> None:
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


async def test_a_consumer_that_never_suspends_does_not_hold_the_loop(reports: Reports) -> None:
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
    async with asyncio.timeout(PATIENCE):
        while len(seen) < 1000:
            await asyncio.sleep(0)
            turns += 1
    assert turns >= 100
    await dispatcher.close(1)


def test_events_published_outside_a_loop_wait_for_one() -> None:
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


def test_subscriptions_outlive_a_loop_and_a_close() -> None:
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


# --- close ------------------------------------------------------------------------------------------------------------


async def test_close_lets_the_queues_drain(reports: Reports) -> None:
    dispatcher = Dispatcher(reports)
    seen: list[int] = []

    async def callback(event: int) -> None:
        await asyncio.sleep(0)
        seen.append(event)

    dispatcher.subscribe("trades", callback)
    for number in range(100):
        dispatcher.publish("trades", "BTC", number)
    await dispatcher.close(PATIENCE)
    assert seen == list(range(100))
    assert own_tasks() == []
    await dispatcher.close(PATIENCE)


async def test_close_cancels_what_does_not_end_in_time(reports: Reports) -> None:
    dispatcher = Dispatcher(reports)
    cleaned: list[int] = []

    async def callback(event: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.append(event)

    subscription = dispatcher.subscribe("trades", callback)
    hidden = dispatcher.subscribe("trades", lambda event: callback(event))  # its coroutines are started by a task
    for number in range(3):
        dispatcher.publish("trades", "BTC", number)
    await until(lambda: own_tasks())
    await asyncio.sleep(0)
    async with asyncio.timeout(PATIENCE):
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


async def test_close_with_no_time_at_all_leaves_neither_task_nor_unawaited_coroutine(reports: Reports) -> None:
    dispatcher = Dispatcher(reports)
    bot = Bot()
    dispatcher.subscribe("trades", bot.hidden())
    dispatcher.publish("trades", "BTC", 1)
    await dispatcher.close(0)
    dispatcher.publish("trades", "BTC", 2)
    dispatcher.publish("trades", "BTC", 3)
    await until(lambda: own_tasks() == [])
    gc.collect()  # a coroutine that was never awaited would warn here, and warnings are errors


async def test_close_is_bounded_by_a_callback_that_resists(reports: Reports) -> None:
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
    async with asyncio.timeout(PATIENCE):
        await dispatcher.close(0.01)
    assert len(own_tasks()) == 1
    gate.set()
    await until(lambda: own_tasks() == [])


async def test_a_coroutine_callback_may_close_its_own_dispatcher(reports: Reports) -> None:
    dispatcher = Dispatcher(reports)
    seen: list[int] = []

    async def callback(event: int) -> None:
        async with asyncio.timeout(PATIENCE / 2):
            await dispatcher.close(PATIENCE)
        seen.append(event)

    dispatcher.subscribe("trades", callback)
    dispatcher.publish("trades", "BTC", 1)
    dispatcher.publish("trades", "BTC", 2)
    await until(lambda: own_tasks() == [])
    assert seen == [1]


# --- iterators --------------------------------------------------------------------------------------------------------


async def test_an_iterator_yields_what_came_since_it_was_made_and_ends_at_close(reports: Reports) -> None:
    dispatcher = Dispatcher(reports)
    stream = dispatcher.iterate("trades", ["BTC"])
    for number in range(3):
        dispatcher.publish("trades", "BTC", number)
        dispatcher.publish("trades", "ETH", -1)
    seen: list[int] = []

    async def consume() -> None:
        seen.extend([event async for event in stream])

    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
        group.create_task(consume())
        await until(lambda: len(seen) == 0)
        dispatcher.publish("trades", "BTC", 3)
        await dispatcher.close(1)
    assert seen == [0, 1, 2, 3]
    assert [event async for event in dispatcher.iterate("trades")] == []  # closed already


async def test_breaking_out_releases_the_iterator(dispatcher: Dispatcher) -> None:
    async def produce() -> None:
        await until(lambda: dispatcher.wanted("trades", "BTC"))
        dispatcher.publish("trades", "BTC", 1)

    producer = asyncio.create_task(produce())
    async with asyncio.timeout(PATIENCE):
        async for _ in dispatcher.iterate("trades"):
            break
    await producer
    assert not dispatcher.wanted("trades", "BTC")


async def test_a_kept_iterator_goes_on_where_it_stopped_until_it_is_closed(dispatcher: Dispatcher) -> None:
    async with dispatcher.iterate("trades") as stream:
        for number in (1, 2, 3):
            dispatcher.publish("trades", "BTC", number)
        async for event in stream:
            assert event == 1
            break
        assert await anext(stream) == 2
    assert not dispatcher.wanted("trades", "BTC")
    with pytest.raises(StopAsyncIteration):
        await anext(stream)
    await stream.aclose()


async def test_closing_an_iterator_lets_go_whoever_waits(dispatcher: Dispatcher) -> None:
    stream = dispatcher.iterate("trades")
    waiting = asyncio.create_task(_all(stream))
    await asyncio.sleep(0)
    stream.close()
    async with asyncio.timeout(PATIENCE):
        assert await waiting == []


async def _all(stream: AsyncIterator[Any]) -> list[Any]:
    return [event async for event in stream]


async def test_cancelling_the_wait_loses_nothing(dispatcher: Dispatcher) -> None:
    stream = dispatcher.iterate("trades")
    for number in range(20):
        waiting = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        if number % 2:
            dispatcher.publish("trades", "BTC", number)  # it comes in the very moment of the cancellation
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        if number % 2:
            assert await anext(stream) == number


async def test_a_full_iterator_loses_its_oldest_and_counts_them(dispatcher: Dispatcher, reports: Reports) -> None:
    stream = dispatcher.iterate("trades", size=3)
    for number in range(10):
        dispatcher.publish("trades", "BTC", number)
    assert [await anext(stream) for _ in range(3)] == [7, 8, 9]
    assert stream.dropped == 7
    assert reports.kinds() == ["slow_callback"]
    assert reports[0][1]["callback"] == "iterator over trades"


async def test_the_error_policy_raises_in_the_place_of_the_first_loss(dispatcher: Dispatcher) -> None:
    stream = dispatcher.iterate("trades", on_full="error", size=2)
    for number in range(5):
        dispatcher.publish("trades", "BTC", number)
    assert [await anext(stream), await anext(stream)] == [0, 1]
    with pytest.raises(SlowConsumerError, match="trades: too slow, 2 events were waiting") as caught:
        await anext(stream)
    assert (caught.value.coin, caught.value.event, caught.value.size) == ("BTC", 2, 2)
    with pytest.raises(StopAsyncIteration):
        await anext(stream)
    assert not dispatcher.wanted("trades", "BTC")


async def test_a_busy_coin_does_not_push_the_others_back(dispatcher: Dispatcher) -> None:
    stream = dispatcher.iterate("prices", on_full="latest")
    for number in range(100):
        dispatcher.publish("prices", "BTC", f"BTC{number}")
        if number in (50, 60):
            dispatcher.publish("prices", "ETH", f"ETH{number}")
    assert [await anext(stream), await anext(stream)] == ["BTC99", "ETH60"]


async def test_an_iterator_whose_body_never_suspends_does_not_hold_the_loop(reports: Reports) -> None:
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
    """Against a list: a coin is an event of it, None is the consumer taking one."""

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


def look_every_half_second(dispatcher: Dispatcher, hands: Hands, seconds: float, each: Callable[[], object]) -> None:
    for _ in range(int(2 * seconds)):
        each()
        hands.now += 0.5
        dispatcher.look(lambda at: hands.now - at)


@pytest.mark.parametrize("on_full", POLICIES)
async def test_an_iterator_that_falls_behind_is_told_at_a_second_and_whenever_that_doubles(
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
    look_every_half_second(dispatcher, hands, 20, lambda: None)  # nothing waits
    assert len(reports) == 5
    publish(2)
    look_every_half_second(dispatcher, hands, 1, lambda: None)
    assert [details["behind"] for _, details in reports[5:]] == [1]
    stream.close()


async def test_a_coroutine_callback_that_never_returns_is_told_by_one_event_that_waits(reports: Reports) -> None:
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
    assert reports == []  # it takes its time with one event, and none is late for it
    dispatcher.publish("trades", "BTC", 2)
    look_every_half_second(dispatcher, hands, 5, lambda: None)
    assert [details["behind"] for _, details in reports] == [1, 2, 4]
    await dispatcher.close(0.1)


async def test_a_consumer_that_keeps_up_is_not_told(reports: Reports) -> None:
    hands = Hands()
    dispatcher = Dispatcher(reports, clock=hands)
    stream = dispatcher.iterate("trades")
    for number in range(100):
        dispatcher.publish("trades", "BTC", number)
        await anext(stream)
        look_every_half_second(dispatcher, hands, 1, lambda: None)
    assert reports == []
    stream.close()
