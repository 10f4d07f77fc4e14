"""Compares the runs: medians over the rounds, ratios within a round, and the goals that these must reach.

In a slow round all readers are slow: so each ratio compares two runs of the same round.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from tests.benchmarks.measure import Figures

Runs = Mapping[str, Sequence[Sequence[Figures]]]
"""Reader name -> one list per round -> the figures of each phase; the first phase is at full speed."""

FULL_SPEED = 0  # the number of the phase at full speed


def values(runs: Runs, reader: str, phase: int, figure: str) -> list[float]:
    """A field of Figures, one value per round."""
    return [getattr(run[phase], figure) for run in runs[reader]]


def ratio(runs: Runs, reader: str, peer: str, phase: int, figure: str) -> float:
    """Return the median over the rounds of the ratio of ``reader`` to ``peer``."""
    pairs = zip(values(runs, reader, phase, figure), values(runs, peer, phase, figure), strict=True)
    return median(own / other for own, other in pairs)


@dataclass(frozen=True, slots=True)
class SpeedGoal:
    """The goal that ``reader``, at full speed, takes at least ``speed`` times as many trades/s as ``peer``."""

    reader: str
    peer: str
    speed: float


@dataclass(frozen=True, slots=True)
class DelayGoal:
    """The goal for delays at ``rate`` trades/s: p50 and p99 are at most ``share`` of the peer's p50 and p99, and the
    worst delay is below ``worst`` µs."""

    reader: str
    peer: str
    share: float
    worst: float
    rate: int = 5_000


JUDGED = "binance"  # the goals below are for this venue
GOALS = (
    SpeedGoal("feed", "ccxt", 5),
    SpeedGoal("feed", "cryptofeed", 1.4),
    SpeedGoal("feed", "unicorn-picows", 1.0),
    SpeedGoal("feed", "floor-picows", 0.25),
    SpeedGoal("fast", "ccxt", 8),
    SpeedGoal("fast", "cryptofeed", 2.2),
    SpeedGoal("fast", "unicorn-picows", 1.6),
    SpeedGoal("fast", "floor-picows", 0.45),
    SpeedGoal("fast", "floor-same-job", 0.8),
)
DELAY_GOALS = (
    DelayGoal("feed", "cryptofeed", 1.0, 10_000),
    DelayGoal("fast", "cryptofeed", 0.7, 5_000),
)
