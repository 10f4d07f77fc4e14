"""A venue's time comes from its answer or from its timestamps; timestamps too far in the future are rejected."""

from __future__ import annotations

import time

import pytest

from exchanges import normalize, venue_time

NOW = 1_800_000_000_000  # Unix ms, a correct local clock
DAY = 86_400_000


class Clocks:
    """The clocks that venue_time reads; they advance only when ``wait`` is called."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ms = 0.0
        monkeypatch.setattr(venue_time, "_now", lambda: self.ms)
        monkeypatch.setattr(time, "time", lambda: self.wall / 1000)
        monkeypatch.setattr(venue_time, "_told", {})
        monkeypatch.setattr(venue_time, "_suspected", {})

    @property
    def wall(self) -> float:
        return NOW + self.ms

    @property
    def wall_ns(self) -> int:
        return int(self.wall) * 1_000_000

    def wait(self, seconds: float) -> None:
        self.ms += seconds * 1000

    def takes(self, ahead: float, venue: str = "v") -> bool:
        """Whether a timestamp that is ``ahead`` ms ahead of the local clock is accepted."""
        return venue_time.is_time(venue, int(self.wall + ahead), self.wall_ns)


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    return Clocks(monkeypatch)


def test_without_the_venues_time_a_timestamp_may_be_at_most_a_day_ahead(clocks: Clocks) -> None:
    assert clocks.takes(DAY)
    assert not clocks.takes(DAY + 1)
    assert venue_time.local_error("v") is None
    assert venue_time.complaint("v") is None


def test_a_venues_time_counts_for_that_venue_only(clocks: Clocks) -> None:
    venue_time.tell("v", clocks.wall + 3 * DAY)
    clocks.wait(100)
    assert clocks.takes(3 * DAY)
    assert not clocks.takes(4 * DAY + 1)
    assert not clocks.takes(3 * DAY, "w")
    assert venue_time.local_error("v") == pytest.approx(-3 * 86_400)
    assert venue_time.complaint("v") == "the clock of this machine is 3.0 days behind v's: set it, for example by NTP"
    assert venue_time.complaint("w") is None


@pytest.mark.parametrize(("seconds", "said"), [(90, "1.5 minutes ahead of"), (-7200, "2.0 hours behind"), (59, None)])
def test_a_local_clock_that_is_wrong_by_a_minute_is_reported(clocks: Clocks, seconds: float, said: str | None) -> None:
    venue_time.tell("v", clocks.wall - seconds * 1000)
    told = venue_time.complaint("v")
    assert (told is None) is (said is None)
    assert said is None or f"is {said} v's" in str(told)


def test_timestamps_that_advance_with_time_prove_the_local_clock_wrong(clocks: Clocks) -> None:
    """Some venues can't be asked for their time, so only their timestamps can show that the local clock is wrong."""
    taken = []
    for _ in range(8):
        taken.append(clocks.takes(5 * DAY))
        clocks.wait(0.5)
    assert taken == [False] * 5 + [True] * 3
    assert venue_time.local_error("v") == pytest.approx(-5 * 86_400)


def test_one_timestamp_that_is_repeated_proves_nothing(clocks: Clocks) -> None:
    stamp = int(clocks.wall + 5 * DAY)
    for _ in range(100):
        assert not venue_time.is_time("v", stamp, clocks.wall_ns)
        clocks.wait(0.1)


def test_many_different_timestamps_at_the_same_moment_prove_nothing(clocks: Clocks) -> None:
    assert not any(clocks.takes(5 * DAY + n) for n in range(100))


def test_timestamps_do_not_overrule_the_time_in_the_venues_answer(clocks: Clocks) -> None:
    venue_time.tell("v", clocks.wall)
    for _ in range(20):
        assert not clocks.takes(5 * DAY)
        clocks.wait(1)


def test_a_rows_time_is_checked_against_the_venues_time(clocks: Clocks) -> None:
    row = {"price": 1.0, "amount": 1.0, "timestamp": int(clocks.wall + 3 * DAY), "id": "1", "side": "buy"}
    assert normalize.trade(row, "BTC", "v", clocks.wall_ns) is None
    venue_time.tell("v", clocks.wall + 3 * DAY)
    assert normalize.trade(row, "BTC", "v", clocks.wall_ns) is not None
