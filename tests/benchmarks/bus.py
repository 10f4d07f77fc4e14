"""Measures the bus: delays from the collector's socket to a callback, throughput beside nats-py, and shards.

    python -m tests.benchmarks.bus [--trades 60000] [--rounds 3]

The exchange is the sender of the other benchmarks. The sender, the nats-server, the collectors and the consumer have a
process each. For comparison, nats-py alone (the raw pair) is measured in the same run: ``publish_async`` with message
ids, and a callback.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from exchanges.bus.client import BusClient
from exchanges.bus.payloads import event
from exchanges.bus.subjects import MarketSubjects
from exchanges.events import TradeEvent
from exchanges.venue import BusAddress
from feed import MarketFeed, Settings
from feed.events import CoinConfig
from feed.settings import ExchangeConfig
from feed.settings.schema import Bus
from feed.sinks.bus.server import BusServer
from tests.benchmarks.measure import Process, started
from tests.bus.support import CollectorProcess, cpu_seconds

VENUE = "binance"
RATE = 2000  # trades per second while delays are measured
WARM_UP = 5_000  # trades
SIZES = (100, 500, 2000)  # events per second
HERE = [sys.executable, "-m", "tests.benchmarks.bus"]
STREAM = MarketSubjects(VENUE, "spot").stream
PAYLOAD = event(
    "trade", TradeEvent("BTC", 60000.12, 0.00123, True, 1795901426122, VENUE, "1000000001", 1795901426116848509)
)


async def read(url: str, coins: Sequence[str]) -> None:
    """The consumer's process: answers each line on stdin with the delays (ns) of the trades since the previous line."""
    settings = Settings(
        coins=[CoinConfig(coin) for coin in coins],
        exchanges=[ExchangeConfig(VENUE)],
        channels=["trades"],
        bus=Bus(url),
    )
    feed, delays = MarketFeed(settings=settings), list[int]()
    feed.subscribe_trades(lambda trade: delays.append(time.time_ns() - trade.received_at))
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async with feed:
        print(json.dumps("ready"), flush=True)
        while await lines.readline():
            print(json.dumps(delays), flush=True)
            delays.clear()


@asynccontextmanager
async def collected(shards: int, folder: Path) -> AsyncIterator[tuple[Process, BusServer, list[CollectorProcess]]]:
    """A sender, a bus and ``shards`` collectors that have subscribed to all coins and published the warm-up trades."""
    async with AsyncExitStack() as stack:
        sender = await stack.enter_async_context(
            started([sys.executable, "-m", "tests.benchmarks.sender", VENUE], core=0)
        )
        rest_url, ws_url, coins = await sender.hear()
        file = folder / "settings.yaml"
        text = (
            f"coins: [{', '.join(coins)}]\nchannels: [trades]\n"
            f'exchanges:\n  - {{name: {VENUE}, rest_url: "{rest_url}", ws_url: "{ws_url}"}}\n'
        )
        await asyncio.to_thread(file.write_text, text)
        server = await stack.enter_async_context(BusServer(0, folder / "bus", 4.0))
        collectors = []
        for number in range(1, shards + 1):
            each = await CollectorProcess.start(
                server.url, file, f"s{number}", "--keep-size", "1", "--shard", f"{number}/{shards}"
            )
            stack.push_async_callback(each.gone)
            collectors.append(each)
        await sender.hear()  # this line says that every coin has a reader
        await sender.ask(f"{WARM_UP} {RATE}")
        await stored(server.url, WARM_UP)
        yield sender, server, collectors


async def stored(url: str, trades: int) -> float:
    """Wait until the stream has ``trades`` trades; returns the time (perf_counter). Raises TimeoutError after a
    minute.
    """
    client = await BusClient.dial(BusAddress((url,)), "benchmark")
    try:
        async with asyncio.timeout(60):
            while await _count(client) < trades:  # noqa: ASYNC110 - no event can be awaited here
                await asyncio.sleep(0.01)
        return time.perf_counter()
    finally:
        await client.close()


async def _count(client: BusClient) -> int:
    body = {"subjects_filter": "market.*.*.trades.*"}
    info = await client.api(f"STREAM.INFO.{STREAM}", body)
    return sum((info["state"].get("subjects") or {}).values())


async def throughput(trades: int, folder: Path, shards: int) -> tuple[float, float]:
    """Return the trades per second that collectors read from the socket and publish, and the CPU µs per trade."""
    async with collected(shards, folder) as (sender, server, collectors):
        used = sum(cpu_seconds(each.process.pid) for each in collectors)
        began = time.perf_counter()
        sender.tell(f"{trades} 0")
        answer = await sender.hear(120)
        began = answer["sent"][0] / 1e9 if answer["sent"] else began
        ended = await stored(server.url, WARM_UP + trades)
        used = sum(cpu_seconds(each.process.pid) for each in collectors) - used
        return trades / (ended - began), used / trades * 1e6


async def raw_throughput(trades: int, folder: Path) -> tuple[float, float]:
    """Throughput of nats-py alone: publish_async with message ids, in this process."""
    async with BusServer(0, folder / "raw", 4.0) as server:
        client = await BusClient.dial(BusAddress((server.url,)), "raw")
        stream = client.nats.jetstream(publish_async_max_pending=4000)
        await stream.add_stream(name="RAW", subjects=["raw.*"], max_bytes=1 << 30)
        used, began = time.process_time(), time.perf_counter()
        for number in range(trades):
            headers = {"Nats-Msg-Id": f"BTC/USDT {number}"}
            await stream.publish_async(f"raw.C{number % 20}", PAYLOAD, headers=headers)
        await stream.publish_async_completed()
        took, used = time.perf_counter() - began, time.process_time() - used
        await client.close()
        return trades / took, used / trades * 1e6


async def delays(seconds: float, folder: Path) -> list[float]:
    """The delays (ms) from the collector's reading of a frame to the consumer's callback, at RATE trades per second."""
    async with collected(1, folder) as (sender, server, _):
        coins = await coins_on(server.url)
        async with started([*HERE, "--read", server.url, ",".join(coins)], core=1) as reader:
            ready = asyncio.create_task(reader.hear())
            while not ready.done():
                await sender.ask(f"{RATE} {RATE}", 60)
            await ready
            await sender.ask(f"{2 * RATE} {RATE}", 60)  # warm-up: work that a feed does once, after its first data
            await reader.ask("look")
            await sender.ask(f"{int(seconds * RATE)} {RATE}", 60 + seconds)
            await asyncio.sleep(0.5)
            found: list[int] = await reader.ask("look")
            return [each / 1e6 for each in found]


async def raw_delays(seconds: float, folder: Path) -> list[float]:
    """Delays of nats-py alone, with publisher and subscriber in this process."""
    async with BusServer(0, folder / "raw", 4.0) as server:
        client = await BusClient.dial(BusAddress((server.url,)), "raw")
        reader = await BusClient.dial(BusAddress((server.url,)), "raw reader")
        stream = client.nats.jetstream(publish_async_max_pending=4000)
        await stream.add_stream(name="RAW", subjects=["raw.*"], max_bytes=1 << 30)
        sent, found = dict[str, int](), list[float]()

        async def take(message: Any) -> None:
            found.append((time.perf_counter_ns() - sent[message.headers["Nats-Msg-Id"]]) / 1e6)

        await reader.nats.jetstream().subscribe("raw.*", cb=take, ordered_consumer=True)
        began = time.perf_counter()
        for number in range(int(seconds * RATE)):
            await asyncio.sleep(max(0.0, began + number / RATE - time.perf_counter()))
            name = str(number)
            sent[name] = time.perf_counter_ns()
            await stream.publish_async(f"raw.C{number % 20}", PAYLOAD, headers={"Nats-Msg-Id": name})
        await stream.publish_async_completed()
        await asyncio.sleep(0.5)
        await reader.close()
        await client.close()
        return found


async def starts(times: int, folder: Path) -> list[tuple[float, float, float]]:
    """Start programs, and measure each until all coins have prices: seconds, CPU seconds, megabytes."""
    found = []
    async with collected(1, folder) as (sender, server, _):
        coins = await coins_on(server.url)
        for _ in range(times):
            # a feed counts as connected only when data comes
            sending = asyncio.create_task(sender.ask(f"{RATE} {RATE // 4}"))
            began = time.time()
            process = await asyncio.create_subprocess_exec(
                *[sys.executable, "-m", "tests.bus.start", server.url, ",".join(coins)], stdout=PIPE
            )
            out, _ = await process.communicate()
            used, megabytes, _, at = json.loads(out)
            found.append((at - began, used, megabytes))
            await sending
    return found


async def coins_on(url: str) -> list[str]:
    client = await BusClient.dial(BusAddress((url,)), "benchmark")
    try:
        last = await client.last(STREAM, [MarketSubjects(VENUE, "spot").events("trades", "*")])
        return [each.subject.rpartition(".")[2] for each in last]
    finally:
        await client.close()


async def sizing(seconds: float, folder: Path) -> None:
    """Print the rows of the table in docs/bus.md."""
    async with collected(1, folder) as (sender, server, collectors):
        client = await BusClient.dial(BusAddress((server.url,)), "benchmark")
        assert server.process is not None
        pids = (collectors[0].process.pid, server.process.pid)
        try:
            for rate in SIZES:
                before = (await client.api(f"STREAM.INFO.{STREAM}"))["state"]
                used = [cpu_seconds(pid) for pid in pids]
                await sender.ask(f"{int(seconds * rate)} {rate}", 60 + seconds)
                await stored(server.url, before["messages"] + int(seconds * rate) - 10)
                shares = [(cpu_seconds(pid) - was) / seconds * 100 for pid, was in zip(pids, used, strict=True)]
                after = (await client.api(f"STREAM.INFO.{STREAM}"))["state"]
                each = (after["bytes"] - before["bytes"]) / (after["messages"] - before["messages"])
                hours = 2e9 / each / rate / 3600
                day = each * rate * 86400 / 1e9
                print(
                    f"| {rate:,} | {day:.1f} GB | {shares[0]:.0f} % | {shares[1]:.0f} % | {hours:.1f} h |", flush=True
                )
        finally:
            await client.close()


def cuts(found: Sequence[float]) -> tuple[float, float]:
    """Return the p50 and the p99 of these delays."""
    percent = statistics.quantiles(found, n=100)
    return percent[49], percent[98]


def told(found: tuple[float, float]) -> str:
    return f"p50 {found[0]:.2f} ms, p99 {found[1]:.2f} ms"


async def bench(trades: int, rounds: int, seconds: float) -> None:
    ratios, shares, raw = [], [], []
    for number in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            there = Path(folder)
            for place in ("one", "two", "three"):
                (there / place).mkdir()
            raw_speed, raw_cpu = await raw_throughput(trades, there)
            speed, cpu = await throughput(trades, there / "one", 1)
            _, cpu_of_two = await throughput(trades, there / "two", 2)
        ratios.append(speed / raw_speed)
        shares.append(cpu_of_two / cpu)
        raw.append(raw_speed)
        print(
            f"round {number + 1}: raw publish_async {raw_speed:,.0f}/s ({raw_cpu:.0f} us), collector {speed:,.0f}/s "
            f"({cpu:.0f} us per trade), ratio {ratios[-1]:.2f}; two shards {cpu_of_two:.0f} us, {shares[-1]:.2f} times",
            flush=True,
        )
    print(f"throughput: {statistics.median(ratios):.2f} of the raw loop; to be 0.5 at least")
    print(f"CPU of two shards: {statistics.median(shares):.2f} times that of one; to be 1.15 at most")
    with tempfile.TemporaryDirectory() as folder:
        there = Path(folder)
        raw_cuts = cuts(await raw_delays(seconds, there))
        print(f"raw nats-py at {RATE}/s: {told(raw_cuts)}", flush=True)
        own_cuts = cuts(await delays(seconds, there))
        of_raw = " and ".join(f"{own / other:.2f}" for own, other in zip(own_cuts, raw_cuts, strict=True))
        print(f"socket to callback at {RATE}/s: {told(own_cuts)}, {of_raw} times the raw pair; to be 0.7 and 5 ms")
    with tempfile.TemporaryDirectory() as folder:
        found = await starts(5, Path(folder))
        took, used, most = (statistics.median(column) for column in zip(*found, strict=True))
        print(
            f"start to the prices of 20 coins: {took:.2f} s, {used:.2f} s of CPU, {most:.0f} MB; to be 0.5 s and 60 MB"
        )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.bus", description=__doc__)
    parser.add_argument("--trades", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--sizing", action="store_true", help="what is stored per day, and the CPU it takes")
    parser.add_argument("--read", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.read:
        asyncio.run(read(arguments.read[0], arguments.read[1].split(",")))
    elif arguments.sizing:
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(sizing(arguments.seconds, Path(folder)))
    else:
        asyncio.run(bench(arguments.trades, arguments.rounds, arguments.seconds))


if __name__ == "__main__":
    main()
