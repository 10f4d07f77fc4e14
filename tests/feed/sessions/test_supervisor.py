"""The supervisor's scenarios over venues in memory: which exchange is active, when that changes, and what is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest

from exchanges import register
from exchanges.errors import Blocked, Disconnected, Rejected
from feed import MarketFeed, NoExchangeAvailable, Settings
from feed.settings import Connection, ExchangeConfig, Staleness
from tests.feed.memory_venue import MemoryVenue
from tests.support import until

NAMES = ("memory_one", "memory_two", "memory_three")
SETTINGS = Settings(
    exchanges=[ExchangeConfig(name) for name in NAMES],
    channels=["trades"],
    connection=Connection(
        connect_timeout=2,
        backoff_initial=0.05,
        backoff_max=0.1,
        stable_after=0.1,
        attempts_before_failover=2,
        failback_after=1,
    ),
    staleness=Staleness(feed_stale_after=1, reconnect_after=2, coin_stale_after=2),
)


class World:
    """Three exchanges, a feed over them, and the status events that it told."""

    def __init__(self, coins: list[str], settings: Settings = SETTINGS) -> None:
        self.venues = [MemoryVenue(name, ["BTC", "ETH"]) for name in NAMES]
        for venue in self.venues:
            register(venue.name, lambda access, venue=venue: venue)  # type: ignore[misc] # a default that binds
        self.feed = MarketFeed(coins, settings=settings)
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.feed.subscribe_status(lambda event, details: self.told.append((event, details)))
        self.trading = set(NAMES)
        self.sold: list[tuple[str, str]] = []
        self.feed.subscribe_trades(lambda trade: self.sold.append((trade.coin, trade.exchange)))

    def moves(self) -> list[tuple[str, str, str]]:
        return [
            (event, details["from"], details["to"]) for event, details in self.told if event in ("failover", "failback")
        ]

    def trade(self) -> None:
        """A trade of every coin on every exchange that trades at the moment."""
        for venue in self.venues:
            for coin in venue.coins if venue.name in self.trading else ():
                venue.trade(coin, 100.0)

    async def until(self, condition: Callable[[], bool], timeout: float = 20) -> None:
        """Let all exchanges trade until ``condition`` is true."""

        def after_a_trade() -> bool:
            self.trade()
            return condition()

        await until(after_a_trade, timeout)

    async def connect(self) -> None:
        connecting = asyncio.create_task(self.feed.connect(10))
        await self.until(connecting.done)
        await connecting

    def is_on(self, name: str) -> bool:
        return self.feed.status.exchange == name and self.feed.status.connected


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World(["BTC", "ETH"])
    yield world
    await world.feed.disconnect()


async def test_the_first_exchange_of_the_order_is_active(world: World) -> None:
    await world.connect()
    assert world.is_on("memory_one")
    assert world.moves() == []


async def test_a_blocked_exchange_is_left_at_once(world: World) -> None:
    await world.connect()
    with world.venues[0].failing(Blocked("memory_one", "not from here", 451)):
        await world.until(lambda: world.is_on("memory_two"))
    assert world.moves() == [("failover", "memory_one", "memory_two")]
    assert [details["status"] for event, details in world.told if event == "exchange_blocked"] == [451]


async def test_an_exchange_that_works_again_is_returned_to_after_a_trial(world: World) -> None:
    await world.connect()
    with world.venues[0].failing(Disconnected("memory_one", "gone")):
        await world.until(lambda: world.is_on("memory_two"))
    await world.until(lambda: world.is_on("memory_one"))
    assert world.moves() == [("failover", "memory_one", "memory_two"), ("failback", "memory_two", "memory_one")]
    await world.until(lambda: not world.venues[1].connections)


async def test_a_silent_exchange_is_left_for_one_that_carries_data(world: World) -> None:
    await world.connect()
    world.trading.discard("memory_one")
    await world.until(lambda: bool(world.moves()))
    assert any(event == "feed_stale" for event, _ in world.told)
    assert world.moves()[0][:2] == ("failover", "memory_one")


async def test_nothing_of_a_trial_is_delivered(world: World) -> None:
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


async def test_a_coin_that_the_active_exchange_does_not_list_comes_from_the_next_one() -> None:
    world = World(["BTC", "ETH"])
    world.venues[0].coins.discard("ETH")
    await world.connect()
    await world.until(lambda: ("ETH", "memory_two") in world.sold)
    assert world.is_on("memory_one")
    assert {exchange for coin, exchange in world.sold if coin == "BTC"} == {"memory_one"}
    missing = [details for event, details in world.told if event == "coin_unavailable"]
    assert [(details["exchange"], details["coin"]) for details in missing] == [("memory_one", "ETH")]
    await world.feed.disconnect()


async def test_the_books_of_a_fallback_coin_come_from_the_next_exchange_too() -> None:
    world = World(["BTC", "ETH"], replace(SETTINGS, channels=["trades", "books"]))
    world.venues[0].coins.discard("ETH")
    await world.connect()
    await world.until(lambda: bool(world.venues[1].of("books")))
    world.venues[1].book("ETH", [(99.0, 1.0)], [(101.0, 1.0)])
    book = world.feed.get_book("ETH")
    assert book is not None
    assert book.exchange == "memory_two"
    await world.feed.disconnect()


async def test_when_every_exchange_refuses_each_is_named_with_its_reason() -> None:
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
