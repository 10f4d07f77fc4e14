"""Measures what a thousand coins on one venue cost, compared with twenty: CPU per message, time to subscribe, memory.

    python -m tests.benchmarks.scale [--venue binance] [--coins 1000] [--messages 60000] [--rounds 5]

For each size, the simulator (with the venue's limits) and the reader have a process each. Both sizes use the same list
of markets, run at the same time and are measured in turn. When every coin has its past candles, trades of coins drawn
at random are sent, one per frame, as fast as the reader takes them; the frames are rendered beforehand. CPU is the time
of the reader alone, over all messages. There are three mixes:

- trades alone;
- like with like: the same messages in both sizes, a ticker with every second trade and a candle with every fourth;
- as the venue sends: at 2,000 trades a second in all, tickers and candles of the coins that traded, as often as the
  venue sends them. Fifty times as many coins have fifty times as many of these, so the sizes get different messages.

"subscribed" is the time from the first dial until the venue has every subscription, "allowed" the shortest time that
the venue's limits permit; memory is what each coin beyond the twenty adds.
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
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from exchanges.simulator import Simulator
from exchanges.simulator.connections.client_connection import ClientConnection
from exchanges.simulator.markets.candles import MINUTE
from exchanges.simulator.markets.catalog import list_markets
from feed import MarketFeed, Settings
from feed.events import CoinConfig
from feed.settings import ExchangeConfig, Staleness

FEW = 20
STREAMS = 3  # streams of a coin: trades, ticker, candles
BLOCK = 256  # trades between two writes
WARM_UP = 5_000  # trades before anything is measured
PATIENCE = 400.0  # seconds: ccxt asks Bybit for the past candles of ten coins a second
PACE = {"binance": (100, 5.0), "bybit": (10, math.inf)}  # subscriptions per request, and requests per second
MIXES = ("trades alone", "like with like", "as the venue sends")
TICKER_EACH, CANDLE_EACH = 2, 4  # trades per ticker and per candle, in the second mix
RATE = 2_000  # trades per second, as the venue sends

Block = list[tuple[ClientConnection, list[bytes]]]


def names(count: int) -> list[str]:
    return list(dict.fromkeys(item.coin for item in list_markets(count + 5)))[:count]


def allowed(venue: str, streams: int) -> float:
    """Shortest time (s) for this many subscriptions on a connection: all requests of a second are sent at once."""
    size, pace = PACE[venue]
    return max(0.0, math.ceil(math.ceil(streams / STREAMS / size) * STREAMS / pace) - 1.0)


class Sender:
    """Renders and sends a mix. The venue's clock advances with the trades only, so that no candle ends during a run."""

    def __init__(self, own: Any, coins: list[str]) -> None:
        self.own, self._draw, self._made = own, random.Random(1), 0
        self._markets = [own.market(coin) for coin in coins]
        self._topics = {kind: {topic.market: topic for topic in own.topics_of(kind)} for kind in ("ticker", "candles")}
        own.rate = 0
        own._ticker_due = own._candle_due = math.inf
        own.replay_clock = own.now() // MINUTE * MINUTE + MINUTE
        own.roll(own.now())
        own.flush(patient=True)

    def render(self, trades: int, mix: str) -> Iterator[Block]:
        own = self.own
        for first in range(0, trades, BLOCK):
            for market in self._draw.choices(self._markets, k=min(BLOCK, trades - first)):
                self._made += 1
                own.replay_clock += self._made % 10 == 0
                own.publish(market, market.make(1, own.now()))
                own.note(market)
                if mix == MIXES[1]:
                    self._follow(market)
                elif mix == MIXES[2]:
                    self._beside()
            yield [(each, each.pending[:]) for each in own.connections]
            for connection in own.connections:
                connection.pending.clear()

    def _follow(self, market: Any) -> None:
        own = self.own
        now = own.now()
        if self._made % TICKER_EACH == 0:
            own.send_ticker(self._topics["ticker"][market], market, now)
        if self._made % CANDLE_EACH == 0:
            topic = self._topics["candles"][market]
            own.send_candle(topic, market, market.candle(topic.start, topic.interval, now), False)

    def _beside(self) -> None:
        own = self.own
        if self._made % int(RATE * own.TICKERS_EVERY) == 0:
            own.send_tickers(own.now())
        if self._made % int(RATE * own.CANDLES_EVERY) == 0:
            own.send_candles(own.now())

    async def send(self, blocks: list[Block]) -> None:
        for block in blocks:
            for connection, frames in block:
                connection.pending += frames
                connection.flush()
            await self.own.drain()


async def serve(venue: str, count: int, listed: int) -> None:
    """Print the times when all is subscribed. Render each mix that stdin names; send the mix when the next line
    comes."""
    coins = names(count)
    async with Simulator(venues=(venue,), coins=names(listed), rate=10.0) as simulator:
        own = simulator[venue]
        say([simulator.rest_url, simulator.ws_url])
        while len(own.topics) < count * STREAMS:  # noqa: ASYNC110 - no event can be awaited here
            await asyncio.sleep(0.005)
        took = time.monotonic() - own.dials[0]
        sizes = [len(each.subscriptions) for each in own.connections]
        say([took, allowed(venue, max(sizes)), len(sizes)])
        sender: Sender | None = None
        while line := await asyncio.to_thread(sys.stdin.readline):
            sender = sender or Sender(own, coins)
            mix, trades = json.loads(line)
            blocks = list(sender.render(trades, mix))
            say("rendered")
            await asyncio.to_thread(sys.stdin.readline)
            await sender.send(blocks)
            say(own.violations + own.dropped)


def memory() -> int:
    """Resident memory of this process in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


async def read(venue: str, urls: list[str], coins: list[str]) -> None:
    """For each number on stdin, print the CPU seconds and messages until so many trades have come."""
    exchange = ExchangeConfig(venue, rest_url=urls[0], ws_url=urls[1])
    # long limits, because no data comes between two turns
    quiet = Staleness(feed_stale_after=PATIENCE, coin_stale_after=PATIENCE, reconnect_after=PATIENCE)
    own = Settings(coins=[CoinConfig(coin) for coin in coins], exchanges=[exchange], staleness=quiet)
    feed = MarketFeed(settings=own)
    seen, until, came = 0, math.inf, asyncio.Event()

    def count(trade: Any) -> None:
        nonlocal seen
        seen += 1
        if seen >= until:
            came.set()

    feed.subscribe_trades(count)
    feed.subscribe_price(lambda tick: None)
    async with feed:
        began = time.monotonic()
        async with asyncio.timeout(PATIENCE):
            while any(feed.volatility(coin) is None for coin in coins):  # noqa: ASYNC110 - no event can be awaited here
                await asyncio.sleep(0.2)
        gc.collect()
        say([time.monotonic() - began, memory(), len(feed.get_all_prices())])
        while start := await asyncio.to_thread(sys.stdin.readline):
            gc.collect()
            came.clear()
            until = seen + int(start)
            cpu, messages = time.process_time(), feed.status.messages_received
            say("ready")
            async with asyncio.timeout(PATIENCE):
                await came.wait()
            spent, got = time.process_time() - cpu, feed.status.messages_received - messages
            say({"cpu": spent / got * 1e6, "messages": got})


def say(answer: Any) -> None:
    print(json.dumps(answer), flush=True)


def hear(process: subprocess.Popen[str]) -> Any:
    assert process.stdout is not None
    return json.loads(process.stdout.readline())


def ask(process: subprocess.Popen[str], line: Any) -> Any:
    assert process.stdin is not None
    process.stdin.write(f"{json.dumps(line)}\n")
    process.stdin.flush()
    return hear(process)


class Side:
    """The sender and the reader for one number of coins, and the times that subscribing took."""

    def __init__(self, stack: ExitStack, venue: str, count: int, listed: int) -> None:
        def started(*args: str) -> subprocess.Popen[str]:
            command = [sys.executable, "-m", "tests.benchmarks.scale", "--venue", venue, "--coins", str(listed), *args]
            return stack.enter_context(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )

        self.sender = started("--serve", str(count))
        self.reader = started("--read", json.dumps(hear(self.sender)), "--count", str(count))
        stack.callback(lambda: [process.stdin and process.stdin.close() for process in (self.reader, self.sender)])
        self.warm, self.memory, self.priced = hear(self.reader)
        self.took, self.least, self.connections = hear(self.sender)

    def turn(self, mix: str, trades: int) -> dict[str, Any]:
        ask(self.sender, [mix, trades])
        ask(self.reader, trades)
        broken = ask(self.sender, "go")
        return {**hear(self.reader), "broken": len(broken)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--venue", choices=PACE, default="binance")
    parser.add_argument("--coins", type=int, default=1000)
    parser.add_argument("--messages", type=int, default=60_000)
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


def compare(venue: str, coins: int, trades: int, rounds: int) -> None:
    with ExitStack() as stack:
        sides = {count: Side(stack, venue, count, coins) for count in (FEW, coins)}
        for side in sides.values():
            side.turn(MIXES[0], WARM_UP)
        turns = [
            {(mix, count): side.turn(mix, trades) for mix in MIXES for count, side in sides.items()}
            for _ in range(rounds)
        ]
    last = turns[-1]
    print(f"{venue}, {trades:,} trades a turn, {rounds} turns")
    print(" coins  connections  subscribed s  allowed s  history s  memory MB  priced  broken laws")
    for count, side in sides.items():
        print(
            f"{count:6}  {side.connections:11.0f}  {side.took:12.2f}  {side.least:9.2f}  {side.warm:9.1f}"
            f"  {side.memory / 1e6:9.1f}  {side.priced:6}  {last[MIXES[-1], count]['broken']:11}"
        )
    few, many = (side.memory for side in sides.values())
    print(f"a coin costs {(many - few) / (coins - FEW) / 1000:.1f} kB")
    print(f"\n{'CPU µs per message':20}  others per 100 trades: {FEW}, {coins}   µs: {FEW}, {coins}   ratio")
    for mix in MIXES:
        others = [(last[mix, count]["messages"] / trades - 1) * 100 for count in sides]
        costs = [statistics.median(turn[mix, count]["cpu"] for turn in turns) for count in sides]
        ratios = [turn[mix, coins]["cpu"] / turn[mix, FEW]["cpu"] for turn in turns]
        print(
            f"{mix:20}  {others[0]:21.1f} {others[1]:8.1f} {costs[0]:9.2f} {costs[1]:8.2f}"
            f"   {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        )


if __name__ == "__main__":
    main()
