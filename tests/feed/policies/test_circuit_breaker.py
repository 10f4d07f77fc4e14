"""The breaker opens, half-opens and closes like a model that knows the whole past."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from feed.policies.circuit_breaker import MOVES, BreakerSignal, BreakerState, CircuitBreakerPolicy, Transition
from tests.properties import drawing

FAILURES, WINDOW, COOLDOWN = 3, 60.0, 45.0
HEALTHY = WINDOW / 4


class BreakerRules(RuleBasedStateMachine):
    """Failures, data and time in any order. The model derives the state from the log of all events."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = CircuitBreakerPolicy(FAILURES, WINDOW, COOLDOWN)
        self.now = 100.0
        self.log: list[tuple[str, float]] = []
        self.told: list[str] = []

    def model(self) -> tuple[str, list[str]]:
        """Derive the state from the whole past, by the rules of the contract."""
        state, told, until = "closed", list[str](), 0.0
        failed, healthy = list[float](), list[float]()

        def become(new: str) -> None:
            nonlocal state
            state = new
            told.append(f"circuit_{new}")
            failed.clear()
            healthy.clear()

        for what, at in self.log:
            if state == "open" and at >= until:
                become("half_open")
            if what == "failure" and state != "open":
                failed.append(at)
                healthy.clear()
                if state == "half_open" or len([then for then in failed if then >= at - WINDOW]) >= FAILURES:
                    until = at + COOLDOWN
                    become("open")
            elif what == "data" and state == "half_open":
                healthy.append(at)
                if healthy[-1] - healthy[0] >= HEALTHY:
                    become("closed")
        return state, told

    def happened(self, what: str, transitions: list[Transition]) -> None:
        self.log.append((what, self.now))
        self.told += [transition.event for transition in transitions]
        for transition in transitions:
            if transition.event == "circuit_open":
                assert self.breaker.next_tick == self.now + COOLDOWN
                assert transition.seconds == COOLDOWN
                assert "dropped" in transition.reason

    @rule(seconds=st.sampled_from([0.25, 1.0, 7.5, 15.0, 20.0, 45.0, 60.0, 61.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def failure(self) -> None:
        self.happened("failure", self.breaker.failure("dropped", self.now))

    @rule(times=st.integers(1, 5), seconds=st.sampled_from([0.0, 5.0]))
    def data(self, times: int, seconds: float) -> None:
        for _ in range(times):
            self.happened("data", self.breaker.data(self.now))
            self.now += seconds

    @rule()
    def tick(self) -> None:
        self.happened("tick", self.breaker.tick(self.now))

    @rule()
    def tick_when_due(self) -> None:
        if (due := self.breaker.next_tick) is not None and due >= self.now:
            self.now = due
            transitions = self.breaker.tick(self.now)
            assert [transition.event for transition in transitions] == ["circuit_half_open"]
            self.happened("tick", transitions)

    @invariant()
    def it_is_where_the_model_is(self) -> None:
        state, told = self.model()
        assert self.breaker.state.value == state
        assert self.told == told
        assert self.breaker.tradable == (state != "open")


TestBreakerRules = BreakerRules.TestCase
TestBreakerRules.settings = drawing(120, stateful_step_count=40)


@given(st.lists(st.floats(0, 40), max_size=60), st.integers(1, 6))
def test_the_breaker_opens_at_the_failure_that_reaches_the_limit_within_the_window(
    pauses: list[float], failures: int
) -> None:
    breaker, now, times = CircuitBreakerPolicy(failures, WINDOW, COOLDOWN), 0.0, list[float]()
    for pause in pauses:
        now += pause
        times.append(now)
        opened = breaker.failure("stale", now)
        full = len(times) >= failures and now - times[-failures] <= WINDOW
        assert bool(opened) == full
        if opened:
            return


def test_every_state_can_be_reached_and_left_and_every_signal_is_used() -> None:
    assert {state for state, _ in MOVES} == set(BreakerState) == set(MOVES.values())
    assert {signal for _, signal in MOVES} == set(BreakerSignal)


def test_every_transition_is_reported_with_its_reason() -> None:
    breaker = CircuitBreakerPolicy(2, 60.0, 30.0, healthy_for=5.0)
    assert breaker.failure("bybit: stale", 0.0) == []
    assert breaker.failure("bybit: reset by peer", 10.0) == [
        Transition("circuit_open", "2 failures within 60 s, last: bybit: reset by peer", 30.0)
    ]
    assert not breaker.tradable
    assert breaker.data(39.9) == []
    assert breaker.tick(40.0) == [Transition("circuit_half_open")]
    assert breaker.tradable
    assert breaker.failure("no venue left", 41.0) == [Transition("circuit_open", "no venue left", 30.0)]
    assert breaker.next_tick == 71.0
    assert breaker.data(72.0) == [Transition("circuit_half_open")]
    assert breaker.data(77.0) == [Transition("circuit_closed")]
    assert breaker.failure("the past is forgotten", 78.0) == []


def test_failures_while_the_breaker_is_open_do_not_prolong_the_cooldown() -> None:
    breaker = CircuitBreakerPolicy(1, 60.0, 30.0)
    breaker.failure("down", 0.0)
    for second in range(1, 30):
        assert breaker.failure("still down", float(second)) == []
    assert breaker.next_tick == 30.0
    assert breaker.tick(30.0) == [Transition("circuit_half_open")]


@pytest.mark.parametrize("late", [30.0, 500.0])
def test_a_late_tick_returns_all_transitions(late: float) -> None:
    breaker = CircuitBreakerPolicy(1, 60.0, 30.0)
    breaker.failure("down", 0.0)
    events = [transition.event for transition in breaker.failure("down again", late)]
    assert events == ["circuit_half_open", "circuit_open"]
