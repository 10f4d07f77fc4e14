"""The same risk in every coin: positions in proportion to 1 / volatility, known as soon as the feed has connected."""

import asyncio

from feed import MarketFeed

RISK = 100.0  # the expected move of a position in one hour, in quote currency


async def main():
    async with MarketFeed(["BTC", "ETH", "SOL"]) as feed:
        for coin in ("BTC", "ETH", "SOL"):
            await feed.candles_history(coin, "1m", 121)
            hourly = feed.volatility(coin, window=120) / 100 * 60**0.5
            price = feed.require_fresh(coin, max_age=60).price
            print(f"{coin}: {RISK / (price * hourly):.4f} (moves {hourly:.2%} an hour)")


asyncio.run(main())
