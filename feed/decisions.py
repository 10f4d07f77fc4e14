"""What the failover policy decides, the states that it moves through, and the table of its moves."""

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
    """The trial has passed: its connection takes over, then the other one goes."""

    from_: str
    to: str


@dataclass(frozen=True, slots=True)
class AbandonTrial:
    """Close the connection on trial."""

    venue: str


@dataclass(frozen=True, slots=True)
class Exhausted:
    """Every venue has said no: nothing is dialled before ``until`` (monotonic seconds), then ``venue`` is."""

    until: float
    venue: str


Decision = Retry | Switch | TryFailback | TryRelief | Failback | AbandonTrial | Exhausted


class State(Enum):
    """Where the feed stands."""

    CONNECTING = "connecting"  # the active venue is dialled, or waits for its next dial
    LIVE = "live"  # the active venue carries data
    TRIAL = "trial"  # it does, and a preferred one is on trial beside it
    RELIEF = "relief"  # it is silent, lags or is gone: the first of the others that carries data takes over
    EXHAUSTED = "exhausted"  # no venue may be dialled now


class Event(Enum):
    """What moves it."""

    FLOWED = "flowed"  # the active venue carries data, for the first time or again
    FELL = "fell"  # the active venue's connection failed; it is dialled again
    NEEDED = "needed"  # the active venue is silent, lags, or has failed its first redial
    LEFT = "left"  # the active venue is left for one that does not carry data yet
    RESCUED = "rescued"  # the active venue is left for one on trial, which carries data
    SHUT = "shut"  # the last venue said no
    REOPENED = "reopened"  # a venue's cooldown is over
    TRIED = "tried"  # a preferred venue is on trial
    FAILED = "failed"  # its trial failed
    PASSED = "passed"  # its trial passed


MOVES: dict[tuple[State, Event], State] = {
    (State.CONNECTING, Event.FLOWED): State.LIVE,
    (State.CONNECTING, Event.FELL): State.CONNECTING,
    (State.CONNECTING, Event.NEEDED): State.RELIEF,
    (State.CONNECTING, Event.LEFT): State.CONNECTING,
    (State.CONNECTING, Event.SHUT): State.EXHAUSTED,
    (State.LIVE, Event.FELL): State.CONNECTING,
    (State.LIVE, Event.NEEDED): State.RELIEF,
    (State.LIVE, Event.LEFT): State.CONNECTING,
    (State.LIVE, Event.SHUT): State.EXHAUSTED,
    (State.LIVE, Event.TRIED): State.TRIAL,
    (State.TRIAL, Event.FELL): State.RELIEF,
    (State.TRIAL, Event.NEEDED): State.RELIEF,
    (State.TRIAL, Event.LEFT): State.RELIEF,
    (State.TRIAL, Event.SHUT): State.EXHAUSTED,
    (State.TRIAL, Event.RESCUED): State.LIVE,
    (State.TRIAL, Event.FAILED): State.LIVE,
    (State.TRIAL, Event.PASSED): State.LIVE,
    (State.RELIEF, Event.FLOWED): State.LIVE,
    (State.RELIEF, Event.FELL): State.RELIEF,
    (State.RELIEF, Event.FAILED): State.RELIEF,
    (State.RELIEF, Event.LEFT): State.RELIEF,
    (State.RELIEF, Event.SHUT): State.EXHAUSTED,
    (State.RELIEF, Event.RESCUED): State.LIVE,
    (State.EXHAUSTED, Event.REOPENED): State.CONNECTING,
}
