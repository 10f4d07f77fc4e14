"""A feed that reads the bus delivers the same as a feed that reads an exchange, even when the bus fails."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from exchanges.bus.client import BusClient
from exchanges.bus.payloads import event, read
from exchanges.bus.subjects import REGISTER_STREAM, MarketSubjects
from exchanges.simulator import Simulator
from exchanges.venue import BusAddress
from feed import FeedError, MarketFeed, NoExchangeAvailable, Settings, SettingsError
from feed.settings import ExchangeConfig
from feed.settings.schema import Bus
from feed.sinks.bus.server import BusServer
from tests.bus.conftest import COINS
from tests.bus.support import Consumer, Proxy, check_order, consumers, needs_bus, publisher, reader_settings
from tests.support import Recorder, until

pytestmark = needs_bus


async def test_prices_trades_candles_and_history_come_from_the_bus(
    bus: BusServer, simulator: Simulator, collect: Callable[..., Any]
) -> None:
    await collect("one")
    await publisher(bus.url, "binance")
    feed = MarketFeed(settings=reader_settings(bus.url, ["binance"], COINS))
    got = Recorder(feed)
    async with feed:
        await got.until(lambda: {tick.coin for tick in got.prices} == set(COINS))
        await got.until(lambda: len(got.trades) > 50 and bool(got.candles))
        made = {coin: {trade.id: trade for trade in simulator["binance"].trades[coin]} for coin in COINS}
        for trade in got.trades:
            true = made[trade.coin][int(trade.trade_id)]
            assert (trade.price, trade.quantity, trade.exchange) == (true.price, true.quantity, "binance")
        for coin in COINS:
            assert feed.require_fresh(coin, 5).exchange == "binance"
        history = await feed.candles_history("BTC", "1m", 30)
        assert len(history) == 30
        opened = [candle.timestamp for candle in history]
        assert opened == list(range(opened[0], opened[0] + 30 * 60_000, 60_000))
        assert got.details("source")[0]["source"].startswith("one-")


async def test_past_candles_of_other_timeframes_come_from_the_collector(
    bus: BusServer, simulator: Simulator, collect: Callable[..., Any]
) -> None:
    """The bus only keeps candles of 1m; for other timeframes the collector asks the exchange."""
    collector = await collect("one")
    await publisher(bus.url, "binance")
    feed = MarketFeed(settings=reader_settings(bus.url, ["binance"], COINS))
    async with feed:
        assert {"1m", "5m", "1h", "1d"} <= set(feed.history_timeframes)
        for timeframe, minutes in (("5m", 5), ("1h", 60)):
            history = await feed.candles_history("ETH", timeframe, 20)
            opened = [candle.timestamp for candle in history]
            assert opened == list(range(opened[0], opened[0] + 20 * minutes * 60_000, minutes * 60_000))
            assert {(candle.exchange, candle.timeframe) for candle in history} == {("binance", timeframe)}
            assert [candle.closed for candle in history] == [True] * 19 + [False]
        with pytest.raises(SettingsError, match=r"7m.*allowed on binance are 1s, 1m"):
            await feed.candles_history("ETH", "7m", 20)
        await collector.gone()
        with pytest.raises(FeedError, match="no collector answers with 5m candles of ETH: nobody answers"):
            await feed.candles_history("ETH", "5m", 20)


async def test_channels_that_the_collectors_do_not_publish_are_reported(
    bus: BusServer, simulator: Simulator, collect: Callable[..., Any]
) -> None:
    await collect("one")
    await publisher(bus.url, "binance")
    feed = MarketFeed(settings=reader_settings(bus.url, ["binance"], COINS[:-1]))
    got = Recorder(feed)
    for timeframe in ("1m", "3m"):
        feed.subscribe_candles(lambda _: None, timeframe=timeframe)
    feed.subscribe_quotes(lambda _: None)
    async with feed:
        await got.until(lambda: len(got.details("coin_unavailable")) == 2 * len(COINS[:-1]))
        await got.until(lambda: bool(got.candles))
        await feed.add_coins([COINS[-1]])
        await got.until(lambda: {trade.coin for trade in got.trades[-20:]} == set(COINS))
        assert len({(trade.coin, trade.trade_id) for trade in got.trades}) == len(got.trades)
        told = got.details("coin_unavailable")
        assert {(each["channel"], each.get("timeframe"), each["coin"]) for each in told} == {
            (channel, timeframe, coin) for channel, timeframe in (("candles", "3m"), ("quotes", None)) for coin in COINS
        }


@pytest.mark.parametrize("coins", [{}, {"ETH": "ETH/USDT"}])
async def test_a_reader_that_starts_before_the_first_data_waits_for_it(
    bus: BusServer, simulator: Simulator, collect: Callable[..., Any], coins: dict[str, str]
) -> None:
    """A new collector has reported none of its coins yet, or only some. A coin that no collector carries is refused."""
    await collect("one")
    await publisher(bus.url, "binance")
    names = MarketSubjects("binance", "spot")
    client = await BusClient.dial(BusAddress((bus.url,)), "test")
    try:
        (whole,) = await client.last(REGISTER_STREAM, [names.coins("1-1")])
        awaited = [coin for coin in COINS if coin not in coins]
        begun = {**json.loads(whole.data), "coins": coins, "awaited": awaited}
        await client.store(names.coins("1-1"), json.dumps(begun).encode())
        feed = MarketFeed(settings=reader_settings(bus.url, ["binance"], ["BTC"]))
        got = Recorder(feed)
        connecting = asyncio.create_task(feed.connect())
        await got.until_event("error")
        assert "no collector has had data of BTC yet" in got.details("error")[0]["error"]
        assert not connecting.done()
        await client.store(names.coins("1-1"), whole.data)
        await connecting
        await got.until(lambda: bool(got.trades))
        await feed.disconnect()
        other = MarketFeed(["XRP"], settings=reader_settings(bus.url, ["binance"], ["BTC"]))
        with pytest.raises(NoExchangeAvailable, match="no collector publishes XRP"):
            await other.connect()
    finally:
        await client.close()


async def test_an_outage_of_the_bus_loses_no_trade(
    bus: BusServer, simulator: Simulator, collect: Callable[..., Any]
) -> None:
    """The consumer is cut off from the bus. Later it reads the trades that were published during this time."""
    await collect("one")
    await publisher(bus.url, "binance")
    async with Proxy(bus.port) as proxy, consumers(1, reader_settings(proxy.url, ["binance"], COINS)) as (reader,):
        await until(lambda: len(reader.trades) > 50)
        with proxy.partitioned():
            await until(lambda: bool(reader.events("disconnected")))
            assert re.search("bus|not been heard", reader.events("disconnected")[0]["reason"])
        count = len(reader.trades)
        await until(lambda: len(reader.trades) > count + 100)
        for coin in COINS:
            assert check_order(reader.ids["binance", coin]) == []
        assert any(trade.backfilled for trade in reader.trades)


async def test_a_restart_of_the_bus_loses_no_trade(
    bus: BusServer, simulator: Simulator, collect: Callable[..., Any]
) -> None:
    """Collectors keep the trades that they could not store, and store each once when the bus works again."""
    await collect("one")
    await collect("two")
    await publisher(bus.url, "binance")
    async with consumers(2, reader_settings(bus.url, ["binance"], COINS)) as readers:
        await until(lambda: all(len(reader.trades) > 50 for reader in readers))
        await bus.stop()
        await until(lambda: all(bool(reader.events("disconnected")) for reader in readers))
        await bus.start()
        counts = [len(reader.trades) for reader in readers]
        await until(lambda: all(len(r.trades) > count + 200 for r, count in zip(readers, counts, strict=True)), 30)
        for reader in readers:
            for coin in COINS:
                assert check_order(reader.ids["binance", coin]) == []


async def test_an_event_that_was_published_late_gives_no_fresh_price(
    bus: BusServer, simulator: Simulator, collect: Callable[..., Any]
) -> None:
    """The only collector is cut off from the bus; afterwards all its trades come late."""
    async with Proxy(bus.port) as proxy:
        await collect("one", url=proxy.url)
        await publisher(bus.url, "binance")
        reader = Consumer(reader_settings(bus.url, ["binance"], COINS))
        ages: list[float] = []
        reader.feed.subscribe_price(lambda tick: ages.append(time.time() - tick.timestamp / 1000))
        async with reader.feed:
            await until(lambda: len(reader.trades) > 50)
            with proxy.partitioned():
                await until(lambda: reader.silent_for > 2.2)  # too short for a report that the collector is lost
            count = len(reader.trades)
            await until(lambda: len(reader.trades) > count + 500, 60)
            for coin in COINS:
                assert check_order(reader.ids["binance", coin]) == []
            assert any(trade.backfilled for trade in reader.trades)
            assert not reader.events("disconnected")
        assert max(ages) < 1.8


async def test_trades_that_the_bus_loses_are_published_again(
    bus: BusServer, simulator: Simulator, collect: Callable[..., Any]
) -> None:
    """The server has confirmed messages, but has lost them after a restart, as can happen at a power cut."""
    names = MarketSubjects("binance", "spot")
    async with Proxy(bus.port) as proxy:
        await collect("one", url=proxy.url)
        await publisher(bus.url, "binance")
        client = await BusClient.dial(BusAddress((bus.url,)), "test")
        subject = names.events("trades", "BTC")
        await until_stored(client, names.stream, subject, 30)
        with proxy.partitioned():
            kept = await client.from_sequence(names.stream, subject, 1, 10_000)
            for each in kept[-10:]:
                await client.api(f"STREAM.MSG.DELETE.{names.stream}", {"seq": each.sequence})
            await client.close()
            await bus.stop()
            await bus.start()
        client = await BusClient.dial(BusAddress((bus.url,)), "test")
        await until_stored(client, names.stream, subject, len(kept) + 20)
        found = await client.from_sequence(names.stream, subject, 1, 10_000)
        await client.close()
    assert check_order([read("trade", each.data).trade_id for each in found]) == []


async def test_a_bus_whose_folder_was_removed_continues_with_new_streams(
    bus: BusServer, simulator: Simulator, collect: Callable[..., Any]
) -> None:
    """Leases and streams are lost; the publisher and the standby collector begin again."""
    await collect("one")
    await publisher(bus.url, "binance")
    await collect("two")
    async with consumers(1, reader_settings(bus.url, ["binance"], COINS)) as (reader,):
        await until(lambda: len(reader.trades) > 50)
        await bus.stop()
        await asyncio.to_thread(shutil.rmtree, bus.folder)
        await bus.start()
        await until(lambda: any("the bus has lost" in each["reason"] for each in reader.events("source")), 30)
        count = len(reader.trades)
        await until(lambda: len(reader.trades) > count + 200, 30)
        for coin in COINS:
            ids = list(map(int, reader.ids["binance", coin]))
            assert ids == sorted(set(ids))


async def until_stored(client: BusClient, stream: str, subject: str, count: int) -> None:
    """Wait until the stream has this many messages of a subject."""
    async with asyncio.timeout(60):
        while len(await client.from_sequence(stream, subject, 1, 10_000)) < count:  # noqa: ASYNC110 - no event can be awaited here
            await asyncio.sleep(0.1)


async def test_a_gap_of_trades_that_the_bus_no_longer_keeps_is_reported(
    bus: BusServer, simulator: Simulator, collect: Callable[..., Any]
) -> None:
    await collect("one")
    await publisher(bus.url, "binance")
    admin = await BusClient.dial(BusAddress((bus.url,)), "test")
    try:
        async with Proxy(bus.port) as proxy, consumers(1, reader_settings(proxy.url, ["binance"], COINS)) as (reader,):
            await until(lambda: len(reader.trades) > 50)
            with proxy.partitioned():
                await until(lambda: bool(reader.events("disconnected")))
                await asyncio.sleep(0.5)  # in this time, trades are published that the reader does not get
                await admin.api(f"STREAM.PURGE.{MarketSubjects('binance', 'spot').stream}", {})
            await until(lambda: any("has already dropped" in each["reason"] for each in reader.events("source")))
            await until(lambda: bool(reader.events("gap")))
            count = len(reader.trades)
            await until(lambda: len(reader.trades) > count + 50)
    finally:
        await admin.close()


async def test_without_a_collector_the_reason_is_reported(bus: BusServer) -> None:
    feed = MarketFeed(settings=reader_settings(bus.url, ["binance"], COINS))
    with pytest.raises(NoExchangeAvailable, match="no collector"):
        await feed.connect(2)


async def test_without_a_bus_the_reason_is_reported_without_the_password() -> None:
    settings = Settings(exchanges=[ExchangeConfig("binance")], bus=Bus("nats://me:s3cret-word@127.0.0.1:1"))
    feed = MarketFeed(["BTC"], settings=settings)
    with pytest.raises(NoExchangeAvailable) as raised:
        await feed.connect(2)
    assert "127.0.0.1:1" in str(raised.value)
    assert "s3cret-word" not in str(raised.value)
    assert "s3cret-word" not in repr(settings)


async def test_the_end_of_the_only_collector_is_an_outage_of_its_exchange(
    bus: BusServer, simulator: Simulator, collect: Callable[..., Any]
) -> None:
    one = await collect("one")
    await publisher(bus.url, "binance")
    async with consumers(1, reader_settings(bus.url, ["binance"], COINS)) as (reader,):
        await until(lambda: len(reader.trades) > 20)
        one.kill()
        await until(lambda: bool(reader.events("disconnected")))
        assert "one-" in reader.events("disconnected")[0]["reason"]
        assert "not been heard" in reader.events("disconnected")[0]["reason"]
        await collect("two")
        await until(lambda: reader.sources()[-1].startswith("two-"), 40)
        count = len(reader.trades)
        await until(lambda: len(reader.trades) > count + 50)


async def test_only_markets_that_the_settings_allow_are_read(
    bus: BusServer, simulator: Simulator, collect: Callable[..., Any]
) -> None:
    await collect("one")
    await publisher(bus.url, "binance")
    settings = reader_settings(bus.url, ["binance"], COINS)
    settings.quote = ["EUR"]
    reader = Consumer(settings)
    with pytest.raises(NoExchangeAvailable):
        await reader.feed.connect(3)
    assert {each["coin"] for each in reader.events("coin_unavailable")} == set(COINS)
    assert all("USDT; the settings allow EUR" in each["reason"] for each in reader.events("coin_unavailable"))
    assert reader.trades == []


async def test_an_invalid_message_affects_no_other_message(
    bus: BusServer, simulator: Simulator, collect: Callable[..., Any]
) -> None:
    await collect("one")
    await publisher(bus.url, "binance")
    names = MarketSubjects("binance", "spot")
    client = await BusClient.dial(BusAddress((bus.url,)), "test")
    try:
        async with consumers(1, reader_settings(bus.url, ["binance"], COINS)) as (reader,):
            await client.store(names.events("trades", "BTC"), b"{broken")
            await client.store(names.events("trades", "BTC"), event("trade", {"coin": "ETH", "price": 1.0}))
            await until(lambda: bool(reader.events("bad_frame")))
            count = len(reader.trades)
            await until(lambda: len(reader.trades) > count + 50)
            for coin in COINS:
                assert check_order(reader.ids["binance", coin]) == []
    finally:
        await client.close()


async def test_a_reader_of_the_bus_does_not_import_ccxt_and_needs_little_memory(
    bus: BusServer, simulator: Simulator, collect: Callable[..., Any]
) -> None:
    await collect("one")
    await publisher(bus.url, "binance")
    command = [sys.executable, "-m", "tests.bus.start", bus.url, ",".join(COINS)]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60, check=True)
    _, megabytes, ccxt, _ = json.loads(done.stdout)  # tests.benchmarks.bus measures how many seconds this takes
    assert not ccxt
    assert megabytes < 60
