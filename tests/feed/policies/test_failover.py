"""Which venue is active and which is next, after outages, refusals and trials, and with a primary that flaps."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feed.policies.failover import (
    LONGEST_TRIAL,
    REFUSED_FIRST,
    TRIAL_SILENCE,
    Failover,
)
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
from tests.feed.policies.failover_support import (
    ATTEMPTS,
    FAILBACK,
    NAMES,
    SILENCE,
    on_binance,
    policy,
)
from tests.properties import drawing


def test_every_state_is_reached_and_left_and_every_event_is_used() -> None:
    """The test checks the table of the policy's states."""
    assert {state for state, _ in MOVES} == set(FailoverState) == set(MOVES.values())
    assert {event for _, event in MOVES} == set(FailoverEvent)


# What a faulty venue does when it is dialled.
FAULTS: dict[str, Callable[[Failover, str, float], list[Decision]]] = {
    "unreachable": lambda it, venue, now: it.disconnected(venue, now),
    "accepts and drops": lambda it, venue, now: it.data(venue, now) + it.disconnected(venue, now + 0.5),
    "blocked": lambda it, venue, now: it.blocked(venue, 451, now),
    "refuses": lambda it, venue, now: it.refused(venue, "no such market", now),
}


@given(st.lists(st.sampled_from([*FAULTS, "well"]), min_size=1, max_size=6).filter(lambda all_: "well" in all_))
def test_if_one_venue_is_healthy_the_feed_ends_up_on_it(behaviour: list[str]) -> None:
    venues = [f"v{n}" for n in range(len(behaviour))]
    it, dials = policy(venues), 1
    while (fault := behaviour[venues.index(it.active or "")]) != "well":
        FAULTS[fault](it, it.active or "", float(dials))
        dials += 1
        assert dials <= ATTEMPTS * len(venues)
    assert all(isinstance(each, AbandonTrial) for each in it.data(it.active or "", 100.0))
    assert it.state is FailoverState.LIVE


@given(st.lists(st.sampled_from(["unreachable", "accepts and drops"]), min_size=1, max_size=4))
def test_when_all_venues_fail_they_are_tried_in_turn_for_ever(behaviour: list[str]) -> None:
    venues = [f"v{n}" for n in range(len(behaviour))]
    it, tried = policy(venues), []
    for dial in range(30 * ATTEMPTS):
        assert it.active is not None
        tried.append(it.active)
        FAULTS[behaviour[venues.index(it.active)]](it, it.active, float(dial))
    assert tried == [venue for venue in (venues * 30)[:30] for _ in range(ATTEMPTS)]


def test_when_all_venues_refuse_the_venue_whose_pause_ends_first_is_tried() -> None:
    it = policy()
    assert it.blocked("bybit", 403, 0.0) == [Switch("bybit", "binance", "blocked (HTTP 403)")]
    assert it.blocked("binance", 451, 5.0) == [Switch("binance", "binance_us", "blocked (HTTP 451)")]
    assert it.blocked("binance_us", 451, 9.0) == [Exhausted(600.0, "bybit")]
    assert it.active is None
    assert it.tick(599.9) == []
    assert it.tick(600.0) == [Switch("binance_us", "bybit", "its cooldown is over")]


def test_the_pause_after_a_refusal_grows_until_the_venue_carries_data() -> None:
    """A maintenance may be short or long. A venue that does not list the coins at all is asked less and less often."""
    it, now, waits = policy(["binance"]), 0.0, list[float]()
    for _ in range(6):
        it.refused("binance", "has halted BTC", now, 60.0)
        waits.append(it.next_tick(now) - now)
        now = it.next_tick(now)
        assert it.tick(now) == [Retry("binance")]
    assert waits == [5, 10, 20, 40, 60, 60]
    it.data("binance", now)
    it.refused("binance", "has halted BTC", now, 60.0)
    assert it.next_tick(now) == now + REFUSED_FIRST


def test_a_single_venue_is_tried_for_ever_even_after_a_refusal() -> None:
    it = policy(["binance"])
    assert [it.disconnected("binance", float(n)) for n in range(50)] == [[Retry("binance")]] * 50
    assert it.blocked("binance", 451, 50.0) == [Exhausted(650.0, "binance")]
    assert it.tick(650.0) == [Retry("binance")]


def test_the_end_of_a_stable_connection_does_not_count_as_a_failed_attempt() -> None:
    it = policy()
    for second in range(31):
        it.data("bybit", float(second))
    assert it.disconnected("bybit", 31.0) == [Retry("bybit")]
    assert it.state is FailoverState.CONNECTING
    assert it.disconnected("bybit", 32.0) == [Retry("bybit"), TryRelief("binance")]
    assert it.disconnected("bybit", 32.1) == [Retry("bybit")]
    assert it.disconnected("bybit", 33.0) == [Switch("bybit", "binance", "3 failed attempts in a row")]


def test_failback_happens_after_a_trial_with_data_for_failback_after_seconds() -> None:
    it = on_binance()
    assert it.tick(29.9) == []
    assert it.tick(30.0) == [TryFailback("bybit")]
    assert it.data("bybit", 35.0) == []
    for second in range(36, 335):
        assert it.data("bybit", float(second)) == []
    assert it.data("bybit", 335.0) == [Failback("binance", "bybit")]
    assert it.state is FailoverState.LIVE


def test_a_silent_trial_is_abandoned_and_the_wait_for_the_next_trial_doubles_up_to_its_cap() -> None:
    it, now, waits = on_binance(), 0.0, []
    for _ in range(8):
        waits.append(it.next_tick(now) - now)
        now = it.next_tick(now)
        assert it.tick(now) == [TryFailback("bybit")]
        now += TRIAL_SILENCE
        assert it.tick(now) == [AbandonTrial("bybit")]
    assert waits == [30, 60, 120, 240, 480, 600, 600, 600]


def test_a_trial_whose_data_was_interrupted_has_failed() -> None:
    it = on_binance()
    it.tick(30.0)
    assert it.data("bybit", 31.0) == []
    assert it.data("bybit", 31.1 + TRIAL_SILENCE) == [AbandonTrial("bybit")]


def test_while_the_first_venue_is_down_the_feed_returns_to_the_second_venue() -> None:
    it = policy()
    it.blocked("bybit", 451, 0.0)
    it.blocked("binance", 451, 0.0)
    it.data("binance_us", 1.0)
    assert it.tick(600.0) == [TryFailback("bybit")]
    assert it.blocked("bybit", 451, 601.0) == [AbandonTrial("bybit")]
    assert it.tick(602.0) == [TryFailback("binance")]


def test_when_the_active_venue_fails_a_trial_that_carries_data_takes_over_at_once() -> None:
    it = on_binance()
    it.tick(30.0)
    for second in range(31, 62):
        it.data("bybit", float(second))
        it.data("binance", float(second))
    assert it.disconnected("binance", 62.0) == [Switch("binance", "bybit", "connection lost")]
    assert it.state is FailoverState.LIVE
    assert it.trial is None


@pytest.mark.parametrize("told", ["silent", "disconnected", "lagging"])
def test_a_trial_with_data_takes_over_at_once_when_the_active_venue_is_silent_or_late_or_cut(told: str) -> None:
    """One piece of data on trial is enough, long before the trial would have passed."""
    it = on_binance(relief_after=SILENCE)
    it.data("binance", 31.0)
    it.tick(31.0)
    it.data("bybit", 35.9)
    said = {
        "silent": lambda: it.tick(36.0),
        "disconnected": lambda: it.disconnected("binance", 36.0),
        "lagging": lambda: it.lagging("binance", 6.0, 36.0),
    }[told]()
    reason = {"silent": "no data for 5.0 s", "disconnected": "connection lost", "lagging": "lags 6.0 s"}[told]
    assert said == [Switch("binance", "bybit", reason)]
    assert (it.state, it.active, it.trials) == (FailoverState.LIVE, "bybit", ())


def test_the_feed_switches_to_a_venue_on_trial_only_if_this_venue_has_data_now() -> None:
    """If all venues are cut off, a trial that has had data for a long time has no data now."""
    it = on_binance()
    it.tick(30.0)
    for second in range(31, 91):
        it.data("bybit", float(second))
        it.data("binance", float(second))
    assert it.disconnected("binance", 100.0) == [Retry("binance")]
    assert it.trials == ("bybit",)
    again = on_binance()
    again.tick(30.0)
    again.data("bybit", 31.0)
    assert again.blocked("binance", 451, 35.0) == [Switch("binance", "binance_us", "blocked (HTTP 451)")]
    assert again.data("bybit", 35.1) == [Switch("binance_us", "bybit", "blocked (HTTP 451)")]


def test_a_trial_passes_only_while_it_carries_data() -> None:
    """If data comes late, after a silence of the connection, the trial passes only with the next piece of data."""
    it = on_binance()
    it.tick(30.0)
    it.data("bybit", 31.0)
    for second in range(40, 331, 10):
        assert it.data("bybit", float(second)) == []
    assert it.data("bybit", 331.0, 340.0) == []
    assert it.data("bybit", 340.5, 340.6) == [Failback("binance", "bybit")]


def test_both_venues_may_fail_at_once_and_both_failures_count() -> None:
    """The trial's end is noted first, so that the feed does not switch to its venue. The venue's refusal counts too:
    the next trial begins after the pause."""
    it = on_binance()
    it.tick(30.0)
    it.data("bybit", 60.0)
    assert it.blocked("bybit", 451, 60.2) == [AbandonTrial("bybit")]
    assert it.disconnected("binance", 60.2) == [Retry("binance")]
    it.data("binance", 61.0)
    assert it.next_tick(61.0) == 660.2


def test_the_next_trial_is_twice_as_long_after_a_short_failback_and_normal_after_a_long_failback() -> None:
    def needed(it: Failover, now: float) -> tuple[float, float]:
        now = it.next_tick(now)
        assert it.tick(now) == [TryFailback("bybit")]
        first = now
        while it.data("bybit", now) == []:
            now += 10
        return now - first, now

    it, spans, waits, now = on_binance(), [], [], 0.0
    for _ in range(6):
        waits.append(it.next_tick(now) - now)
        span, now = needed(it, now)
        spans.append(span)
        now += 60
        for _ in range(ATTEMPTS + 1):
            it.disconnected("bybit", now)
        it.data("binance", now)
    assert spans == [300, 600, 1200, 2400, 3600, 3600]
    assert waits == [30, 60, 120, 240, 480, 600]
    span, now = needed(it, now)
    now += LONGEST_TRIAL * FAILBACK
    it.blocked("bybit", 403, now)
    it.data("binance", now)
    assert needed(it, now)[0] == 300


def test_a_failure_soon_after_a_failback_counts_even_if_a_preferred_venue_takes_over() -> None:
    it, now = policy(), 600.0
    it.blocked("bybit", 451, 0.0)
    it.refused("binance", "maintenance", 0.0)
    it.data("binance_us", now)
    for trial in ("binance", "bybit"):  # the first venue passes its trial, and fails during the trial of the second
        if trial == "binance":
            it.blocked("bybit", 451, now)
        now = it.next_tick(now)
        assert it.tick(now) == [TryFailback(trial)]
        for _ in range(40 if trial == "binance" else 10):
            it.data(trial, now)
            now += 10
    now -= 9
    assert it.disconnected("binance", now) == [Switch("binance", "bybit", "connection lost")]
    for _ in range(2):  # both venues fail, and the third one is active again
        venue = it.active or ""
        assert isinstance(it.blocked(venue, 403, now)[0], Switch)
    assert it.active == "binance_us"
    it.data("binance_us", now)
    it.blocked("bybit", 403, now + 1)
    now = it.next_tick(now + 1)
    assert it.tick(now) == [TryFailback("binance")]
    first = now
    while it.data("binance", now) == []:
        now += 10
    assert now - first == 600


@drawing(40)
@given(
    st.lists(st.floats(1, 6000), min_size=2, max_size=6),
    st.sampled_from(["unreachable", "accepts and drops"]),
    st.booleans(),
)
def test_a_flapping_primary_causes_at_most_eight_switches_in_any_hour(
    periods: list[float], fault: str, starts_up: bool
) -> None:
    """For a day the primary is up and down for any periods; the second venue works. Failing dials fail at once, which
    is the worst case."""
    it, now, step, moves = policy(NAMES[:2]), 0.0, 9.0, list[float]()
    lengths = cycle(periods)
    up, change = starts_up, next(lengths)

    def happened(decisions: list[Decision]) -> None:
        moves.extend(now for decision in decisions if isinstance(decision, Switch | Failback))

    while now < 86_400:
        now += step
        while change <= now:
            up, change = not up, change + next(lengths)
        for venue in filter(None, (it.active, *it.trials)):
            if venue == "binance" or up:
                happened(it.data(venue, now))
            else:
                for _ in range(ATTEMPTS + 1):
                    if venue in (it.active, *it.trials):
                        happened(FAULTS[fault](it, venue, now))
        happened(it.tick(now))
    for first, ninth in zip(moves, moves[8:], strict=False):
        assert ninth - first > LONGEST_TRIAL * FAILBACK


def test_when_the_coins_change_a_venue_that_refused_is_asked_again_but_a_blocking_venue_is_not() -> None:
    """The venue that refused is dialled again at once; the pause of the blocking venue continues."""
    one = policy(["bybit", "binance"])
    one.blocked("bybit", 451, 0.0)
    assert isinstance(one.refused("binance", "does not list XYZ", 1.0)[-1], Exhausted)
    assert one.asked_anew(2.0) == [Retry("binance")]
    assert isinstance(one.blocked("binance", 403, 3.0)[-1], Exhausted)
    assert one.asked_anew(4.0) == []
