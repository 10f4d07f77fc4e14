"""A venue whose stream or REST is late: it still sends data, but with old timestamps."""

from __future__ import annotations

import asyncio
import time
from contextlib import AbstractContextManager
from typing import Any

import pytest

from exchanges.simulator import SimulatedVenue, Simulator, SimulatorError
from tests.simulator.client import Client, dial, get, until

SPOT = "/v5/public/spot"
BOTH = pytest.mark.parametrize("name", ["binance", "bybit"])


def path_of(name: str) -> str:
    return "/ws" if name == "binance" else SPOT


def streams(name: str) -> tuple[str, str]:
    """The names of BTC's streams of trades and tickers."""
    return ("btcusdt@trade", "btcusdt@ticker") if name == "binance" else ("publicTrade.BTCUSDT", "tickers.BTCUSDT")


def stamps(client: Client) -> list[tuple[int, float]]:
    """For each received trade, its id and the seconds since its timestamp."""
    now = time.time() * 1000
    rows = [row for event in client.events for row in rows_of(event)]
    return [(int(row.get("i", row.get("t"))), (now - row["T"]) / 1000) for row in rows]


def rows_of(event: Any) -> list[Any]:
    if event.get("topic", "").startswith("publicTrade"):
        return list(event["data"])
    return [event] if event.get("e") == "trade" else []


@BOTH
async def test_a_late_stream_sends_past_data_with_the_original_timestamps(name: str) -> None:
    async with Simulator(rate=0, venues=(name,)) as sim, dial(sim, path_of(name)) as client:
        await client.subscribe(streams(name)[0])
        with sim[name].behind(0.3):
            await sim[name].trade("BTC", ids=[1])
            began = time.monotonic()
            await until(lambda: stamps(client))
            assert time.monotonic() - began >= 0.25
            (number, age), *_ = stamps(client)
            assert number == 1
            assert age >= 0.3


@BOTH
async def test_a_new_connection_to_a_late_stream_is_late_from_its_first_frame(name: str) -> None:
    async with Simulator(rate=0, venues=(name,)) as sim:
        venue = sim[name]
        with venue.behind(600):
            (old,) = await venue.trade("BTC", ids=[1])
            venue.skip(599.9)  # the trade is almost as old as the stream is late
            async with dial(sim, path_of(name)) as client:
                await client.subscribe(streams(name)[0])
                await until(lambda: [number for number, _ in stamps(client)] == [1])
            assert old.timestamp < venue.now() - 590_000


async def test_delayed_data_comes_at_once_and_in_order_when_a_stream_catches_up() -> None:
    async with Simulator(rate=0, venues=("binance",)) as sim, dial(sim, "/ws/btcusdt@trade") as client:
        venue = sim["binance"]
        await until(lambda: venue.connections)
        with venue.behind(3600):
            await venue.trade("BTC", ids=[1, 2])
            await venue.trade("BTC", ids=[3])
        await venue.trade("BTC", ids=[4])
        await until(lambda: len(client.frames) == 4)
        assert [number for number, _ in stamps(client)] == [1, 2, 3, 4]


@BOTH
async def test_a_stream_that_falls_behind_continues_with_growing_delay(name: str) -> None:
    async with Simulator(rate=200, coins=["BTC"], venues=(name,)) as sim, dial(sim, path_of(name)) as client:
        await client.subscribe(streams(name)[0])
        await until(lambda: len(client.frames) > 10)
        ages: list[float] = []
        with sim[name].falling_behind(60, growth=0.8):
            for _ in range(3):
                known = len(client.frames)
                await until(lambda known=known: len(client.frames) > known + 10)  # type: ignore[misc] # mypy cannot check a lambda with a default
                ages.append(stamps(client)[-1][1])
                await asyncio.sleep(0.25)
        assert ages[0] < ages[1] < ages[2]
        assert ages[2] > 0.3


async def test_a_stream_cannot_fall_behind_faster_than_time_passes() -> None:
    async with Simulator(rate=0) as sim:
        with pytest.raises(SimulatorError, match="below 1"), sim["binance"].falling_behind(10, growth=1):
            pass


async def test_the_fault_split_makes_every_second_connection_late() -> None:
    path = "/ws/btcusdt@trade"
    async with Simulator(rate=0, venues=("binance",)) as sim, dial(sim, path) as odd:
        venue = sim["binance"]
        await until(lambda: len(venue.connections) == 1)
        async with dial(sim, path) as even:
            await until(lambda: len(venue.connections) == 2)
            with venue.split(3600):
                await venue.trade("BTC", ids=[1])
                await until(lambda: odd.frames)
                await even.ws.ping()
                await until(lambda: even.pongs)
                assert even.frames == []
            await until(lambda: even.frames)


async def test_a_late_stream_drops_data_that_was_due_during_a_stall() -> None:
    async with Simulator(rate=0, venues=("binance",)) as sim, dial(sim, "/ws/btcusdt@trade") as client:
        venue = sim["binance"]
        await until(lambda: venue.connections)
        with venue.stalled():
            with venue.behind(3600):
                pass
            await venue.trade("BTC", ids=[1])
        await venue.trade("BTC", ids=[2])
        await until(lambda: [number for number, _ in stamps(client)] == [2])


@BOTH
async def test_a_ticker_of_a_late_stream_has_the_values_at_the_time_of_its_timestamp(name: str) -> None:
    async with Simulator(rate=0, coins=["BTC"], venues=(name,)) as sim:
        venue = sim[name]
        await venue.trade("BTC", price=50_000, count=1)
        venue.skip(60)
        await venue.trade("BTC", price=40_000, count=1)
        async with dial(sim, path_of(name)) as client:
            with venue.behind(30):
                await client.subscribe(streams(name)[1])
                if name == "bybit":
                    event = await client.first(lambda event: event.get("topic") == "tickers.BTCUSDT")
                    assert float(event["data"]["lastPrice"]) == 50_000
                    assert event["ts"] < venue.now() - 29_000


TRADES = {"binance": "/api/v3/trades", "bybit": "/v5/market/recent-trade"}
TICKERS = {"binance": "/api/v3/ticker/24hr", "bybit": "/v5/market/tickers"}
CANDLES = {"binance": "/api/v3/klines", "bybit": "/v5/market/kline"}


async def rest(sim: Simulator, name: str, paths: dict[str, str], **more: Any) -> Any:
    extra = {} if name == "binance" else {"category": "spot"}
    found = await get(sim, paths[name], symbol="BTCUSDT", **extra, **more)
    return found if name == "binance" else found["result"]["list"]


async def shown(sim: Simulator, name: str) -> tuple[list[int], float, float]:
    """BTC in REST answers: the ids of its trades, its last price, and the close of the current minute."""
    trades, ticker = await rest(sim, name, TRADES), await rest(sim, name, TICKERS)
    candles = await rest(sim, name, CANDLES, interval="1m" if name == "binance" else "1", limit=1)
    ids = sorted(int(row.get("id", row.get("execId"))) for row in trades)
    last = (ticker if name == "binance" else ticker[0])["lastPrice"]
    return ids, float(last), float(candles[0][4])


@BOTH
@pytest.mark.parametrize("fault", [lambda venue: venue.rest_behind(30), lambda venue: venue.rest_frozen()])
async def test_rest_can_show_past_trades_tickers_and_candles(name: str, fault: Any) -> None:
    async with Simulator(rate=0, coins=["BTC"], venues=(name,)) as sim:
        venue: SimulatedVenue = sim[name]
        venue.skip(60 - (venue.now() / 1000) % 60)  # go to the start of a minute
        await venue.trade("BTC", ids=[1], price=50_000)
        before = await shown(sim, name)
        venue.skip(0.001)
        standing: AbstractContextManager[None] = fault(venue)
        with standing:
            venue.skip(31)
            await venue.trade("BTC", ids=[2], price=40_000)
            assert await shown(sim, name) == before == ([1], 50_000, 50_000)
        assert await shown(sim, name) == ([1, 2], 40_000, 40_000)


async def test_rest_that_is_behind_has_a_random_delay_for_each_request_and_tells_the_right_time() -> None:
    async with Simulator(rate=0, coins=["BTC"], venues=("binance",)) as sim:
        venue = sim["binance"]
        for number in range(1, 101):
            await venue.trade("BTC", ids=[number])
            venue.skip(1)
        with venue.rest_behind(10, 60):
            seen = {len(await rest(sim, "binance", TRADES)) for _ in range(20)}
            assert len(seen) > 3
            assert all(40 <= count <= 91 for count in seen)
            told = await get(sim, "/api/v3/time")
            assert abs(told["serverTime"] - venue.now()) < 2000
