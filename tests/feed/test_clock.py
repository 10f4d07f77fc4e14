"""Ages include the time of a suspend, during which the monotonic clock stands still."""

from __future__ import annotations

import sys
import time

import pytest

import feed.clock
from feed.clock import Clock


class Machine(Clock):
    """A machine with clocks that the test sets: during ``pass_`` it is awake, during ``suspend`` it is suspended."""

    awake, total = 100.0, 5000.0

    @classmethod
    def pass_(cls, seconds: float) -> None:
        cls.awake += seconds
        cls.total += seconds

    @classmethod
    def suspend(cls, seconds: float) -> None:
        cls.total += seconds

    @staticmethod
    def monotonic() -> float:
        return Machine.awake


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr(Machine, "awake", 100.0)
    monkeypatch.setattr(Machine, "total", 5000.0)
    monkeypatch.setattr(feed.clock, "_boot", lambda: Machine.total)
    return Machine()


def test_an_age_includes_a_suspend_at_once(machine: Machine) -> None:
    came = machine.monotonic()
    machine.pass_(1)
    machine.suspend(600)
    assert machine.since(came) == pytest.approx(601)


def test_a_suspend_does_not_add_to_the_age_of_later_data(machine: Machine) -> None:
    machine.suspend(600)
    assert machine.look() == pytest.approx(600)
    assert machine.look() == 0.0
    machine.pass_(1)
    came = machine.monotonic()
    machine.pass_(2)
    assert machine.since(came) == pytest.approx(2)
    assert machine.running() - machine.running_at(came) == pytest.approx(2)


def test_several_suspends_add_up(machine: Machine) -> None:
    first = machine.monotonic()
    for _ in range(3):
        machine.pass_(10)
        machine.suspend(100)
        machine.look()
    assert machine.since(first) == pytest.approx(330)
    assert machine.suspended() == pytest.approx(300)


def test_a_machine_that_stays_awake_has_no_suspended_time(machine: Machine) -> None:
    machine.pass_(1000)
    assert machine.suspended() == 0.0
    assert machine.look() == 0.0


@pytest.mark.skipif(sys.platform == "win32", reason="time.monotonic includes a suspend on Windows")
def test_this_system_has_a_clock_that_continues_through_a_suspend() -> None:
    assert feed.clock._boot is not None
    before = feed.clock._boot()
    assert 0 <= feed.clock._boot() - before < 5
    clock = Clock()
    assert clock.suspended() == 0.0
    assert abs(clock.running() - time.monotonic()) < 1
