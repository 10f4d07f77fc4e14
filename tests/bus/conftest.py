"""A real nats-server on loopback for each test, with its data in the test's folder."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from exchanges.simulator import Simulator
from feed.sinks.bus.server import BusServer
from tests.bus.support import CollectorProcess, collector_settings
from tests.exchanges.conftest import certificate

COINS = ("BTC", "ETH", "SOL")
__all__ = ["COINS", "bus", "certificate", "collect", "settings_file", "simulator"]


@pytest.fixture
async def bus(tmp_path: Path) -> AsyncIterator[BusServer]:
    async with BusServer(0, tmp_path / "bus", 2.0) as server:
        yield server


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator(venues=("binance",), rate=150, markets=6) as simulator:
        yield simulator


@pytest.fixture
def settings_file(simulator: Simulator, tmp_path: Path) -> Path:
    file = tmp_path / "settings.yaml"
    file.write_text(collector_settings([simulator], COINS, ("trades", "ticker", "candles")))
    return file


@pytest.fixture
async def collect(bus: BusServer, settings_file: Path) -> AsyncIterator[object]:
    """Start collectors by name; they are ended after the test."""
    started: list[CollectorProcess] = []

    async def start(name: str, *more: str, url: str | None = None) -> CollectorProcess:
        process = await CollectorProcess.start(url or bus.url, settings_file, name, "--keep-size", "0.5", *more)
        started.append(process)
        return process

    yield start
    for process in started:
        await process.gone()
