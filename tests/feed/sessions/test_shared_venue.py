"""The wait before the next dial to a venue, which all sessions of the venue share."""

from __future__ import annotations

import pytest

from feed.sessions.shared_venue import SharedVenue
from feed.settings import Connection
from tests.feed.memory_venue import MemoryVenue

NOW = 1_000.0


@pytest.fixture
def shared() -> SharedVenue:
    settings = Connection(backoff_initial=1.0, backoff_max=30.0, backoff_jitter=0.0)
    return SharedVenue(MemoryVenue("memory_shared", ["BTC"]), settings)


def test_sessions_that_fail_in_the_same_round_double_the_wait_once(shared: SharedVenue) -> None:
    for failed_at in (NOW, NOW + 0.2):
        shared.put_off(failed_at, None)
    assert shared.dial_due == NOW + 1.0
    assert shared.backoff.attempt == 1
    shared.put_off(NOW + 1.0, None)
    assert shared.dial_due == NOW + 3.0


def test_a_later_failure_of_the_round_can_make_the_wait_longer_but_not_shorter(shared: SharedVenue) -> None:
    shared.put_off(NOW, None)
    shared.put_off(NOW + 0.2, 60.0)
    assert shared.dial_due == NOW + 60.2
    shared.put_off(NOW + 0.4, 5.0)
    assert shared.dial_due == NOW + 60.2
