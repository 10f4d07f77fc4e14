"""No venue ever counts more dials than it allows."""

from __future__ import annotations

from bisect import bisect_right

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feed.budget import DialBudget


@given(
    st.integers(1, 30),
    st.lists(st.tuples(st.floats(0, 40), st.floats(0, 10)), max_size=200),
    st.booleans(),
)
def test_the_venues_own_count_is_never_exceeded(limit: int, dials: list[tuple[float, float]], in_a_hurry: bool) -> None:
    """Whenever the dials leave, and however late (up to the slack) each arrives at the venue."""
    budget = DialBudget(limit, 300.0)
    now, arrivals = 1000.0, []
    for pause, delay in dials:
        now += budget.wait(now) + (0 if in_a_hurry else pause)
        budget.spend(now)
        arrivals.append(now + delay)
    arrivals.sort()
    for index, end in enumerate(arrivals):
        assert index + 1 - bisect_right(arrivals, end - 300.0) <= limit


@given(st.integers(2, 50), st.lists(st.floats(0, 5), max_size=150))
def test_wait_is_exactly_until_the_window_has_room(limit: int, pauses: list[float]) -> None:
    """Against a model that keeps every dial; room is told neither too early nor too late."""
    budget = DialBudget(limit, 20.0, slack=1.0)
    now, dials = 50.0, list[float]()
    for pause in pauses:
        now += pause
        recent = [at for at in dials if at + budget.window > now]
        expected = 0.0 if len(recent) < budget.allowed else recent[-budget.allowed] + budget.window - now
        assert budget.wait(now) == pytest.approx(expected)
        if not budget.wait(now):
            dials.append(now)
            budget.spend(now)


def test_a_margin_is_left_to_other_programs_at_this_address() -> None:
    budget = DialBudget(300)
    for _ in range(270):
        assert budget.wait(5.0) == 0
        budget.spend(5.0)
    assert budget.wait(5.0) == 310.0
    assert budget.wait(315.0) == 0


def test_a_tiny_limit_still_allows_a_dial() -> None:
    assert DialBudget(1).wait(0.0) == 0


@pytest.mark.parametrize(("limit", "margin"), [(0, 0.1), (-1, 0.1), (5, 1.0), (5, -0.1)])
def test_limits_that_make_no_sense_are_refused(limit: int, margin: float) -> None:
    with pytest.raises(ValueError, match="allowed is"):
        DialBudget(limit, margin=margin)
