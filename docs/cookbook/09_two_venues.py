"""Two venues side by side: where BTC is cheaper, and by how much."""

import asyncio

from feed import MarketFeed


async def main():
    async with MarketFeed(["BTC"], exchange=["bybit"]) as one, MarketFeed(["BTC"], exchange=["binance"]) as other:
        compared = 0
        async for tick in one.prices("BTC", on_full="latest"):
            there = other.get_price("BTC")
            if there is None or tick.received_at - there.received_at > 1e9:  # compare only prices of the same second
                continue
            print(f"{tick.exchange} {tick.price:,.2f}, {there.exchange} {tick.price - there.price:+,.2f}")
            compared += 1
            if compared == 5:
                return


asyncio.run(main())
