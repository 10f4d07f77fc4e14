"""What buying 2 BTC costs now: the average price of the order book's levels, and how far above its middle that is."""

import asyncio

from feed import MarketFeed

QUANTITY = 2.0


async def main():
    async with MarketFeed(["BTC"], exchange="binance") as feed:
        async for _ in feed.books("BTC", depth=200):
            book = feed.require_fresh_book("BTC", max_age=10, depth=200)
            average = book.cost("buy", QUANTITY)
            if average is not None:  # None: the book is not that deep
                break
    above = (average / book.mid - 1) * 10_000
    print(f"2 BTC cost {average * QUANTITY:,.2f}, {above:.2f} basis points above the middle")


asyncio.run(main())
