"""Measures the time from the start of a process to twenty priced coins, with the market list fetched or on disk.

    python -m tests.benchmarks.startup [--venue binance] [--markets 3000] [--rounds 5] [--peers FOLDER]

The simulator runs in a process of its own, and each reader in a new process. A reader subscribes to trades, ticker and
candles of twenty coins, and the clock stops when each coin has a price, its turnover and its change of 24 hours.
``cold`` starts with an empty folder, and ``cached`` with the folder of an earlier run. ``import`` is the time of
``import ccxt.pro`` alone in a process: no reader can take less. ``--help`` is the time of ``market-feed --help`` from
its start to its end. Then the parts of the time are measured, in runs of their own. ``--peers`` names a folder for the
environments of other libraries (see ``peers``). For each of these libraries, the clock stops at the first trade of any
of the coins.
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
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

HERE = [sys.executable, "-m", "tests.benchmarks.startup"]
PATIENCE = 60.0  # seconds for one reader
RATE = 250.0  # trades/s of all markets
PARTS = ("Python", "import feed", "import ccxt", "the class", "the markets", "first price", "all priced")


async def serve(venue: str, markets: int) -> None:
    from exchanges.simulator import Simulator

    async with Simulator(venues=(venue,), markets=markets, rate=RATE) as simulator:
        print(json.dumps([simulator.rest_url, simulator.ws_url]), flush=True)
        await asyncio.to_thread(sys.stdin.read)


async def read(venue: str, urls: list[str], parts: bool) -> None:
    """Print the time (Unix seconds) at which every coin is priced or, for ``parts``, at which each of PARTS ended."""
    times = [time.time()]
    from feed import MarketFeed, PriceTick, Settings
    from feed.settings import ExchangeConfig

    if parts:
        note_parts(venue, times)

    exchange = ExchangeConfig(venue, rest_url=urls[0], ws_url=urls[1], options={"market_cache": True})
    feed = MarketFeed(settings=Settings(exchanges=[exchange]))
    waiting = {coin.symbol for coin in feed.coin_configs}
    assert len(waiting) == 20
    done = asyncio.Event()

    priced: set[str] = set()

    def on_price(tick: PriceTick) -> None:
        if not priced:
            times.append(time.time())
        priced.add(tick.coin)
        if tick.volume_24h and tick.change_24h:
            waiting.discard(tick.coin)
            if not waiting and not done.is_set():
                times.append(time.time())
                print(json.dumps(times) if parts else times[-1], flush=True)
                done.set()

    feed.subscribe_price(on_price)
    feed.subscribe_trades(lambda trade: None)
    feed.subscribe_candles(lambda candle: None)
    async with feed:
        await done.wait()


def note_parts(venue: str, times: list[float]) -> None:
    """Import the modules that a feed imports in a thread; note the times at which each part of the start ends.

    The last part ends when the markets are known.
    """
    times.append(time.time())
    import_module("feed.running.runner")
    adapter: Any = import_module("exchanges.ccxt_adapter.instance")
    markets: Any = import_module("exchanges.ccxt_adapter.markets.markets")
    import_module("exchanges.ccxt_adapter.venue")
    times.append(time.time())
    adapter.ccxt_class(import_module("exchanges.venues.find").profile_of(venue).ccxt_id)
    times.append(time.time())
    give = markets.give

    def noted(*args: Any) -> None:
        give(*args)
        times.append(time.time())
        markets.give = give

    markets.give = noted


def timed(command: list[str], told: bool = False) -> float:
    """Seconds from the start of a process to its end, or, with ``told``, to the time that it prints."""
    start = time.time()
    answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE).stdout
    return (float(answer) if told else time.time()) - start


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--venue", default="binance")
    parser.add_argument("--markets", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--peers", type=Path, help="folder for other libraries' environments")
    parser.add_argument("--read", help=argparse.SUPPRESS)
    parser.add_argument("--parts", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        asyncio.run(serve(args.venue, args.markets))
    elif args.read:
        asyncio.run(read(args.venue, json.loads(args.read), args.parts))
    else:
        compare(args.venue, args.markets, args.rounds, args.peers)


def compare(venue: str, markets: int, rounds: int, peers: Path | None) -> None:
    folder = os.environ["MARKET_FEED_CACHE"] = tempfile.mkdtemp()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # the first run writes bytecode, as an installation does
    command = [*HERE, "--serve", "--venue", venue, "--markets", str(markets)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        urls = server.stdout.readline()
        reader = [*HERE, "--venue", venue, "--read", urls]

        def cold() -> float:
            shutil.rmtree(folder)
            return timed(reader, told=True)

        def in_parts(anew: bool) -> list[float]:
            if anew:
                shutil.rmtree(folder)
            start = time.time()
            command = [*reader, "--parts"]
            answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE).stdout
            ends = [start, *json.loads(answer)]
            return [end - begin for begin, end in pairwise(ends)]

        runs: dict[str, Callable[[], float]] = {
            "cold": cold,
            "cached": lambda: timed(reader, told=True),
            "import": lambda: timed([sys.executable, "-c", "import ccxt.pro"]),
            "--help": lambda: timed([sys.executable, "-m", "feed", "--help"]),
        }
        try:
            timed(reader, told=True)  # this run is not counted: it loads the files into the machine's cache
            seconds: dict[str, list[float]] = {name: [] for name in runs}
            for _ in range(rounds):
                for name, run in runs.items():
                    seconds[name].append(run())
            parts = {name: [in_parts(name == "cold") for _ in range(rounds)] for name in ("cold", "cached")}
            others = compared(venue, json.loads(urls), rounds, peers) if peers is not None else {}
        finally:
            server.stdin.close()
    shutil.rmtree(folder)
    print(f"{venue}, {markets:,} markets, medians of {rounds} (least to most), seconds")
    for name, taken in seconds.items():
        print(f"{name:8} {statistics.median(taken):6.2f}  ({min(taken):.2f} to {max(taken):.2f})")
    for name, runs_of in parts.items():
        medians = [statistics.median(run[place] for run in runs_of) for place in range(len(PARTS))]
        print(f"{name:8} {', '.join(f'{part} {each:.2f}' for part, each in zip(PARTS, medians, strict=True))}")
    for name, result in others.items():
        print(f"{name:12} {result}")


def compared(venue: str, urls: list[str], rounds: int, folder: Path) -> dict[str, str]:
    """For each peer: the median time to its first trade and its memory at this time, or why it could not be
    measured."""
    from feed import load_settings
    from tests.benchmarks.measure import Failed
    from tests.benchmarks.peers import PEERS, resident, trading
    from tests.benchmarks.readers import READERS

    coins, found = [coin.symbol for coin in load_settings().coins], {}
    for name in PEERS:
        times, weights = [], []
        try:
            for _ in range(rounds):
                with trading(name, venue, urls, coins, folder) as (process, seconds):
                    times.append(seconds)
                    time.sleep(1.0)
                    weights.append(resident(process))
            label = READERS[name].label
            found[name] = f"{statistics.median(times):.2f} s, {statistics.median(weights):.1f} MB ({label})"
        except Failed as reason:
            found[name] = f"left out: {reason}"
    return found


if __name__ == "__main__":
    main()
