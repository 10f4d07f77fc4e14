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
    """Turn off the cache of market lists, so that no test changes the user's own cache folder.

    A test of the cache uses a folder of its own.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MARKET_FEED_CACHE", "off")
        yield


@pytest.fixture(autouse=True)
def no_venue_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the times reported by venues: all feeds of a process share them, and tests must not affect each other."""
    for known in ("_told", "_suspected"):
        monkeypatch.setattr(venue_time, known, {})


@pytest.fixture(autouse=True)
def no_bans(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the bans of addresses: all feeds of a process share them, and the next test may use the same port."""
    monkeypatch.setattr(bans, "_quiet_until", {})


@pytest.fixture(autouse=True)
def no_registered_venues(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the venues that a test has registered, because later tests would find them in the list of exchanges."""
    monkeypatch.setattr(registry, "_factories", dict(registry._factories))
    monkeypatch.setattr(names, "_added", dict(names._added))
