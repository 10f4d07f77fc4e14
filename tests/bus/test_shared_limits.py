"""Collectors behind one IP address share the address's limits, and shards of different layouts wait for each other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from exchanges.simulator import Simulator
from exchanges.venue import BusAddress
from feed import MarketFeed, Settings
from feed.settings import ExchangeConfig
from feed.sinks.bus.collectors import Collectors
from feed.sinks.bus.server import BusServer
from feed.sinks.bus.streams import Retention
from tests.bus.support import needs_bus, publisher, shards
from tests.support import until

pytestmark = needs_bus


@pytest.mark.parametrize(("addresses", "parts"), [(("one", "one"), 2), (("one", "two"), 1)])
async def test_collectors_behind_one_address_divide_the_limits(
    bus: BusServer, simulator: Simulator, monkeypatch: pytest.MonkeyPatch, addresses: tuple[str, str], parts: int
) -> None:
    told: list[int] = []
    monkeypatch.setattr(MarketFeed, "share_limits", lambda feed, number: told.append(number))
    venue = ExchangeConfig("binance", rest_url=simulator.rest_url, ws_url=simulator.ws_url)
    settings = Settings(exchanges=[venue], channels=["trades"])
    keep = Retention(1, 0.2)
    running = [
        asyncio.create_task(
            Collectors(settings, BusAddress((bus.url,)), coins=["BTC"], name=name, address=address, keep=keep).run()
        )
        for name, address in zip(("a", "b"), addresses, strict=True)
    ]
    try:
        await publisher(bus.url, "binance")
        told.clear()
        await until(lambda: len(told) > 4)
        assert set(told) == {parts}
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def test_a_shard_of_another_layout_waits_until_the_other_shards_have_ended(
    bus: BusServer, collect: Callable[..., Any]
) -> None:
    whole = await collect("whole")
    await publisher(bus.url, "binance")
    half = await collect("half", "--shard", "1/2")
    await until(lambda: any("waits for shard 1/1" in line for line in half.log), 40)
    assert set(await shards(bus.url, "binance")) == {"1-1"}
    assert await whole.end() == 0

    async with asyncio.timeout(20):
        while "1-2" not in await shards(bus.url, "binance"):  # noqa: ASYNC110 - no event can be awaited here
            await asyncio.sleep(0.1)
