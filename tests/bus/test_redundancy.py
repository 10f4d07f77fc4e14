"""Two collectors of one exchange: each trade comes once and in order, whatever happens to the publishing collector."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Any

from exchanges.simulator import Simulator
from feed.sinks.bus.server import BusServer
from tests.bus.conftest import COINS
from tests.bus.support import (
    BusSilence,
    Consumer,
    Proxy,
    check_order,
    consumers,
    needs_bus,
    publisher,
    reader_settings,
)
from tests.support import made_ids, until

pytestmark = needs_bus
SILENCE = 2.0  # seconds


async def both_ready(*collectors: Any) -> None:
    """Wait until each collector is connected to its exchange."""
    await until(lambda: all(any(" connected " in line for line in each.log) for each in collectors), 30)


def proven(reader: Consumer, simulator: Simulator) -> None:
    """Check that every trade came once, in the venue's order, with the venue's values."""
    venue = simulator["binance"]
    for coin in COINS:
        ids = reader.ids["binance", coin]
        assert ids
        assert check_order(ids) == []
        prices = {trade.id: trade.price for trade in venue.trades[coin]}
        got = {int(trade.trade_id): trade.price for trade in reader.trades if trade.coin == coin}
        assert got == {number: prices[number] for number in got}


async def goes_on(readers: list[Consumer], simulator: Simulator, count: int = 50) -> None:
    """Wait until each consumer has ``count`` further trades, and all trades that the venue had made before the call."""
    made = {coin: made_ids(simulator["binance"], coin)[-1] for coin in COINS}
    wanted = [len(reader.trades) + count for reader in readers]

    def there() -> bool:
        return all(len(reader.trades) >= number for reader, number in zip(readers, wanted, strict=True)) and all(
            int(reader.ids["binance", coin][-1]) >= made[coin] for reader in readers for coin in COINS
        )

    await until(there)


async def taken_over(readers: list[Consumer], by: str) -> None:
    await until(lambda: all(reader.sources()[-1:] and reader.sources()[-1].startswith(by) for reader in readers))


@asynccontextmanager
async def watched(bus: BusServer) -> AsyncIterator[tuple[list[Consumer], BusSilence]]:
    """Run three consumers and measure the bus's longest silence."""
    async with (
        consumers(3, reader_settings(bus.url, ["binance"], COINS)) as readers,
        BusSilence.of(bus.url, "binance") as silence,
    ):
        yield readers, silence


async def replaced_during(fault: AbstractContextManager[object], bus: BusServer, simulator: Simulator) -> None:
    """During the fault the second collector publishes; during and after the fault, readers get each trade once."""
    async with watched(bus) as (readers, silence):
        await goes_on(readers, simulator)
        silence.watch()
        with fault:
            await taken_over(readers, "second")
            await goes_on(readers, simulator)
        await goes_on(readers, simulator, 200)
        for reader in readers:
            proven(reader, simulator)
        assert silence.longest < SILENCE


async def test_a_killed_publisher_is_replaced(
    bus: BusServer, simulator: Simulator, collect: Callable[..., Any]
) -> None:
    """When the publisher gets SIGKILL, the other collector continues the trades on the bus before the lease expires."""
    first, second = await collect("first"), None
    await publisher(bus.url, "binance")
    second = await collect("second")
    await both_ready(first, second)
    async with watched(bus) as (readers, silence):
        await goes_on(readers, simulator)
        silence.watch()
        first.kill()
        await taken_over(readers, "second")
        assert "is not connected" in readers[0].events("source")[-1]["reason"]
        await goes_on(readers, simulator)
        for reader in readers:
            proven(reader, simulator)
        assert silence.longest < SILENCE


async def test_a_publisher_that_continues_after_a_pause_stores_nothing(
    bus: BusServer, simulator: Simulator, collect: Callable[..., Any]
) -> None:
    """After SIGSTOP and SIGCONT the collector's socket is open, and the collector still tries to publish. The bus
    refuses its messages."""
    first = await collect("first")
    await publisher(bus.url, "binance")
    second = await collect("second")
    await both_ready(first, second)
    async with watched(bus) as (readers, silence):
        await goes_on(readers, simulator)
        silence.watch()
        with first.paused():
            await taken_over(readers, "second")
            await goes_on(readers, simulator)
        await until(lambda: any("stands by" in line for line in first.log))
        await goes_on(readers, simulator, 200)
        for reader in readers:
            proven(reader, simulator)
            assert len(reader.sources()) <= 2
        assert silence.longest < SILENCE


async def test_a_publisher_that_is_cut_off_from_the_bus_is_replaced(
    bus: BusServer, simulator: Simulator, collect: Callable[..., Any]
) -> None:
    """The messages that the collector sent while it was cut off arrive later and are refused."""
    async with Proxy(bus.port) as proxy:
        first = await collect("first", url=proxy.url)
        await publisher(bus.url, "binance")
        second = await collect("second")
        await both_ready(first, second)
        await replaced_during(proxy.partitioned(), bus, simulator)
        await first.gone()


async def test_a_publisher_that_gets_sigterm_releases_the_lease(
    bus: BusServer, simulator: Simulator, collect: Callable[..., Any]
) -> None:
    """After SIGTERM, the silence on the bus lasts only until the other collector sees that the lease was released."""
    first = await collect("first")
    await publisher(bus.url, "binance")
    second = await collect("second")
    await both_ready(first, second)
    async with watched(bus) as (readers, silence):
        await goes_on(readers, simulator)
        silence.watch()
        assert await first.end() == 0
        await taken_over(readers, "second")
        assert "handed over" in readers[0].events("source")[-1]["reason"]
        await goes_on(readers, simulator)
        proven(readers[0], simulator)
        assert silence.longest < SILENCE


async def test_a_publisher_without_data_is_replaced_by_a_collector_with_data(
    bus: BusServer, simulator: Simulator, collect: Callable[..., Any], tmp_path: Any
) -> None:
    """The publisher's connection to the exchange delivers no more data; the other collector's connection still does."""
    from tests.bus.support import CollectorProcess, collector_settings

    async with Proxy(int(simulator.ws_url.rpartition(":")[2])) as venue:
        file = tmp_path / "behind_proxy.yaml"
        text = collector_settings([simulator], COINS, ("trades", "ticker", "candles"))
        file.write_text(text.replace(simulator.ws_url, venue.url.replace("nats", "ws")))
        first = await CollectorProcess.start(bus.url, file, "first", "--keep-size", "0.5")
        try:
            await publisher(bus.url, "binance")
            second = await collect("second")
            await both_ready(first, second)
            await asyncio.sleep(1)  # the other collector takes over only after it has had data for a second
            await replaced_during(venue.partitioned(), bus, simulator)
        finally:
            await first.gone()


async def test_the_only_collector_continues_after_the_last_trade_on_the_bus_when_it_starts_again(
    bus: BusServer, simulator: Simulator, collect: Callable[..., Any]
) -> None:
    """No collector ran for a while. The trades of that time are fetched from the exchange, once and in order."""
    first = await collect("first")
    await publisher(bus.url, "binance")
    async with watched(bus) as (readers, _):
        await goes_on(readers, simulator)
        first.kill()
        made = {coin: made_ids(simulator["binance"], coin)[-1] for coin in COINS}
        await until(lambda: all(made_ids(simulator["binance"], coin)[-1] > made[coin] + 50 for coin in COINS))
        await collect("second")
        await taken_over(readers, "second")
        await goes_on(readers, simulator)
        for reader in readers:
            proven(reader, simulator)
            assert any(trade.backfilled for trade in reader.trades)
            assert not any(each.get("coins") for each in reader.events("source"))
