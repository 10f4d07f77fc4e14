"""The types of failover: possible decisions, states, and the table of moves; ``failover.py`` decides."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, slots=True)
class Retry:
    """Dial the active venue again, when its backoff allows."""

    venue: str


@dataclass(frozen=True, slots=True)
class Switch:
    """Leave a venue that fails. Where ``to`` is on trial, its connection is taken over."""

    from_: str
    to: str
    reason: str


@dataclass(frozen=True, slots=True)
class TryFailback:
    """Connect this preferred venue beside the active one; its data is not delivered yet."""

    to: str


@dataclass(frozen=True, slots=True)
class TryRelief:
    """Connect this venue beside the active one, which is silent, lags or is gone, when its backoff allows."""

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
    """Every venue refuses or blocks the feed: ``venue`` is dialled at ``until`` (monotonic seconds), nothing before."""

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
    LEFT = "left"  # the active venue is left for one that does not carry data yet
    RESCUED = "rescued"  # the active venue is left for one on trial, which carries data
    SHUT = "shut"  # the last venue refused or blocked the feed
    REOPENED = "reopened"  # a venue's cooldown is over
    TRIED = "tried"  # a preferred venue is on trial
    FAILED = "failed"  # the trial of the preferred venue failed
    PASSED = "passed"  # the trial of the preferred venue passed


MOVES: dict[tuple[FailoverState, FailoverEvent], FailoverState] = {
    (FailoverState.CONNECTING, FailoverEvent.FLOWED): FailoverState.LIVE,
    (FailoverState.CONNECTING, FailoverEvent.FELL): FailoverState.CONNECTING,
    (FailoverState.CONNECTING, FailoverEvent.NEEDED): FailoverState.RELIEF,
    (FailoverState.CONNECTING, FailoverEvent.LEFT): FailoverState.CONNECTING,
    (FailoverState.CONNECTING, FailoverEvent.SHUT): FailoverState.EXHAUSTED,
    (FailoverState.LIVE, FailoverEvent.FELL): FailoverState.CONNECTING,
    (FailoverState.LIVE, FailoverEvent.NEEDED): FailoverState.RELIEF,
    (FailoverState.LIVE, FailoverEvent.LEFT): FailoverState.CONNECTING,
    (FailoverState.LIVE, FailoverEvent.SHUT): FailoverState.EXHAUSTED,
    (FailoverState.LIVE, FailoverEvent.TRIED): FailoverState.TRIAL,
    (FailoverState.TRIAL, FailoverEvent.FELL): FailoverState.RELIEF,
    (FailoverState.TRIAL, FailoverEvent.NEEDED): FailoverState.RELIEF,
    (FailoverState.TRIAL, FailoverEvent.LEFT): FailoverState.RELIEF,
    (FailoverState.TRIAL, FailoverEvent.SHUT): FailoverState.EXHAUSTED,
    (FailoverState.TRIAL, FailoverEvent.RESCUED): FailoverState.LIVE,
    (FailoverState.TRIAL, FailoverEvent.FAILED): FailoverState.LIVE,
    (FailoverState.TRIAL, FailoverEvent.PASSED): FailoverState.LIVE,
    (FailoverState.RELIEF, FailoverEvent.FLOWED): FailoverState.LIVE,
    (FailoverState.RELIEF, FailoverEvent.FELL): FailoverState.RELIEF,
    (FailoverState.RELIEF, FailoverEvent.FAILED): FailoverState.RELIEF,
    (FailoverState.RELIEF, FailoverEvent.LEFT): FailoverState.RELIEF,
    (FailoverState.RELIEF, FailoverEvent.SHUT): FailoverState.EXHAUSTED,
    (FailoverState.RELIEF, FailoverEvent.RESCUED): FailoverState.LIVE,
    (FailoverState.EXHAUSTED, FailoverEvent.REOPENED): FailoverState.CONNECTING,
}
