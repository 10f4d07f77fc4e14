"""``python -m tests.bus.start URL COINS`` reads the bus until each coin has a price, and prints the cost.

The output is CPU seconds, the peak of memory (MB), whether ccxt was imported, and when the last price came (Unix
seconds).
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from feed import MarketFeed, PriceTick, Settings
from feed.settings import Bus, ExchangeConfig


async def main(url: str, coins: list[str]) -> None:
    feed = MarketFeed(coins, settings=Settings(exchanges=[ExchangeConfig("binance")], bus=Bus(url)))
    there, priced = asyncio.Event(), set[str]()

    def on_price(tick: PriceTick) -> None:
        priced.add(tick.coin)
        if len(priced) == len(coins):
            there.set()

    feed.subscribe_price(on_price)
    await feed.connect(10)
    await there.wait()
    at, used = time.time(), time.process_time()
    await feed.disconnect()
    with open("/proc/self/status", encoding="ascii") as status:  # noqa: ASYNC230 - the program is at its end
        most = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    print(json.dumps([used, most / 1024, "ccxt" in sys.modules, at]))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2].split(",")))
