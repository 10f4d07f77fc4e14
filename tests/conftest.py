"""Fixtures for every test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from exchanges import names, registry, venue_time
from exchanges.ccxt_adapter import bans
from tests.properties import register_profiles

register_profiles()


@pytest.fixture(scope="session", autouse=True)
def no_market_cache() -> Iterator[None]:
    """The user's own folder of market lists stays as it is; a test that wants one names it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MARKET_FEED_CACHE", "off")
        yield


@pytest.fixture(autouse=True)
def no_venue_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget venues' times, which are kept for all feeds of a process, so that tests do not affect each other."""
    for known in ("_told", "_suspected"):
        monkeypatch.setattr(venue_time, known, {})


@pytest.fixture(autouse=True)
def no_bans(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ban is kept for all feeds of a process and by address, and a port may be the next test's."""
    monkeypatch.setattr(bans, "_quiet_until", {})


@pytest.fixture(autouse=True)
def no_registered_venues(monkeypatch: pytest.MonkeyPatch) -> None:
    """A venue that a test registers is forgotten after the test: it would be one of all exchanges for later tests."""
    monkeypatch.setattr(registry, "_factories", dict(registry._factories))
    monkeypatch.setattr(names, "_added", dict(names._added))
