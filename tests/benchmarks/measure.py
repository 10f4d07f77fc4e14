"""Measures one reader once, in a process of its own: its speed, CPU time, losses and delay percentiles."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.readers import Reader

ROOT = Path(__file__).parents[2]
WARM_UP = 5_000  # trades before anything is measured
SETTLE = 3.0  # seconds for one-time work after the first data; this project, for example, fetches past candles
STARTING = 60.0  # seconds that a reader may take until it has subscribed to every coin
SENDING = 600.0  # seconds within which even the slowest reader must take everything
LOOK_EVERY = 0.1  # seconds between two checks of the reader's count
BUSY = 0.3  # share of a core: a reader that uses less is idle
PATIENCE = 1.0  # seconds: missing trades count as lost if the reader is idle for so long and gets no trade
LATE = 0.2  # seconds in which a trade may come a second time
LINE = 1 << 26  # bytes of the sender's longest answer


class Failed(Exception):
    """The reader could not be measured; the text says why."""


@dataclass(frozen=True, slots=True)
class Phase:
    """So many ``trades`` are sent at ``rate`` trades/s; a rate of 0 means as fast as the sockets take the trades."""

    trades: int
    rate: int


@dataclass(frozen=True, slots=True)
class Figures:
    """The results of one reader in one phase: ``speed`` in trades/s, ``cpu`` in s per 100,000 sent, delays in µs."""

    phase: Phase
    speed: float
    cpu: float
    lost: int
    doubled: int
    p50: float
    p99: float
    worst: float


class Process:
    """A child process that talks line by line, alone on ``core`` if the system allows that."""

    def __init__(self, process: asyncio.subprocess.Process, errors: Any) -> None:
        self._process, self._errors = process, errors

    def tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())

    async def hear(self, seconds: float = STARTING) -> Any:
        """Return the next line, as JSON. If there is none, raises Failed with the end of the process's stderr."""
        assert self._process.stdout is not None
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), seconds)
        except TimeoutError:
            raise Failed(f"it printed nothing within {seconds:g} s{self._complaint()}") from None
        if not line:
            raise Failed(f"it ended{self._complaint()}")
        return json.loads(line)

    async def ask(self, line: str, seconds: float = STARTING) -> Any:
        self.tell(line)
        return await self.hear(seconds)

    async def ended(self) -> None:
        await asyncio.wait_for(self._process.wait(), STARTING)

    def _complaint(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return f": {lines[-1]}" if lines else ""


@asynccontextmanager
async def started(command: Sequence[str], core: int) -> AsyncIterator[Process]:
    with tempfile.TemporaryFile() as errors:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, cwd=ROOT, limit=LINE
        )
        if hasattr(os, "sched_setaffinity"):
            cores = sorted(os.sched_getaffinity(0))
            os.sched_setaffinity(process.pid, {cores[core % len(cores)]})
        try:
            yield Process(process, errors)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def subscribed(sender: Process, reader: Process) -> None:
    """Wait until every coin of the sender has a reader. Raises Failed if the reader ends first, or takes too long."""
    watching = asyncio.create_task(sender.hear())
    try:
        while not watching.done():
            await reader.ask("look")
            await asyncio.wait({watching}, timeout=0.05)
        watching.result()
    finally:
        watching.cancel()


async def received(reader: Process, before: int, sent: int) -> dict[str, Any]:
    """Wait until the reader has got ``sent`` further trades, or gets no more trades; return its last answer.

    The wait continues while the reader is busy: ccxt's loops get nothing while ccxt's receiver handles older frames.
    """
    loop = asyncio.get_running_loop()
    now = await reader.ask("look")
    began = stirred = loop.time()
    while now["trades"] < before + sent and loop.time() - stirred < PATIENCE and loop.time() - began < STARTING:
        await asyncio.sleep(LOOK_EVERY)
        last, now = now, await reader.ask("look")
        if now["trades"] > last["trades"] or now["cpu"] - last["cpu"] > BUSY * LOOK_EVERY:
            stirred = loop.time()
    await asyncio.sleep(LATE)
    final: dict[str, Any] = await reader.ask("look")
    return final


def read(dump: Path) -> dict[int, list[int]]:
    """For each trade id, the times at which the trade came: one time, or several if the trade was repeated."""
    rows, arrivals = json.loads(dump.read_text()), defaultdict(list)
    for trade, stamp in zip(rows["ids"], rows["times"], strict=True):
        arrivals[trade].append(stamp)
    return arrivals


def figures(phase: Phase, sent: dict[str, list[int]], cpu: float, arrivals: dict[int, list[int]]) -> Figures:
    came = [(arrivals[each], stamp) for each, stamp in zip(sent["ids"], sent["sent"], strict=True) if each in arrivals]
    if len(came) < 2:
        raise Failed(f"{len(came)} of {phase.trades} trades came")
    firsts = [times[0] for times, _ in came]
    delays = sorted((times[0] - stamp) / 1000 for times, stamp in came)
    cuts = statistics.quantiles(delays, n=100, method="inclusive")
    return Figures(
        phase,
        speed=(len(came) - 1) / ((max(firsts) - min(firsts)) / 1e9),
        cpu=cpu / phase.trades * 100_000,
        lost=phase.trades - len(came),
        doubled=sum(len(times) - 1 for times, _ in came),
        p50=cuts[49],
        p99=cuts[98],
        worst=delays[-1],
    )


async def measure(reader: Reader, venue: str, python: str, phases: Sequence[Phase]) -> list[Figures]:
    """Run ``reader`` with its interpreter through the phases. Raises Failed."""
    with tempfile.TemporaryDirectory() as folder:
        dump = Path(folder, "trades.json")
        async with started([sys.executable, "-m", "tests.benchmarks.sender", venue], core=0) as sender:
            rest_url, ws_url, coins = await sender.hear()
            arguments = [venue, rest_url, ws_url, ",".join(coins), json.dumps(reader.options)]
            async with started([python, "-m", f"{__package__}.clients.{reader.client}", *arguments], core=1) as client:
                notes, cpus = [], []
                await subscribed(sender, client)
                for number, phase in enumerate((Phase(WARM_UP, 0), *phases)):
                    await asyncio.sleep(SETTLE if number == 1 else 0)
                    before = await client.ask("look")
                    notes.append(await sender.ask(f"{phase.trades} {phase.rate}", SENDING))
                    after = await received(client, before["trades"], phase.trades)
                    cpus.append(after["cpu"] - before["cpu"])
                client.tell(f"dump {dump}")
                await client.ended()
        arrivals = read(dump)
    return [figures(*own, arrivals) for own in zip(phases, notes[1:], cpus[1:], strict=True)]
