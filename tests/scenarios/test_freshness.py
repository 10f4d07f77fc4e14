"""A price is fresh only if its time at the venue is recent, whatever delayed it on the way or in this process."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from exchanges.ccxt_adapter.transport.choose import TRANSPORTS
from exchanges.simulator import Simulator, ThreadedSimulator
from feed import FeedState, MarketFeed, PriceTick, Settings, StaleDataError
from feed.settings import Connection, Staleness
from tests.scenarios.support import Gate, Witness, feeding, only, quick, redirected, simulated
from tests.support import until

MAX_LAG = 1.0
# Seconds by which a measured lag may be too short: a lag is what exceeds the shortest delay, and on a busy machine even
# the shortest delay is long.
SLACK = 0.3


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if name == "picows":
        pytest.importorskip("picows", reason="the extra [fast] is not installed")
    return name


def patient(simulator: Simulator, transport: str = "aiohttp", **changes: Any) -> Settings:
    """Settings for one venue over a transport; a lag of MAX_LAG is reported, but ends no connection."""
    staleness = Staleness(feed_stale_after=5, coin_stale_after=60, reconnect_after=60, max_lag=MAX_LAG)
    connection = Connection(connect_timeout=10, backoff_initial=0.05, backoff_max=0.4)
    settings = quick(simulator, **{"staleness": staleness, "connection": connection, **changes})
    settings.exchanges[0].options["transport"] = transport
    return settings


def age_of(feed: MarketFeed, coin: str, max_age: float) -> float | None:
    """Seconds since the stamp of the fresh price, by the clock that venue and feed share; None if no price is fresh.

    The clock is read before the call, so a pause of the process between them does not make the price older.
    """
    now = time.time()
    try:
        return now - feed.require_fresh(coin, max_age).timestamp / 1000
    except StaleDataError:
        return None


def is_fresh(feed: MarketFeed, coin: str, max_age: float) -> bool:
    return age_of(feed, coin, max_age) is not None


class Judge:
    """Asks for a fresh price at every tick; ``wrong`` has the ages of prices that the feed gave although too old."""

    def __init__(self, feed: MarketFeed, max_age: float = 1.0) -> None:
        self.feed = feed
        self.max_age = max_age
        self.wrong: list[float] = []
        self.fresh = 0
        self.refused = 0
        feed.subscribe_price(self.ask)

    def ask(self, tick: PriceTick) -> None:
        age = age_of(self.feed, tick.coin, self.max_age)
        if age is None:
            self.refused += 1
        else:
            self.fresh += 1
            if age > self.max_age + SLACK:
                self.wrong.append(age)


async def test_a_stream_that_falls_behind_is_reported_and_none_of_its_prices_is_fresh(
    venue_name: str, transport: str, seed: str
) -> None:
    async with simulated(venue_name, seed) as simulator, feeding(patient(simulator, transport)) as (feed, got):
        await got.more_trades(100)
        judge = Judge(feed)
        await got.until(lambda: judge.fresh > 0)
        with only(simulator).falling_behind(3, growth=0.8):
            lagging = await got.until_event("feed_lagging")
            assert lagging["exchange"] == venue_name
            assert lagging["seconds"] > MAX_LAG
            assert feed.status.state is FeedState.LAGGING
            assert feed.status.connected
            health = feed.get_health()
            assert health["status"] == "degraded"
            assert health["metrics"]["lag"] > MAX_LAG
            assert feed.get_status()["state"] == "lagging"
            await got.until(lambda: judge.refused > 20)
            with pytest.raises(StaleDataError, match="old at") as caught:
                feed.require_fresh("BTC", MAX_LAG)
            assert caught.value.coin == "BTC"
            assert caught.value.limit == MAX_LAG
            assert caught.value.age is not None
            assert caught.value.age > MAX_LAG
            assert feed.require_fresh("BTC", 30).coin == "BTC"
        caught_up = await got.until_event("feed_caught_up")
        assert caught_up["seconds"] > 0
        await got.until(lambda: is_fresh(feed, "BTC", MAX_LAG))
        await got.until(lambda: [feed.get_status()["state"], feed.get_health()["status"]] == ["live", "healthy"])
        assert judge.wrong == []
        assert {"disconnected", "feed_stale"} & set(got.events) == set()


async def test_a_stream_that_is_late_from_the_start_is_noticed_by_the_venues_clock(
    venue_name: str, transport: str, seed: str
) -> None:
    async with simulated(venue_name, seed) as simulator:
        venue = only(simulator)
        with venue.falling_behind(3, growth=0.9):
            await until(lambda: venue.stream_lag(1) > 2.5)
            async with feeding(patient(simulator, transport)) as (feed, got):
                judge = Judge(feed)
                lagging = await got.until_event("feed_lagging")
                came = [trade for trade in got.trades if trade.received_at / 1e6 <= lagging["at"] + 1]
                delays = [trade.received_at / 1e9 - trade.timestamp / 1e3 for trade in came]
                # the reported lag is that of the trades
                assert min(delays) - 0.5 <= lagging["seconds"] <= max(delays) + 0.1
                assert not is_fresh(feed, "BTC", MAX_LAG)
                await got.more_trades(20)
                assert judge.wrong == []


@asynccontextmanager
async def delayed(simulator: Simulator, transport: str) -> AsyncIterator[tuple[Gate, MarketFeed, Witness]]:
    """A feed whose WebSocket goes through a proxy that may delay data."""
    async with Gate(simulator.port) as gate:
        settings = redirected(patient(simulator, transport), ws_url=f"ws://{gate.address}")
        async with feeding(settings) as (feed, got):
            yield gate, feed, got


async def test_a_proxy_that_delays_data_is_noticed_also_over_a_reconnect(
    venue_name: str, transport: str, seed: str
) -> None:
    """The new connection is late from its first frame on. This delay must not count as the connection's normal one."""
    async with simulated(venue_name, seed) as simulator, delayed(simulator, transport) as (gate, feed, got):
        await got.more_trades(50)
        judge = Judge(feed)
        gate.delay = 1.6
        await got.until_event("feed_lagging")
        only(simulator).cut()
        await got.until_event("connected", 2)
        await got.until_event("feed_lagging", 2)
        assert not is_fresh(feed, "BTC", MAX_LAG)
        assert feed.status.state is FeedState.LAGGING
        gate.delay = 0.0
        await got.until_event("feed_caught_up")
        assert judge.wrong == []


async def test_an_old_price_over_rest_is_not_fresh(seed: str) -> None:
    """ETH has no trades on the stream, so only the price from the venue's REST is known, which is an hour old."""
    async with simulated("binance", seed) as simulator:
        venue = only(simulator)
        with venue.rest_behind(3600), venue.silent("ETH"):
            async with feeding(patient(simulator)) as (feed, got):
                await got.until(lambda: feed.get_price("ETH") is not None and is_fresh(feed, "BTC", 5))
                with pytest.raises(StaleDataError) as caught:
                    feed.require_fresh("ETH", 5)
                assert caught.value.age == pytest.approx(3600, abs=100)
                assert not is_fresh(feed, "ETH", 60)


@pytest.mark.parametrize("seconds", [2.5])
async def test_data_that_waited_behind_a_blocking_callback_is_not_fresh(
    venue_name: str, transport: str, seed: str, seconds: float
) -> None:
    with ThreadedSimulator(venues=(venue_name,), rate=200, coins=("BTC", "ETH")) as simulator:
        settings = patient(simulator._ready.result(), transport)
        async with feeding(settings) as (feed, got):
            blocked: list[float] = []

            def block(tick: PriceTick) -> None:
                if not blocked and len(got.prices) > 100:
                    blocked.append(time.time())
                    time.sleep(seconds)

            feed.subscribe_price(block)
            judge = Judge(feed)
            await got.until(lambda: bool(blocked) and judge.refused > 50)
            await got.until(lambda: is_fresh(feed, "BTC", MAX_LAG))
            assert judge.wrong == []
            assert judge.fresh > 50


async def test_callbacks_that_are_too_slow_for_the_data_cause_a_lag(transport: str, seed: str) -> None:
    """Each callback takes 8 ms, at 300 events a second: one call is not slow, but all together are."""
    with ThreadedSimulator(venues=("binance",), rate=300, coins=("BTC", "ETH")) as simulator:
        async with feeding(patient(simulator._ready.result(), transport)) as (feed, got):
            judge = Judge(feed)
            handle = feed.subscribe_price(lambda tick: time.sleep(0.008))
            await got.until_event("feed_lagging")
            await got.until(lambda: judge.refused > 20)
            assert not is_fresh(feed, "BTC", MAX_LAG)
            handle.cancel()
            await got.until_event("feed_caught_up")
            assert judge.wrong == []


async def test_consumers_that_fall_behind_are_reported_with_the_age_of_their_events(seed: str) -> None:
    async with simulated("binance", seed, rate=60) as simulator, feeding(patient(simulator)) as (feed, got):

        async def slow(tick: PriceTick) -> None:
            await asyncio.sleep(0.1)

        feed.subscribe_price(slow)
        stream = feed.prices(on_full="drop_oldest")
        await got.until(lambda: len([each for each in got.details("slow_callback") if "behind" in each]) >= 4)
        told: dict[str, list[float]] = {}
        for details in got.details("slow_callback"):
            told.setdefault(details["callback"], []).append(details["behind"])
        assert len(told) == 2
        for ages in told.values():
            assert 1 <= ages[0] < 3
            assert ages == sorted(ages)
        await stream.aclose()  # type: ignore[attr-defined] # prices() returns a Stream


CHILD = """
import asyncio, sys, time
from feed import MarketFeed, Settings, StaleDataError
from feed.events import CoinConfig
from feed.settings import ExchangeConfig

venue = ExchangeConfig(sys.argv[3], rest_url=sys.argv[1], ws_url=sys.argv[2], options={"transport": sys.argv[4]})
feed = MarketFeed(settings=Settings(coins=[CoinConfig("BTC")], exchanges=[venue]))
asked, wrong, refused = 0, [], 0
last = time.monotonic()
stopped = None  # time of the first tick after the stop

def on_price(tick):
    global asked, refused, last, stopped
    now, unix = time.monotonic(), time.time()
    if asked >= 50 and now - last > 2:
        stopped = now
    last = now
    asked += 1
    try:
        age = unix - feed.require_fresh("BTC", 1).timestamp / 1000
    except StaleDataError:
        refused += 1
    else:
        if age > 1.3:
            wrong.append(age)

async def main():
    feed.subscribe_price(on_price)
    await feed.connect()
    while asked < 50:
        await asyncio.sleep(0.01)
    print("running", flush=True)
    async with asyncio.timeout(20):
        while stopped is None or time.monotonic() - stopped < 3:
            await asyncio.sleep(0.01)
        while True:
            try:
                feed.require_fresh("BTC", 1)
            except StaleDataError:
                await asyncio.sleep(0.01)
            else:
                break
    await feed.disconnect()
    print(len(wrong), max(wrong, default=0), refused > 0, flush=True)

asyncio.run(main())
"""


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no SIGSTOP on this system")
def test_data_that_waited_while_the_process_was_stopped_is_not_fresh(
    venue_name: str, transport: str, seed: str
) -> None:
    with ThreadedSimulator(venues=(venue_name,), rate=200, coins=("BTC",)) as simulator:
        command = [sys.executable, "-c", CHILD, simulator.rest_url, simulator.ws_url, venue_name, transport]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            try:
                assert child.stdout.readline() == "running\n"
                os.kill(child.pid, signal.SIGSTOP)
                time.sleep(4)  # the test is about real time that passes
                os.kill(child.pid, signal.SIGCONT)
                told, _ = child.communicate(timeout=30)
                assert child.returncode == 0
            finally:
                child.kill()
    assert told == "0 0 True\n"
