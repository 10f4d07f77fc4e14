"""The server over a feed that reads the bus gives the same answers as over an exchange."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from exchanges.simulator import Simulator
from feed import MarketFeed
from feed.sinks.bus.server import BusServer
from feed.sinks.server.app import Server
from tests.bus.conftest import COINS
from tests.bus.support import collector_settings, needs_bus, publisher, reader_settings
from tests.feed.sinks.server.support import get, subscribed
from tests.support import until

pytestmark = needs_bus
CHANNELS = ("trades", "ticker", "candles", "books")


@pytest.fixture
def settings_file(simulator: Simulator, tmp_path: Path) -> Path:
    file = tmp_path / "settings.yaml"
    file.write_text(collector_settings([simulator], COINS, CHANNELS))
    return file


async def test_rest_and_stream_serve_the_bus_and_report_a_missing_collector(
    bus: BusServer, simulator: Simulator, collect: Callable[..., Any]
) -> None:
    collector = await collect("one")
    await publisher(bus.url, "binance")
    settings = reader_settings(bus.url, ["binance"], COINS, CHANNELS)
    feed = MarketFeed(settings=settings)
    async with Server(feed, settings, port=0) as server, feed, aiohttp.ClientSession(server.url) as http:
        await until(lambda: len(feed.get_all_prices()) == len(COINS) and feed.get_book("BTC") is not None, 30)
        for path in ("/v1/prices/BTC", "/v1/books/BTC", "/v1/candles/BTC?limit=5", "/v1/volatility/BTC", "/health"):
            assert (await get(http, path))[0] == 200, path
        ws, snapshot = await subscribed(http, channels=["trades", "books", "status"], coins=["BTC"])
        assert snapshot["books"]["BTC"]["bids"]
        seen: dict[str, list[dict[str, Any]]] = {"trade": [], "book": [], "status": []}
        expected = snapshot["seq"]

        async def read(kind: str, count: int) -> None:
            nonlocal expected
            target = len(seen[kind]) + count
            while len(seen[kind]) < target:
                event = await ws.receive_json(timeout=30)
                expected += 1
                assert event["seq"] == expected
                seen[event["type"]].append(event)

        await read("trade", 20)
        await read("book", 1)
        collector.kill()
        async with asyncio.timeout(30):
            while (found := await get(http, "/v1/prices/BTC?max_age=3"))[0] == 200:  # noqa: ASYNC110 - no event says that an answer is old
                await asyncio.sleep(0.1)
        assert found[0] == 503
        assert found[1]["error"].startswith("BTC: ")
        await until(lambda: feed.status.state != "live", 30)
        assert (await get(http, "/health"))[1]["status"] == "degraded"
        await read("status", 1)
        await collect("two")
        await until(lambda: feed.status.state == "live", 30)
        await read("trade", 20)
        ids = [int(trade["trade_id"]) for trade in seen["trade"]]
        assert ids == sorted(set(ids))
        if ids[-1] - ids[0] >= len(ids):  # trades were made while no collector ran
            assert "gap" in [status["event"] for status in seen["status"]]
        assert (await get(http, "/v1/prices/BTC"))[0] == 200
        await ws.close()
