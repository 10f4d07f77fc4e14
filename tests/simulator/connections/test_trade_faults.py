"""Trades with wrong ids or timestamps, repeated trades, block trades, and candles whose end is lost or late."""

from __future__ import annotations

import time
from typing import Any

import pytest

from exchanges.simulator import Simulator, SimulatorError
from tests.simulator.client import Client, dial, get, until

SPOT = "/v5/public/spot"
BOTH = pytest.mark.parametrize("name", ["binance", "bybit"])


def path_of(name: str) -> str:
    return "/ws" if name == "binance" else SPOT


async def subscribe(client: Client, name: str, coin: str = "BTC") -> None:
    await client.subscribe(f"{coin.lower()}usdt@trade" if name == "binance" else f"publicTrade.{coin}USDT")


def rows(client: Client) -> list[Any]:
    found = []
    for event in client.events:
        if str(event.get("topic")).startswith("publicTrade"):
            found += event["data"]
        elif event.get("e") == "trade":
            found.append(event)
    return found


def ids(client: Client) -> list[int]:
    return [int(row.get("i", row.get("t"))) for row in rows(client)]


async def rest_ids(sim: Simulator, name: str) -> list[int]:
    if name == "binance":
        return [row["id"] for row in await get(sim, "/api/v3/trades", symbol="BTCUSDT")]
    found = await get(sim, "/v5/market/recent-trade", symbol="BTCUSDT", category="spot")
    return [int(row["execId"]) for row in reversed(found["result"]["list"])]


@BOTH
async def test_skipped_ids_are_neither_in_the_stream_nor_in_rest(name: str) -> None:
    async with Simulator(rate=0, venues=(name,)) as sim, dial(sim, path_of(name)) as client:
        await subscribe(client, name)
        with sim[name].skipping(4):
            await sim[name].trade("BTC", count=40)
            await sim[name].burst(20, coins=["BTC"])
        await until(lambda: len(ids(client)) == 60)
        seen, first = ids(client), ids(client)[0]
        assert seen == sorted(set(seen))
        assert 62 <= seen[-1] - first + 1 <= 100
        assert await rest_ids(sim, name) == seen
        (after,) = await sim[name].trade("BTC")
        assert after.id == seen[-1] + 1


@BOTH
async def test_one_id_in_the_stream_is_too_high_and_the_next_id_is_right(name: str) -> None:
    async with Simulator(rate=0, venues=(name,)) as sim, dial(sim, path_of(name)) as client:
        venue = sim[name]
        await subscribe(client, name)
        await venue.trade("BTC", ids=[1])
        venue.leap(40_000)
        await venue.trade("BTC", ids=[2, 3])
        await until(lambda: ids(client) == [1, 40_002, 3])
        assert await rest_ids(sim, name) == [1, 2, 3]
        (altered,) = venue.altered
        assert (altered.market, altered.true.id, altered.sent.id) == ("BTCUSDT", 2, 40_002)


@BOTH
async def test_one_timestamp_in_the_stream_is_far_ahead(name: str) -> None:
    async with Simulator(rate=0, venues=(name,)) as sim, dial(sim, path_of(name)) as client:
        venue = sim[name]
        await subscribe(client, name)
        venue.stamp_ahead(82_800, "btc")
        await venue.trade("ETH", count=1)
        await venue.trade("BTC", ids=[1, 2])
        await until(lambda: len(ids(client)) == 2)
        first, second = (row["T"] for row in rows(client))
        assert first - second == 82_800_000
        assert abs(second - venue.now()) < 10_000


@BOTH
async def test_a_repeated_trade_is_sent_again_after_the_given_number_of_trades(name: str) -> None:
    async with Simulator(rate=0, venues=(name,)) as sim, dial(sim, path_of(name)) as client:
        venue = sim[name]
        await subscribe(client, name)
        with venue.repeated(1.0, after=3):
            await venue.trade("BTC", ids=range(1, 6))
        await venue.trade("BTC", ids=[6])
        await until(lambda: ids(client) == [1, 2, 3, 4, 1, 5, 2, 6])


async def test_block_trades_are_marked_and_do_not_change_price_and_candles() -> None:
    async with Simulator(rate=0, coins=["BTC"], venues=("bybit",)) as sim, dial(sim, SPOT) as client:
        venue = sim["bybit"]
        await subscribe(client, "bybit")
        await client.subscribe("tickers.BTCUSDT", "kline.1.BTCUSDT")
        await venue.trade("BTC", ids=[1], price=50_000)
        block = await venue.block_trade("BTC", price=45_000, quantity=100)
        assert (block.id, block.block) == (2, True)
        await venue.trade("BTC", ids=[3], price=50_001)
        await until(lambda: len(ids(client)) == 3)
        assert [row["BT"] for row in rows(client)] == [False, True, False]
        found = await get(sim, "/v5/market/recent-trade", symbol="BTCUSDT", category="spot")
        assert [row["isBlockTrade"] for row in found["result"]["list"]] == [False, True, False]
        candle = await client.first(lambda e: "kline" in e.get("topic", "") and float(e["data"][0]["volume"]) > 0)
        ticker = await client.first(lambda e: "tickers" in e.get("topic", "") and e["data"]["lastPrice"] == "50001.00")
        assert float(candle["data"][0]["low"]) >= 50_000
        assert float(ticker["data"]["lastPrice"]) == 50_001
        assert float(candle["data"][0]["volume"]) < 100


async def test_block_trades_come_in_addition_to_other_trades() -> None:
    async with Simulator(rate=0, venues=("bybit",)) as sim, dial(sim, SPOT) as client:
        await subscribe(client, "bybit")
        with sim["bybit"].block_trades(0.5):
            await sim["bybit"].burst(200, coins=["BTC"])
        await until(lambda: len(ids(client)) > 200)
        blocks = [row for row in rows(client) if row["BT"]]
        assert 60 <= len(blocks) <= 140
        assert len(sim["bybit"].trades["BTC"]) == 200 + len(blocks)


async def test_only_bybit_has_block_trades() -> None:
    async with Simulator(rate=0) as sim:
        with pytest.raises(SimulatorError, match="only bybit"), sim["binance"].block_trades(0.1):
            pass
        with pytest.raises(SimulatorError, match="does not mark block trades"):
            await sim["binance"].block_trade("BTC")
    with pytest.raises(SimulatorError, match="cannot have it"):
        Simulator(faults=["binance:block-trades-0.1"])


def opened(event: Any) -> Any:
    """The opening time of a candle, or None for other events."""
    if event.get("e") == "kline":
        return event["k"]["t"]
    return event["data"][0]["start"] if str(event.get("topic")).startswith("kline") else None


def closed(event: Any) -> Any:
    """The opening time of the candle if the event is its final state, or None for other events."""
    final = event["k"]["x"] if "k" in event else opened(event) and event["data"][0]["confirm"]
    return opened(event) if final else None


@BOTH
@pytest.mark.parametrize("fault", ["lost-close", "late-close"])
async def test_the_final_state_of_a_candle_can_be_lost_or_late(name: str, fault: str) -> None:
    async with Simulator(rate=0, coins=["BTC"], venues=(name,)) as sim, dial(sim, path_of(name)) as client:
        venue = sim[name]
        await client.subscribe("btcusdt@kline_1m" if name == "binance" else "kline.1.BTCUSDT")
        venue.skip(60 - venue.now() / 1000 % 60)  # go to the start of a minute, so that no minute ends soon
        await venue.trade("BTC", ids=[1])
        minute = venue.now() - venue.now() % 60_000
        with venue.lost_close() if fault == "lost-close" else venue.late_close(0.3):
            began = time.monotonic()
            venue.skip(60)
            await venue.trade("BTC", ids=[2])
            await client.first(lambda event: opened(event) == minute + 60_000)
            if fault == "late-close":
                await until(lambda: minute in [closed(event) for event in client.events])
                assert time.monotonic() - began >= 0.3
        venue.skip(60)
        await until(lambda: minute + 60_000 in [closed(event) for event in client.events])
        assert (minute in [closed(event) for event in client.events]) == (fault == "late-close")
