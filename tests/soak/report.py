"""The result of a soak: the broken promises, and a table of the results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from tests.soak.referee import Referee
from tests.soak.tally import Tally

SETTLED = 300.0  # seconds after which memory must have stopped growing
GROWTH = 5_000_000  # bytes per hour
ID_BYTES = (
    125  # bytes of a remembered trade id, measured with tracemalloc: the text, and its places in a deque and a set
)
DIALS = {"bybit": 500, "binance": 300, "binance_us": 300}  # each venue's own limit
LEFT_NOTHING = (
    "CcxtConnection",
    "ConnectionListener",
    "ClientSession",
    "ccxt exchanges",
)  # no object of these classes may exist after disconnect()


@dataclass(slots=True)
class Sample:
    """Counts of objects in the subject's process ``at`` seconds after the start."""

    at: float
    census: dict[str, Any]


@dataclass(slots=True)
class Result:
    """How a soak ended."""

    seed: int
    seconds: float
    referee: Referee
    samples: list[Sample] = field(default_factory=list)
    memory: list[tuple[float, int]] = field(default_factory=list)  # pairs of seconds after the start and bytes
    strikes: int = 0
    dials: dict[str, int] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    close_seconds: float = 0.0
    exit_code: int | None = None

    @property
    def growth(self) -> float | None:
        """Bytes per hour by which the heap in use grew after SETTLED, without remembered trade ids.

        The number of remembered ids is bounded: they are those of the last ten minutes of each venue.
        """
        settled = [sample for sample in self.samples if sample.at >= SETTLED and sample.census["tasks"] > 1]
        if len(settled) < 3:
            return None
        first, last = settled[0], settled[-1]
        sizes = [each.census["heap"] - each.census["ids"] * ID_BYTES for each in (first, last)]
        return float(sizes[1] - sizes[0]) / (last.at - first.at) * 3600

    @property
    def broken(self) -> list[str]:
        """The broken promises."""
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
            broken += left_behind(self.samples[-1].census)
        if not any(tally.trades for tally in self.referee.tallies.values()):
            broken.append("nothing was delivered")
        return broken


def left_behind(census: Mapping[str, Any]) -> list[str]:
    """Describe the objects and tasks that the process must not have after disconnect(); its own task is allowed."""
    broken = []
    left = {name: count for name, count in census["counts"].items() if name in LEFT_NOTHING}
    if any(left.values()):
        broken.append(f"left behind after disconnect(): {left}")
    if census["tasks"] > 1:
        broken.append(f"{census['tasks'] - 1} tasks left behind after disconnect(): {census['task_names']}")
    return broken


def table(result: Result) -> str:
    """The results as lines of text."""
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
        f"longest silence         {referee.silences.longest:.1f} s without up-to-date data; "
        f"{referee.silences.longest_healthy:.1f} s while a venue was healthy (stalls of the loops taken off)",
        f"require_fresh           the oldest price it let pass was {referee.prices.oldest_fresh:.2f} s old at "
        f"the venue; it refused {referee.refused:,} times",
        f"failovers               {referee.events['failover']}, "
        f"first tick of a healthy venue {_spread(referee.switch_times)}",
        f"failbacks               {referee.events['failback']}, break in the data {_spread(referee.silences.breaks)} "
        f"where the venue left was well",
        f"reconnects              {referee.events['reconnecting']}, disconnects {referee.events['disconnected']}, "
        f"gaps {referee.events['gap']}, breaker opened {referee.events['circuit_open']} times",
        f"candles closed          {_spread(referee.close_delays)}",
        f"candles never closed    {len(referee.unclosed_candles)} {' '.join(referee.unclosed_candles[:10])}",
        f"unhandled, ERROR or up  {len(referee.defects)}",
        f"disconnect() took       {result.close_seconds:.2f} s",
    ]
    if result.memory:
        settled = next((size for at, size in result.memory if at >= SETTLED), None)
        after = "" if settled is None else f", {settled / 1e6:.1f} MB after {SETTLED / 60:g} minutes"
        lines.append(f"RSS of the feed         {result.memory[0][1] / 1e6:.1f} MB at the start{after}, "
                     f"{result.memory[-1][1] / 1e6:.1f} MB at the end")  # fmt: skip
    if result.growth is not None:
        lines.append(
            f"heap in use             {result.growth / 1e6:+.1f} MB per hour after the first five minutes, "
            f"without remembered trade ids"
        )
    for sample in result.samples:
        census = sample.census
        counts = ", ".join(f"{name} {count}" for name, count in census["counts"].items())
        lines.append(
            f"{sample.at:8.0f} s  RSS {census['rss'] / 1e6:.1f} MB ({census['rss_collected'] / 1e6:.1f} collected), "
            f"heap in use {census['heap'] / 1e6:.1f} MB, "
            f"tasks {census['tasks']}, open files {census['handles']}, threads {census['threads']}, "
            f"objects {census['objects']:,}, remembered trade ids {census['ids']:,}, {counts}"
        )
    broken = result.broken
    lines.append("")
    lines.append("every promise was kept" if not broken else "BROKEN: " + "; ".join(broken))
    if broken:
        lines += referee.breaches[:60]
    return "\n".join(lines)


_WORDS = {
    "trades": "trades delivered", "filled": "of these backfilled", "disordered": "out of order",
    "fresh": "called fresh", "not_fresh": "too old for that", "wrong_fresh": "wrong for that",
    "changed": "changed", "told": "told to be missing", "ticks": "price ticks", "mixed_prices": "of a venue not active",
    "mixed_statistics": "mixed 24 h statistics", "older_prices": "back in time", "candles": "candles closed",
    "wrong_candles": "wrong candles",
}  # fmt: skip


def _spread(times: list[float]) -> str:
    if not times:
        return "(none)"
    return f"after {median(times):.2f} s (median), {max(times):.2f} s (most)"
