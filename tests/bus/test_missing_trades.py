"""If a collector missed trades, a status event of the readers names the coins, even if the ids show no gap."""

from __future__ import annotations

from pathlib import Path

from exchanges.simulator import Simulator
from feed.sinks.bus.server import BusServer
from tests.bus.support import (
    CollectorProcess,
    collector_settings,
    consumers,
    needs_bus,
    publisher,
    reader_settings,
)
from tests.support import made_ids, until

pytestmark = needs_bus
COIN = "BTC"


async def test_a_gap_that_the_exchange_does_not_fill_is_reported(bus: BusServer, tmp_path: Path) -> None:
    """Bybit returns only the last 60 trades, and more trades were made while no collector ran."""
    async with Simulator(venues=("bybit",), rate=400, markets=1) as simulator:
        file = tmp_path / "settings.yaml"
        file.write_text(collector_settings([simulator], [COIN], ("trades",)))
        first = await CollectorProcess.start(bus.url, file, "first", "--keep-size", "0.5")
        await publisher(bus.url, "bybit")
        async with consumers(1, reader_settings(bus.url, ["bybit"], [COIN], ("trades",))) as (reader,):
            await until(lambda: len(reader.trades) > 50)
            await first.gone()
            made = made_ids(simulator["bybit"], COIN)[-1]
            await until(lambda: made_ids(simulator["bybit"], COIN)[-1] > made + 150)
            second = await CollectorProcess.start(bus.url, file, "second", "--keep-size", "0.5")
            try:
                await until(lambda: any(each.get("coins") == [COIN] for each in reader.events("source")), 40)
                count = len(reader.trades)
                await until(lambda: len(reader.trades) > count + 20)
            finally:
                await second.gone()
            ids = [int(trade.trade_id) for trade in reader.trades]
            assert ids == sorted(set(ids))
            assert not any(each["complete"] for each in reader.events("gap_filled"))


async def test_trades_that_the_only_collector_missed_are_reported(bus: BusServer, tmp_path: Path) -> None:
    async with Simulator(venues=("bybit",), rate=400, markets=1) as simulator:
        venue = simulator["bybit"]
        file = tmp_path / "settings.yaml"
        file.write_text(collector_settings([simulator], [COIN], ("trades",)))
        collector = await CollectorProcess.start(bus.url, file, "one", "--keep-size", "0.5")
        try:
            await publisher(bus.url, "bybit")
            async with consumers(1, reader_settings(bus.url, ["bybit"], [COIN], ("trades",))) as (reader,):
                await until(lambda: len(reader.trades) > 50)
                with venue.blocked(503):
                    venue.cut()
                    made = made_ids(venue, COIN)[-1]
                    await until(lambda: made_ids(venue, COIN)[-1] > made + 150)
                await until(lambda: any(each.get("coins") == [COIN] for each in reader.events("source")), 40)
                count = len(reader.trades)
                await until(lambda: len(reader.trades) > count + 20)
                assert not any(each["complete"] for each in reader.events("gap_filled"))
        finally:
            await collector.gone()
