"""Which venue carries the feed now, and which next: settings order is preference.

One venue is active. It is left after enough failed attempts in a row, and at once when it says no. On any other than
the first, a more preferred one is put on trial from time to time, beside the active one (make-before-break), and takes
over when it has carried data for long enough; or earlier, as the place to go, when the active one falls or is silent
meanwhile. In any case only while it carries data right now: its past alone would relieve one silence by another.

A connection that carried data for ``stable_after`` seconds and then ends is an outage: the attempts are counted from 0.
One that did not is a failed attempt: a venue that accepts, says a word and drops is no better than one that refuses.

Hysteresis. Each failed trial doubles the wait before the next one (up to twice ``failback_after``), and a venue that is
left soon after it was returned to needs twice the trial (up to 12 times ``failback_after``); being active for 12 times
``failback_after`` clears both. So a flapping primary whose alternatives are well causes, at any period, at most 8
switches within 12 times ``failback_after``: an hour by default.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from math import inf

PATIENCE = 12  # times failback_after: the longest trial, and the active time that clears a venue's record
FIRST_WAIT = 0.1  # times failback_after: from leaving a venue to its first trial
LAST_WAIT = 2.0  # times failback_after: the longest wait between trials
REFUSED_FIRST = 5.0  # seconds that a venue is left alone which does not do what is asked for, for the first time
CARRYING = 1.5  # seconds since the last data within which a connection carries data right now
PROVEN = 3.0  # seconds of data that let a trial relieve a venue which might yet recover: more than a word and a drop
TRIAL_SILENCE = 30.0  # seconds without data that end a trial: a venue that is to carry all coins is never as quiet


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


Decision = Retry | Switch | TryFailback | Failback | AbandonTrial | Exhausted


class State(Enum):
    """Where the feed stands."""

    CONNECTING = "connecting"  # the active venue is dialled, or waits for its next dial
    LIVE = "live"  # the active venue carries data
    TRIAL = "trial"  # it does, and a preferred one is on trial beside it
    EXHAUSTED = "exhausted"  # no venue may be dialled now


class Event(Enum):
    """What moves it."""

    FLOWED = "flowed"  # the first data of the active venue's connection
    FELL = "fell"  # the active venue's connection failed; it is dialled again
    LEFT = "left"  # the active venue is left for one that has to be dialled
    RESCUED = "rescued"  # the active venue is left for the one on trial, which carries data
    SHUT = "shut"  # the last venue said no
    REOPENED = "reopened"  # a venue's cooldown is over
    TRIED = "tried"  # a trial began
    FAILED = "failed"  # the trial failed
    PASSED = "passed"  # the trial passed


MOVES: dict[tuple[State, Event], State] = {
    (State.CONNECTING, Event.FLOWED): State.LIVE,
    (State.CONNECTING, Event.FELL): State.CONNECTING,
    (State.CONNECTING, Event.LEFT): State.CONNECTING,
    (State.CONNECTING, Event.SHUT): State.EXHAUSTED,
    (State.LIVE, Event.FELL): State.CONNECTING,
    (State.LIVE, Event.LEFT): State.CONNECTING,
    (State.LIVE, Event.SHUT): State.EXHAUSTED,
    (State.LIVE, Event.TRIED): State.TRIAL,
    (State.TRIAL, Event.FELL): State.CONNECTING,
    (State.TRIAL, Event.LEFT): State.CONNECTING,
    (State.TRIAL, Event.SHUT): State.EXHAUSTED,
    (State.TRIAL, Event.RESCUED): State.LIVE,
    (State.TRIAL, Event.FAILED): State.LIVE,
    (State.TRIAL, Event.PASSED): State.LIVE,
    (State.EXHAUSTED, Event.REOPENED): State.CONNECTING,
}


@dataclass(slots=True)
class _Connection:
    """A venue's turn: the data of its connection, and the attempts that failed in a row."""

    venue: str
    since: float  # the turn's begin
    first: float | None = None  # data on this connection
    last: float = -inf
    failed: int = 0
    returned: bool = False  # preferred to the one before: leaving it soon is flapping

    def note(self, now: float) -> None:
        if self.first is None:
            self.first = now
        self.last = now

    @property
    def silent_until(self) -> float:
        """The moment until which its silence is borne, if it is on trial."""
        return max(self.since, self.last) + TRIAL_SILENCE

    @property
    def flowed(self) -> float:
        """Seconds from the first data to the last."""
        return 0.0 if self.first is None else self.last - self.first

    def carries(self, now: float) -> bool:
        """Whether data flows right now."""
        return now - self.last <= CARRYING


@dataclass(slots=True)
class _Record:
    """What is remembered of a venue while others are active."""

    shut_until: float = -inf  # it said no
    refused_until: float = -inf  # it said so to what was asked for
    refusals: int = 0  # how often, since it last carried data
    trial_at: float = -inf  # not before
    failures: int = 0  # trials and returns that failed, since it last did well
    relapses: int = 0  # returns alone


class Failover:
    """The policy; ``now`` is monotonic seconds. Dial ``active`` first, then carry out what the inputs return, in order.

    What comes from a venue that is neither active nor on trial changes nothing, save that its no is remembered.
    ``blocked_cooldown``: how long a block lasts; Bybit's own ban for too frequent access lasts these 10 minutes.
    Any other no lasts REFUSED_FIRST at first and twice as long each time, until the venue carries data.
    """

    def __init__(
        self,
        venues: Sequence[str],
        attempts_before_failover: int,
        failback_after: float,
        blocked_cooldown: float = 600.0,
        stable_after: float = 30.0,
    ) -> None:
        if not venues or len(set(venues)) != len(venues):
            raise ValueError(f"venues are {list(venues)!r}; allowed is one or more, each once")
        self._venues = tuple(venues)
        self.attempts_before_failover = attempts_before_failover
        """Failed attempts in a row after which a venue is left; the caller may change it."""
        self._failback_after = failback_after
        self._blocked_cooldown = blocked_cooldown
        self._stable_after = stable_after
        self._records = {venue: _Record() for venue in venues}
        self._state = State.CONNECTING
        self._turn = _Connection(self._venues[0], inf)
        self._trial: _Connection | None = None

    def __repr__(self) -> str:
        return f"<Failover {self._state.value} {self.active}, trial {self.trial}>"

    @property
    def state(self) -> State:
        return self._state

    @property
    def active(self) -> str | None:
        """The venue that carries the feed or is dialled for it; None while every venue's no lasts."""
        return None if self._state is State.EXHAUSTED else self._turn.venue

    @property
    def trial(self) -> str | None:
        """The venue on trial."""
        return None if self._trial is None else self._trial.venue

    def data(self, venue: str, at: float, now: float | None = None) -> list[Decision]:
        """Data came from this venue, the active one or the one on trial, ``at`` this moment, if not just ``now``."""
        now = at if now is None else now
        self._records[venue].refusals = 0
        if venue == self.active:
            self._turn.note(at)
            if self._state is State.CONNECTING:
                self._move(Event.FLOWED)
        elif self._trial is not None and venue == self._trial.venue:
            if at > self._trial.silent_until:
                return [self._fail_trial(now)]
            self._trial.note(at)
            if self._trial.flowed >= self._trial_needed(venue) and self._trial.carries(now):
                return [Failback(self._take_trial(now, Event.PASSED), venue)]
        return []

    def silent(self, venue: str, seconds: float, now: float) -> list[Decision]:
        """This venue's connection stands but has carried nothing for so long that it was told, or is to be dropped."""
        if venue != self.active or not self._relief(now):
            return []
        self._book(self._turn, now)
        return [Switch(self._take_trial(now, Event.RESCUED), self._turn.venue, f"no data for {seconds:.1f} s")]

    def disconnected(self, venue: str, now: float, reason: str = "") -> list[Decision]:
        """This venue's connection ended, or could not be made."""
        if venue == self.trial:
            return [self._fail_trial(now)]
        if venue != self.active:
            return []
        turn = self._turn
        stable = turn.first is not None and turn.flowed >= self._stable_after
        turn.failed = 0 if stable else turn.failed + 1
        turn.first = None
        if turn.failed >= self.attempts_before_failover or self._relief(now):
            attempts = (
                f"{turn.failed} failed attempt{'s' * (turn.failed != 1)} in a row" if turn.failed else "connection lost"
            )
            return self._leave(now, f"{attempts}: {reason}" if reason else attempts, Event.FELL)
        return [*self._drop_trial(), self._retry()]

    def blocked(self, venue: str, status: int, now: float) -> list[Decision]:
        """This venue shuts us out (HTTP ``status``)."""
        return self._said_no(venue, now, f"blocked (HTTP {status})", self._blocked_cooldown)

    def refused(self, venue: str, reason: str, now: float, longest: float = inf) -> list[Decision]:
        """This venue does not do what is asked for, e.g. lists none of the coins; it is left alone for ``longest``."""
        record = self._records[venue]
        cooldown = min(REFUSED_FIRST * 2.0 ** min(record.refusals, 20), longest)
        record.refusals += 1
        record.refused_until = now + cooldown
        return self._said_no(venue, now, reason, cooldown)

    def asked_anew(self, now: float) -> list[Decision]:
        """Something else is asked for: that a venue refused what was asked before says nothing any more."""
        for record in self._records.values():
            if record.shut_until <= record.refused_until:
                record.shut_until = min(record.shut_until, now)
        return self.tick(now)

    def put_off(self, venue: str, seconds: float, reason: str, now: float) -> list[Decision]:
        """This venue wants to be left alone for longer than the feed may be silent."""
        return self._said_no(venue, now, f"wants to be left alone for {seconds:g} s: {reason}", seconds)

    def tick(self, now: float) -> list[Decision]:
        """Time has passed; due at next_tick() at the latest."""
        if now < self.next_tick(now):
            return []
        if self._state is State.EXHAUSTED:
            return [self._reopen(now)]
        if self._trial is not None:
            return [self._fail_trial(now)]
        to = next(venue for venue in self._preferred() if self._trial_due(venue) <= now)
        self._trial = _Connection(to, now)
        self._move(Event.TRIED)
        return [TryFailback(to)]

    def next_tick(self, now: float) -> float:
        """When tick() has something to do, if nothing else happens; ``inf`` for never."""
        match self._state:
            case State.EXHAUSTED:
                return min(record.shut_until for record in self._records.values())
            case State.TRIAL:
                assert self._trial is not None
                return self._trial.silent_until
            case State.LIVE:
                return min(map(self._trial_due, self._preferred()), default=inf)
            case State.CONNECTING:
                return inf

    def _move(self, event: Event) -> None:
        self._state = MOVES[self._state, event]

    def _said_no(self, venue: str, now: float, reason: str, cooldown: float) -> list[Decision]:
        record = self._records[venue]
        record.shut_until = max(record.shut_until, now + cooldown)
        if venue == self.trial:
            return [self._fail_trial(now)]
        return self._leave(now, reason, Event.SHUT) if venue == self.active else []

    def _leave(self, now: float, reason: str, alone: Event) -> list[Decision]:
        """Go where data flows now, else to the next venue in order; ``alone`` is what it means if there is none."""
        left = self._turn
        if self._trial is not None and self._trial.carries(now):
            self._book(left, now)
            return [Switch(self._take_trial(now, Event.RESCUED), self._turn.venue, reason)]
        dropped = self._drop_trial()
        to = self._next_venue(now)
        if to is None and alone is Event.FELL:
            return [*dropped, self._retry()]
        self._book(left, now)
        if to is None:
            self._move(alone)
            until = self.next_tick(now)
            return [*dropped, Exhausted(until, self._first_open(until))]
        self._turn = _Connection(to, now)
        self._move(Event.LEFT)
        return [*dropped, Switch(left.venue, to, reason)]

    def _relief(self, now: float) -> bool:
        """Whether the trial does well enough to relieve the active venue at once, though that one might recover."""
        trial = self._trial
        return trial is not None and trial.carries(now) and trial.flowed >= min(PROVEN, self._stable_after)

    def _retry(self) -> Retry:
        self._move(Event.FELL)
        return Retry(self._turn.venue)

    def _reopen(self, now: float) -> Retry | Switch:
        left, to = self._turn.venue, self._first_open(now)
        self._turn = _Connection(to, now)
        self._move(Event.REOPENED)
        return Retry(to) if to == left else Switch(left, to, "its cooldown is over")

    def _book(self, turn: _Connection, now: float) -> None:
        """Remember how a venue did that is left because it failed."""
        record = self._records[turn.venue]
        if now - turn.since >= PATIENCE * self._failback_after:
            record.failures = record.relapses = 0
        elif turn.returned:
            record.failures += 1
            record.relapses += 1
        record.trial_at = now + self._trial_wait(record)

    def _take_trial(self, now: float, event: Event) -> str:
        """Make the connection on trial the active one; returns the venue it relieves."""
        assert self._trial is not None
        left, self._turn, self._trial = self._turn, self._trial, None
        self._turn.since = now
        self._turn.returned = True
        self._move(event)
        return left.venue

    def _fail_trial(self, now: float) -> AbandonTrial:
        assert self._trial is not None
        record = self._records[self._trial.venue]
        record.failures += 1
        record.trial_at = now + self._trial_wait(record)
        self._move(Event.FAILED)
        return self._drop_trial()[0]

    def _drop_trial(self) -> list[AbandonTrial]:
        """End the trial, if there is one; unless it failed, the next one begins as soon as the active venue is live."""
        if self._trial is None:
            return []
        venue, self._trial = self._trial.venue, None
        return [AbandonTrial(venue)]

    def _next_venue(self, now: float) -> str | None:
        """The next one after the active in settings order, round and round, that has not said no."""
        place = self._venues.index(self._turn.venue)
        others = self._venues[place + 1 :] + self._venues[:place]
        return next((venue for venue in others if self._records[venue].shut_until <= now), None)

    def _first_open(self, now: float) -> str:
        return next(venue for venue in self._venues if self._records[venue].shut_until <= now)

    def _preferred(self) -> tuple[str, ...]:
        return self._venues[: self._venues.index(self._turn.venue)]

    def _trial_due(self, venue: str) -> float:
        return max(self._records[venue].trial_at, self._records[venue].shut_until)

    def _trial_wait(self, record: _Record) -> float:
        return min(FIRST_WAIT * 2.0 ** min(record.failures, 20), LAST_WAIT) * self._failback_after

    def _trial_needed(self, venue: str) -> float:
        return float(min(2 ** self._records[venue].relapses, PATIENCE)) * self._failback_after
