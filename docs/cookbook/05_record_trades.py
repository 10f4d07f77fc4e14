"""Record trades as JSON lines: each once, in order, also those of an outage (backfilled)."""

import asyncio
import json
from dataclasses import asdict

from feed import MarketFeed


async def main():
    with open("trades.jsonl", "a") as file:  # noqa: ASYNC230 - appending to a buffered file takes microseconds
        async with MarketFeed(["BTC", "ETH"]) as feed:
            recorded = 0
            async for trade in feed.trades(on_full="error"):  # an error, not a lost trade, if the buffer is full
                file.write(json.dumps(asdict(trade)) + "\n")
                recorded += 1
                if recorded == 200:
                    break
    print(f"recorded {recorded} trades")


asyncio.run(main())
