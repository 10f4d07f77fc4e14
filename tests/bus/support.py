"""Helpers for the tests and the soak of the bus: collector processes, a proxy, and consumers that keep trades."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from exchanges.bus.client import BusClient, BusError, missing
from exchanges.bus.collectors import Shard, shards_of
from exchanges.bus.reader import StreamReader
from exchanges.bus.subjects import REGISTER_STREAM, MarketSubjects
from exchanges.simulator import Simulator
from exchanges.venue import BusAddress
from feed import MarketFeed, Settings, TradeEvent
from feed.settings import Connection, ExchangeConfig, Staleness
from feed.settings.schema import Bus
from feed.sinks.bus.server import program
from tests.support import until

ROOT = Path(__file__).parents[2]
needs_bus = pytest.mark.skipif(
    program() is None or bool(missing()), reason="no nats-server: pip install 'market-feed[bus]'"
)


def collector_settings(simulators: Iterable[Simulator], coins: Iterable[str], channels: Iterable[str]) -> str:
    """The settings file of a collector."""
    rows = [
        f'  - {{name: {venue.name}, rest_url: "{simulator.rest_url}", ws_url: "{simulator.ws_url}"}}'
        for simulator in simulators
        for venue in simulator.venues.values()
    ]
    return (
        f"coins: [{', '.join(coins)}]\nchannels: [{', '.join(channels)}]\nexchanges:\n" + "\n".join(rows) + "\n"
        "connection: {backoff_initial: 0.1, backoff_max: 1, connect_timeout: 4}\n"
    )


def reader_settings(
    url: str, exchanges: Iterable[str], coins: Iterable[str], channels: Iterable[str] = ("trades", "ticker", "candles")
) -> Settings:
    """The settings of a program that reads the bus."""
    settings = Settings(
        exchanges=[ExchangeConfig(name) for name in exchanges],
        channels=list(channels),
        connection=Connection(backoff_initial=0.1, backoff_max=0.5, connect_timeout=4),
        staleness=Staleness(),
        bus=Bus(url),
    )
    settings.coins = [coin for coin in settings.coins if coin.symbol in set(coins)]
    return settings


class CollectorProcess:
    """``market-feed collect`` in a process of its own."""

    def __init__(self, process: Process, name: str) -> None:
        self.process = process
        self.name = name
        self.log: list[str] = []
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, url: str, settings: Path, name: str, *more: str) -> CollectorProcess:
        command = [
            sys.executable, "-m", "feed", "collect", "--bus", url, "--settings", str(settings), "--name", name, *more,
        ]  # fmt: skip
        process = await asyncio.create_subprocess_exec(*command, stderr=PIPE, stdout=PIPE, cwd=ROOT)
        return cls(process, name)

    async def _read(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.log.append(line.decode().rstrip())

    def kill(self) -> None:
        self.process.kill()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Send SIGSTOP at the start of the context and SIGCONT at its end."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    async def end(self) -> int:
        """Send SIGTERM; returns the exit code."""
        with suppress(ProcessLookupError):
            self.process.terminate()
            self.process.send_signal(signal.SIGCONT)
        async with asyncio.timeout(15):
            code = await self.process.wait()
        await self._reading
        return code

    async def gone(self) -> None:
        """Make sure that the process has ended, even if it is paused."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        await self._reading


class Proxy:
    """A TCP proxy to the bus; while it is ``partitioned``, it passes on neither data nor dials."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._server: asyncio.Server | None = None
        self._open = asyncio.Event()
        self._open.set()
        self._pipes: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"nats://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for pipe in self._pipes:
            pipe.cancel()
        await asyncio.gather(*self._pipes, return_exceptions=True)

    @contextmanager
    def partitioned(self) -> Iterator[None]:
        self._open.clear()
        try:
            yield
        finally:
            self._open.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._pipes.add(task)
        task.add_done_callback(self._pipes.discard)
        try:
            await self._open.wait()
            there, back = await asyncio.open_connection("127.0.0.1", self._to)
        except OSError:
            writer.close()
            return
        try:
            await asyncio.gather(self._pipe(reader, back), self._pipe(there, writer))
        finally:
            writer.close()
            back.close()

    async def _pipe(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(65536):
                await self._open.wait()
                target.write(data)
                await target.drain()
        with suppress(OSError):
            target.close()


class Consumer:
    """A feed that reads the bus; keeps every trade that the feed delivers, and the longest silence."""

    def __init__(self, settings: Settings) -> None:
        self.feed = MarketFeed(settings=settings)
        self.ids: defaultdict[tuple[str, str], list[str]] = defaultdict(list)  # keys: exchange, coin
        self.trades: list[TradeEvent] = []
        self.status: list[tuple[str, dict[str, Any]]] = []
        self.longest = 0.0
        """The longest time (s) without a trade since ``watch`` was called."""
        self._last = time.monotonic()
        self.feed.subscribe_trades(self._on_trade)
        self.feed.subscribe_status(lambda event, details: self.status.append((event, details)))

    def _on_trade(self, trade: TradeEvent) -> None:
        now = time.monotonic()
        self.longest = max(self.longest, now - self._last)
        self._last = now
        self.ids[trade.exchange, trade.coin].append(trade.trade_id)
        self.trades.append(trade)

    def watch(self) -> None:
        """Begin to measure the longest silence."""
        self.longest, self._last = 0.0, time.monotonic()

    @property
    def silent_for(self) -> float:
        return time.monotonic() - self._last

    def sources(self) -> list[str]:
        """The collectors that ``source`` events have named, in order."""
        return [str(details["source"]) for event, details in self.status if event == "source"]

    def events(self, name: str) -> list[dict[str, Any]]:
        return [details for event, details in self.status if event == name]


class BusSilence:
    """The longest time for which the bus stored no trade of an exchange, measured with the clock of the bus.

    Silences that consumers see include delays of this program, which may be large on a busy machine.
    """

    def __init__(self, url: str, exchange: str) -> None:
        self.longest = 0.0
        """Seconds; measured since ``watch`` was called."""
        self._address, self._names = BusAddress((url,)), MarketSubjects(exchange, "spot")
        self._at = 0
        self._sequence: int | None = None

    def _note(self, subject: str, data: bytes, sequence: int, at: int, past: bool) -> None:
        if self._at:
            self.longest = max(self.longest, (at - self._at) / 1e9)
        self._at, self._sequence = max(at, self._at), sequence

    def watch(self) -> None:
        """Begin the measurement again."""
        self.longest = 0.0

    async def _read(self) -> None:
        names, trades = self._names, [self._names.events("trades", "*")]
        while True:
            with suppress(BusError):
                client = await BusClient.dial(self._address, "silence")
                try:
                    reader = StreamReader(client, names.stream, trades, self._note, lambda: None)
                    await reader.begin(self._sequence)
                    await reader.run()
                finally:
                    await client.close()
            await asyncio.sleep(0.05)

    @classmethod
    @asynccontextmanager
    async def of(cls, url: str, exchange: str) -> AsyncIterator[BusSilence]:
        """Begin to measure; the stream must exist. Restarts of the bus do not end the measurement."""
        made = cls(url, exchange)
        reading = asyncio.create_task(made._read(), name="silence")
        try:
            await until(lambda: made._at > 0)
            yield made
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


@asynccontextmanager
async def consumers(count: int, settings: Settings) -> AsyncIterator[list[Consumer]]:
    made = [Consumer(settings) for _ in range(count)]
    try:
        await asyncio.gather(*(each.feed.connect(20) for each in made))
        yield made
    finally:
        await asyncio.gather(*(each.feed.disconnect() for each in made))


async def shards(url: str, exchange: str) -> Mapping[str, Shard]:
    """The entries for an exchange's shards in the bus's register."""
    client = await BusClient.dial(BusAddress((url,)), "test")
    try:
        names = MarketSubjects(exchange, "spot")
        return shards_of(await client.last(REGISTER_STREAM, [names.lease("*"), names.coins("*")]))
    finally:
        await client.close()


async def publisher(url: str, exchange: str, timeout: float = 60.0) -> str:
    """Wait until a collector publishes an exchange's only shard and lists its coins; returns the collector's name."""
    async with asyncio.timeout(timeout):
        while True:
            found = (await shards(url, exchange)).get("1-1")
            if found is not None and found.coins and not found.details.get("released"):
                return found.collector
            await asyncio.sleep(0.05)


def check_order(ids: list[str]) -> list[str]:
    """Return the faults in the order of one coin's ids, on an exchange with consecutive ids."""
    faults = []
    for before, after in pairwise(ids):
        if int(after) != int(before) + 1:
            faults.append(f"{after} after {before}")
    return faults


def cpu_seconds(pid: int) -> float:
    """The CPU seconds that a process has used so far."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
