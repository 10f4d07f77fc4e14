"""When a collector takes the lease, with a clock that the test sets."""

from __future__ import annotations

from typing import Any

from feed.sinks.bus.lease import LeaseState, OwnData


def data(begin: float, end: float, every: float = 0.1) -> OwnData:
    """A collector's data, which came from ``begin`` to ``end``."""
    own = OwnData()
    at = begin
    while at <= end:
        own.note(at)
        at += every
    return own


def held(at: float, **says: Any) -> LeaseState:
    """A lease that another collector holds and last renewed at ``at``."""
    lease = LeaseState("own")
    lease.note({"collector": "other", "silent": 0.0, "state": "live", **says}, 7, at)
    return lease


def test_a_free_lease_is_taken_by_a_collector_with_data() -> None:
    lease = LeaseState("own")
    assert lease.reason_to_take(data(95, 100), 100.1)
    assert not lease.reason_to_take(OwnData(), 100.1)
    assert not lease.reason_to_take(data(90, 96), 100.1), "this collector's last data is four seconds old"


def test_a_lease_without_a_renewal_is_taken_after_a_second() -> None:
    lease, own = held(100), data(90, 102)
    assert not lease.reason_to_take(own, 100.9)
    assert "not been heard" in lease.reason_to_take(own, 101.1)


def test_a_lease_whose_holder_has_left_the_bus_is_taken_before_it_expires() -> None:
    lease, own = held(100), data(90, 101)
    assert not lease.is_overdue(100.3)
    assert lease.is_overdue(100.5)
    assert "not connected" in lease.reason_to_take(own, 100.5, gone=True)
    assert not lease.reason_to_take(data(90, 96), 100.5, gone=True), "this collector has no new data either"
    lease.note({"collector": "own"}, 8, 100)
    assert not lease.is_overdue(102)


def test_leases_stay_valid_while_the_bus_cannot_be_reached() -> None:
    lease, own = held(100), data(90, 150)
    lease.begin(149.5)  # the bus can be reached again; the holder may reconnect a moment later
    assert not lease.reason_to_take(own, 150)
    assert lease.reason_to_take(data(90, 151), 150.6)


def test_a_released_lease_is_taken_at_once() -> None:
    lease = held(100, released=True)
    assert "handed over" in lease.reason_to_take(data(90, 100), 100.01)


def test_the_lease_of_a_holder_without_data_is_taken_by_a_collector_with_data() -> None:
    assert "no data" in held(100, silent=1.3).reason_to_take(data(90, 100), 100.05)
    assert "no data" in held(100, silent=None).reason_to_take(data(90, 100), 100.05)


def test_a_holder_without_data_keeps_the_lease_if_no_collector_has_data() -> None:
    """The exchange is quiet. This collector's data is not newer than the holder's, or came while the holder's renewal
    was on its way."""
    own = data(90, 98.6)
    assert not held(100, silent=1.3).reason_to_take(own, 100.05)
    own.note(100.0)
    assert not held(100, silent=1.3).reason_to_take(own, 100.05)


def test_the_lease_of_a_holder_with_late_data_is_taken_by_a_collector_without_a_lag() -> None:
    lease = held(100, state="lagging")
    assert lease.reason_to_take(data(90, 100), 100.05)
    assert not lease.reason_to_take(data(90, 100), 100.05, lagging=True)
    assert not lease.reason_to_take(data(99, 100), 100.05), "this collector's data has only just begun"


def test_the_lease_can_be_taken_after_the_bus_has_lost_it() -> None:
    lease, own = held(100), data(90, 104)
    lease.begin(101)
    lease.read()  # there is no lease
    assert "no collector" in lease.reason_to_take(own, 101.1)
    lease.note({"collector": "third"}, 2, 101.2)
    assert lease.holder == "third"
    lease.begin(103)
    lease.note({"collector": "fourth"}, 1, 103)
    lease.read()
    assert lease.holder == "fourth"


def test_an_older_revision_of_the_lease_is_ignored() -> None:
    lease = held(100)
    lease.note({"collector": "own"}, 6, 101)
    assert not lease.mine
