"""Which exchange the supervisor makes active, when it changes the active exchange, and which events it reports."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from exchanges.errors import Blocked, Disconnected, Rejected
from exchanges.venue import Capacity, Limits
from feed import NoExchangeAvailable
from tests.feed.sessions.support import NAMES, World
from tests.support import until


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World(["BTC", "ETH"])
    yield world
    await world.feed.disconnect()


async def test_the_first_exchange_in_the_settings_is_active(world: World) -> None:
    await world.connect()
    assert world.is_on("memory_one")
    assert world.moves() == []


async def test_the_feed_leaves_a_blocked_exchange_at_once(world: World) -> None:
    await world.connect()
    with world.venues[0].failing(Blocked("memory_one", "not from here", 451)):
        await world.until(lambda: world.is_on("memory_two"))
    assert world.moves() == [("failover", "memory_one", "memory_two")]
    assert [details["status"] for event, details in world.told if event == "exchange_blocked"] == [451]


async def test_the_feed_returns_to_an_exchange_that_works_again_after_a_trial(world: World) -> None:
    await world.connect()
    with world.venues[0].failing(Disconnected("memory_one", "gone")):
        await world.until(lambda: world.is_on("memory_two"))
    await world.until(lambda: world.is_on("memory_one"))
    assert world.moves() == [("failover", "memory_one", "memory_two"), ("failback", "memory_two", "memory_one")]
    await world.until(lambda: not world.venues[1].connections)


async def test_the_feed_leaves_a_silent_exchange_for_an_exchange_that_carries_data(world: World) -> None:
    await world.connect()
    world.trading.discard("memory_one")
    await world.until(lambda: bool(world.moves()))
    assert any(event == "feed_stale" for event, _ in world.told)
    assert world.moves()[0][:2] == ("failover", "memory_one")


async def test_data_of_an_exchange_on_trial_is_not_delivered(world: World) -> None:
    await world.connect()
    with world.venues[0].failing(Disconnected("memory_one", "gone")):
        await world.until(lambda: world.is_on("memory_two"))
    seen = len(world.sold)
    await world.until(lambda: bool(world.venues[0].connections))
    assert {exchange for _, exchange in world.sold[seen:]} <= {"memory_two"}


async def test_a_lost_connection_is_dialled_again_without_a_failover(world: World) -> None:
    await world.connect()
    for connection in list(world.venues[0].connections):
        connection.ended.set()
    await world.until(lambda: world.feed.status.reconnect_count == 1)
    assert world.is_on("memory_one")
    assert world.moves() == []


async def test_when_every_exchange_refuses_each_exchange_is_named_with_its_reason() -> None:
    world = World(["BTC"])
    with (
        pytest.raises(NoExchangeAvailable) as failed,
        world.venues[0].failing(Blocked("memory_one", "not from here", 451)),
        world.venues[1].failing(Blocked("memory_two", "not for you", 403)),
        world.venues[2].failing(Rejected("memory_three", "no such market")),
    ):
        await world.feed.connect(10)
    assert list(failed.value.reasons) == list(NAMES)
    assert [reason in str(failed.value) for reason in ("not from here", "not for you", "no such market")] == [True] * 3


async def test_all_connections_are_closed_at_the_end(world: World) -> None:
    await world.connect()
    await world.feed.disconnect()
    assert [venue.connections for venue in world.venues] == [[], [], []]
    assert [event for event, _ in world.told][-1] == "closed"


@pytest.mark.parametrize("consecutive", [False, True])
async def test_trades_missed_by_one_of_two_connections_on_trial_are_fetched_when_the_exchange_becomes_active(
    world: World, monkeypatch: pytest.MonkeyPatch, consecutive: bool
) -> None:
    monkeypatch.setattr("feed.market_data.connection_listener.SUBSCRIBED", 0.1)
    first, second = world.venues[:2]
    first.limits = Limits(consecutive_ids=consecutive, capacity=Capacity(1))
    await world.connect()
    with first.failing(Disconnected("memory_one", "gone")):
        await world.until(lambda: world.is_on("memory_two"))
    await world.until(lambda: len(first.connections) == 2)
    made = len(first.trades)
    await world.until(lambda: len(first.trades) > made + 100)  # each connection has been open for a long time
    second.quiet.add("ETH")
    (lost,) = (each for each in first.connections if "ETH" in each.markets)
    lost.ended.set()
    await until(lambda: lost not in first.connections)
    first.trade("ETH", 101.0)  # arrives over no connection
    await world.until(lambda: world.is_on("memory_one") and ("ETH", "memory_one") in world.sold[-9:])
    await world.settle()
    world.assert_whole("ETH")


@pytest.mark.parametrize("consecutive", [False, True])
async def test_trades_before_a_coin_was_added_to_a_trial_are_fetched_when_the_exchange_becomes_active(
    world: World, monkeypatch: pytest.MonkeyPatch, consecutive: bool
) -> None:
    monkeypatch.setattr("feed.market_data.connection_listener.SUBSCRIBED", 0.1)
    first, second = world.venues[:2]
    for venue in world.venues:
        venue.coins.add("SOL")
    first.limits = Limits(consecutive_ids=consecutive)
    await world.connect()
    with first.failing(Disconnected("memory_one", "gone")):
        await world.until(lambda: world.is_on("memory_two"))
    await world.until(lambda: bool(first.connections))
    made = len(first.trades)
    await world.until(lambda: len(first.trades) > made + 100)  # the trial has lasted for a long time
    second.quiet.add("SOL")
    adding = asyncio.create_task(world.feed.add_coins("SOL"))
    await until(lambda: "SOL" in second.connections[0].markets and "SOL" in first.connections[0].markets)
    late = {"SOL": first.connections[0].markets.pop("SOL")}  # the venue has not answered this subscription yet
    second.trade("SOL", 100.0, at=time.time_ns() // 1_000_000 - 5)
    first.trade("SOL", 101.0)  # arrives over no connection
    first.connections[0].markets |= late
    await world.until(lambda: world.is_on("memory_one") and ("SOL", "memory_one") in world.sold[-9:])
    await adding
    await world.settle()
    world.assert_whole("SOL")


@pytest.mark.parametrize("consecutive", [False, True])
async def test_trades_before_the_last_subscriptions_of_a_trial_are_fetched_when_the_exchange_becomes_active(
    world: World, monkeypatch: pytest.MonkeyPatch, consecutive: bool
) -> None:
    monkeypatch.setattr("feed.market_data.connection_listener.SUBSCRIBED", 0.1)
    monkeypatch.setattr("feed.market_data.connection_listener.SUBSCRIBED_EACH", 0.3)
    first, second = world.venues[:2]
    first.limits = Limits(consecutive_ids=consecutive)
    await world.connect()
    with first.failing(Disconnected("memory_one", "gone")):
        await world.until(lambda: world.is_on("memory_two"))
    await until(lambda: bool(first.connections))
    late = {"ETH": first.connections[0].markets.pop("ETH")}  # the venue takes 0.3 s for each subscription
    begun = time.monotonic()
    await world.until(lambda: time.monotonic() - begun > 0.2)
    second.quiet.add("ETH")
    await world.until(lambda: time.monotonic() - begun > 0.3)
    first.connections[0].markets |= late
    await world.until(lambda: world.is_on("memory_one") and ("ETH", "memory_one") in world.sold[-9:])
    await world.settle()
    world.assert_whole("ETH")
