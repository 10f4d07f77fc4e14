"""A thousand coins on four shards behind one IP address: all are on the bus, and no rule of the exchange is broken."""

from __future__ import annotations

import asyncio
from pathlib import Path

from exchanges.bus.client import BusClient
from exchanges.bus.subjects import MarketSubjects
from exchanges.simulator import Simulator
from exchanges.venue import BusAddress
from feed.sinks.bus.server import BusServer
from tests.bus.support import CollectorProcess, collector_settings, needs_bus, shards
from tests.support import until

pytestmark = needs_bus
COINS = 1000
SHARDS = 4


async def test_a_thousand_coins_in_four_shards_break_no_rule_of_the_exchange(bus: BusServer, tmp_path: Path) -> None:
    names = MarketSubjects("binance", "spot")
    async with Simulator(venues=("binance",), rate=500, markets=COINS + 10) as simulator:
        venue = simulator["binance"]
        coins = sorted({market.coin for market in venue.markets.values()})[:COINS]
        assert len(coins) == COINS
        file = tmp_path / "settings.yaml"
        await asyncio.to_thread(file.write_text, collector_settings([simulator], coins, ("trades", "ticker")))
        started = [
            await CollectorProcess.start(
                bus.url, file, f"s{number}", "--keep-size", "0.5", "--shard", f"{number}/{SHARDS}"
            )
            for number in range(1, SHARDS + 1)
        ]
        try:
            client = await BusClient.dial(BusAddress((bus.url,)), "test")
            try:
                tickers = [names.events("ticker", coin) for coin in coins]
                found: set[str] = set()

                async def everything() -> bool:
                    found.update(each.subject for each in await client.last(names.stream, tickers))
                    return len(found) == COINS

                async with asyncio.timeout(120):
                    while not await everything():  # noqa: ASYNC110 - no event can be awaited here
                        await asyncio.sleep(0.25)
            finally:
                await client.close()
            there = await shards(bus.url, "binance")
            assert set(there) == {f"{number}-{SHARDS}" for number in range(1, SHARDS + 1)}
            parts = [set(shard.coins) for shard in there.values()]
            assert sum(map(len, parts)) == len(set.union(*parts))
            assert venue.violations == []
            await until(lambda: all(each.process.returncode is None for each in started))
        finally:
            for each in started:
                await each.gone()
