"""How long many order books take until all are proven: at the start, and again after every connection was cut.

    python -m tests.benchmarks.book_recovery [--venue binance] [--coins 200] [--cuts 3]

The simulator of this process keeps the venue's laws: the weight of REST snapshots, subscriptions per request, messages
per second. The feed subscribes to trades and books, as a bot does.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from typing import Any

from exchanges.simulator import Simulator
from feed import CoinConfig, MarketFeed, OrderBook, Settings
from feed.settings import ExchangeConfig

WITHIN = 120.0  # seconds


class Proven:
    """Which coins' books are proven, and when the last of all became so."""

    def __init__(self, coins: list[str]) -> None:
        self.missing = set(coins)
        self.all_of_them = asyncio.Event()
        self.reasons: set[str] = set()

    def on_book(self, book: OrderBook) -> None:
        self.missing.discard(book.coin)
        if not self.missing:
            self.all_of_them.set()

    def on_status(self, event: str, details: dict[str, Any]) -> None:
        if event == "book_unsynced":
            self.reasons.add("".join(each for each in details["reason"] if not each.isdigit()))


async def measure(name: str, count: int, cuts: int) -> None:
    """Print the seconds of the start and of each cut."""
    async with Simulator(venues=(name,), markets=count + 5, rate=200) as simulator:
        venue = simulator[name]
        coins = [market.coin for market in venue.listed_markets if market.quote == "USDT"][:count]
        settings = Settings(
            coins=[CoinConfig(coin) for coin in coins],
            channels=["trades", "books"],
            exchanges=[ExchangeConfig(name, rest_url=simulator.rest_url, ws_url=simulator.ws_url)],
        )
        feed = MarketFeed(settings=settings)
        proven = Proven(coins)
        feed.subscribe_books(proven.on_book)
        feed.subscribe_status(proven.on_status)
        began = time.monotonic()
        async with feed, asyncio.timeout(WITHIN):
            await proven.all_of_them.wait()
            print(f"{name}, {len(coins)} coins: {time.monotonic() - began:.1f} s from the start until all are proven")
            took, connections = [], len(venue.connections)
            for _ in range(cuts):
                await asyncio.sleep(5)  # the renewals of the start are over
                proven.missing, proven.all_of_them = set(coins), asyncio.Event()
                proven.reasons.clear()
                calls, cut_at = len(venue.rest_calls), time.monotonic()
                venue.cut()
                await proven.all_of_them.wait()
                took.append(time.monotonic() - cut_at)
                asked = sum("depth" in path for _, path in venue.rest_calls[calls:])
                print(
                    f"  cut: {took[-1]:.1f} s, {connections} connections, {asked} snapshots, {sorted(proven.reasons)}"
                )
            print(f"  median of {cuts} cuts: {statistics.median(took):.1f} s; rules broken: {venue.violations}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.book_recovery", description=__doc__)
    parser.add_argument("--venue", default="binance")
    parser.add_argument("--coins", type=int, default=200)
    parser.add_argument("--cuts", type=int, default=3)
    arguments = parser.parse_args()
    asyncio.run(measure(arguments.venue, arguments.coins, arguments.cuts))


if __name__ == "__main__":
    main()
