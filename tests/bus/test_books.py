"""Order books over the bus: only proven books are delivered, even when the collector changes or dies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from exchanges.simulator import Simulator
from feed import MarketFeed, OrderBook
from feed.sinks.bus.server import BusServer
from tests.bus.conftest import COINS
from tests.bus.support import collector_settings, needs_bus, publisher, reader_settings
from tests.support import until

pytestmark = needs_bus
CHANNELS = ("trades", "ticker", "books")


@pytest.fixture
def settings_file(simulator: Simulator, tmp_path: Path) -> Path:
    file = tmp_path / "settings.yaml"
    file.write_text(collector_settings([simulator], COINS, CHANNELS))
    return file


async def test_books_come_from_the_bus_and_are_unproven_without_a_collector(
    bus: BusServer, simulator: Simulator, collect: Callable[..., Any]
) -> None:
    one = await collect("one")
    await publisher(bus.url, "binance")
    feed = MarketFeed(settings=reader_settings(bus.url, ["binance"], COINS, CHANNELS))
    books: list[OrderBook] = []
    told: list[tuple[str, dict[str, Any]]] = []
    feed.subscribe_books(books.append)
    feed.subscribe_status(lambda event, details: told.append((event, details)))
    async with feed:
        await until(lambda: {book.coin for book in books} == set(COINS))
        for coin in COINS:
            book = feed.require_fresh_book(coin)
            assert book.exchange == "binance"
            assert book.best_bid is not None
            assert book.best_ask is not None
            assert 0 < book.best_bid < book.best_ask
        one.kill()
        await until(lambda: all(feed.get_book(coin) is None for coin in COINS))
        assert {details["coin"] for event, details in told if event == "book_unsynced"} == set(COINS)
        await collect("two")
        await until(lambda: all(feed.get_book(coin) is not None for coin in COINS), 40)
