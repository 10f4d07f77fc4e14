"""The venues, the faults, the subject and the referee together, and the table at the end."""

from __future__ import annotations

import asyncio
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from exchanges.simulator import Simulator
from feed import Settings
from feed.settings import Connection, ExchangeConfig
from tests.soak.plan import Strike, draw
from tests.soak.referee import Referee, Tally
from tests.soak.truth import Truth

VENUES: Mapping[str, bool] = {"bybit": False, "binance": True, "binance_us": True}  # whether its trade ids count up
RATE = 200.0  # trades per second of each venue
COINS = 20
SETTLED = 300.0  # seconds after which memory must have stopped growing
GROWTH = 5_000_000  # bytes per hour
DIAL_WINDOW = 300.0
DIALS = {"bybit": 500, "binance": 300, "binance_us": 300}  # each venue's own limit
CALM = 20.0  # seconds without new faults at the end, for what is under way; a quarter of a short soak
EVERY_LOOK = 0.25
SLACK_MS = 10_000  # for the last bars to be mended
LEFT_NOTHING = ("Stream", "Intake", "ClientSession", "ccxt exchanges")  # none may live after disconnect()
ROOT = Path(__file__).parents[2]
LINE_LIMIT = 1 << 22

Say = Callable[[str], None]


def unix_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass(slots=True)
class Sample:
    """The subject at one moment: ``at`` seconds after the start."""

    at: float
    census: dict[str, Any]


@dataclass(slots=True)
class Result:
    """How a soak ended."""

    seed: int
    seconds: float
    referee: Referee
    samples: list[Sample] = field(default_factory=list)
    memory: list[tuple[float, int]] = field(default_factory=list)  # seconds after the start, bytes
    strikes: int = 0
    dials: dict[str, int] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    close_seconds: float = 0.0
    exit_code: int | None = None

    @property
    def growth(self) -> float | None:
        """Bytes per hour by which the memory grew after SETTLED, each end the median of some minutes."""
        settled = [(at, size) for at, size in self.memory if at >= SETTLED]
        if len(settled) < 10:
            return None
        share = max(1, min(5, len(settled) // 4))
        first, last = settled[:share], settled[-share:]
        span = median(at for at, _ in last) - median(at for at, _ in first)
        return (median(size for _, size in last) - median(size for _, size in first)) / span * 3600

    @property
    def broken(self) -> list[str]:
        """The promises that were not kept."""
        broken = [f"{kind}: {count}" for kind, count in self.referee.breach_counts.items()]
        broken += [
            f"{name}: {count} dials within 5 minutes" for name, count in self.dials.items() if count > DIALS[name]
        ]
        broken += self.violations
        if self.growth is not None and self.growth > GROWTH and self.seconds > 1500:
            broken.append(f"memory grows by {self.growth / 1e6:.1f} MB per hour")
        if self.exit_code != 0:
            broken.append(f"the feed's process ended with {self.exit_code}")
        if len(self.samples) >= 2:
            end = self.samples[-1].census
            left = {
                name: count for name, count in end["counts"].items() if name in ("Stream", "Intake", "ClientSession")
            }
            if any(left.values()):
                broken.append(f"left behind after disconnect(): {left}")
            if end["tasks"] > 1:
                broken.append(f"{end['tasks'] - 1} tasks left behind after disconnect()")
        if not any(tally.trades for tally in self.referee.tallies.values()):
            broken.append("nothing was delivered")
        return broken


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
        """Resident memory in bytes, read from outside."""
        with open(f"/proc/{self.process.pid}/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * 4096

    async def stop(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


def settings_for(simulators: Mapping[str, Simulator]) -> Settings:
    """Quick to dial, to fail over and to return; the limits of silence are the defaults."""
    settings = Settings()
    settings.coins = settings.coins[:COINS]
    settings.exchanges = [
        ExchangeConfig(name, rest_url=simulator.rest_url, ws_url=simulator.ws_url)
        for name, simulator in simulators.items()
    ]
    settings.connection = Connection(
        connect_timeout=4, backoff_initial=0.2, backoff_max=5, stable_after=5, attempts_before_failover=2,
        failback_after=20,
    )  # fmt: skip
    return settings


async def soak(minutes: float, seed: int, say: Say = lambda line: None, *, mean_pause: float = 7.0) -> Result:
    """Run for so many minutes and return what came out."""
    async with AsyncExitStack() as stack:
        simulators: dict[str, Simulator] = {}
        for place, name in enumerate(VENUES):
            simulator = Simulator(venues=(name,), rate=RATE, markets=COINS, seed=seed * 10 + place)
            simulators[name] = await stack.enter_async_context(simulator)
        truths = {name: Truth(simulator, simulator[name]) for name, simulator in simulators.items()}
        subject = await Subject.start(settings_for(simulators))
        stack.push_async_callback(subject.stop)
        began, opened = time.monotonic(), unix_ms()
        referee = Referee(truths, began)
        result = Result(seed, minutes * 60, referee)
        reading = asyncio.create_task(_read(subject, referee, result, began, say))
        stack.callback(reading.cancel)
        striking = asyncio.create_task(_strike(draw(seed, VENUES, mean_pause), truths, referee, result, began, say))
        stack.callback(striking.cancel)
        await _watch(subject, truths, referee, result, began, say, reading)
        striking.cancel()
        referee.unclosed_bars = referee.unclosed(opened, unix_ms() - SLACK_MS)
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


async def _strike(
    strikes: Any, truths: Mapping[str, Truth], referee: Referee, result: Result, began: float, say: Say
) -> None:
    """Have the faults happen when they are due."""
    strike: Strike
    for strike in strikes:
        if strike.at > result.seconds - min(CALM, result.seconds / 4):
            return
        await asyncio.sleep(max(0.0, began + strike.at - time.monotonic()))
        now = time.monotonic()
        referee.before_strike(now)
        truths[strike.venue].simulator.schedule(strike.fault)
        result.strikes += 1
        say(f"{now - began:8.1f} s  > {strike.venue}:{strike.fault.fault} for {strike.fault.duration or 0:.1f} s")


async def _watch(
    subject: Subject, truths: Mapping[str, Truth], referee: Referee, result: Result, began: float, say: Say,
    reading: asyncio.Task[None],
) -> None:  # fmt: skip
    """Look at the venues and at the subject's memory until the time is over."""
    end = began + result.seconds
    census_at, sampled_at, pruned_at = began + min(SETTLED, result.seconds / 4), began, began
    while (now := time.monotonic()) < end and not reading.done():
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
        await asyncio.sleep(EVERY_LOOK)


def table(result: Result) -> str:
    """The figures, for people."""
    referee = result.referee
    lines = [f"seed {result.seed}, {result.seconds / 60:g} minutes, {result.strikes} faults"]
    lines.append("")
    columns = {name: asdict(tally) for name, tally in referee.tallies.items()}
    columns["all"] = {key: sum(column[key] for column in columns.values()) for key in asdict(Tally())}
    lines.append(f"{'':24}" + "".join(f"{name:>12}" for name in columns))
    for key in asdict(Tally()):
        words = _WORDS.get(key, key.replace("_", " "))
        lines.append(f"{words:24}" + "".join(f"{column[key]:>12,}" for column in columns.values()))
    most = [*result.dials.values(), max(result.dials.values(), default=0)]
    lines.append(f"{'dials per 5 min, most':24}" + "".join(f"{count:>12,}" for count in most))
    lines.append("")
    delays = referee.stale_delays
    told = f"{len(delays)}, after {min(delays):.3f} to {max(delays):.3f} s" if delays else "0"
    lines += [
        f"feed_stale              {told}",
        f"longest silence         {referee.longest_silence:.1f} s; "
        f"{referee.longest_healthy_silence:.1f} s while a venue was healthy",
        f"failovers               {referee.events['failover']}, "
        f"first tick of a healthy venue {_spread(referee.switch_times)}",
        f"failbacks               {referee.events['failback']}, break in the data {_spread(referee.failback_breaks)}",
        f"reconnects              {referee.events['reconnecting']}, disconnects {referee.events['disconnected']}, "
        f"gaps {referee.events['gap']}, breaker opened {referee.events['circuit_open']} times",
        f"bars never closed       {len(referee.unclosed_bars)} {' '.join(referee.unclosed_bars[:10])}",
        f"unhandled, ERROR or up  {len(referee.defects)}",
        f"disconnect() took       {result.close_seconds:.2f} s",
    ]
    if result.memory:
        settled = next((size for at, size in result.memory if at >= SETTLED), None)
        after = "" if settled is None else f", {settled / 1e6:.1f} MB after {SETTLED / 60:g} minutes"
        lines.append(f"RSS of the feed         {result.memory[0][1] / 1e6:.1f} MB at the start{after}, "
                     f"{result.memory[-1][1] / 1e6:.1f} MB at the end")  # fmt: skip
    if result.growth is not None:
        lines.append(f"RSS growth              {result.growth / 1e6:+.1f} MB per hour after the first five minutes")
    for sample in result.samples:
        census = sample.census
        counts = ", ".join(f"{name} {count}" for name, count in census["counts"].items())
        lines.append(
            f"{sample.at:8.0f} s  RSS {census['rss'] / 1e6:.1f} MB ({census['rss_collected'] / 1e6:.1f} collected), "
            f"tasks {census['tasks']}, open files {census['handles']}, threads {census['threads']}, "
            f"objects {census['objects']:,}, {counts}"
        )
    broken = result.broken
    lines.append("")
    lines.append("every promise was kept" if not broken else "BROKEN: " + "; ".join(broken))
    if broken:
        lines += referee.breaches[:40]
    return "\n".join(lines)


_WORDS = {
    "trades": "trades delivered", "filled": "of these backfilled", "disordered": "out of order",
    "changed": "changed", "told": "told to be missing", "ticks": "price ticks", "mixed_prices": "of a venue not active",
    "mixed_figures": "mixed 24 h figures", "older_prices": "back in time", "candles": "bars closed",
    "wrong_candles": "wrong bars",
}  # fmt: skip


def _spread(times: list[float]) -> str:
    if not times:
        return "(none)"
    return f"after {median(times):.2f} s (median), {max(times):.2f} s (most)"
