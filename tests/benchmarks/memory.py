"""Measures what a feed costs: memory, objects, the pause of a full garbage collection, and CPU at 500 ticks a second.

    python -m tests.benchmarks.memory [--venue binance] [--markets 3000] [--seconds 60]

Each exchange is a simulator in a process of its own. Each reader is a new process with trades, ticker and candles of
twenty coins, and is measured after ``--seconds`` seconds: ``cold`` has fetched the list of markets, ``cached`` has
found the list on disk, ``cached, failed over`` began on another exchange, whose process was then ended, and ``1000
coins`` is a cold start with 1,000 coins. For comparison, ``import ccxt.pro`` alone is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from typing import Any

HERE = [sys.executable, "-m", "tests.benchmarks.memory"]
OTHER = {"binance": "bybit", "bybit": "binance"}
IMPORT = "import ccxt.pro; from tests.benchmarks.memory import weighed; print(weighed())"


def rss() -> float:
    """The resident memory of this process in MB."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 1e6


def weighed() -> str:
    """Return the memory (MB), the number of objects, and the time (ms) of a full garbage collection, as JSON."""
    memory, objects, begin = rss(), len(gc.get_objects()), time.perf_counter()
    gc.collect()
    return json.dumps({"mb": memory, "objects": objects, "pause": 1000 * (time.perf_counter() - begin)})


async def serve(venue: str, markets: int, rate: float) -> None:
    from exchanges.simulator import Simulator

    async with Simulator(venues=(venue,), markets=markets, rate=rate) as simulator:
        print(json.dumps([simulator.rest_url, simulator.ws_url]), flush=True)
        await asyncio.to_thread(sys.stdin.read)


def coin_names(count: int) -> list[str]:
    from exchanges.simulator.markets.catalog import list_markets

    return list(dict.fromkeys(item.coin for item in list_markets(count + 5)))[:count]


async def read(venues: dict[str, list[str]], coins: int, seconds: float) -> None:
    """Run a feed on these venues; print when data flows, and its memory and objects after ``seconds`` seconds."""
    from feed import MarketFeed, Settings
    from feed.settings import ExchangeConfig

    exchanges = [
        ExchangeConfig(name, rest_url=rest, ws_url=ws, options={"market_cache": True})
        for name, (rest, ws) in venues.items()
    ]
    feed = MarketFeed(coin_names(coins) if coins > 20 else None, settings=Settings(exchanges=exchanges))
    ticks = 0

    def on_price(tick: object) -> None:
        nonlocal ticks
        ticks += 1

    feed.subscribe_price(on_price)
    feed.subscribe_trades(lambda trade: None)
    feed.subscribe_candles(lambda candle: None)
    async with feed:
        print("live", flush=True)
        await asyncio.sleep(seconds / 2)
        ticks, begin = 0, time.process_time()
        await asyncio.sleep(seconds / 2)
        cpu = (time.process_time() - begin) / (seconds / 2)
        found = {"cpu": 100 * cpu, "ticks": ticks / (seconds / 2), "exchange": feed.status.exchange}
        print(json.dumps(found | json.loads(weighed())), flush=True)


def measure(args: argparse.Namespace) -> None:
    folder = os.environ["MARKET_FEED_CACHE"] = tempfile.mkdtemp()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # so that bytecode is written, as for an installed package
    pipe = subprocess.PIPE

    def simulator(
        stack: ExitStack, venue: str, rate: float = 250.0, markets: int = args.markets
    ) -> tuple[subprocess.Popen[str], list[str]]:
        command = [*HERE, "--serve", venue, "--markets", str(markets), "--rate", str(rate)]
        server = stack.enter_context(subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True))
        stack.callback(server.terminate)
        assert server.stdout is not None
        return server, json.loads(server.stdout.readline())

    def reader(venues: dict[str, list[str]], coins: int = 20, ended: Any = None) -> dict[str, Any]:
        command = [*HERE, "--read", json.dumps(venues), "--coins", str(coins), "--seconds", str(args.seconds)]
        with subprocess.Popen(command, stdout=pipe, text=True) as process:
            assert process.stdout is not None
            process.stdout.readline()
            if ended is not None:
                ended.terminate()
            found: dict[str, Any] = json.loads(process.stdout.readline())
        return found

    with ExitStack() as stack:
        _, urls = simulator(stack, args.venue)
        other, other_urls = simulator(stack, OTHER[args.venue])
        alone = subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True, check=True).stdout
        both = {OTHER[args.venue]: other_urls, args.venue: urls}
        found = {"import ccxt.pro": json.loads(alone)}
        found["cold"] = reader({args.venue: urls})
        found["cached"] = reader({args.venue: urls})
        reader(both)  # this run also writes the other exchange's list to disk
        found["cached, failed over"] = reader(both, ended=other)
        found["1000 coins"] = reader({args.venue: urls}, coins=1000)
        _, busy_urls = simulator(stack, args.venue, rate=450.0, markets=40)  # tickers make ticks too
        found["500 ticks/s"] = reader({args.venue: busy_urls})
    shutil.rmtree(folder)
    print(f"{args.venue}, {args.markets:,} markets, after {args.seconds:g} s")
    for name, each in found.items():
        work = f", {each['cpu']:.1f} % of a core at {each['ticks']:.0f} ticks/s" if "cpu" in each else ""
        print(f"{name:20} {each['mb']:6.1f} MB, {each['objects']:7,} objects, pause {each['pause']:4.0f} ms{work}")
    per_coin = (found["1000 coins"]["mb"] - found["cold"]["mb"]) / 980 * 1000
    print(f"a coin more takes {per_coin:.1f} kB; a second exchange after a failover "
          f"{found['cached, failed over']['mb'] - found['cached']['mb']:+.1f} MB")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--venue", choices=OTHER, default="binance")
    parser.add_argument("--markets", type=int, default=3000)
    parser.add_argument("--seconds", type=float, default=60.0)
    for hidden in ("--serve", "--read"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    parser.add_argument("--coins", type=int, default=20, help=argparse.SUPPRESS)
    parser.add_argument("--rate", type=float, default=0.0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        asyncio.run(serve(args.serve, args.markets, args.rate))
    elif args.read:
        asyncio.run(read(json.loads(args.read), args.coins, args.seconds))
    else:
        measure(args)


if __name__ == "__main__":
    main()
