"""Long while the price is above the mean of the last 20 minutes, flat below: past candles joined to the live ones."""

import asyncio
from collections import deque

from feed import MarketFeed


async def main():
    async with MarketFeed(["ETH"]) as feed:
        stream = feed.candles("ETH")
        past = await feed.candles_history("ETH", "1m", 21)
        closes = deque((candle.close for candle in past if candle.closed), maxlen=20)
        signals = 0
        async for candle in stream:
            mean = sum(closes) / len(closes)
            print(f"ETH {candle.close:,.2f}, mean {mean:,.2f}: {'long' if candle.close > mean else 'flat'}")
            if candle.closed:
                closes.append(candle.close)
            signals += 1
            if signals == 3:
                return


asyncio.run(main())
