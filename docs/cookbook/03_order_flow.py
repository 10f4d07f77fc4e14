"""Who is more eager: the takers' buying and selling over the last 200 trades, and trades far above the usual size."""

import asyncio
from collections import deque

from feed import MarketFeed


async def main():
    trades, told = deque(maxlen=200), 0
    async with MarketFeed(["BTC"]) as feed:
        async for trade in feed.trades("BTC"):
            usual = sum(each.quantity for each in trades) / max(1, len(trades))
            if len(trades) == 200 and trade.quantity > 5 * usual:
                print(f"spike: {trade.quantity} BTC at {trade.price:,.2f}, usual are {usual:.5f}")
            trades.append(trade)
            told += 1
            if told % 200 == 0:
                bought = sum(each.quantity for each in trades if not each.is_buyer_maker)
                print(f"imbalance {2 * bought / sum(each.quantity for each in trades) - 1:+.2f}")
            if told == 400:
                return


asyncio.run(main())
