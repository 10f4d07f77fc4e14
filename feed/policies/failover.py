"""Decides which venue is active, when others are tried, and what a trial must show; prefers the settings' order.

One venue is active. As soon as it is silent, lags, or has failed its first redial, the others are put on trial beside
it: the next one first, the others shortly after. The first venue that carries data becomes active. If no other venue
carries data, the active venue is left after enough failed attempts in a row, and at once when it refuses or blocks the
feed.

While the active venue is not the first one, a more preferred venue is put on trial from time to time, beside the active
one (make-before-break). It takes over when it has carried data for long enough, and only while it carries data right
now: otherwise one silent venue would replace another.

A connection that carried data for ``stable_after`` seconds and then ends is an outage: the attempts are counted from 0.
A connection that ends earlier is a failed attempt: a venue that accepts, sends one message and drops is no better than
one that refuses.

Hysteresis keeps changes rare. Each failed trial of a preferred venue doubles the wait before its next trial (up to
twice ``failback_after``). If the feed leaves a venue soon after its return to it, the venue's next trial takes twice as
long (up to 12 times ``failback_after``). After 12 times ``failback_after`` as the active venue, its wait and trial are
short again. So if the first venue flaps and the others work, there are at most 8 switches within 12 times
``failback_after`` (an hour by default), however often the first venue fails.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from feed.policies.backoff import doubled
from feed.policies.failover_decisions import (
    MOVES,
    AbandonTrial,
    Decision,
    Exhausted,
    Failback,
    FailoverEvent,
    FailoverState,
    Retry,
    Switch,
    TryFailback,
    TryRelief,
)

LONGEST_TRIAL = 12  # in multiples of failback_after: the longest trial; the active time that clears all failures
FIRST_WAIT = 0.1  # in multiples of failback_after: the wait between leaving a venue and its first trial
LAST_WAIT = 2.0  # in multiples of failback_after: the longest wait between trials
REFUSED_FIRST = 5.0  # seconds without an attempt after the first refusal of a venue
CARRYING = 1.5  # a connection carries data right now if its last data is at most this many seconds old
JUST = 0.25  # the same limit when a preferred venue takes over from a working one
TRIAL_SILENCE = 30.0  # seconds without data that end a trial: a venue that carries all coins is never so quiet
RELIEF_STEP = 0.4  # seconds between the starts of two venues' trials, while data is needed
RELIEF_SPREAD = 0.8  # seconds after which all other venues are on trial, while data is needed
RELIEF_AGAIN = 1.0  # seconds until a venue whose trial failed is tried again, if its backoff is not longer


@dataclass(slots=True)
class _Turn:
    """A venue's turn, active or on trial: the data of its connection, and the attempts that failed in a row."""

    venue: str
    since: float  # when the turn began
    proving: bool = False  # on trial as the preferred venue, to which the feed may return
    first: float | None = None  # when this connection had its first data
    last: float = -inf  # when this connection had its last data
    failed: int = 0
    fallen: bool = False  # a connection has ended, and no later connection was stable
    returned: bool = False  # the feed returned to this preferred venue: leaving it soon counts as flapping

    def note(self, now: float) -> None:
        if self.first is None:
            self.first = now
        self.last = max(self.last, now)

    def fall(self, stable_after: float) -> bool:
        """Call this when the venue's connection ended; returns whether it was a failed redial."""
        brought = self.first is not None
        stable = brought and self.flowed >= stable_after
        redialled = not brought or (self.fallen and not stable)
        self.failed = 0 if stable else self.failed + 1
        self.fallen, self.first = True, None
        return redialled

    @property
    def fails_at(self) -> float:
        """When the trial of this venue fails if no more data comes."""
        return max(self.since, self.last) + TRIAL_SILENCE

    @property
    def flowed(self) -> float:
        """Seconds from the first data to the last."""
        return 0.0 if self.first is None else self.last - self.first

    def carries(self, now: float, within: float) -> bool:
        """Whether data flows right now."""
        return self.first is not None and now - self.last <= within


@dataclass(slots=True)
class _Record:
    """What is remembered of a venue while others are active."""

    shut_until: float = -inf  # no dial before this time: the venue has blocked or refused the feed
    refused_until: float = -inf  # no dial before this time: the venue has refused what was requested
    refusals: int = 0  # number of refusals since the venue last carried data
    trial_at: float = -inf  # no trial before this time
    relief_at: float = -inf  # no trial before this time even if data is needed
    failures: int = 0  # failed trials and failed returns, since the venue last worked well
    relapses: int = 0  # failed returns to the venue, since it last worked well

    def trial_wait(self) -> float:
        """The wait until the venue's next trial, in multiples of failback_after."""
        return doubled(FIRST_WAIT, self.failures, LAST_WAIT)

    @property
    def trial_needed(self) -> float:
        """How long the venue must carry data on trial, in multiples of failback_after."""
        return float(min(2**self.relapses, LONGEST_TRIAL))


@dataclass(eq=False, repr=False)
class Failover:
    """The failover policy. Dial ``active`` first; then pass each event, and carry out the decisions returned.

    The methods take ``now`` in monotonic seconds. An event of a venue that is neither active nor on trial changes
    nothing, except that a refusal is remembered. ``blocked_cooldown``: how long a block lasts, by default 10 minutes,
    like Bybit's ban for too frequent access. Any other refusal lasts REFUSED_FIRST at first, and twice as long each
    time until the venue carries data. ``relief_after``: the silence, since ``heard``, after which the other venues are
    put on trial.
    """

    venues: Sequence[str]
    attempts_before_failover: int
    """Failed attempts in a row after which a venue is left; the caller may change it."""
    failback_after: float
    blocked_cooldown: float = 600.0
    stable_after: float = 30.0
    relief_after: float = inf
    heard: float = inf
    """When the feed last had data that was up to date; before the first data, when the policy began."""

    def __post_init__(self) -> None:
        self._carrying = min(CARRYING, self.relief_after / 2)
        self._step = min(RELIEF_STEP, RELIEF_SPREAD / max(1, len(self.venues) - 2))
        self._records = {venue: _Record() for venue in self.venues}
        self.state = FailoverState.CONNECTING
        self._turn = _Turn(self.venues[0], inf)
        self._trials: dict[str, _Turn] = {}
        self._reason = ""  # why another venue is needed; "" for silence
        self._lagging = False
        self._step_at = -inf  # when the next venue may be put on trial, while data is needed

    def __repr__(self) -> str:
        return f"<Failover {self.state.value} {self.active}, trials {', '.join(self._trials) or None}>"

    @property
    def active(self) -> str | None:
        """The venue that carries the feed or is dialled for it; None while every venue refuses or blocks the feed."""
        return None if self.state is FailoverState.EXHAUSTED else self._turn.venue

    @property
    def trials(self) -> tuple[str, ...]:
        """The venues on trial."""
        return tuple(self._trials)

    @property
    def trial(self) -> str | None:
        """The preferred venue on trial, to which the feed may return."""
        return next((venue for venue, trial in self._trials.items() if trial.proving), None)

    def awaits(self, venue: str, now: float) -> bool:
        """Whether the next data of this venue may lead to a decision, so that it should be passed on at once."""
        trial = self._trials.get(venue)
        if trial is None or self.state is FailoverState.RELIEF:
            return trial is not None
        return trial.first is None or now - trial.first >= self._trial_needed(venue)

    def data(self, venue: str, at: float, now: float | None = None) -> list[Decision]:
        """Note data of this venue, which is active or on trial; ``at`` is when the data came, by default ``now``.

        For a venue on trial, pass only data that is up to date.
        """
        now = at if now is None else now
        if venue == self.active:
            return self._active_data(at)
        trial = self._trials.get(venue)
        if trial is None:
            return []
        if at > trial.fails_at:
            return [self._fail_trial(venue, now)]
        self._records[venue].refusals = 0
        trial.note(at)
        if self.state is FailoverState.RELIEF:
            return self._relieved(now)
        if trial.flowed >= self._trial_needed(venue) and trial.carries(now, JUST):
            left = self._turn.venue
            return [*self._take(venue, now, FailoverEvent.PASSED), Failback(left, venue)]
        return []

    def lagging(self, venue: str, seconds: float, now: float) -> list[Decision]:
        """Call this when the active venue's data is too far behind to count."""
        if venue != self.active:
            return []
        self._lagging = True
        return self._need(now, f"lags {seconds:.1f} s")

    def caught_up(self, venue: str) -> None:
        """Call this when the active venue's data counts again, from the next piece on."""
        if venue == self.active:
            self._lagging = False

    def disconnected(self, venue: str, now: float, reason: str = "") -> list[Decision]:
        """Call this when this venue's connection ended, or could not be made."""
        if venue in self._trials:
            return [self._fail_trial(venue, now)]
        if venue != self.active:
            return []
        turn = self._turn
        redialled = turn.fall(self.stable_after)
        self._lagging = False
        why = f"{turn.failed} failed attempt{'s' * (turn.failed != 1)} in a row" if turn.failed else "connection lost"
        why = f"{why}: {reason}" if reason else why
        if turn.failed >= self.attempts_before_failover or self._carrying_trial(now) is not None:
            return self._leave(now, why, FailoverEvent.FELL)
        return [self._retry(), *(self._need(now, why) if redialled else [])]

    def blocked(self, venue: str, status: int, now: float) -> list[Decision]:
        """Call this when this venue blocks the feed (HTTP ``status``)."""
        return self._said_no(venue, now, f"blocked (HTTP {status})", self.blocked_cooldown)

    def refused(self, venue: str, reason: str, now: float, longest: float = inf) -> list[Decision]:
        """Note a refusal of this venue, e.g. because it lists none of the coins; it is not dialled for ``longest`` at
        most.
        """
        record = self._records[venue]
        cooldown = doubled(REFUSED_FIRST, record.refusals, longest)
        record.refusals += 1
        record.refused_until = now + cooldown
        return self._said_no(venue, now, reason, cooldown)

    def asked_anew(self, now: float) -> list[Decision]:
        """Call this when other coins or channels are wanted now: earlier refusals do not count any more."""
        for record in self._records.values():
            if record.shut_until <= record.refused_until:
                record.shut_until = min(record.shut_until, now)
        return self.tick(now)

    def put_off(self, venue: str, seconds: float, reason: str, now: float) -> list[Decision]:
        """Call this when this venue forbids a dial for ``seconds``, which is longer than the feed may be silent."""
        return self._said_no(venue, now, f"wants to be left alone for {seconds:g} s: {reason}", seconds)

    def tick(self, now: float) -> list[Decision]:
        """Do what is due at ``now``; call this at next_tick() at the latest."""
        if now < self.next_tick(now):
            return []
        if self.state is FailoverState.EXHAUSTED:
            return [self._reopen(now)]
        if over := [venue for venue, trial in self._trials.items() if trial.fails_at <= now]:
            return [self._fail_trial(venue, now) for venue in over]
        if self.state is FailoverState.RELIEF:
            return self._try_relief(now)
        if self._silence_at <= now:
            return self._need(now, "")
        to = next(venue for venue in self._preferred() if self._trial_due(venue) <= now)
        self._trials[to] = _Turn(to, now, proving=True)
        self._move(FailoverEvent.TRIED)
        return [TryFailback(to)]

    def next_tick(self, now: float) -> float:
        """When tick() must be called, if nothing else happens; ``inf`` for never."""
        if self.state is FailoverState.EXHAUSTED:
            return min(record.shut_until for record in self._records.values())
        due = [trial.fails_at for trial in self._trials.values()]
        if self.state is FailoverState.RELIEF:
            due += [
                max(self._step_at, self._relief_due(venue)) for venue in self._others() if venue not in self._trials
            ]
        else:
            due.append(self._silence_at)
        if self.state is FailoverState.LIVE:
            due += map(self._trial_due, self._preferred())
        return min(due, default=inf)

    def _move(self, event: FailoverEvent) -> None:
        self.state = MOVES[self.state, event]

    def _active_data(self, at: float) -> list[Decision]:
        self._records[self._turn.venue].refusals = 0
        self._turn.note(at)
        if self._lagging:
            return []
        news = self.heard == inf or at > self.heard
        self.heard = at if news else self.heard
        if self.state is FailoverState.CONNECTING:
            self._move(FailoverEvent.FLOWED)
        elif self.state is FailoverState.RELIEF and news:
            dropped: list[Decision] = [*self._drop_trials(but=self.trial)]
            self._move(FailoverEvent.FLOWED)
            if self._trials:
                self._move(FailoverEvent.TRIED)
            return dropped
        return []

    def _need(self, now: float, reason: str) -> list[Decision]:
        """Make the first other venue with data active, because the active venue has no data that counts."""
        if len(self.venues) == 1:
            return []
        if self.state is not FailoverState.RELIEF:
            self._move(FailoverEvent.NEEDED)
            self._step_at = now
        self._reason = reason
        return self._relieved(now) or self._try_relief(now)

    def _relieved(self, now: float) -> list[Decision]:
        """Switch to a venue on trial that carries data, if there is one."""
        to = self._carrying_trial(now)
        if to is None:
            return []
        self._book(self._turn, now)
        left, reason = self._turn.venue, self._reason or f"no data for {now - self.heard:.1f} s"
        return [*self._take(to, now, FailoverEvent.RESCUED), Switch(left, to, reason)]

    def _try_relief(self, now: float) -> list[Decision]:
        """Put the next venue on trial, if it is time."""
        if now < self._step_at:
            return []
        waiting = (venue for venue in self._others() if venue not in self._trials and self._relief_due(venue) <= now)
        if (to := next(waiting, None)) is None:
            return []
        self._trials[to] = _Turn(to, now)
        self._step_at = now + self._step
        return [TryRelief(to)]

    def _carrying_trial(self, now: float) -> str | None:
        carrying = [venue for venue, trial in self._trials.items() if trial.carries(now, self._carrying)]
        return min(carrying, key=self.venues.index, default=None)

    @property
    def _silence_at(self) -> float:
        """When the feed will have been silent for too long."""
        return inf if len(self.venues) == 1 else self.heard + self.relief_after

    def _said_no(self, venue: str, now: float, reason: str, cooldown: float) -> list[Decision]:
        record = self._records[venue]
        record.shut_until = max(record.shut_until, now + cooldown)
        if venue in self._trials:
            return [self._fail_trial(venue, now)]
        return self._leave(now, reason, FailoverEvent.SHUT) if venue == self.active else []

    def _leave(self, now: float, reason: str, alone: FailoverEvent) -> list[Decision]:
        """Switch to a venue on trial that carries data, else to the next venue in order.

        ``alone``: what happens if there is no other venue: FELL, the active venue is dialled again; SHUT, no venue is
        dialled until a cooldown is over.
        """
        left = self._turn
        if (carrying := self._carrying_trial(now)) is not None:
            self._book(left, now)
            return [*self._take(carrying, now, FailoverEvent.RESCUED), Switch(left.venue, carrying, reason)]
        to = self._next_venue(now)
        if to is None and alone is FailoverEvent.FELL:
            return [self._retry()]
        self._book(left, now)
        self._lagging = False
        if to is None:
            dropped = self._drop_trials()
            self._move(alone)
            until = self.next_tick(now)
            return [*dropped, Exhausted(until, self._first_open(until))]
        taken = self._trials.pop(to, None)
        self._turn = _Turn(to, now) if taken is None else taken
        for venue, trial in self._trials.items():
            trial.proving &= self.venues.index(venue) < self.venues.index(to)
        self._turn.proving = False
        self._records[left.venue].relief_at = now + RELIEF_AGAIN
        self._reason = reason
        self._move(FailoverEvent.LEFT)
        return [Switch(left.venue, to, reason)]

    def _retry(self) -> Retry:
        self._move(FailoverEvent.FELL)
        return Retry(self._turn.venue)

    def _reopen(self, now: float) -> Retry | Switch:
        left, to = self._turn.venue, self._first_open(now)
        self._turn = _Turn(to, now)
        self._move(FailoverEvent.REOPENED)
        return Retry(to) if to == left else Switch(left, to, "its cooldown is over")

    def _book(self, turn: _Turn, now: float) -> None:
        """Update the record of a venue that is left because it failed."""
        record = self._records[turn.venue]
        if now - turn.since >= LONGEST_TRIAL * self.failback_after:
            record.failures = record.relapses = 0
        elif turn.returned:
            record.failures += 1
            record.relapses += 1
        record.trial_at = now + record.trial_wait() * self.failback_after

    def _take(self, venue: str, now: float, event: FailoverEvent) -> list[AbandonTrial]:
        """Make the connection on trial the active connection; the other trials end."""
        left, self._turn = self._turn, self._trials.pop(venue)
        self._turn.since = now
        self._turn.proving = False
        self._turn.returned = self.venues.index(venue) < self.venues.index(left.venue)
        self.heard = self._turn.last
        self._lagging = False
        self._move(event)
        return self._drop_trials()

    def _fail_trial(self, venue: str, now: float) -> AbandonTrial:
        trial, record = self._trials.pop(venue), self._records[venue]
        record.relief_at = now + RELIEF_AGAIN
        self._step_at = min(self._step_at, now)
        if trial.proving:
            record.failures += 1
            record.trial_at = now + record.trial_wait() * self.failback_after
            self._move(FailoverEvent.FAILED)
        return AbandonTrial(venue)

    def _drop_trials(self, but: str | None = None) -> list[AbandonTrial]:
        """End the trials; this does not count as a failure."""
        dropped = [venue for venue in self._trials if venue != but]
        for venue in dropped:
            del self._trials[venue]
        return [AbandonTrial(venue) for venue in dropped]

    def _others(self) -> list[str]:
        """The other venues in the settings' order, beginning after the active venue; the first follows the last."""
        place = self.venues.index(self._turn.venue)
        return [*self.venues[place + 1 :], *self.venues[:place]]

    def _next_venue(self, now: float) -> str | None:
        """The next venue that does not refuse or block the feed."""
        return next((venue for venue in self._others() if self._records[venue].shut_until <= now), None)

    def _first_open(self, now: float) -> str:
        return next(venue for venue in self.venues if self._records[venue].shut_until <= now)

    def _preferred(self) -> Sequence[str]:
        return self.venues[: self.venues.index(self._turn.venue)]

    def _trial_due(self, venue: str) -> float:
        return max(self._records[venue].trial_at, self._records[venue].shut_until)

    def _relief_due(self, venue: str) -> float:
        return max(self._records[venue].relief_at, self._records[venue].shut_until)

    def _trial_needed(self, venue: str) -> float:
        return self._records[venue].trial_needed * self.failback_after
