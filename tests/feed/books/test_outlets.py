"""Books in iterators, other threads, the server, ``watch`` and the metrics."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import aiohttp
import pytest

from feed import MarketFeed, OrderBook, SettingsError
from feed.cli.screen.outputs import JsonView
from feed.sinks.metrics import FeedCollector, text
from feed.sinks.server.app import Server
from tests.feed.books.support import ASKS, BIDS, SETTINGS, Program
from tests.feed.memory_venue import MemoryVenue


async def test_an_iterator_keeps_the_newest_book_of_each_coin(program: Program, venue: MemoryVenue) -> None:
    books = program.feed.books(depth=1)
    await program.connect(venue)
    for price in (99.0, 99.1, 99.2):
        venue.book("BTC", [(price, 1.0)], ASKS)
    assert (await anext(books)).best_bid == 99.2


async def test_a_book_can_be_read_in_any_thread(program: Program, venue: MemoryVenue) -> None:
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


@pytest.mark.usefixtures("venues")
@pytest.mark.parametrize("depth", [0, 1001, 2.0, True, "20"])
def test_the_error_for_a_wrong_depth_says_what_is_allowed(depth: Any) -> None:
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
