"""Books that are not proven, or not of the active exchange, are withheld, and the reason is reported."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest

from exchanges.errors import Blocked, Disconnected
from feed import MarketFeed, Quote, StaleDataError
from feed.market_data import order_books
from tests.feed.books.support import ASKS, BIDS, FAST, SETTINGS, Program
from tests.feed.memory_venue import MemoryVenue
from tests.support import until


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


async def test_if_a_venue_refuses_books_its_trades_continue_and_the_reason_is_reported(
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


async def test_a_silent_connection_for_trades_is_reported_even_while_books_come(
    program: Program, venue: MemoryVenue
) -> None:
    """The connection for books delivers many books, which must not count as data of the connection for trades."""
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


async def test_a_book_received_during_a_trial_of_an_exchange_is_delivered_when_the_feed_returns_to_this_exchange(
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


async def test_a_book_of_a_wrong_market_is_withheld_like_its_price(
    program: Program, venues: tuple[MemoryVenue, MemoryVenue]
) -> None:
    """The book's mid price is far from the coin's last price: the second exchange may use the name for another coin."""
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
    venue.book("ETH", BIDS, ASKS)  # the connection delivers again, so the unchanged book of BTC is right too
    assert program.feed.get_book("BTC") is not None


async def test_a_book_whose_asks_stand_still_below_the_prices_of_trades_is_synchronized_again(
    program: Program, venue: MemoryVenue
) -> None:
    await program.connect(venue)
    venue.book("BTC", BIDS, ASKS)

    def trade() -> bool:
        venue.trade("BTC", 104.0)
        venue.book("ETH", BIDS, [(101.0, float(len(venue.trades)))])
        return program.feed.get_book("BTC") is None

    await until(trade)
    (reason,) = [details["reason"] for event, details in program.told if event == "book_unsynced"]
    assert "asks stand still" in reason


async def test_a_book_whose_bids_stand_still_while_quotes_change_is_synchronized_again(
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


async def test_the_book_of_a_removed_coin_is_no_longer_available(program: Program, venue: MemoryVenue) -> None:
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
