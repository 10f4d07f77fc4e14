"""Order books from a venue to the program: proven, of the active exchange, and on connections of their own."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from exchanges import register
from exchanges.errors import Blocked, Disconnected
from exchanges.venue import Capacity, Limits
from feed import MarketFeed, OrderBook, Quote, Settings, SettingsError, StaleDataError
from feed.cli.screen.outputs import JsonView
from feed.market_data import order_books
from feed.sessions.connections.connection import OVERLAP
from feed.settings import Connection, ExchangeConfig, Staleness
from feed.sinks.metrics import FeedCollector, text
from feed.sinks.server.app import Server
from tests.feed.memory_venue import MemoryVenue
from tests.support import until

FAST = Connection(connect_timeout=2, backoff_initial=0.05, backoff_max=0.1, attempts_before_failover=1)
SETTINGS = Settings(
    exchanges=[ExchangeConfig("memory_one"), ExchangeConfig("memory_two")],
    channels=["trades", "books"],
    connection=FAST,
    staleness=Staleness(feed_stale_after=1, reconnect_after=2),
)
BIDS, ASKS = [(99.0, 1.0), (98.0, 2.0), (97.0, 3.0)], [(101.0, 1.0), (102.0, 2.0), (103.0, 3.0)]


@pytest.fixture
def venues() -> tuple[MemoryVenue, MemoryVenue]:
    first, second = (MemoryVenue(name, ["BTC", "ETH"]) for name in ("memory_one", "memory_two"))
    for venue in (first, second):
        register(venue.name, lambda access, venue=venue: venue)  # type: ignore[misc] # a default that binds
    return first, second


class Program:
    """A program that uses the feed, and what it has received."""

    def __init__(self, feed: MarketFeed, depth: int = 20) -> None:
        self.feed = feed
        self.books: list[OrderBook] = []
        self.told: list[tuple[str, dict[str, Any]]] = []
        feed.subscribe_books(self.books.append, depth=depth)
        feed.subscribe_status(lambda event, details: self.told.append((event, details)))

    def events(self, *names: str) -> list[tuple[str, str]]:
        return [(event, details["coin"]) for event, details in self.told if event in names]

    @property
    def syncs(self) -> list[tuple[str, str]]:
        return self.events("book_synced", "book_unsynced")

    async def connect(self, venue: MemoryVenue) -> None:
        connecting = asyncio.create_task(self.feed.connect(10))
        await until(lambda: bool(venue.of("trades")) or self.feed.status.connected)
        venue.trade("BTC", 100.0)
        await connecting
        await until(lambda: bool(venue.of("books")) or "books" not in venue.channels)


@pytest.fixture
async def program(venues: tuple[MemoryVenue, MemoryVenue]) -> AsyncIterator[Program]:
    program = Program(MarketFeed(["BTC", "ETH"], settings=SETTINGS))
    yield program
    await program.feed.disconnect()


@pytest.fixture
def venue(venues: tuple[MemoryVenue, MemoryVenue]) -> MemoryVenue:
    return venues[0]


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


async def test_changing_a_delivered_book_changes_nothing_that_the_feed_knows(
    program: Program, venue: MemoryVenue
) -> None:
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
    """A bot that takes levels out of its book takes them out of nobody else's, waiting books among them."""
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


async def test_each_depth_has_books_of_its_own_at_changes_within_it(program: Program, venue: MemoryVenue) -> None:
    top: list[OrderBook] = []
    program.feed.subscribe_books(top.append, depth=1)
    await program.connect(venue)
    venue.book("BTC", BIDS, ASKS)
    venue.book("BTC", [BIDS[0], (98.0, 5.0)], ASKS)
    assert [len(book.bids) for book in program.books] == [3, 2]
    assert [(book.bids, book.asks) for book in top] == [([BIDS[0]], [ASKS[0]])]
    venue.book("BTC", [(99.5, 1.0)], ASKS)
    assert top[-1].bids == [(99.5, 1.0)]


async def test_the_deepest_subscription_says_what_the_venue_is_asked_for(program: Program, venue: MemoryVenue) -> None:
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
    await until(with_a_change_of_btc(lambda: time.monotonic() - begun > OVERLAP + 1.5))
    assert old in venue.of("books")
    assert program.feed.get_book("ETH") is not None
    venue.book("ETH", BIDS, [(102.0, 1.0)])
    await until(with_a_change_of_btc(lambda: old not in venue.of("books")))
    assert program.feed.get_book("ETH") is not None
    assert [event for event, _ in program.syncs] == ["book_synced", "book_synced"]


async def test_books_come_over_connections_of_their_own(program: Program, venue: MemoryVenue) -> None:
    await program.connect(venue)
    assert sorted(tuple(each.subscription.channels) for each in venue.connections) == [("books",), ("trades",)]


async def test_an_unsynchronized_book_is_reported_and_withheld_until_it_is_proven_again(
    program: Program, venue: MemoryVenue
) -> None:
    await program.connect(venue)
    venue.book("BTC", BIDS, ASKS)
    venue.book("ETH", BIDS, ASKS)
    venue.unsync("BTC", "a sequence number is missing")
    assert program.feed.get_book("BTC") is None
    assert program.feed.get_book("ETH") is not None
    with pytest.raises(StaleDataError, match="not synchronized: a sequence number is missing"):
        program.feed.require_fresh_book("BTC")
    venue.book("BTC", BIDS, ASKS)
    assert [book.coin for book in program.books] == ["BTC", "ETH", "BTC"]
    assert program.syncs == [("book_synced", c) for c in ("BTC", "ETH")] + [
        ("book_unsynced", "BTC"),
        ("book_synced", "BTC"),
    ]
    assert all(details["seconds"] >= 0 for event, details in program.told if event == "book_synced")


async def test_a_lost_connection_for_books_leaves_the_trades_alone(program: Program, venue: MemoryVenue) -> None:
    await program.connect(venue)
    venue.book("BTC", BIDS, ASKS)
    trades = venue.of("trades")
    with venue.losing("books", Disconnected("memory_one", "the snapshot could not be joined")):
        await until(lambda: program.feed.get_book("BTC") is None)
        await asyncio.sleep(0.5)  # several attempts
        assert (venue.of("trades"), program.feed.status.exchange) == (trades, "memory_one")
    await until(lambda: program.feed.get_book("BTC") is not None)
    assert program.feed.status.reconnect_count == program.feed.status.failover_count == 0
    assert ("book_unsynced", "BTC") in program.syncs


async def test_a_venue_that_refuses_its_books_keeps_its_trades_and_the_reason_is_reported(
    program: Program, venue: MemoryVenue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(order_books, "TOLD_AFTER", 0.3)
    with venue.losing("books", Blocked("memory_one", "not for you", 403)):
        connecting = asyncio.create_task(program.feed.connect(10))
        await until(lambda: bool(venue.of("trades")))
        venue.trade("BTC", 100.0)
        await connecting
        assert program.feed.status.exchange == "memory_one"
        await until(lambda: len(program.syncs) == 2, 10)
        assert sorted(program.syncs) == [("book_unsynced", "BTC"), ("book_unsynced", "ETH")]
        assert all("not for you" in details["reason"] for event, details in program.told if event == "book_unsynced")
        with pytest.raises(StaleDataError, match="not for you"):
            program.feed.require_fresh_book("BTC")
    await until(lambda: bool(venue.of("books")))
    venue.book("BTC", BIDS, ASKS)
    assert program.syncs[2:] == [("book_synced", "BTC")]


async def test_books_are_no_sign_of_life_of_the_trades(program: Program, venue: MemoryVenue) -> None:
    """A connection for trades that is dead is found, however many books come over the other one."""
    await program.connect(venue)
    for size in range(1, 1000):
        venue.book("BTC", [(99.0, float(size))], ASKS)
        await asyncio.sleep(0.02)
        if any(event == "feed_stale" for event, _ in program.told):
            break
    assert any(event == "feed_stale" for event, _ in program.told)


async def test_only_books_of_the_active_exchange_are_delivered(
    program: Program, venues: tuple[MemoryVenue, MemoryVenue]
) -> None:
    first, second = venues
    await program.connect(first)
    first.book("BTC", BIDS, ASKS)
    second.book("BTC", [(99.4, 1.0)], [(100.4, 1.0)])
    with first.failing(Blocked("memory_one", "not from here", 451)):
        await until(lambda: bool(second.of("trades")))
        first.book("BTC", BIDS, ASKS)
        second.trade("BTC", 100.0)
        await until(lambda: program.feed.get_book("BTC") is not None)
    book = program.feed.require_fresh_book("BTC", 5)
    assert (book.exchange, book.bids) == ("memory_two", [(99.4, 1.0)])
    assert program.syncs == [("book_synced", "BTC"), ("book_unsynced", "BTC"), ("book_synced", "BTC")]


async def test_a_book_of_a_trial_is_delivered_when_the_feed_returns_to_its_exchange(
    venues: tuple[MemoryVenue, MemoryVenue],
) -> None:
    connection = replace(FAST, failback_after=1, stable_after=0.1)
    program = Program(MarketFeed(["BTC"], settings=replace(SETTINGS, connection=connection)))
    first, second = venues
    await program.connect(first)
    with first.failing(Disconnected("memory_one", "gone")):
        await until(lambda: bool(second.of("trades")))
        second.trade("BTC", 100.0)
        second.book("BTC", BIDS, ASKS)
        await until(lambda: program.feed.get_book("BTC") is not None)
    seen: set[str] = set()

    def trade() -> bool:
        for venue in venues:
            venue.trade("BTC", 100.0)
        if first.of("books") and "BTC" not in first.books:
            first.book("BTC", [(99.4, 1.0)], ASKS)
        book = program.feed.get_book("BTC")
        seen.add(f"{book.exchange} beside {program.feed.status.exchange}" if book is not None else "none")
        return program.feed.status.exchange == "memory_one" and book is not None

    await until(trade, 20)
    kept = program.feed.get_book("BTC")
    assert kept is not None
    assert (kept.exchange, kept.bids) == ("memory_one", [(99.4, 1.0)])
    assert "memory_one beside memory_two" not in seen
    await program.feed.disconnect()


async def test_a_book_of_a_wrong_market_is_withheld_as_its_price_is(
    program: Program, venues: tuple[MemoryVenue, MemoryVenue]
) -> None:
    """Its middle is too far from the coin's last price: another coin may have the same name there."""
    first, second = venues
    await program.connect(first)
    first.book("BTC", BIDS, ASKS)
    second.book("BTC", [(9.9, 1.0)], [(10.1, 1.0)])
    with first.failing(Blocked("memory_one", "not from here", 451)):
        await until(lambda: bool(second.of("trades")))
        second.trade("ETH", 10.0)
        await until(lambda: program.feed.status.exchange == "memory_two" and program.feed.status.connected)
        await until(lambda: any(event == "price_mismatch" for event, _ in program.told))
        assert program.feed.get_book("BTC") is None
        with pytest.raises(StaleDataError, match=r"perhaps another coin|not synchronized"):
            program.feed.require_fresh_book("BTC")


async def test_a_silent_connection_for_books_is_reported_and_its_books_are_withheld(
    program: Program, venue: MemoryVenue
) -> None:
    await program.connect(venue)
    venue.book("BTC", BIDS, ASKS)
    venue.book("ETH", BIDS, ASKS)

    def trade() -> bool:
        venue.trade("BTC", 100.0)
        return program.feed.get_book("BTC") is None

    await until(trade)
    await until(lambda: program.syncs.count(("book_unsynced", "BTC")) == 1)
    venue.book("ETH", BIDS, ASKS)  # the connection continues: unchanged books on it are right
    assert program.feed.get_book("BTC") is not None


async def test_a_book_whose_asks_stand_still_while_trades_pass_is_synchronized_again(
    program: Program, venue: MemoryVenue
) -> None:
    await program.connect(venue)
    venue.book("BTC", BIDS, ASKS)

    def trade() -> bool:
        venue.trade("BTC", 104.0)
        venue.book("ETH", BIDS, [(101.0, float(len(venue.tape)))])
        return program.feed.get_book("BTC") is None

    await until(trade)
    (reason,) = [details["reason"] for event, details in program.told if event == "book_unsynced"]
    assert "asks stand still" in reason


async def test_a_book_whose_bids_stand_still_while_quotes_say_otherwise_is_synchronized_anew(
    program: Program, venue: MemoryVenue
) -> None:
    venue.channels.add("quotes")
    program.feed.subscribe_quotes(lambda quote: None)
    await program.connect(venue)
    venue.book("BTC", BIDS, ASKS)

    def quote() -> bool:
        now = time.time_ns()
        for connection in venue.of("quotes"):
            connection.listener.on_quote(
                Quote("BTC", 100.0, 1.0, 101.0, 1.0, now // 1_000_000 + 1, venue.name, now, venue.market("BTC"))
            )
        venue.book("ETH", BIDS, [(101.0, float(now % 1000 + 1))])
        return program.feed.get_book("BTC") is None

    await until(quote)
    (reason,) = [details["reason"] for event, details in program.told if event == "book_unsynced"]
    assert "bids stand still at 99 while its quotes say 100" in reason


async def test_the_books_of_a_removed_coin_are_gone(program: Program, venue: MemoryVenue) -> None:
    await program.connect(venue)
    venue.book("BTC", BIDS, ASKS)
    venue.book("ETH", BIDS, ASKS)
    await program.feed.remove_coins(["ETH"])
    assert program.feed.get_book("ETH") is None
    venue.book("ETH", [(1.0, 1.0)], ASKS)
    assert program.feed.get_book("ETH") is None
    assert ("book_unsynced", "ETH") not in program.syncs


async def test_an_exchange_without_books_is_reported_once_per_coin(
    program: Program, venues: tuple[MemoryVenue, MemoryVenue]
) -> None:
    for venue in venues:
        venue.channels = {"trades"}
    await program.connect(venues[0])
    await until(lambda: len(program.events("coin_unavailable")) == 2)
    assert sorted(program.events("coin_unavailable")) == [("coin_unavailable", "BTC"), ("coin_unavailable", "ETH")]
    assert all(details["channel"] == "books" for event, details in program.told if event == "coin_unavailable")
    with pytest.raises(StaleDataError, match="not synchronized: memory_one has no books channel"):
        program.feed.require_fresh_book("BTC")


async def test_a_feed_of_books_alone_is_live_with_them(venue: MemoryVenue) -> None:
    feed = MarketFeed(["BTC"], settings=replace(SETTINGS, channels=["books"]))
    connecting = asyncio.create_task(feed.connect(10))
    await until(lambda: bool(venue.of("books")))
    assert not connecting.done()
    venue.book("BTC", BIDS, ASKS)
    await connecting
    assert feed.get_book("BTC") is not None
    await feed.disconnect()
    assert feed.get_book("BTC") is None


async def test_connections_for_books_keep_the_venues_capacity(venues: tuple[MemoryVenue, MemoryVenue]) -> None:
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


async def test_an_iterator_keeps_the_newest_book_of_each_coin(program: Program, venue: MemoryVenue) -> None:
    books = program.feed.books(depth=1)
    await program.connect(venue)
    for price in (99.0, 99.1, 99.2):
        venue.book("BTC", [(price, 1.0)], ASKS)
    assert (await anext(books)).best_bid == 99.2


async def test_a_book_can_be_asked_for_in_any_thread(program: Program, venue: MemoryVenue) -> None:
    await program.connect(venue)
    venue.book("BTC", BIDS, ASKS)
    wrong: list[OrderBook] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            book = program.feed.get_book("BTC")
            if book is not None and book.bids[0][1] != book.asks[0][1]:
                wrong.append(book)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for size in range(1, 300):
            venue.book("BTC", [(99.0, float(size))], [(101.0, float(size))])
            await asyncio.sleep(0)
    finally:
        stop.set()
        asking.join()
    assert wrong == []


@pytest.mark.parametrize("depth", [0, 1001, 2.0, True, "20"])
def test_a_wrong_depth_is_answered_with_what_is_allowed(depth: Any) -> None:
    feed = MarketFeed(["BTC"], settings=SETTINGS)
    for asked in (lambda: feed.subscribe_books(print, depth=depth), lambda: feed.get_book("BTC", depth)):
        with pytest.raises(SettingsError, match="allowed is a whole number from 1 to 1000"):
            asked()


async def test_the_server_serves_proven_books_only(program: Program, venue: MemoryVenue) -> None:
    async with Server(program.feed, SETTINGS, port=0) as server, aiohttp.ClientSession(server.url) as http:
        await program.connect(venue)
        venue.book("BTC", BIDS, ASKS, 7)
        async with http.get("/v1/books/btc?depth=1") as answer:
            book = await answer.json()
            assert (answer.status, book["sequence"]) == (200, 7)
            assert (book["bids"], book["asks"]) == ([[99.0, 1.0]], [[101.0, 1.0]])
        async with http.ws_connect("/v1/stream") as stream:
            await stream.send_json({"op": "subscribe", "channels": ["books"]})
            assert (await stream.receive_json())["books"]["BTC"]["bids"] == [list(level) for level in BIDS]
            venue.book("BTC", [(99.5, 1.0)], ASKS)
            event = await stream.receive_json()
            assert (event["type"], event["bids"]) == ("book", [[99.5, 1.0]])
            venue.unsync("BTC", "a sequence number is missing")
            await stream.send_json({"op": "subscribe", "channels": ["books"]})
            assert (await stream.receive_json())["books"] == {}
        async with http.get("/v1/books/BTC") as answer:
            assert answer.status == 503
            assert "a sequence number is missing" in (await answer.json())["error"]


async def test_watch_prints_books_as_json(
    program: Program, venue: MemoryVenue, capfd: pytest.CaptureFixture[str]
) -> None:
    view = JsonView()
    view.attach(program.feed, SETTINGS)
    await program.connect(venue)
    venue.book("BTC", BIDS, ASKS)
    await program.feed.disconnect()
    view.close()
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    (book,) = [line for line in lines if line["type"] == "book"]
    assert (book["coin"], book["bids"]) == ("BTC", [list(level) for level in BIDS])


async def test_metrics_count_books_of_every_depth(program: Program, venue: MemoryVenue) -> None:
    program.feed.subscribe_books(print, depth=1)
    collector = FeedCollector(program.feed)
    await program.connect(venue)
    venue.book("BTC", BIDS, ASKS)
    counted = text(collector).decode()
    assert 'market_feed_events_total{channel="books",exchange="memory_one"} 2.0' in counted
    collector.close()
