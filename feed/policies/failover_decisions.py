"""The types of failover: possible decisions, states, and the table of moves; ``failover.py`` decides."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, slots=True)
class Retry:
    """Dial the active venue again, when its backoff allows."""

    venue: str


@dataclass(frozen=True, slots=True)
class Switch:
    """Leave a venue that fails. If ``to`` is on trial, the connection of the trial is kept."""

    from_: str
    to: str
    reason: str


@dataclass(frozen=True, slots=True)
class TryFailback:
    """Connect this preferred venue beside the active one; its data is not delivered yet."""

    to: str


@dataclass(frozen=True, slots=True)
class TryRelief:
    """When this venue's backoff allows, connect it beside the active venue, which is silent, lags or is gone."""

    to: str


@dataclass(frozen=True, slots=True)
class Failback:
    """The trial has passed: its connection takes over, then the connection of the venue that was active is closed."""

    from_: str
    to: str


@dataclass(frozen=True, slots=True)
class AbandonTrial:
    """Close the connection on trial."""

    venue: str


@dataclass(frozen=True, slots=True)
class Exhausted:
    """Every venue refuses or blocks the feed: the next dial is to ``venue``, at ``until`` (monotonic seconds)."""

    until: float
    venue: str


Decision = Retry | Switch | TryFailback | TryRelief | Failback | AbandonTrial | Exhausted


class FailoverState(Enum):
    """The states of the failover policy."""

    CONNECTING = "connecting"  # the active venue is dialled, or waits for its next dial
    LIVE = "live"  # the active venue carries data
    TRIAL = "trial"  # the active venue carries data, and a preferred one is on trial beside it
    RELIEF = "relief"  # the active venue is silent, lags or is gone: the first other venue with data takes over
    EXHAUSTED = "exhausted"  # no venue may be dialled now


class FailoverEvent(Enum):
    """What changes the failover state."""

    FLOWED = "flowed"  # the active venue carries data, for the first time or again
    FELL = "fell"  # the active venue's connection failed; it is dialled again
    NEEDED = "needed"  # the active venue is silent, lags, or has failed its first redial
    LEFT = "left"  # the active venue is left for a venue that does not carry data yet
    RESCUED = "rescued"  # the active venue is left for a venue on trial, which carries data
    SHUT = "shut"  # the last venue refused or blocked the feed
    REOPENED = "reopened"  # a venue's cooldown is over
    TRIED = "tried"  # a preferred venue is on trial
    FAILED = "failed"  # the trial of the preferred venue failed
    PASSED = "passed"  # the trial of the preferred venue passed


_ROWS: tuple[tuple[FailoverEvent, Collection[FailoverState], FailoverState], ...] = (
    (FailoverEvent.FLOWED, (FailoverState.CONNECTING, FailoverState.RELIEF), FailoverState.LIVE),
    (FailoverEvent.FELL, (FailoverState.CONNECTING, FailoverState.LIVE), FailoverState.CONNECTING),
    (FailoverEvent.FELL, (FailoverState.TRIAL, FailoverState.RELIEF), FailoverState.RELIEF),
    (FailoverEvent.NEEDED, (FailoverState.CONNECTING, FailoverState.LIVE, FailoverState.TRIAL), FailoverState.RELIEF),
    (FailoverEvent.LEFT, (FailoverState.CONNECTING, FailoverState.LIVE), FailoverState.CONNECTING),
    (FailoverEvent.LEFT, (FailoverState.TRIAL, FailoverState.RELIEF), FailoverState.RELIEF),
    (FailoverEvent.RESCUED, (FailoverState.TRIAL, FailoverState.RELIEF), FailoverState.LIVE),
    (FailoverEvent.SHUT, {*FailoverState} - {FailoverState.EXHAUSTED}, FailoverState.EXHAUSTED),
    (FailoverEvent.REOPENED, (FailoverState.EXHAUSTED,), FailoverState.CONNECTING),
    (FailoverEvent.TRIED, (FailoverState.LIVE,), FailoverState.TRIAL),
    (FailoverEvent.FAILED, (FailoverState.TRIAL,), FailoverState.LIVE),
    (FailoverEvent.FAILED, (FailoverState.RELIEF,), FailoverState.RELIEF),
    (FailoverEvent.PASSED, (FailoverState.TRIAL,), FailoverState.LIVE),
)
"""An event, the states in which it may happen, and the state after it."""

MOVES = {(state, event): after for event, states, after in _ROWS for state in states}
"""(state, event) -> the next state. No other event may happen in a state."""
