"""What a thousand coins on one venue cost against twenty: CPU per message, time until all are subscribed, memory.

    python -m tests.benchmarks.scale [--venue binance] [--coins 1000] [--messages 100000] [--rounds 5]

The simulator, with its laws, and the reader have a process each; both sizes take turns, on the same list of markets.
When every coin has its past candles, trades come on coins drawn at random, one per frame and as fast as the reader
takes them; CPU is the reader's alone. "subscribed" counts from the first dial until the venue has every subscription,
"allowed" is the least that its laws let it take; memory is what each coin beyond the twenty adds.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import math
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from exchanges.simulator import Simulator
from exchanges.simulator.catalog import list_markets
from feed import MarketFeed, Settings
from feed.events import CoinConfig
from feed.settings import ExchangeConfig

FEW = 20
STREAMS = 3  # of a coin: trades, ticker, candles
BLOCK = 256  # trades between two writes
WARM_UP = 5_000  # trades before anything is measured
PATIENCE = 400.0  # seconds: ccxt asks Bybit for the past candles of ten coins a second
PACE = {"binance": (100, 5.0), "bybit": (10, math.inf)}  # subscriptions of a request, requests per second


def names(count: int) -> list[str]:
    return list(dict.fromkeys(item.coin for item in list_markets(count + 5)))[:count]


def allowed(venue: str, streams: int) -> float:
    """Seconds for so many subscriptions on one connection: as many requests as a second allows go out at its begin."""
    size, pace = PACE[venue]
    return max(0.0, math.ceil(math.ceil(streams / STREAMS / size) * STREAMS / pace) - 1.0)


async def serve(venue: str, count: int, listed: int) -> None:
    """Answer ``subscribed`` once everything is, and a line per number on stdin when so many trades are written."""
    coins = names(count)
    async with Simulator(venues=(venue,), coins=names(listed), rate=10.0) as simulator:
        own = simulator[venue]
        print(json.dumps([simulator.rest_url, simulator.ws_url]), flush=True)
        while len(own.topics) < count * STREAMS:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.005)
        took = time.monotonic() - own.dials[0]
        sizes = [len(each.subscriptions) for each in own.connections]
        print(json.dumps([took, allowed(venue, max(sizes)), len(sizes)]), flush=True)
        markets, draw = [own.market(coin) for coin in coins], random.Random(1)
        while line := await asyncio.to_thread(sys.stdin.readline):
            left, own.rate = int(line), 0
            own._ticker_due = own._candle_due = math.inf  # a thousand coins have fifty times as many, at their own cost
            while left > 0:
                for market in draw.choices(markets, k=min(BLOCK, left)):
                    own.publish(market, market.make(1, own.now()))
                left -= BLOCK
                await own.drain()
            print(json.dumps(own.violations), flush=True)


def memory() -> int:
    """Bytes of this process in RAM."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


async def read(venue: str, urls: list[str], coins: list[str]) -> None:
    """Say how many trades came, what CPU and how many messages that took, whenever a number of trades is asked for."""
    exchange = ExchangeConfig(venue, rest_url=urls[0], ws_url=urls[1])
    feed = MarketFeed(settings=Settings(coins=[CoinConfig(coin) for coin in coins], exchanges=[exchange]))
    seen, stirred = 0, asyncio.Event()

    def count(trade: Any) -> None:
        nonlocal seen
        seen += 1
        stirred.set()

    feed.subscribe_trades(count)
    feed.subscribe_price(lambda tick: None)
    async with feed:
        began = time.monotonic()
        async with asyncio.timeout(PATIENCE):
            while any(feed.volatility(coin) is None for coin in coins):  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.2)
        print(json.dumps(time.monotonic() - began), flush=True)
        start = await asyncio.to_thread(sys.stdin.readline)
        while start:
            gc.collect()
            cpu, messages, before = time.process_time(), feed.status.messages_received, seen
            print(json.dumps("ready"), flush=True)
            async with asyncio.timeout(PATIENCE):
                while seen < before + int(start):
                    stirred.clear()
                    await stirred.wait()
            spent, came = time.process_time() - cpu, feed.status.messages_received - messages
            priced = len(feed.get_all_prices())
            print(json.dumps({"cpu": spent / came * 1e6, "memory": memory(), "priced": priced}), flush=True)
            start = await asyncio.to_thread(sys.stdin.readline)


def started(*args: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.benchmarks.scale", *args]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def say(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


def hear(process: subprocess.Popen[str]) -> Any:
    assert process.stdout is not None
    return json.loads(process.stdout.readline())


def measure(venue: str, count: int, listed: int, messages: int) -> dict[str, Any]:
    with started("--serve", str(count), "--venue", venue, "--coins", str(listed)) as sender:
        urls = hear(sender)
        with started("--read", json.dumps(urls), "--count", str(count), "--venue", venue) as reader:
            warm = hear(reader)
            took, least, connections = hear(sender)
            for trades in (WARM_UP, messages):
                say(reader, str(trades))
                hear(reader)
                say(sender, str(trades))
                figures: dict[str, Any] = hear(reader)
                broken = hear(sender)
            for process in (reader, sender):
                assert process.stdin is not None
                process.stdin.close()
    return {**figures, "took": took, "least": least, "connections": connections, "broken": len(broken), "warm": warm}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--venue", choices=PACE, default="binance")
    parser.add_argument("--coins", type=int, default=1000)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--read", help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        asyncio.run(serve(args.venue, args.serve, args.coins))
    elif args.read:
        asyncio.run(read(args.venue, json.loads(args.read), names(args.count)))
    else:
        compare(args.venue, args.coins, args.messages, args.rounds)


def compare(venue: str, coins: int, messages: int, rounds: int) -> None:
    runs: dict[int, list[dict[str, Any]]] = {FEW: [], coins: []}
    for _ in range(rounds):
        for count, own in runs.items():
            own.append(measure(venue, count, coins, messages))
    print(f"{venue}, {messages:,} trades, medians of {rounds}")
    print(" coins  connections  CPU µs/message  subscribed s  allowed s  history s  memory MB  priced  broken laws")
    middle = {count: {key: statistics.median(run[key] for run in own) for key in own[0]} for count, own in runs.items()}
    for count, of in middle.items():
        print(
            f"{count:6}  {of['connections']:11.0f}  {of['cpu']:14.2f}  {of['took']:12.2f}  {of['least']:9.2f}"
            f"  {of['warm']:9.1f}  {of['memory'] / 1e6:9.1f}  {of['priced']:6.0f}  {of['broken']:11.0f}"
        )
    ratios = [many["cpu"] / few["cpu"] for few, many in zip(runs[FEW], runs[coins], strict=True)]
    print(f"a message costs {statistics.median(ratios):.2f}x ({min(ratios):.2f} to {max(ratios):.2f})")
    print(f"a coin costs {(middle[coins]['memory'] - middle[FEW]['memory']) / (coins - FEW) / 1000:.1f} kB")


if __name__ == "__main__":
    main()
