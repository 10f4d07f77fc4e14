"""A program that uses the books of a feed."""

from __future__ import annotations

import asyncio
from typing import Any

from feed import MarketFeed, OrderBook, Settings
from feed.settings import Connection, ExchangeConfig, Staleness
from tests.feed.memory_venue import MemoryVenue
from tests.support import until

BIDS, ASKS = [(99.0, 1.0), (98.0, 2.0), (97.0, 3.0)], [(101.0, 1.0), (102.0, 2.0), (103.0, 3.0)]
FAST = Connection(connect_timeout=2, backoff_initial=0.05, backoff_max=0.1, attempts_before_failover=1)
SETTINGS = Settings(
    exchanges=[ExchangeConfig("memory_one"), ExchangeConfig("memory_two")],
    channels=["trades", "books"],
    connection=FAST,
    staleness=Staleness(feed_stale_after=1, reconnect_after=2),
)


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
