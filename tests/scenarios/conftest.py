"""Seeds each scenario's random numbers with the test's name."""

from __future__ import annotations

import gc
import random
from collections.abc import Iterator
from importlib import import_module
from zlib import crc32

import pytest


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> str:
    """The seed for the simulators and the feed's jitter: the test's own name with its parameters."""
    name: str = request.node.name
    random.seed(crc32(name.encode()))
    return name


@pytest.fixture(params=["binance", "bybit"])
def venue_name(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="session", autouse=True)
def ccxt_is_no_garbage() -> Iterator[None]:
    """Keep ccxt's own objects out of the garbage collections that look for leaks: each collection took 0.3 s."""
    import_module("exchanges.ccxt_adapter.venue")
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
