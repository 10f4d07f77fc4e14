"""Over a real socket, each of this project's own books equals the simulator's book with the same update number."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest

from exchanges.simulator import SimulatedVenue as Simulated
from exchanges.simulator import Simulator
from exchanges.simulator.markets.order_book import Side
from tests.exchanges.support import Heard, Running, opened, streaming
from tests.support import until

COINS = ("BTC", "ETH", "SOL")


@pytest.fixture(params=["binance", "bybit"])
async def moving(request: pytest.FixtureRequest) -> AsyncIterator[Simulator]:
    """A simulator whose venue makes trades by itself."""
    async with Simulator(venues=(request.param,), rate=200) as simulator:
        yield simulator


@pytest.fixture(params=["aiohttp", "picows"])
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def the(simulator: Simulator) -> Simulated:
    return next(iter(simulator.venues.values()))


@asynccontextmanager
async def reading(simulator: Simulator, coins: Iterable[str] = COINS, **options: Any) -> AsyncIterator[Running]:
    name = next(iter(simulator.venues))
    async with (
        opened(name, simulator, options=options) as venue,
        streaming(venue, coins, ("books",)) as running,
    ):
        yield running


def is_top(levels: list[Any], true: list[Any]) -> bool:
    """Whether these are the best levels; there may be fewer than wanted if the snapshot proves no more."""
    return bool(levels) and levels == true[: len(levels)]


class Checked:
    """Compares each delivered book with the true one; ``books`` counts the delivered books of each coin."""

    def __init__(self, running: Running, simulated: Simulated) -> None:
        self.wrong: list[Any] = []
        self.books: dict[str, int] = {}
        self.proven: set[str] = set()
        self._simulated = simulated
        heard: Heard = running.heard
        heard.on_book = self._on_book
        told = heard.on_book_unsynced

        def on_book_unsynced(coin: str, reason: str) -> None:
            self.proven.discard(coin)
            told(coin, reason)

        heard.on_book_unsynced = on_book_unsynced  # type: ignore[method-assign] # the stream reads this attribute

    def _on_book(self, book: Any) -> None:
        self.books[book.coin] = self.books.get(book.coin, 0) + 1
        self.proven.add(book.coin)
        true = self._simulated.book_at(book.coin, book.sequence, depth=20)
        if true is not None and not (is_top(book.bids, true.bids) and is_top(book.asks, true.asks)):
            self.wrong.append((book, true))

    def has(self, count: int, *coins: str) -> bool:
        return all(self.books.get(coin, 0) >= count and coin in self.proven for coin in coins)


@pytest.mark.parametrize("hotpath", [True, False])
async def test_every_delivered_book_equals_the_venues_book_with_the_same_update_number(
    moving: Simulator, transport: str, hotpath: bool
) -> None:
    async with reading(moving, transport=transport, hotpath=hotpath) as running:
        checked = Checked(running, the(moving))
        await running.until(lambda: checked.has(15, *COINS))
    assert not checked.wrong
    assert not running.heard.bad


@pytest.mark.parametrize("fault", ["lost", "doubled", "late", "reordered"])
async def test_no_wrong_book_is_delivered_while_messages_are_lost_doubled_late_or_reordered(
    moving: Simulator, fault: str
) -> None:
    venue = the(moving)
    async with reading(moving) as running:
        checked = Checked(running, venue)
        await running.until(lambda: checked.has(3, *COINS))
        with getattr(venue, f"books_{fault}")(0.2):
            known = dict(checked.books)
            await running.until(lambda: all(checked.books[coin] > known[coin] + 5 for coin in COINS), 30)
        await running.until(lambda: checked.has(1, *COINS))
    assert not checked.wrong


async def test_a_lost_message_of_one_coin_does_not_affect_other_coins(moving: Simulator) -> None:
    venue = the(moving)
    async with reading(moving) as running:
        checked = Checked(running, venue)
        await running.until(lambda: checked.has(3, *COINS))
        told = len(running.heard.unsynced)
        with venue.books_lost(1.0, "BTC"):
            known = checked.books["ETH"]
            await running.until(lambda: checked.books["ETH"] > known + 2)
        await running.until(lambda: len(running.heard.unsynced) > told)
        await running.until(lambda: checked.has(1, *COINS))
        assert {coin for coin, _ in running.heard.unsynced[told:]} == {"BTC"}
        assert "missing" in running.heard.unsynced[told][1]
    assert not checked.wrong


async def test_a_crossed_book_is_reported_and_never_delivered(moving: Simulator) -> None:
    venue = the(moving)
    async with reading(moving, ["BTC"]) as running:
        checked = Checked(running, venue)
        await running.until(lambda: checked.has(3, "BTC"))
        told = len(running.heard.unsynced)
        with venue.books_crossed("BTC"):
            await running.until(lambda: len(running.heard.unsynced) > told)
            assert any("crossed" in reason for _, reason in running.heard.unsynced[told:])
        await running.until(lambda: "BTC" in checked.proven)
    assert all(book.best_bid < book.best_ask for book, _ in checked.wrong)


@pytest.mark.parametrize("side", ["bids", "asks"])
async def test_a_snapshot_shows_that_the_venue_no_longer_sends_one_side(side: Side) -> None:
    """Only a snapshot can show this: no trades and quotes are subscribed, and no update number is missing."""
    async with Simulator(venues=("binance",), rate=0) as simulator, reading(simulator, ["BTC"]) as running:
        venue = the(simulator)

        async def move_until(condition: Callable[[], bool]) -> None:
            while not condition():
                await venue.move_book("BTC", 8)
                await asyncio.sleep(0.02)

        def differs(times: int) -> bool:
            return sum("differs from a new snapshot" in reason for _, reason in running.heard.unsynced) >= times

        async with asyncio.timeout(10):
            await move_until(lambda: bool(running.heard.books))
            with venue.books_frozen(side):
                await move_until(lambda: differs(1))
                async with asyncio.timeout(4):  # less than RENEW_EVERY: after a difference the next check comes sooner
                    await move_until(lambda: differs(2))


async def test_a_book_that_its_receiver_distrusts_is_fetched_again(moving: Simulator) -> None:
    async with reading(moving, ["BTC", "ETH"]) as running:
        checked = Checked(running, the(moving))
        await running.until(lambda: checked.has(3, "BTC", "ETH"))
        told = len(running.heard.unsynced)
        running.stream.distrust_book("BTC", "its asks stand still")
        assert running.heard.unsynced[told:] == [("BTC", "its asks stand still")]
        await running.until(lambda: checked.has(1, "BTC"))
        assert {coin for coin, _ in running.heard.unsynced[told:]} == {"BTC"}
    assert not checked.wrong


async def test_books_are_unproven_when_their_connection_ends(moving: Simulator) -> None:
    async with reading(moving, ["BTC", "ETH"]) as running:
        checked = Checked(running, the(moving))
        await running.until(lambda: checked.has(1, "BTC", "ETH"))
        the(moving).cut()
        await running.ended()
        assert not checked.proven
        assert "ended" in running.heard.unsynced[-1][1]


@pytest.fixture
async def binance() -> AsyncIterator[Simulator]:
    async with Simulator(venues=("binance",), rate=200) as simulator:
        yield simulator


async def test_a_snapshot_older_than_the_updates_proves_nothing(binance: Simulator) -> None:
    venue = the(binance)
    async with reading(binance, ["BTC"]) as running:
        checked = Checked(running, venue)
        await running.until(lambda: checked.has(1, "BTC"))
        with venue.stale_books(20.0):
            running.stream.distrust_book("BTC", "a test's")
            await running.until(lambda: any("older" in reason for _, reason in running.heard.unsynced))
            assert "BTC" not in checked.proven
        await running.until(lambda: "BTC" in checked.proven)
    assert not checked.wrong


async def test_the_reason_is_reported_while_snapshots_are_refused(binance: Simulator) -> None:
    venue = the(binance)
    async with reading(binance, ["BTC", "ETH"]) as running:
        checked = Checked(running, venue)
        await running.until(lambda: checked.has(1, "BTC", "ETH"))
        with venue.books_refused():
            running.stream.distrust_book("BTC", "a test's")
            await running.until(lambda: any("503" in reason for _, reason in running.heard.unsynced))
            known = checked.books["ETH"]
            await running.until(lambda: checked.books["ETH"] > known + 2)
        await running.until(lambda: "BTC" in checked.proven)
    assert not checked.wrong


async def test_after_a_restart_of_bybits_service_every_book_is_delivered_again() -> None:
    async with Simulator(venues=("bybit",), rate=200) as simulator, reading(simulator) as running:
        venue = the(simulator)
        checked = Checked(running, venue)
        await running.until(lambda: checked.has(3, *COINS))
        venue.restart_books()
        known = dict(checked.books)
        await running.until(lambda: all(checked.books[coin] > known[coin] + 3 for coin in COINS))
    assert not checked.wrong


async def test_books_of_perpetuals_are_proven_by_the_previous_number_in_each_message() -> None:
    async with Simulator(venues=("binance_swap",), rate=200) as simulator:
        venue = the(simulator)
        async with (
            opened("binance", simulator, market_type="swap") as own,
            streaming(own, COINS, ("books",)) as running,
        ):
            checked = Checked(running, venue)
            await running.until(lambda: checked.has(5, *COINS))
            with venue.books_lost(0.3):
                known = dict(checked.books)
                await running.until(lambda: all(checked.books[coin] > known[coin] + 5 for coin in COINS), 30)
            await running.until(lambda: checked.has(1, *COINS))
            assert any("which follows" in reason for _, reason in running.heard.unsynced)
    assert not checked.wrong


async def test_a_book_is_unproven_after_an_unreadable_message_even_if_no_other_message_follows() -> None:
    async with Simulator(venues=("binance",), rate=0) as simulator, reading(simulator, ["BTC", "ETH"]) as running:
        venue, heard = the(simulator), running.heard
        await running.until(lambda: len(venue.topics) >= 2)
        for coin in ("BTC", "ETH"):
            await venue.move_book(coin, 5)
        await running.until(lambda: {book.coin for book in heard.books} == {"BTC", "ETH"})
        told = len(heard.unsynced)
        venue.send("btcusdt@depth@100ms", '{"e":"depthUpdate","E":1,"s":"BTCUSDT","U":')
        venue.flush()
        await running.until(lambda: len(heard.unsynced) > told)
        assert heard.unsynced[told] == ("BTC", "a message about it could not be read")
        known = len(heard.books)
        await venue.move_book("BTC", 5)
        await running.until(lambda: any(book.coin == "BTC" for book in heard.books[known:]))
        assert {coin for coin, _ in heard.unsynced[told:]} == {"BTC"}


async def test_a_book_that_does_not_change_within_its_depth_is_not_delivered_again() -> None:
    async with Simulator(venues=("binance",), rate=0) as simulator, reading(simulator, ["BTC"]) as running:
        venue = the(simulator)
        books = running.heard.books
        await running.until(lambda: bool(venue.topics))
        await venue.move_book("BTC", 5)
        await running.until(lambda: bool(books))
        for _ in range(10):
            await venue.move_book("BTC", 1)
            await asyncio.sleep(0.12)
        await until(lambda: bool(books))
        states = [(book.bids, book.asks) for book in books]
        assert all(one != other for one, other in pairwise(states))


def snapshots_asked(venue: Simulated) -> int:
    return sum(path == "/api/v3/depth" for _, path in venue.rest_calls)


async def test_refused_snapshots_are_requested_once_a_second_and_books_are_proven_soon_afterwards(
    binance: Simulator,
) -> None:
    """While snapshots are refused, one is requested per second in all, not one per coin."""
    venue = the(binance)
    async with reading(binance) as running:
        checked = Checked(running, venue)
        await running.until(lambda: checked.has(1, *COINS))
        with venue.books_refused():
            for coin in COINS:
                running.stream.distrust_book(coin, "a test's")
            asked = snapshots_asked(venue)
            await asyncio.sleep(4)  # the time for which the venue refuses snapshots
            assert 3 <= snapshots_asked(venue) - asked <= len(COINS) + 5
        async with asyncio.timeout(2.5):
            await running.until(lambda: checked.proven >= set(COINS))
    assert not checked.wrong


async def test_a_book_is_proven_soon_after_stale_snapshots(binance: Simulator) -> None:
    venue = the(binance)
    async with reading(binance, ["BTC"]) as running:
        checked = Checked(running, venue)
        await running.until(lambda: checked.has(1, "BTC"))
        with venue.stale_books(30.0):
            running.stream.distrust_book("BTC", "a test's")
            await asyncio.sleep(4)  # the time for which snapshots are stale
            assert "BTC" not in checked.proven
        async with asyncio.timeout(2.5):
            await running.until(lambda: "BTC" in checked.proven)
    assert not checked.wrong


async def test_a_book_that_is_lost_repeatedly_is_synchronized_once_a_second(binance: Simulator) -> None:
    venue = the(binance)
    async with reading(binance, ["BTC"]) as running:
        checked = Checked(running, venue)
        await running.until(lambda: checked.has(1, "BTC"))
        asked = snapshots_asked(venue)
        with venue.books_lost(0.5):
            await asyncio.sleep(4)  # the time for which messages are lost: about twenty of forty
        assert snapshots_asked(venue) - asked <= 9
        async with asyncio.timeout(2.5):
            await running.until(lambda: "BTC" in checked.proven)
    assert not checked.wrong


async def test_a_bybit_snapshot_is_requested_again_soon_after_a_silence() -> None:
    async with Simulator(venues=("bybit",), rate=200) as simulator, reading(simulator, ["BTC"]) as running:
        venue = the(simulator)
        checked = Checked(running, venue)
        await running.until(lambda: checked.has(1, "BTC"))
        with venue.stalled():
            running.stream.distrust_book("BTC", "a test's")
            await asyncio.sleep(5)  # the time for which the venue sends nothing
        async with asyncio.timeout(2.5):
            await running.until(lambda: "BTC" in checked.proven)
    assert not checked.wrong
