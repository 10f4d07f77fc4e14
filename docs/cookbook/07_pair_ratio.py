"""How far ETH/BTC is from its mean, in standard deviations; a slow consumer that wants only the newest prices."""

import asyncio
from statistics import mean, stdev

from feed import MarketFeed


async def main():
    ratios = []
    async with MarketFeed(["ETH", "BTC"]) as feed:
        async for _ in feed.prices(on_full="latest"):
            eth, btc = feed.get_price("ETH"), feed.get_price("BTC")
            if eth and btc:
                ratios.append(eth.price / btc.price)
            if len(ratios) >= 20:
                print(f"ETH/BTC {ratios[-1]:.6f}, {(ratios[-1] - mean(ratios)) / (stdev(ratios) or 1):+.1f} deviations")
                return
            await asyncio.sleep(0.05)  # the work that takes time


asyncio.run(main())
