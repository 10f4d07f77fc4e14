"""Kills and pauses collectors, restarts the bus, causes faults of the exchange, and checks every trade.

``python -m tests.bus_soak --minutes N`` exits with 1 if a trade was lost, repeated, out of order or wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from exchanges.simulator import Simulator, parse_fault
from feed.sinks.bus.server import BusServer
from tests.bus.support import (
    BusSilence,
    CollectorProcess,
    Consumer,
    check_order,
    collector_settings,
    consumers,
    publisher,
    reader_settings,
)
from tests.support import until

COINS = ("BTC", "ETH", "SOL", "BNB", "XRP")  # the first coins of the simulator's list
READERS = 3
RATE = 200.0  # trades per second
FAULTS = ("cut", "close-1001", "stall+1.5", "mute+1.5", "late-0.05+3", "doubled-0.2+3", "missing-0.1+3")
CALM = 15.0  # seconds without faults at the end of a run; in a run shorter than 45 s, a third of the run
PAUSE = (3.0, 9.0)  # seconds between two faults
READY = 60.0  # seconds within which every collector must be connected to its exchange

Say = Callable[[str], None]


@dataclass
class Result:
    """The result of the soak, with the longest silence (s) after each kind of fault.

    ``on_bus`` has the silences on the bus, measured with the clock of the bus. ``at_consumers`` has the silences at the
    consumers; they may be longer, because the consumers' process also makes the trades and checks them.
    """

    seconds: float = 0.0
    trades: int = 0
    strikes: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    on_bus: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    at_consumers: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    faults: list[str] = field(default_factory=list)

    def table(self) -> str:
        rows = [f"{self.seconds / 60:.1f} minutes, {self.trades} trades at {READERS} consumers"]
        for kind, count in sorted(self.strikes.items()):
            silences = f"{self.on_bus[kind]:.2f} s on the bus, {self.at_consumers[kind]:.2f} s at a consumer"
            rows.append(f"  {count:4d} x {kind:<28} longest silence {silences}")
        rows += [f"  {each}" for each in self.faults[:20]]
        rows.append(f"{len(self.faults)} trades lost, doubled, out of order or wrong")
        return "\n".join(rows)


class Soak:
    """The parts of the soak, and the faults that can be caused."""

    def __init__(self, simulator: Simulator, server: BusServer, file: Path, dice: random.Random) -> None:
        self.simulator, self.server, self.file, self.dice = simulator, server, file, dice
        self.collectors: list[CollectorProcess] = []
        self._number = 0

    async def start_collector(self) -> CollectorProcess:
        self._number += 1
        made = await CollectorProcess.start(self.server.url, self.file, f"c{self._number}", "--keep-size", "1")
        self.collectors.append(made)
        return made

    async def ready(self) -> None:
        """Wait until every collector is connected to its exchange."""
        await until(lambda: all(any(" connected " in line for line in each.log) for each in self.collectors), READY)
        await asyncio.sleep(2)  # a collector takes over only after it has had data for a while

    async def of_role(self, *, publishes: bool) -> CollectorProcess:
        name = await publisher(self.server.url, "binance")
        return next(each for each in self.collectors if name.startswith(f"{each.name}-") is publishes)

    async def strike(self) -> str:
        kind = self.dice.choice(("kill", "kill", "end", "pause", "restart the bus", "kill the bus", "exchange", "none"))
        if kind in ("kill", "end"):
            chosen = await self.of_role(publishes=self.dice.random() < 0.8)
            if kind == "kill":
                chosen.kill()
            await (chosen.gone() if kind == "kill" else chosen.end())
            self.collectors.remove(chosen)
        elif kind == "pause":
            chosen = await self.of_role(publishes=True)
            with chosen.paused():
                await asyncio.sleep(self.dice.uniform(0.5, 6.0))
        elif kind == "restart the bus":
            await self.server.stop()
            await asyncio.sleep(self.dice.uniform(0.0, 2.0))
            await self.server.start()
        elif kind == "kill the bus":
            assert self.server.process is not None
            self.server.process.kill()
            await self.server.stop()
            await self.server.start()
        elif kind == "exchange":
            spec = self.dice.choice(FAULTS)
            self.simulator.schedule(parse_fault(f"binance:{spec}"))
            kind = f"exchange: {spec}"
        return kind

    async def mend(self) -> None:
        """Start collectors until two run again."""
        while len(self.collectors) < 2:
            await self.start_collector()
        await self.ready()


@asynccontextmanager
async def parts(seed: int, folder: Path) -> AsyncIterator[Soak]:
    async with AsyncExitStack() as stack:
        simulator = await stack.enter_async_context(
            Simulator(venues=("binance",), rate=RATE, markets=len(COINS), seed=seed)
        )
        server = await stack.enter_async_context(BusServer(0, folder / "bus", 4.0))
        file = folder / "settings.yaml"
        text = collector_settings([simulator], COINS, ("trades", "ticker", "candles"))
        await asyncio.to_thread(file.write_text, text)
        made = Soak(simulator, server, file, random.Random(seed))
        try:
            yield made
        finally:
            for each in made.collectors:
                await each.gone()


async def soak(minutes: float, seed: int, say: Say = lambda line: None) -> Result:
    """Run for the given minutes and return the result."""
    result = Result()
    with tempfile.TemporaryDirectory() as folder:
        async with parts(seed, Path(folder)) as made:
            await made.start_collector()
            await publisher(made.server.url, "binance", READY)
            await made.start_collector()
            await made.ready()
            truth: dict[tuple[str, int], float] = {}
            async with (
                consumers(READERS, reader_settings(made.server.url, ["binance"], COINS)) as readers,
                BusSilence.of(made.server.url, "binance") as on_bus,
            ):
                began = time.monotonic()
                calm = min(CALM, minutes * 20)
                await until(lambda: all(reader.trades for reader in readers))
                while time.monotonic() - began < minutes * 60 - calm:
                    on_bus.watch()
                    for reader in readers:
                        reader.watch()
                    kind = await made.strike()
                    await asyncio.sleep(made.dice.uniform(*PAUSE))
                    await made.mend()
                    result.strikes[kind] += 1
                    silence = max(max(reader.longest, reader.silent_for) for reader in readers)
                    result.at_consumers[kind] = max(result.at_consumers[kind], silence)
                    result.on_bus[kind] = max(result.on_bus[kind], on_bus.longest)
                    told = f"{on_bus.longest:.2f} s on the bus, {silence:.2f} s at a consumer"
                    say(f"{time.monotonic() - began:7.1f} s  {kind:<28} silence {told}")
                    _learn(made.simulator, truth)
                    _take(readers, truth, result)
                await asyncio.sleep(calm)
                _learn(made.simulator, truth)
                newest = {coin: made.simulator["binance"].trades[coin][-1].id for coin in COINS}
                await until(lambda: all(_last(reader, coin) >= newest[coin] for reader in readers for coin in newest))
                _learn(made.simulator, truth)
                _take(readers, truth, result)
                result.seconds = time.monotonic() - began
    return result


def _last(reader: Consumer, coin: str) -> int:
    ids = reader.ids["binance", coin]
    return int(ids[-1]) if ids else 0


def _learn(simulator: Simulator, truth: dict[tuple[str, int], float]) -> None:
    """Note the prices of the trades that the exchange has made since the last call."""
    for coin in COINS:
        for trade in reversed(simulator["binance"].trades[coin]):
            if (coin, trade.id) in truth:
                break
            truth[coin, trade.id] = trade.price


def _take(readers: list[Consumer], truth: dict[tuple[str, int], float], result: Result) -> None:
    """Check the trades received since the last call, and forget all ids except the last id of each coin."""
    for place, reader in enumerate(readers):
        result.trades += len(reader.trades)
        for trade in reader.trades:
            true = truth.get((trade.coin, int(trade.trade_id)))
            if true is not None and trade.price != true:
                result.faults.append(f"consumer {place}: {trade.coin} {trade.trade_id} at {trade.price}, not {true}")
        reader.trades.clear()
        for (exchange, coin), ids in reader.ids.items():
            result.faults += [f"consumer {place}: {coin} {fault}" for fault in check_order(ids)]
            reader.ids[exchange, coin] = ids[-1:]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bus_soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    result = asyncio.run(soak(arguments.minutes, arguments.seed, lambda line: print(line, file=sys.stderr, flush=True)))
    print(result.table())
    return 1 if result.faults else 0


if __name__ == "__main__":
    sys.exit(main())
