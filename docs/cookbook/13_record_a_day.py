"""Record what a feed delivers in Parquet files, for a backtest or a look at the data."""

import asyncio

from feed import MarketFeed, Recorder

SECONDS = 3  # a day has 86_400


async def main():
    feed = MarketFeed(["BTC", "ETH"])
    async with Recorder(feed, "ticks") as recorder, feed:
        await asyncio.sleep(SECONDS)
    status = recorder.status
    print(f"recorded {status.written} events, dropped {status.dropped}, see `market-feed recording info ticks`")


asyncio.run(main())
