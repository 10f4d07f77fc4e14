"""The number of dials, as the venue counts them, never exceeds the venue's limit."""

from __future__ import annotations

import asyncio
from bisect import bisect_right

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feed.clock import Clock
from feed.policies.rate_limit import RateLimit


@given(
    st.integers(1, 30),
    st.lists(st.tuples(st.floats(0, 40), st.floats(0, 10)), max_size=200),
    st.booleans(),
)
def test_the_number_of_dials_never_exceeds_the_venues_limit(
    limit: int, dials: list[tuple[float, float]], in_a_hurry: bool
) -> None:
    """This holds for dials at any times, each arriving at the venue with any delay up to the slack."""
    budget = RateLimit(limit, 300.0)
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
    """The wait is compared with a model that remembers every dial."""
    budget = RateLimit(limit, 20.0, slack=1.0)
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
    budget = RateLimit(300)
    for _ in range(270):
        assert budget.wait(5.0) == 0
        budget.spend(5.0)
    assert budget.wait(5.0) == 310.0
    assert budget.wait(315.0) == 0


def test_a_tiny_limit_still_allows_a_dial() -> None:
    assert RateLimit(1).wait(0.0) == 0


class Hours(Clock):
    """A clock that advances when its ``sleep`` is called."""

    def __init__(self) -> None:
        self.at = 1000.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        until = self.at + seconds
        await asyncio.sleep(0)
        self.at = max(self.at, until)


async def test_concurrent_dials_never_exceed_the_limit() -> None:
    """After a wait the limit is checked again, and no other task can run between that check and the dial."""
    clock, budget, taken = Hours(), RateLimit(4, 20.0, margin=0, slack=0), list[float]()

    async def dial() -> None:
        await budget.take(clock)
        taken.append(clock.at)

    await asyncio.gather(*(dial() for _ in range(10)))
    assert taken == [1000.0] * 4 + [1020.0] * 4 + [1040.0] * 2


async def test_a_wait_for_a_dial_can_end_with_an_error_and_no_dial_is_counted() -> None:
    budget = RateLimit(1, 20.0)
    budget.spend(1000.0)

    async def called_away(seconds: float) -> None:
        raise ConnectionResetError(f"after {seconds:g} s")

    with pytest.raises(ConnectionResetError, match="after 30 s"):
        await budget.take(Hours(), called_away)
    assert budget.wait(1030.0) == 0, "only a dial that was made is counted"


def test_several_programs_behind_one_address_share_the_limit() -> None:
    """Each of four programs uses a quarter; when the other programs have ended, the whole limit can be used again."""
    limit = RateLimit(40, 60.0, margin=0.0, slack=0.0)
    limit.share(4)
    for _ in range(10):
        assert limit.wait(0.0) == 0.0
        limit.spend(0.0)
    assert limit.wait(1.0) == 59.0
    limit.share(1)
    assert limit.wait(1.0) == 0.0
    for _ in range(30):
        limit.spend(1.0)
    assert limit.wait(2.0) == 58.0
    limit.share(100)
    assert limit.allowed == 1
    assert limit.wait(2.0) == 59.0
