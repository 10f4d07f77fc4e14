"""From the start of a process to twenty priced coins, with the markets asked for and with those kept on disk.

    python -m tests.benchmarks.startup [--venue binance] [--markets 3000] [--rounds 5]

The simulator runs in a process of its own, each reader in a fresh one: trades, ticker and candles of twenty coins are
subscribed, and the clock stops when each coin has a price, its turnover and its change of 24 hours. ``cold`` finds an
empty folder, ``cached`` the one that the run before it has left; ``import`` is ``import ccxt.pro`` alone in a process,
which none of them can be faster than; ``--help`` is ``market-feed --help`` from its start to its end.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

HERE = [sys.executable, "-m", "tests.benchmarks.startup"]
PATIENCE = 60.0  # seconds for one reader


async def serve(venue: str, markets: int) -> None:
    from exchanges.simulator import Simulator

    async with Simulator(venues=(venue,), markets=markets) as simulator:
        print(json.dumps([simulator.rest_url, simulator.ws_url]), flush=True)
        await asyncio.to_thread(sys.stdin.read)


async def read(venue: str, urls: list[str]) -> None:
    """Print the time, Unix seconds, at which every coin is priced."""
    from feed import MarketFeed, PriceTick, Settings
    from feed.settings import ExchangeConfig

    exchange = ExchangeConfig(venue, rest_url=urls[0], ws_url=urls[1], options={"market_cache": True})
    feed = MarketFeed(settings=Settings(exchanges=[exchange]))
    waiting = {coin.symbol for coin in feed.coin_configs}
    assert len(waiting) == 20
    done = asyncio.Event()

    def on_price(tick: PriceTick) -> None:
        if tick.volume_24h and tick.change_24h:
            waiting.discard(tick.coin)
            if not waiting and not done.is_set():
                print(time.time(), flush=True)
                done.set()

    feed.subscribe_price(on_price)
    feed.subscribe_trades(lambda trade: None)
    feed.subscribe_candles(lambda candle: None)
    async with feed:
        await done.wait()


def timed(command: list[str], told: bool = False) -> float:
    """Seconds from the start of a process to its end, or to the time that it has ``told``."""
    start = time.time()
    answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE).stdout
    return (float(answer) if told else time.time()) - start


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--venue", default="binance")
    parser.add_argument("--markets", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--read", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        asyncio.run(serve(args.venue, args.markets))
    elif args.read:
        asyncio.run(read(args.venue, json.loads(args.read)))
    else:
        compare(args.venue, args.markets, args.rounds)


def compare(venue: str, markets: int, rounds: int) -> None:
    folder = os.environ["MARKET_FEED_CACHE"] = tempfile.mkdtemp()
    command = [*HERE, "--serve", "--venue", venue, "--markets", str(markets)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        reader = [*HERE, "--venue", venue, "--read", server.stdout.readline()]

        def cold() -> float:
            shutil.rmtree(folder)
            return timed(reader, told=True)

        runs: dict[str, Callable[[], float]] = {
            "cold": cold,
            "cached": lambda: timed(reader, told=True),
            "import": lambda: timed([sys.executable, "-c", "import ccxt.pro"]),
            "--help": lambda: timed([sys.executable, "-m", "feed", "--help"]),
        }
        try:
            timed(reader, told=True)  # not counted: whatever the machine has to load first
            seconds: dict[str, list[float]] = {name: [] for name in runs}
            for _ in range(rounds):
                for name, run in runs.items():
                    seconds[name].append(run())
        finally:
            server.stdin.close()
    shutil.rmtree(folder)
    print(f"{venue}, {markets:,} markets, medians of {rounds} (least to most), seconds")
    for name, taken in seconds.items():
        print(f"{name:8} {statistics.median(taken):6.2f}  ({min(taken):.2f} to {max(taken):.2f})")


if __name__ == "__main__":
    main()
