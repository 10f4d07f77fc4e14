"""Measures what the metrics cost: the CPU time of a feed with metrics, against a feed without metrics.

    python -m tests.benchmarks.metrics [--rate 2000] [--seconds 10] [--rounds 4]

Each round runs both feeds at the same time, in processes of their own, on one simulator in a third process. The
feed that starts first changes from round to round. Both feeds run on the second core: a feed on the simulator's core
would be woken less often, for more trades at a time, and would need half of the CPU time. The feed with metrics is
scraped every 5 seconds, as by Prometheus; the CPU time of the scrapes is included.
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

from tests.benchmarks.cores import on_core

HERE = [sys.executable, "-m", "tests.benchmarks.metrics"]
SCRAPE = 5.0  # seconds


async def serve(rate: float) -> None:
    from exchanges.simulator import Simulator

    async with Simulator(venues=("binance",), rate=rate) as simulator:
        print(json.dumps([simulator.rest_url, simulator.ws_url]), flush=True)
        await asyncio.to_thread(sys.stdin.read)


async def read(urls: list[str], seconds: float, with_metrics: bool) -> None:
    """Run a feed, and print its CPU seconds and its number of trades in this many ``seconds``."""
    from feed import MarketFeed, Settings, start_metrics
    from feed.settings import ExchangeConfig

    trades = 0

    def on_trade(trade: object) -> None:
        nonlocal trades
        trades += 1

    feed = MarketFeed(settings=Settings(exchanges=[ExchangeConfig("binance", rest_url=urls[0], ws_url=urls[1])]))
    feed.subscribe_trades(on_trade)
    feed.subscribe_price(lambda tick: None)
    feed.subscribe_candles(lambda candle: None)
    metrics = start_metrics(feed, 0) if with_metrics else None
    async with feed:
        await asyncio.sleep(1.0)  # the start is not measured
        print(0 if metrics is None else metrics.port, flush=True)
        trades, begin = 0, time.process_time()
        await asyncio.sleep(seconds)
        print(json.dumps([time.process_time() - begin, trades]), flush=True)
    if metrics is not None:
        metrics.close()


def measure(rate: float, seconds: float, rounds: int) -> list[tuple[float, float]]:
    """The CPU microseconds per trade of each round: without metrics, and with them."""
    pipe = subprocess.PIPE
    found = []
    with subprocess.Popen([*HERE, "--serve", "--rate", str(rate)], stdin=pipe, stdout=pipe, text=True) as server:
        assert server.stdout is not None
        urls = server.stdout.readline().strip()
        for number in range(rounds):
            readers = {}
            for kind in ("plain", "metrics") if number % 2 else ("metrics", "plain"):
                command = [*HERE, "--read", kind, "--urls", urls, "--seconds", str(seconds)]
                readers[kind] = subprocess.Popen(command, stdout=pipe, text=True)
            ports = {kind: int(reader.stdout.readline()) for kind, reader in readers.items() if reader.stdout}
            for _ in range(int(seconds / SCRAPE)):
                time.sleep(0.9 * SCRAPE)
                with urllib.request.urlopen(f"http://127.0.0.1:{ports['metrics']}/metrics") as page:
                    page.read()
            spent = {kind: json.loads(reader.communicate()[0]) for kind, reader in readers.items()}
            plain, with_metrics = (1e6 * cpu / trades for cpu, trades in (spent["plain"], spent["metrics"]))
            found.append((plain, with_metrics))
            rates = ", ".join(f"{trades / seconds:.0f}" for _, trades in spent.values())
            print(f"{plain:6.1f} µs a trade without, {with_metrics:6.1f} with metrics ({rates} trades/s)", flush=True)
        server.terminate()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=2000.0, help="trades a second")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--read", choices=("plain", "metrics"), help=argparse.SUPPRESS)
    parser.add_argument("--urls", type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        on_core(0)
        asyncio.run(serve(args.rate))
    elif args.read:
        on_core(1)
        asyncio.run(read(args.urls, args.seconds, args.read == "metrics"))
    else:
        found = measure(args.rate, args.seconds, args.rounds)
        ratio = statistics.median(with_metrics / plain for plain, with_metrics in found)
        print(f"median of {len(found)} rounds: {100 * (ratio - 1):+.1f} % of the feed's CPU time")


if __name__ == "__main__":
    main()
