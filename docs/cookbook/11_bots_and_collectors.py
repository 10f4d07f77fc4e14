"""Ten bots, two collectors: the bots share what the collectors carry, and one of these may die (docs/bus.md)."""

import asyncio
import os

from feed import MarketFeed, load_settings
from feed.settings import Bus


async def bot(number, settings):
    async with MarketFeed(["BTC", "ETH"], settings=settings) as feed:
        async for tick in feed.prices("BTC"):
            price = feed.require_fresh("BTC", max_age=2).price  # never an old price, whichever collector publishes
            print(f"bot {number} trades at {price:,.2f} ({tick.exchange})")
            return


async def main():
    settings = load_settings()
    settings.bus = Bus(os.environ.get("MARKET_FEED_BUS", "nats://127.0.0.1:4222"))
    await asyncio.gather(*(bot(number, settings) for number in range(1, 11)))


asyncio.run(main())
