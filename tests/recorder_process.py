"""Records a venue in memory, which trades at a steady rate, until a test kills this process.

Each line of output has a word, the number of a trade and a time (Unix s): "told" says that the trades up to this number
have been delivered, "kept" says that they are on disk.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from pathlib import Path

from exchanges.registry import register
from exchanges.venue import Limits
from feed import MarketFeed, Recorder, Settings
from feed.events import CoinConfig
from feed.settings import ExchangeConfig
from tests.feed.memory_venue import MemoryVenue
from tests.recordings import until

COINS = ("BTC", "ETH", "SOL", "DOGE")


class SteadyVenue(MemoryVenue):
    """A venue that makes one trade of each coin at the same time, and keeps no trades."""

    def __init__(self, first: int) -> None:
        super().__init__("steady", COINS, Limits(consecutive_ids=True))
        self.first = first

    def trade_all(self, number: int) -> None:
        """Make one trade of each coin, with this number as its id."""
        from exchanges.events import TradeEvent

        now = time.time_ns()
        for coin in COINS:
            price = 100.0 + number % 50
            trade = TradeEvent(
                coin, price, 0.5, False, now // 10**6, self.name, str(number), now, market=f"{coin}/USDT"
            )
            for connection in self.connections:
                connection.hear(trade, number)


async def main(folder: Path, rate: float, first: int, flush: float, files: float, seconds: float) -> None:
    venue = SteadyVenue(first)
    register("steady", lambda access: venue)
    settings = Settings(
        coins=[CoinConfig(coin) for coin in COINS], channels=["trades"], exchanges=[ExchangeConfig("steady")]
    )
    feed = MarketFeed(settings=settings)
    async with Recorder(feed, folder, flush_seconds=flush, file_seconds=files) as recorder:
        connecting = asyncio.create_task(feed.connect())
        number, began = first, time.monotonic()
        await until(lambda: bool(venue.connections))
        keeping: asyncio.Task[None] | None = None
        kept = first
        while time.monotonic() < began + seconds:
            due = first + int((time.monotonic() - began) * rate / len(COINS))
            while number < due:
                number += 1
                venue.trade_all(number)
            print("told", number, time.time(), flush=True)
            if keeping is None or keeping.done():
                if keeping is not None:
                    print("kept", kept, time.time(), flush=True)
                kept, keeping = number, asyncio.create_task(recorder.flush())
            await asyncio.sleep(0.01)
        await connecting
        await feed.disconnect()


if __name__ == "__main__":
    options = argparse.ArgumentParser()
    options.add_argument("folder", type=Path)
    options.add_argument("--rate", type=float, default=2000.0)
    options.add_argument("--first", type=int, default=0)
    options.add_argument("--flush", type=float, default=2.0)
    options.add_argument("--files", type=float, default=300.0)
    options.add_argument("--seconds", type=float, default=60.0)
    args = options.parse_args()
    asyncio.run(main(args.folder, args.rate, args.first, args.flush, args.files, args.seconds))
