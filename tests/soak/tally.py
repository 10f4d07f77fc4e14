"""The counts that the referee keeps for one venue."""

from __future__ import annotations

from dataclasses import dataclass

FAR_AHEAD = 60_000  # ms: a stamp further ahead is wrong even if clocks differ


@dataclass(slots=True)
class Tally:
    """The counts of one venue."""

    trades: int = 0
    filled: int = 0
    lost: int = 0
    doubled: int = 0
    disordered: int = 0
    changed: int = 0
    told: int = 0
    ticks: int = 0
    wrong_prices: int = 0
    fresh: int = 0
    not_fresh: int = 0
    wrong_fresh: int = 0
    mixed_prices: int = 0
    mixed_statistics: int = 0
    older_prices: int = 0
    candles: int = 0
    wrong_candles: int = 0
