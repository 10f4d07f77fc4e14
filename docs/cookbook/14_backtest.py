"""The same bot over a recording and live: it is given a feed, and asks that feed for the time."""

import asyncio

from feed import MarketFeed, Recorder


async def bot(feed, name):
    async with feed:
        last, position, profit, end = 0.0, 0, 0.0, feed.now() + 2  # seconds, of the recording in a replay
        async for tick in feed.prices("BTC"):
            side, last = 1 if tick.price > last else -1, tick.price  # follow the price
            profit, position = profit - (side - position) * tick.price, side
            if feed.now() > end:
                break
    return f"{name}: profit {profit + position * tick.price:+.2f}"


async def main():
    async with Recorder(feed := MarketFeed(["BTC"]), "ticks"), feed:
        await asyncio.sleep(3)
    print(await bot(MarketFeed.from_recording("ticks", speed=None), "backtest"), await bot(feed, "live"))


asyncio.run(main())
