"""Stop trading while the data can't be trusted, and go on when it can again."""

import asyncio

from feed import MarketFeed

STOP = {"feed_stale", "feed_lagging", "disconnected", "circuit_open"}
RESUME = {"feed_recovered", "feed_caught_up", "connected", "circuit_half_open"}


async def main():
    async with MarketFeed(["BTC"]) as feed:
        print("trading", flush=True)
        trading = True
        async for event, _ in feed.events():
            if trading and event in STOP:
                trading = False
                print(f"paused: {event}, cancel all orders", flush=True)
            elif not trading and event in RESUME and feed.tradable:
                print(f"trading again: {event}")
                return


asyncio.run(main())
