"""The failover policy is compared with a model of its rules: the first venue that works is active, without flapping."""

from __future__ import annotations

from math import inf

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from feed.policies.failover import (
    CARRYING,
    REFUSED_FIRST,
    Failover,
)
from feed.policies.failover_decisions import (
    AbandonTrial,
    Decision,
    Exhausted,
    Failback,
    FailoverState,
    Retry,
    Switch,
    TryFailback,
    TryRelief,
)
from tests.feed.policies.failover_support import (
    ATTEMPTS,
    COOLDOWN,
    FAILBACK,
    NAMES,
    SILENCE,
    STABLE,
)
from tests.properties import drawing


class FailoverRules(RuleBasedStateMachine):
    """Any venue may fail, refuse or deliver at any time; the model knows all inputs and checks each decision."""

    @initialize(count=st.integers(1, 3))
    def begin(self, count: int) -> None:
        self.venues = NAMES[:count]
        self.now = 1000.0
        self.policy = Failover(self.venues, ATTEMPTS, FAILBACK, COOLDOWN, STABLE, SILENCE, self.now)
        self.active, self.exhausted = self.venues[0], False
        self.trials: dict[str, bool] = {}  # venue -> whether the trial is for a failback
        self.shut = dict.fromkeys(self.venues, -inf)
        self.refusals = dict.fromkeys(self.venues, 0)
        self.spans: dict[str, list[float]] = {}  # venue -> the times of data of its connection, active or on trial
        self.failed = 0

    @property
    def trial(self) -> str:
        return next((venue for venue, proving in self.trials.items() if proving), "")

    def carry_out(self, decisions: list[Decision]) -> None:
        for decision in decisions:
            match decision:
                case Retry(venue):
                    assert venue == self.active
                    assert self.shut[venue] <= self.now
                    if self.exhausted:
                        self.exhausted, self.failed = False, 0
                    self.spans.pop(venue, None)
                case Switch(from_, to, reason):
                    assert (from_, reason != "") == (self.active, True)
                    assert to != from_
                    assert self.shut[to] <= self.now, "a venue that refused is dialled before its cooldown is over"
                    assert not self.carries(to) or set(self.trials) == {to}, "a trial was not ended"
                    self.move_to(to)
                case TryFailback(to):
                    assert self.trials == {}
                    assert self.live(), "a trial while the active venue is down"
                    assert self.venues.index(to) < self.venues.index(self.active)
                    assert self.shut[to] <= self.now
                    self.trials[to] = True
                case TryRelief(to):
                    assert to not in {self.active, *self.trials}
                    assert self.shut[to] <= self.now
                    self.trials[to] = False
                case Failback(from_, to):
                    assert (from_, self.trials) == (self.active, {to: True})
                    assert self.carried(to) >= FAILBACK
                    assert self.carries(to), "the feed returns to a silent venue"
                    self.move_to(to)
                case AbandonTrial(venue):
                    del self.trials[venue]
                    self.spans.pop(venue, None)
                case Exhausted(until, venue):
                    assert all(shut > self.now for shut in self.shut.values())
                    assert until == min(self.shut.values()) == self.shut[venue]
                    self.exhausted = True

    def move_to(self, venue: str) -> None:
        self.spans.pop(self.active, None)
        self.active, self.exhausted, self.failed = venue, False, 0
        self.trials.pop(venue, None)
        place = self.venues.index(venue)
        self.trials = {each: proving and self.venues.index(each) < place for each, proving in self.trials.items()}

    def carried(self, venue: str) -> float:
        return self.spans[venue][-1] - self.spans[venue][0] if self.spans.get(venue) else 0.0

    def carries(self, venue: str) -> bool:
        """Whether data of the venue has just come."""
        return bool(self.spans.get(venue)) and self.now - self.spans[venue][-1] <= CARRYING

    def live(self) -> bool:
        return not self.exhausted and bool(self.spans.get(self.active))

    @rule(seconds=st.sampled_from([0.1, 1.0, 5.0, 29.0, 31.0, 100.0, 700.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule(venue=st.sampled_from(NAMES), seconds=st.sampled_from([0.0, 5.0, 20.0]), times=st.sampled_from([1, 1, 20]))
    def data(self, venue: str, seconds: float, times: int) -> None:
        for _ in range(times):
            self.now += seconds
            if venue in (self.active, *self.trials) and not (venue == self.active and self.exhausted):
                self.spans.setdefault(venue, []).append(self.now)
            if venue in self.venues:
                if venue in (self.active, *self.trials) and not (venue == self.active and self.exhausted):
                    self.refusals[venue] = 0
                self.carry_out(self.policy.data(venue, self.now))

    @rule(seconds=st.sampled_from([0.0, 5.0, 20.0]), times=st.integers(1, 40))
    def all_is_well(self, seconds: float, times: int) -> None:
        """Data comes from the active venue and from all venues on trial, and time passes."""
        for _ in range(times):
            for venue in (self.active, *self.trials):
                self.data(venue, 0.0, 1)
            self.now += seconds
            self.tick()

    @rule()
    def active_is_disconnected(self) -> None:
        before, exhausted = self.active, self.exhausted
        self.failed = 0 if self.carried(before) >= STABLE else self.failed + 1
        failed, others = self.failed, [venue for venue in self.venues if venue != before]
        carrying = [venue for venue in self.trials if self.carries(venue)]
        self.spans.pop(before, None)
        decisions = self.policy.disconnected(before, self.now, "reset by peer")
        self.carry_out(decisions)
        if exhausted:
            assert decisions == []
            self.failed -= 1
        elif carrying:
            assert self.active in carrying, "data was flowing on trial"
        elif failed >= ATTEMPTS and any(self.shut[venue] <= self.now for venue in others):
            assert self.active != before
        else:
            assert Retry(before) in decisions

    @rule(seconds=st.sampled_from([0.5, 2.0]))
    def active_is_silent(self, seconds: float) -> None:
        """The active connection stays open; if a trial has data now, the feed switches to that venue."""
        if self.exhausted:
            return
        before = self.active
        for _ in range(30):
            self.now += seconds
            self.tick()
            if self.active != before or self.exhausted:
                return
        others = [venue for venue in self.venues if venue != before and self.shut[venue] <= self.now]
        assert {*others} <= {*self.trials}, "a venue that may be dialled is not tried"
        if others:
            self.data(others[-1], 0.0, 1)
            assert self.active == others[-1]

    @rule(seconds=st.sampled_from([6.0, 60.0]))
    def active_lags(self, seconds: float) -> None:
        if not self.live():
            return
        carrying = [venue for venue in self.trials if self.carries(venue)]
        before = self.active
        self.carry_out(self.policy.lagging(before, seconds, self.now))
        assert self.active in (carrying or [before])
        self.policy.caught_up(self.active)

    @precondition(lambda self: self.trials)
    @rule(data=st.data())
    def trial_is_disconnected(self, data: st.DataObject) -> None:
        venue = data.draw(st.sampled_from(sorted(self.trials)))
        self.carry_out(self.policy.disconnected(venue, self.now))
        assert venue not in self.trials

    @rule(venue=st.sampled_from(NAMES), status=st.sampled_from([451, 403, None]))
    def says_no(self, venue: str, status: int | None) -> None:
        if venue not in self.venues:
            return
        was_active = venue == self.active and not self.exhausted
        refused = min(REFUSED_FIRST * 2 ** self.refusals[venue], COOLDOWN)
        self.shut[venue] = max(self.shut[venue], self.now + (COOLDOWN if status is not None else refused))
        if status is None:
            self.refusals[venue] += 1
            self.carry_out(self.policy.refused(venue, "lists none of the coins", self.now, COOLDOWN))
        else:
            self.carry_out(self.policy.blocked(venue, status, self.now))
        assert venue not in self.trials
        assert not was_active or self.exhausted or self.active != venue, "a refusal has no immediate effect"

    @rule()
    def tick(self) -> None:
        for _ in range(6):  # each decision may cause the next
            due, state = self.policy.next_tick(self.now), self.policy.state
            decisions = self.policy.tick(self.now)
            acts = bool(decisions) or self.policy.state is not state
            assert acts == (due <= self.now), "next_tick() tells exactly when tick() acts"
            self.carry_out(decisions)
        if any(shut <= self.now for shut in self.shut.values()):
            assert not self.exhausted, "a venue may be dialled, but is not"

    @rule(venue=st.sampled_from(NAMES))
    def an_old_connection_ends(self, venue: str) -> None:
        if venue in self.venues and venue not in (self.active, *self.trials):
            assert self.policy.disconnected(venue, self.now) == []

    @invariant()
    def there_is_one_active_venue_and_at_most_one_is_to_be_returned_to(self) -> None:
        if not hasattr(self, "policy"):
            return
        assert self.policy.active == (None if self.exhausted else self.active)
        assert set(self.policy.trials) == set(self.trials)
        assert (self.policy.trial or "") == self.trial
        assert self.active not in self.trials
        assert sum(self.trials.values()) <= 1
        assert not self.trials or self.policy.state in (FailoverState.TRIAL, FailoverState.RELIEF)


TestFailoverRules = FailoverRules.TestCase


TestFailoverRules.settings = drawing(150, stateful_step_count=40)
