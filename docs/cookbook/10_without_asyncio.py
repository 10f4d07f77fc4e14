"""A program without asyncio, as a Flask or Django app: the feed runs in a thread of its own."""

import threading

from feed import MarketFeed

feed = MarketFeed(["BTC", "ETH"])
moved = threading.Semaphore(0)
feed.subscribe_price(lambda tick: moved.release())  # runs in the feed's thread
feed.start()
try:
    for _ in range(10):
        moved.acquire()
    for coin, tick in sorted(feed.get_all_prices().items()):  # from any thread
        print(f"{coin} {tick.price:,.2f} on {tick.exchange}")
    print(feed.get_health()["status"])
finally:
    feed.stop()
