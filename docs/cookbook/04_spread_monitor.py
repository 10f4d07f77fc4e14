"""What crossing the spread costs: the mean of each coin's spread in basis points."""

import asyncio
from collections import defaultdict

from feed import MarketFeed


async def main():
    spreads = defaultdict(list)
    async with MarketFeed(["BTC", "ETH", "SOL"], exchange="binance") as feed:
        async for quote in feed.quotes():
            spreads[quote.coin].append((quote.ask - quote.bid) / quote.bid * 10_000)
            if len(spreads) == 3 and min(map(len, spreads.values())) >= 10:
                break
    for coin, values in sorted(spreads.items()):
        print(f"{coin}: {sum(values) / len(values):.3f} basis points over {len(values)} quotes")


asyncio.run(main())
