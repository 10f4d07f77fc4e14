"""Failover policies over three venues: a new policy, and a policy that has left its first venue."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from feed.policies.failover import (
    Failover,
)
from feed.policies.failover_decisions import (
    Decision,
)

NAMES = ["bybit", "binance", "binance_us"]


ATTEMPTS, FAILBACK, COOLDOWN, STABLE, SILENCE = 3, 300.0, 600.0, 30.0, 5.0


def policy(venues: Sequence[str] = NAMES, relief_after: float = inf) -> Failover:
    """A policy; without ``relief_after``, silence alone causes no decision."""
    return Failover(venues, ATTEMPTS, FAILBACK, COOLDOWN, STABLE, relief_after, -1.0)


def on_binance(now: float = 0.0, relief_after: float = inf) -> Failover:
    """Bybit has failed, Binance carries data."""
    it = policy(relief_after=relief_after)
    for _ in range(ATTEMPTS):
        it.disconnected("bybit", now)
    it.data("binance", now)
    return it


# Relief: other venues are tried beside an active venue that is silent, lags or is disconnected.


def silent(venues: Sequence[str] = NAMES) -> tuple[Failover, list[Decision]]:
    """Return a policy whose first venue has been silent since 100.0, and its decisions after ``SILENCE`` seconds."""
    it = policy(venues, SILENCE)
    it.data(venues[0], 100.0)
    assert it.next_tick(100.0) == 100.0 + SILENCE
    assert it.tick(104.9) == []
    return it, it.tick(100.0 + SILENCE)
