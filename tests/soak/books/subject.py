"""The process with a feed of one venue: it passes on every order book and status event, and asks for fresh books.

Its output and input have the form that ``tests.soak.subject`` has: one JSON array per line on stdout, times in
monotonic seconds, and orders on stdin.
"""

from __future__ import annotations

import asyncio
import sys
import time
from functools import partial
from typing import Any

import msgspec

from feed import MarketFeed, OrderBook, Settings, StaleDataError
from tests.soak.subject import carry

ASK_EVERY = 0.25  # seconds
MAX_AGE = 2.0  # seconds


def subscribe(feed: MarketFeed, tell: Any, depth: int) -> None:
    """Write the events that the judge needs."""

    def on_book(book: OrderBook) -> None:
        told = (book.coin, book.exchange, book.sequence, book.market, book.bids, book.asks)
        tell("book", time.monotonic(), (time.time_ns() - book.received_at) / 1e9, *told)

    def on_status(event: str, details: dict[str, Any]) -> None:
        tell("status", time.monotonic(), event, details)

    feed.subscribe_status(on_status)
    feed.subscribe_books(on_book, depth=depth)


async def ask(feed: MarketFeed, tell: Any) -> None:
    """Call for a fresh book of every coin, as a bot does before an order."""
    while True:
        await asyncio.sleep(ASK_EVERY)
        for coin in feed.coin_configs:
            try:
                book = feed.require_fresh_book(coin.symbol, MAX_AGE)
            except StaleDataError:
                tell("refused", time.monotonic(), coin.symbol)
                continue
            tell("fresh", time.monotonic(), time.time_ns() // 1_000_000, coin.symbol, book.sequence)


if __name__ == "__main__":
    spec = msgspec.json.decode(sys.argv[1])
    settings = msgspec.convert(spec["settings"], Settings)
    asyncio.run(carry(settings, partial(subscribe, depth=spec["depth"]), ask))
