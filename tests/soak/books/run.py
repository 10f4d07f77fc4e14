"""Runs the venues, their feeds, the faults and the judges together."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from exchanges.simulator import SimulatedVenue, Simulator
from feed import Settings
from feed.settings import Connection, ExchangeConfig
from tests.soak.books.judge import Judge
from tests.soak.books.plan import MEAN_PAUSE, Strike, draw
from tests.soak.report import left_behind

VENUES = ("binance", "bybit", "binance_swap")
COINS = ("BTC", "ETH", "SOL", "DOGE", "INJ", "LTC")
RATE = 100.0  # trades per second of each venue
DEPTH = 20
EVERY_LOOK = 0.05
CALM = 5.0  # seconds without new faults at the end
ROOT = Path(__file__).parents[3]
LINE_LIMIT = 1 << 22

Say = Callable[[str], None]


@dataclass(slots=True)
class Result:
    """How a soak of books ended."""

    seed: int
    seconds: float
    judges: dict[str, Judge] = field(default_factory=dict)
    strikes: int = 0
    violations: list[str] = field(default_factory=list)
    ends: dict[str, Any] = field(default_factory=dict)  # objects in each feed's process after disconnect()
    exit_codes: dict[str, int | None] = field(default_factory=dict)
    memory: dict[str, list[int]] = field(default_factory=dict)  # venue -> resident bytes, every 30 s

    @property
    def broken(self) -> list[str]:
        """The broken promises."""
        broken = [
            f"{name} {kind}: {count}"
            for name, judge in self.judges.items()
            for kind, count in judge.breach_counts.items()
        ]
        broken += self.violations
        broken += [f"{name}: the process ended with {code}" for name, code in self.exit_codes.items() if code != 0]
        broken += [f"{name}: {each}" for name, census in self.ends.items() for each in left_behind(census)]
        broken += [f"{name}: nothing was delivered" for name, j in self.judges.items() if not j.figures.delivered]
        return broken


def table(result: Result) -> str:
    """The results as lines of text."""
    lines = [f"seed {result.seed}, {result.seconds / 60:g} minutes, {result.strikes} faults", ""]
    for name, judge in result.judges.items():
        lines += judge.table()
        sizes = result.memory.get(name, [])
        if sizes:
            lines.append(f"  RSS                     {sizes[0] / 1e6:.1f} MB, {sizes[-1] / 1e6:.1f} MB at the end")
        lines.append("")
    broken = result.broken
    lines.append("every promise was kept" if not broken else "BROKEN: " + "; ".join(broken))
    for judge in result.judges.values():
        lines += judge.breaches[:40]
    return "\n".join(lines)


def settings_for(name: str, simulator: Simulator) -> Settings:
    """Settings of a feed over one venue that dials quickly."""
    settings = Settings()
    settings.coins = [coin for coin in settings.coins if coin.symbol in COINS]
    settings.channels = ["trades", "books"]
    market_type: Any = "swap" if name == "binance_swap" else "spot"
    venue = "binance" if name == "binance_swap" else name
    rest_url, ws_url = simulator.rest_url, simulator.ws_url
    settings.exchanges = [ExchangeConfig(venue, market_type=market_type, rest_url=rest_url, ws_url=ws_url)]
    settings.connection = Connection(connect_timeout=4, backoff_initial=0.1, backoff_max=0.5, stable_after=5)
    return settings


async def soak(
    minutes: float, seed: int, say: Say = lambda line: None, *, mean_pause: float = MEAN_PAUSE,
    venues: tuple[str, ...] = VENUES, strikes: Mapping[str, Iterator[Strike]] | None = None,
) -> Result:  # fmt: skip
    """Run for the given minutes and return the result."""
    result = Result(seed, minutes * 60)
    async with AsyncExitStack() as stack:
        for place, name in enumerate(venues):
            simulator = await stack.enter_async_context(
                Simulator(venues=(name,), rate=RATE, coins=COINS, seed=seed * 10 + place)
            )
            venue, began = simulator[name], time.monotonic()
            judge = result.judges[name] = Judge(venue, COINS, began)
            process = await _start(settings_for(name, simulator))
            stack.push_async_callback(_stop, process)
            reading = asyncio.create_task(_read(name, process, judge, result, began, say))
            drawn = draw(seed, name, venue.FAMILY, mean_pause) if strikes is None else strikes[name]
            striking = asyncio.create_task(_strike(drawn, simulator, venue, judge, result, began, say))
            watching = asyncio.create_task(_watch(name, process, judge, result, began, say))
            for task in (reading, striking, watching):
                stack.callback(task.cancel)
            stack.push_async_callback(_finish, name, process, reading, result)
        await asyncio.sleep(result.seconds)
        for name, judge in result.judges.items():
            result.violations += [f"{name}: {each}" for each in judge.violations]
    return result


async def _start(settings: Settings) -> Process:
    spec = msgspec.json.encode({"settings": asdict(settings), "depth": DEPTH}).decode()
    command = (sys.executable, "-m", "tests.soak.books.subject", spec)
    return await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, limit=LINE_LIMIT, cwd=ROOT)


async def _finish(name: str, process: Process, reading: asyncio.Task[None], result: Result) -> None:
    """Tell the feed to disconnect, and read its last lines."""
    assert process.stdin is not None
    if not reading.done():
        process.stdin.write(b"close\n")
        async with asyncio.timeout(30):
            await reading
    async with asyncio.timeout(10):
        result.exit_codes[name] = await process.wait()


async def _stop(process: Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.wait()


async def _read(name: str, process: Process, judge: Judge, result: Result, began: float, say: Say) -> None:
    decode = msgspec.json.Decoder().decode
    assert process.stdout is not None
    async for line in process.stdout:
        told = decode(line)
        if told[0] == "census":
            result.ends[name] = told[2]
            continue
        if told[0] == "end":
            return
        known = len(judge.breaches)
        judge.take(told)
        if told[0] == "status":
            details = {key: each for key, each in told[3].items() if key not in ("at", "sample", "exchange")}
            say(f"{told[1] - began:8.2f} s  - {name} {told[2]} {details}")
        for breach in judge.breaches[known:]:
            say(f"!!! {told[1] - began:8.2f} s {breach}")


async def _strike(
    strikes: Iterator[Strike], simulator: Simulator, venue: SimulatedVenue, judge: Judge, result: Result, began: float,
    say: Say,
) -> None:  # fmt: skip
    """Cause the faults when they are due."""
    for strike in strikes:
        if strike.at > result.seconds - min(CALM, result.seconds / 4):
            return
        await asyncio.sleep(max(0.0, began + strike.at - time.monotonic()))
        now = time.monotonic()
        result.strikes += 1
        say(f"{now - began:8.2f} s  > {strike}")
        if strike.fault is None:
            market = venue.market(strike.coin)
            await venue.trade(strike.coin, price=market.last_price / market.scale * strike.factor)
        else:
            simulator.schedule(strike.fault)
            judge.strike(now)


def _resident(pid: int) -> int:
    """Resident memory of a process in bytes."""
    with open(f"/proc/{pid}/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def _watch(name: str, process: Process, judge: Judge, result: Result, began: float, say: Say) -> None:
    sampled, looked = began, began
    while True:
        now = time.monotonic()
        if now - looked > 4 * EVERY_LOOK:
            judge.strike(now)  # this process was held up, so the venues sent nothing in this time
        known = len(judge.breaches)
        judge.look(now)
        for breach in judge.breaches[known:]:
            say(f"!!! {now - began:8.2f} s {breach}")
        if now >= sampled and process.returncode is None:
            sampled = now + 30
            result.memory.setdefault(name, []).append(_resident(process.pid))
        looked = time.monotonic()
        await asyncio.sleep(EVERY_LOOK)
