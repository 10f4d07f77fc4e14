"""Each subscriber gets its own copy of each proven book, over connections that carry only books."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from dataclasses import replace

from exchanges import register
from exchanges.errors import Disconnected
from exchanges.venue import Capacity, Limits
from feed import MarketFeed, OrderBook
from feed.market_data.connection_listener import SUBSCRIBED
from tests.feed.books.support import ASKS, BIDS, SETTINGS, Program
from tests.feed.memory_venue import MemoryVenue
from tests.support import until


async def test_a_proven_book_is_delivered_and_kept(program: Program, venue: MemoryVenue) -> None:
    await program.connect(venue)
    assert program.feed.get_book("BTC") is None
    venue.book("BTC", BIDS, ASKS, 7)
    (book,) = program.books
    assert (book.coin, book.bids, book.asks, book.sequence) == ("BTC", BIDS, ASKS, 7)
    assert (book.exchange, book.market) == ("memory_one", "BTC/USDT")
    assert program.feed.get_book("btc") == book
    assert program.feed.require_fresh_book("BTC", 1) == book
    assert program.syncs == [("book_synced", "BTC")]


async def test_changing_a_delivered_book_does_not_change_the_feeds_book(program: Program, venue: MemoryVenue) -> None:
    await program.connect(venue)
    venue.book("BTC", BIDS, ASKS)
    program.books[0].bids.clear()
    mine = program.feed.get_book("BTC")
    assert mine is not None
    mine.asks.clear()
    kept = program.feed.get_book("BTC")
    assert kept is not None
    assert (kept.bids, kept.asks) == (BIDS, ASKS)


async def test_each_subscriber_has_a_book_of_its_own(program: Program, venue: MemoryVenue) -> None:
    """One bot removes levels from its book: the books of other subscribers stay unchanged, even a book that still
    waits in a queue."""
    taken: list[OrderBook] = []

    def take(book: OrderBook) -> None:
        taken.append(book)
        book.bids.clear()
        book.asks.pop()

    async def wait(book: OrderBook) -> None:
        waited.append(book)

    waited: list[OrderBook] = []
    program.feed.subscribe_books(take, "BTC")
    program.feed.subscribe_books(wait)
    stream = program.feed.books()
    await program.connect(venue)
    first: list[OrderBook] = []
    program.feed.subscribe_books(lambda book: first.append(replace(book, bids=book.bids[:])))
    venue.book("BTC", BIDS, ASKS)
    await until(lambda: bool(waited))
    assert len(taken) == 1
    for book in (first[0], waited[0], await anext(stream)):
        assert (book.bids, book.asks) == (BIDS, ASKS)


async def test_each_subscription_gets_a_book_only_when_a_level_within_its_depth_changes(
    program: Program, venue: MemoryVenue
) -> None:
    top: list[OrderBook] = []
    program.feed.subscribe_books(top.append, depth=1)
    await program.connect(venue)
    venue.book("BTC", BIDS, ASKS)
    venue.book("BTC", [BIDS[0], (98.0, 5.0)], ASKS)
    assert [len(book.bids) for book in program.books] == [3, 2]
    assert [(book.bids, book.asks) for book in top] == [([BIDS[0]], [ASKS[0]])]
    venue.book("BTC", [(99.5, 1.0)], ASKS)
    assert top[-1].bids == [(99.5, 1.0)]


async def test_the_depth_of_the_deepest_subscription_is_requested_from_the_venue(
    program: Program, venue: MemoryVenue
) -> None:
    await program.connect(venue)
    assert [connection.subscription.book_depth for connection in venue.of("books")] == [20]
    program.feed.subscribe_books(program.books.append, depth=50)
    await until(lambda: [connection.subscription.book_depth for connection in venue.of("books")] == [50], 15)


async def test_a_replaced_connection_stays_until_its_successor_has_synchronized_every_book(
    program: Program, venue: MemoryVenue
) -> None:
    await program.connect(venue)
    venue.book("BTC", BIDS, ASKS)
    venue.book("ETH", BIDS, ASKS)
    (old,) = venue.of("books")
    venue.late = {"ETH"}
    program.feed.subscribe_books(program.books.append, depth=50)
    sizes = itertools.count(1)

    def with_a_change_of_btc(condition: Callable[[], bool]) -> Callable[[], bool]:
        def changed() -> bool:
            venue.trade("BTC", 101.0)
            venue.book("BTC", [(99.0, float(next(sizes)))], ASKS)
            return condition()

        return changed

    begun = time.monotonic()
    await until(with_a_change_of_btc(lambda: len(venue.of("books")) == 2))
    await until(with_a_change_of_btc(lambda: time.monotonic() - begun > SUBSCRIBED + 1.5))
    assert old in venue.of("books")
    assert program.feed.get_book("ETH") is not None
    venue.book("ETH", BIDS, [(102.0, 1.0)])
    await until(with_a_change_of_btc(lambda: old not in venue.of("books")))
    assert program.feed.get_book("ETH") is not None
    assert [event for event, _ in program.syncs] == ["book_synced", "book_synced"]


async def test_books_come_over_connections_of_their_own(program: Program, venue: MemoryVenue) -> None:
    await program.connect(venue)
    assert sorted(tuple(each.subscription.channels) for each in venue.connections) == [("books",), ("trades",)]


async def test_a_lost_connection_for_books_does_not_affect_the_trades(program: Program, venue: MemoryVenue) -> None:
    await program.connect(venue)
    venue.book("BTC", BIDS, ASKS)
    trades = venue.of("trades")
    with venue.losing("books", Disconnected("memory_one", "the snapshot could not be joined")):
        await until(lambda: program.feed.get_book("BTC") is None)
        await asyncio.sleep(0.5)  # long enough for several attempts to connect
        assert (venue.of("trades"), program.feed.status.exchange) == (trades, "memory_one")
    await until(lambda: program.feed.get_book("BTC") is not None)
    assert program.feed.status.reconnect_count == program.feed.status.failover_count == 0
    assert ("book_unsynced", "BTC") in program.syncs


async def test_connect_returns_when_a_feed_with_only_books_has_its_books(venue: MemoryVenue) -> None:
    feed = MarketFeed(["BTC"], settings=replace(SETTINGS, channels=["books"]))
    connecting = asyncio.create_task(feed.connect(10))
    await until(lambda: bool(venue.of("books")))
    assert not connecting.done()
    venue.book("BTC", BIDS, ASKS)
    await connecting
    assert feed.get_book("BTC") is not None
    await feed.disconnect()
    assert feed.get_book("BTC") is None


async def test_a_connection_for_books_carries_no_more_coins_than_the_venue_allows(
    venues: tuple[MemoryVenue, MemoryVenue],
) -> None:
    venue = MemoryVenue("memory_one", ["BTC", "ETH"], Limits(Capacity(1), consecutive_ids=True))
    register(venue.name, lambda access: venue)
    program = Program(MarketFeed(["BTC", "ETH"], settings=SETTINGS))
    connecting = asyncio.create_task(program.feed.connect(10))
    await until(lambda: len(venue.connections) == 4)
    venue.trade("BTC", 100.0)
    await connecting
    assert sorted((c.subscription.channels, tuple(c.markets)) for c in venue.connections) == [
        (("books",), ("BTC",)), (("books",), ("ETH",)), (("trades",), ("BTC",)), (("trades",), ("ETH",)),
    ]  # fmt: skip
    await program.feed.disconnect()
