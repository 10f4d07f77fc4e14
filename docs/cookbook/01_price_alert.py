"""Order when BTC has moved by 0.02 %, but only at a price that is known to be fresh."""

import asyncio

from feed import MarketFeed, StaleDataError


async def main():
    async with MarketFeed(["BTC"]) as feed:
        start = None
        async for tick in feed.prices("BTC", on_full="latest"):
            start = start or tick.price
            if abs(tick.price / start - 1) < 0.0002:
                continue
            try:
                fresh = feed.require_fresh("BTC", max_age=2)
            except StaleDataError as error:
                print("no order:", error)
                continue
            print(f"{'buy' if fresh.price < start else 'sell'} BTC at {fresh.price:,.2f}, it was {start:,.2f}")
            return


asyncio.run(main())
