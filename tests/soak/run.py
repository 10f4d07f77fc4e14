"""Runs the venues, the faults, the subject and the referee together."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from exchanges.simulator import Simulator, parse_fault
from feed import Settings
from feed.settings import Connection, ExchangeConfig
from tests.soak.plan import Beginning, Strike, begin, draw
from tests.soak.referee import Referee
from tests.soak.report import SETTLED, Result, Sample
from tests.soak.truth import Truth

VENUES: Mapping[str, bool] = {
    "bybit": False,
    "binance": True,
    "binance_us": True,
}  # venue -> whether its trade ids are consecutive
RATE = 200.0  # trades per second of each venue
COINS = 20
DIAL_WINDOW = 300.0
CALM = 20.0  # seconds without new faults at the end, so that the last faults end; or a quarter of a short soak
EVERY_LOOK = 0.25
CONNECTED_WITHIN = 60.0  # seconds from the start of the process
SLACK_MS = 60_000  # ms for repairs: candles of the last minute do not count as unclosed
ROOT = Path(__file__).parents[2]
LINE_LIMIT = 1 << 22

Say = Callable[[str], None]


def unix_ms() -> int:
    return time.time_ns() // 1_000_000


class Subject:
    """The feed's process."""

    def __init__(self, process: Process) -> None:
        self.process = process

    @classmethod
    async def start(cls, settings: Settings) -> Subject:
        spec = msgspec.json.encode({"settings": asdict(settings)}).decode()
        command = (sys.executable, "-m", "tests.soak.subject", spec)
        return cls(await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, limit=LINE_LIMIT, cwd=ROOT))

    def order(self, word: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n".encode())

    def rss(self) -> int:
        """Resident memory of the feed's process in bytes, read from this process."""
        with open(f"/proc/{self.process.pid}/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    async def stop(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


def settings_for(simulators: Mapping[str, Simulator], beginning: Beginning) -> Settings:
    """Settings with which the feed dials, fails over and returns quickly and often; the limits of silence are the
    defaults."""
    settings = Settings()
    settings.coins = settings.coins[:COINS]
    for coin in settings.coins:
        for venue, units in beginning.units.items():
            if coin.symbol in units:
                coin.markets = {**coin.markets, venue: f"{units[coin.symbol]}{coin.symbol}/USDT"}
    settings.exchanges = [
        ExchangeConfig(name, rest_url=simulator.rest_url, ws_url=simulator.ws_url)
        for name, simulator in simulators.items()
    ]
    settings.connection = Connection(
        connect_timeout=4, backoff_initial=0.2, backoff_max=5, stable_after=5, attempts_before_failover=2,
        failback_after=5,
    )  # fmt: skip
    return settings


async def soak(minutes: float, seed: int, say: Say = lambda line: None, *, mean_pause: float = 7.0) -> Result:
    """Run for the given minutes and return the result."""
    async with AsyncExitStack() as stack:
        simulators: dict[str, Simulator] = {}
        for place, name in enumerate(VENUES):
            simulator = Simulator(venues=(name,), rate=RATE, markets=COINS, seed=seed * 10 + place)
            simulators[name] = await stack.enter_async_context(simulator)
        beginning = begin(seed, VENUES)
        for name, specs in beginning.specs.items():
            for spec in specs:
                simulators[name].schedule(parse_fault(spec))
                say(f"     0.0 s  > {name}:{spec}")
        truths = {
            name: Truth(simulator, simulator[name], beginning.units.get(name)) for name, simulator in simulators.items()
        }
        subject = await Subject.start(settings_for(simulators, beginning))
        stack.push_async_callback(subject.stop)
        began, opened = time.monotonic(), unix_ms()
        referee = Referee(truths, began)
        result = Result(seed, minutes * 60, referee)
        reading = asyncio.create_task(_read(subject, referee, result, began, say))
        stack.callback(reading.cancel)
        late = await _connected(referee, reading, beginning.others) - began
        strikes = draw(seed, VENUES, mean_pause)
        striking = asyncio.create_task(_strike(strikes, truths, referee, result, began, late, say))
        stack.callback(striking.cancel)
        await _watch(subject, truths, referee, result, began, late, say, reading)
        striking.cancel()
        referee.silences.before_strike(time.monotonic())
        referee.silences.look(time.monotonic(), all_of_them=True)
        referee.unclosed_candles = referee.unclosed(opened, unix_ms() - SLACK_MS)
        if reading.done():
            reading.result()
        else:
            subject.order("close")
            async with asyncio.timeout(30):
                await reading
        async with asyncio.timeout(10):
            result.exit_code = await subject.process.wait()
        result.violations = [f"{name}: {each}" for name in truths for each in truths[name].venue.violations]
        return result


async def _read(subject: Subject, referee: Referee, result: Result, began: float, say: Say) -> None:
    decode = msgspec.json.Decoder().decode
    assert subject.process.stdout is not None
    async for line in subject.process.stdout:
        told = decode(line)
        if told[0] == "census":
            result.samples.append(Sample(told[1] - began, told[2]))
        elif told[0] == "end":
            result.close_seconds = told[2]
            return
        else:
            known = len(referee.breaches)
            referee.take(told)
            if told[0] == "status":
                details = {key: each for key, each in told[3].items() if key not in ("at", "sample")}
                say(f"{told[1] - began:8.1f} s  - {told[2]} {details}")
            for breach in referee.breaches[known:]:
                say(f"!!! {breach}")


async def _connected(referee: Referee, reading: asyncio.Task[None], others: set[str]) -> float:
    """Wait until the feed is connected and has prices of the coins ``others``; return the time (monotonic seconds).

    Faults must not begin earlier: if the first price of a coin came from a venue with another coin under the same name,
    the feed could not notice this.
    """
    async with asyncio.timeout(CONNECTED_WITHIN):
        while not (referee.events["connected"] and others <= referee.priced) and not reading.done():  # noqa: ASYNC110 - the referee has no event to await
            await asyncio.sleep(EVERY_LOOK)
    return time.monotonic()


async def _strike(
    strikes: Any, truths: Mapping[str, Truth], referee: Referee, result: Result, began: float, late: float, say: Say
) -> None:
    """Cause the faults when they are due, ``late`` seconds later than planned."""
    strike: Strike
    for strike in strikes:
        if strike.at > result.seconds - min(CALM, result.seconds / 4):
            return
        await asyncio.sleep(max(0.0, began + late + strike.at - time.monotonic()))
        now = time.monotonic()
        referee.silences.before_strike(now)
        truths[strike.venue].simulator.schedule(strike.fault)
        result.strikes += 1
        say(f"{now - began:8.1f} s  > {strike.venue}:{strike.fault.fault} for {strike.fault.duration or 0:.1f} s")


async def _watch(
    subject: Subject, truths: Mapping[str, Truth], referee: Referee, result: Result, began: float, late: float,
    say: Say, reading: asyncio.Task[None],
) -> None:  # fmt: skip
    """Check the venues and the subject's memory at intervals until the end."""
    end = began + late + result.seconds
    census_at, sampled_at, pruned_at = began + min(SETTLED, result.seconds / 4), began, began
    looked = began
    while (now := time.monotonic()) < end and not reading.done():
        # if this process was held up, its venues sent nothing in this time
        referee.silences.stall(looked + EVERY_LOOK, now)
        for name, truth in truths.items():
            truth.look(now)
            recent = sum(now - dialled < DIAL_WINDOW for dialled in truth.venue.dials)
            result.dials[name] = max(result.dials.get(name, 0), recent)
        referee.look(now)
        if now >= sampled_at and referee.events["connected"]:
            sampled_at = now + 30
            result.memory.append((now - began, subject.rss()))
        if now >= pruned_at:
            pruned_at += 10
            for truth in truths.values():
                truth.prune()
        if now >= census_at:
            census_at += max(SETTLED, result.seconds / 4)
            subject.order("census")
            trades = sum(tally.trades for tally in referee.tallies.values())
            found = f"{trades} trades, {len(referee.breaches)} breaches, {subject.rss() / 1e6:.1f} MB"
            say(f"{now - began:8.1f} s  = {found}")
        looked = time.monotonic()
        await asyncio.sleep(EVERY_LOOK)
