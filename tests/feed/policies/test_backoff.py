"""The backoff grows up to its maximum, is spread by its jitter, and is reset only by stable data."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from feed.policies.backoff import BUSY, LONGEST_WAIT, Backoff, GrowingWait

DRAWS = st.floats(0, 1, exclude_max=True)
STABLE = 30.0


def backoff(draw: float = 0.5, jitter: float = 0.2) -> Backoff:
    return Backoff(1.0, 30.0, jitter, STABLE, lambda: draw)


def test_delays_double_from_initial_to_maximum() -> None:
    policy = backoff(jitter=0.0)
    assert [policy.next_delay() for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]
    assert policy.attempt == 7


@given(st.lists(DRAWS, min_size=1, max_size=60), st.floats(0.1, 5), st.floats(1, 20), st.floats(0, 1))
def test_every_delay_is_within_its_jitter_and_never_above_maximum(
    draws: list[float], initial: float, factor: float, jitter: float
) -> None:
    maximum = initial * factor
    policy = Backoff(initial, maximum, jitter, STABLE, iter(draws).__next__)
    for attempt in range(len(draws)):
        nominal = min(initial * 2**attempt, maximum)
        delay = policy.next_delay()
        assert nominal * (1 - jitter) * (1 - 1e-9) <= delay <= min(nominal * (1 + jitter), maximum) * (1 + 1e-9)
        assert policy.attempt == attempt + 1


@given(DRAWS, DRAWS)
def test_delays_at_the_maximum_are_still_spread(one: float, other: float) -> None:
    first, second = backoff(one), backoff(other)
    for _ in range(10):
        delays = first.next_delay(), second.next_delay()
    assert abs(delays[0] - delays[1]) == pytest.approx(abs(one - other) * 6)


# For each connection: the seconds from its start to each arrival of data.
CONNECTIONS = st.lists(st.lists(st.floats(0, 100), max_size=6).map(sorted), min_size=1, max_size=20)


@given(CONNECTIONS, st.booleans())
def test_only_a_connection_with_data_for_stable_after_seconds_resets_the_backoff(
    connections: list[list[float]], told_of_disconnects: bool
) -> None:
    """The result is compared with a model that knows the whole past of each connection."""
    policy, now, attempts = backoff(), 0.0, 0
    for arrivals in connections:
        for arrival in arrivals:
            policy.note_data(now + arrival)
        now += 200.0
        if told_of_disconnects:
            policy.note_disconnect(now)
        if arrivals and (now - 200 + arrivals[-1]) - (now - 200 + arrivals[0]) >= STABLE:
            attempts = 0
        assert policy.next_delay() == pytest.approx(min(2.0**attempts, 30) if attempts < 5 else 27)
        attempts += 1
        assert policy.attempt == attempts


def test_a_connection_with_data_for_a_moment_does_not_reset_the_backoff() -> None:
    policy = backoff(jitter=0.0)
    now, delays = 0.0, []
    for _ in range(5):
        policy.note_data(now)
        policy.note_data(now + 1)
        policy.note_disconnect(now + 1)
        delays.append(policy.next_delay())
        now += 1 + delays[-1]
    assert delays == [1, 2, 4, 8, 16]


@given(st.lists(st.tuples(DRAWS, st.floats(0, STABLE / 2)), min_size=60, max_size=60))
@example([(0.0, 0.0)] * 60)
@example([(1 - 1e-9, 0.0)] * 60)
def test_a_venue_that_accepts_and_drops_is_dialled_at_most_twelve_times_in_any_twenty_seconds(
    lives: list[tuple[float, float]],
) -> None:
    """This holds for the default settings, any jitter, and connections with data for any time shorter than
    stable_after.

    In fact there are at most 5 dials, at 0, 0.8, 2.4, 5.6 and 12 s, if each connection is dropped at once and each
    delay has the lowest jitter.
    """
    draws = iter([draw for draw, _ in lives])
    policy = Backoff(1.0, 30.0, 0.2, STABLE, draws.__next__)
    now, dials = 0.0, list[float]()
    for _, seconds in lives:
        dials.append(now)
        for moment in (0.0, seconds / 2, seconds):
            policy.note_data(now + moment)
        now += seconds
        policy.note_disconnect(now)
        now += policy.next_delay()
    most = max(sum(start <= dial < start + 20 for dial in dials) for start in dials)
    assert most <= 5


@given(st.one_of(st.none(), st.floats(0, 4000)), st.integers(0, 8))
def test_the_wait_is_at_least_retry_after_which_counts_as_an_attempt(retry_after: float | None, earlier: int) -> None:
    policy, twin = backoff(), backoff()
    for _ in range(earlier):
        assert policy.next_delay() == twin.next_delay()
    assert policy.delay_for(retry_after) == max(twin.next_delay(), retry_after or 0.0)
    assert policy.attempt == earlier + 1


def test_a_wait_doubles_up_to_its_limit_and_is_short_again_after_a_while() -> None:
    wait, now = GrowingWait(10.0), 0.0
    lengths = []
    for _ in range(8):
        lengths.append(wait.at(now))
        wait.spend(now)
        now += 1.0
    assert lengths == [10.0, 20.0, 40.0, 80.0, 160.0, 320.0, LONGEST_WAIT, LONGEST_WAIT]
    assert wait.at(now + BUSY * LONGEST_WAIT) == 10.0
