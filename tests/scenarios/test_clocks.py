"""The machine's clock jumps by hours or is wrong by days: times of day follow it, but no duration changes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from importlib import import_module

import pytest

from exchanges import venue_time
from exchanges.ccxt_adapter.transport.choose import TRANSPORTS
from feed import FeedState
from feed.settings import CircuitBreaker, Staleness
from tests.scenarios.support import feeding, only, quick, simulated

HOUR = 3600.0
DAY = 24 * HOUR


class WallClock:
    """The clock (``time.time`` and ``time.time_ns``) that the feed and ccxt read; the simulated venue has the true one.

    ``step`` moves this clock by seconds.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._offset = 0
        now_ns = time.time_ns
        monkeypatch.setattr(time, "time_ns", lambda: now_ns() + self._offset)
        throttler, wall = import_module("ccxt.async_support.base.throttler"), time.time
        for module in (time, throttler):
            if module.time is wall:
                monkeypatch.setattr(module, "time", lambda: (now_ns() + self._offset) / 1e9)

    def step(self, seconds: float) -> None:
        self._offset += int(seconds * 1e9)


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Iterator[WallClock]:
    with monkeypatch.context() as patch:
        yield WallClock(patch)


BREAKING = {
    "disconnected",
    "feed_stale",
    "feed_lagging",
    "coin_stale",
    "reconnecting",
    "failover",
    "circuit_open",
    "gap",
}


async def test_a_live_feed_does_not_notice_a_step(venue_name: str, seed: str, wall: WallClock) -> None:
    """No coin becomes stale and no connection is dialled; only the wrong clock is reported. ``received_at`` steps with
    the clock; ages do not."""
    async with simulated(venue_name, seed) as simulator:
        settings = quick(simulator, staleness=Staleness(feed_stale_after=1.5, coin_stale_after=3, reconnect_after=3))
        settings.exchanges[0].options = {"ws": {"keepAlive": 500}}  # ccxt checks its pongs twice a second
        async with feeding(settings) as (feed, got):
            for hours in (-1, 2):  # first an hour behind, then an hour ahead of the true time
                await got.more_trades(1)
                before = got.trades[-1].received_at
                wall.step(hours * HOUR)
                await got.more_trades(120)  # long enough for several of ccxt's pong checks
                assert abs((got.trades[-1].received_at - before) / 1e9 - hours * HOUR) < 30
            assert BREAKING & set(got.events) == set()
            errors = [details["error"] for event, details in got.status if event == "error"]
            assert all(error.startswith("the clock of this machine is ") for error in errors)
            assert feed.status.state is FeedState.LIVE
            for coin in ("BTC", "ETH"):
                assert feed.require_fresh(coin, max_age=5).coin == coin
            assert feed.get_status()["last_message_age"] < 1.5
            heard = feed.status.last_message_time
            assert heard is not None
            assert abs(heard - time.time()) < 5
            assert len(only(simulator).dials) == 1


@pytest.mark.parametrize(("venue_name", "hours"), [("binance", 1), ("bybit", -1)])
async def test_a_step_of_the_clock_makes_no_outage_longer(
    venue_name: str, seed: str, wall: WallClock, hours: int
) -> None:
    """When a venue must be dialled again, staleness, backoff and recovery take as long as the settings say."""
    async with simulated(venue_name, seed, rate=20) as simulator:
        venue = only(simulator)
        settings = quick(simulator)
        settings.connection.backoff_jitter = 0
        async with feeding(settings) as (_, got):
            with venue.partition():
                await got.until_event("disconnected")
                wall.step(hours * HOUR)
                stale = await got.until_event("feed_stale")
                assert 0.7 <= stale["seconds"] < 1.4
                await got.until_event("reconnecting", 3)
            await got.until_event("connected", 2, timeout=5)
            recovered = await got.until_event("feed_recovered", timeout=5)
            assert recovered["seconds"] < 5
            await got.more_trades(10, timeout=5)


@pytest.mark.parametrize("hours", [-1])
async def test_a_step_of_the_clock_does_not_change_the_breakers_cooldown(
    seed: str, wall: WallClock, hours: int
) -> None:
    async with simulated("binance", seed) as simulator:
        venue = only(simulator)
        breaker = CircuitBreaker(failures=2, window=10, cooldown=1.5)
        async with feeding(quick(simulator, circuit_breaker=breaker)) as (feed, got):
            venue.cut()
            await got.until_event("connected", 2)
            venue.cut()
            await got.until_event("circuit_open")
            wall.step(hours * HOUR)
            assert not feed.tradable
            await got.until_event("circuit_half_open", timeout=6)
            assert 1 < got.at("circuit_half_open") - got.at("circuit_open") < 5
            assert feed.tradable


@pytest.mark.parametrize("hours", [-1])
async def test_a_step_of_the_clock_does_not_delay_a_failover(seed: str, wall: WallClock, hours: int) -> None:
    """After a step, the next venue's REST and dial are not delayed, although ccxt's rate limit uses the wall clock."""
    async with (
        simulated("bybit", seed) as first,
        simulated("binance", seed) as second,
        feeding(quick(first, second)) as (feed, got),
    ):
        wall.step(hours * HOUR)
        with only(first).partition():
            await got.until(lambda: "binance" in got.first_price, timeout=8)
        assert feed.status.failover_count == 1


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(("venue_name", "days"), [("binance", -3), ("bybit", -3), ("binance", -3650), ("bybit", 40)])
async def test_a_clock_that_is_days_off_is_reported_and_loses_no_data(
    venue_name: str, days: int, transport: str, seed: str, wall: WallClock
) -> None:
    """The clock of a machine without a clock chip is days off until a time server is reached. In the case of ten years,
    ccxt's own parsers read the frames."""
    wall.step(days * DAY)
    async with simulated(venue_name, seed) as simulator:
        settings = quick(simulator)
        settings.exchanges[0].options = {"transport": transport, "hotpath": days > -100}
        async with feeding(settings) as (feed, got):
            told = await got.until_event("error")
            assert told["error"].startswith(f"the clock of this machine is {abs(days)}.0 days ")
            assert ("behind" if days < 0 else "ahead of") in told["error"]
            await got.until(lambda: len(got.trades) > 20 and bool(got.candles))
            # the trade has the venue's time
            assert abs(got.trades[-1].timestamp / 1000 + days * DAY - time.time()) < 30
            assert feed.require_fresh("BTC", 5).coin == "BTC"
            assert feed.status.state is FeedState.LIVE
        assert got.events.count("error") == 1


async def test_a_clock_that_is_wrong_by_a_minute_is_not_reported(seed: str, wall: WallClock) -> None:
    wall.step(-45)
    async with simulated("binance", seed) as simulator, feeding(quick(simulator)) as (_, got):
        await got.more_trades(20)
        await got.until(lambda: venue_time.local_error("binance") is not None)
        assert "error" not in got.events
