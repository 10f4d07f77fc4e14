"""What the hot path saves: a whole feed with it, without it, and plain ccxt.pro loops, in interleaved runs.

    python -m tests.benchmarks.hotpath [--venue binance] [--trades 100000] [--rounds 5] [--transport picows] [--uvloop]

The simulator sends a burst on twenty coins from a process of its own; each reader runs in a fresh process, with trades
and prices subscribed, and is timed from the first trade of the burst to the last. CPU is the reader's alone, per trade
sent: ccxt.pro's loops lose some.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import Any

import ccxt.pro

from exchanges.fence import redirect
from exchanges.simulator import Simulator
from exchanges.simulator.catalog import DEFAULT_COINS
from feed import MarketFeed, Settings
from feed.events import CoinConfig
from feed.settings import ExchangeConfig

WARM_UP = 5_000  # trades before the clock runs
PATIENCE = 3.0  # seconds without a trade after which the rest is lost
Count = Callable[[int], None]


async def send(venue: str) -> None:
    """The simulator: one burst per line of stdin, which says how many trades."""
    async with Simulator(venues=(venue,), rate=100) as simulator:
        print(json.dumps([simulator.rest_url, simulator.ws_url]), flush=True)
        lines = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
        while line := await lines.readline():
            await simulator[venue].burst(int(line))


async def read_feed(
    venue: str, urls: list[str], hotpath: bool, transport: str, count: Count, run: Awaitable[None]
) -> None:
    rest_url, ws_url = urls
    options = {"hotpath": hotpath, "transport": transport}
    access = ExchangeConfig(venue, rest_url=rest_url, ws_url=ws_url, options=options)
    settings = Settings(coins=[CoinConfig(coin) for coin in DEFAULT_COINS], exchanges=[access])
    feed = MarketFeed(settings=settings)
    feed.subscribe_trades(lambda trade: count(1))
    feed.subscribe_price(lambda tick: None)
    async with feed:
        await run


def pointed(urls: Any, rest_url: str, ws_url: str) -> Any:
    """ccxt's table of addresses with every scheme and host replaced."""
    if isinstance(urls, dict):
        return {key: pointed(each, rest_url, ws_url) for key, each in urls.items()}
    return redirect(urls, ws_url if urls.startswith("ws") else rest_url) if isinstance(urls, str) else urls


async def read_ccxt(venue: str, urls: list[str], count: Count, run: Awaitable[None]) -> None:
    exchange = getattr(ccxt.pro, venue)({"options": {"fetchMarkets": {"types": ["spot"]}}})
    exchange.has["fetchCurrencies"] = False
    exchange.urls = pointed(exchange.urls, *urls)

    async def loop(symbol: str) -> None:
        while True:
            count(len(await exchange.watch_trades(symbol)))

    await exchange.load_markets()
    loops = [asyncio.create_task(loop(f"{coin}/USDT")) for coin in DEFAULT_COINS]
    await run
    for task in loops:
        task.cancel()
    await asyncio.gather(*loops, return_exceptions=True)
    await exchange.close()


async def read(mode: str, venue: str, urls: list[str], trades: int) -> None:
    """One reader: "ready" when subscribed, then a line of JSON for the burst."""
    seen, first, last, cpu_first, cpu_last = 0, 0.0, 0.0, 0.0, 0.0
    stirred = asyncio.Event()

    def count(number: int) -> None:
        nonlocal seen, first, last, cpu_first, cpu_last
        before, seen = seen, seen + number
        if before < WARM_UP <= seen or (seen > WARM_UP and not first):
            first, cpu_first = time.perf_counter(), time.process_time()
        if seen % 1000 < number or seen >= WARM_UP + trades:
            last, cpu_last = time.perf_counter(), time.process_time()
            stirred.set()

    async def run() -> None:
        while True:
            state = await asyncio.to_thread(lambda: json.load(urllib.request.urlopen(f"{urls[0]}/simulator")))
            topics = {t for c in state["venues"][venue]["connections"] for t in c["subscriptions"]}
            if sum("rade" in topic for topic in topics) == len(DEFAULT_COINS):
                break
            await asyncio.sleep(0.1)
        print("ready", flush=True)
        while seen < WARM_UP + trades:
            stirred.clear()
            try:
                await asyncio.wait_for(stirred.wait(), PATIENCE if first else 60)
            except TimeoutError:
                break

    if mode == "ccxt":
        await read_ccxt(venue, urls, count, run())
    else:
        path, _, transport = mode.partition("-")
        await read_feed(venue, urls, path == "hot", transport, count, run())
    measured = max(seen - WARM_UP, 1)
    figures = {"rate": measured / (last - first), "cpu": (cpu_last - cpu_first) / max(measured, trades) * 1e6}
    print(json.dumps({**figures, "lost": max(0, WARM_UP + trades - seen)}), flush=True)


def started(*args: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.benchmarks.hotpath", *args]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def measure(mode: str, venue: str, trades: int, uvloop: bool) -> dict[str, Any]:
    with started("--send", "--venue", venue) as sender:
        assert sender.stdin is not None
        assert sender.stdout is not None
        urls = sender.stdout.readline()
        loop = ["--uvloop"] if uvloop else []
        reader = started("--read", mode, "--urls", urls, "--venue", venue, "--trades", str(trades), *loop)
        assert reader.stdout is not None
        reader.stdout.readline()
        sender.stdin.write(f"{WARM_UP}\n{trades}\n")
        sender.stdin.flush()
        figures: dict[str, Any] = json.loads(reader.stdout.readline())
        reader.communicate()
        sender.stdin.close()
    return figures


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--venue", default="binance")
    parser.add_argument("--trades", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--modes", default="hot,off,ccxt")
    parser.add_argument("--transport", default="picows,aiohttp", help="of the feed: one, or several to compare")
    parser.add_argument("--uvloop", action="store_true", help="the readers run on uvloop, which must be installed")
    parser.add_argument("--send", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--read", help=argparse.SUPPRESS)
    parser.add_argument("--urls", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.send:
        asyncio.run(send(args.venue))
    elif args.read:
        reading = read(args.read, args.venue, json.loads(args.urls), args.trades)
        with asyncio.Runner(loop_factory=import_module("uvloop").new_event_loop if args.uvloop else None) as runner:
            runner.run(reading)
    else:
        transports = args.transport.split(",")
        modes = [
            mode
            for path in args.modes.split(",")
            for mode in ([path] if path == "ccxt" else [f"{path}-{transport}" for transport in transports])
        ]
        runs: dict[str, list[dict[str, Any]]] = {mode: [] for mode in modes}
        for _ in range(args.rounds):
            for mode in modes:
                runs[mode].append(measure(mode, args.venue, args.trades, args.uvloop))
        reference = statistics.median(run["cpu"] for run in runs[modes[-1]])
        print(f"{args.venue}, {args.trades:,} trades on {len(DEFAULT_COINS)} coins, medians of {args.rounds}")
        print("reader        trades/s   CPU µs/trade   CPU against the last   lost")
        for mode, measured in runs.items():
            rate, cpu = (statistics.median(run[key] for run in measured) for key in ("rate", "cpu"))
            lost = sum(run["lost"] for run in measured)
            print(f"{mode:12} {rate:10,.0f} {cpu:14.1f} {reference / cpu:21.1f}x {lost:6}")


if __name__ == "__main__":
    main()
