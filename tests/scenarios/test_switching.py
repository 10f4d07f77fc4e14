"""Failover and failback while further faults occur."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from exchanges.simulator import Simulator
from feed import FeedState, MarketFeed
from feed.settings import CircuitBreaker
from tests.scenarios.support import Witness, feeding, nothing_left, quick, simulated
from tests.support import until

SWITCHED_WITHIN = 2.0  # seconds from the decision to the next venue's first price


@pytest.fixture
async def primary(seed: str) -> AsyncIterator[Simulator]:
    async with simulated("bybit", f"{seed} primary") as simulator:
        yield simulator


@pytest.fixture
async def secondary(seed: str) -> AsyncIterator[Simulator]:
    async with simulated("binance", f"{seed} secondary") as simulator:
        yield simulator


async def test_the_next_venue_delivers_within_two_seconds_of_the_decision(
    primary: Simulator, secondary: Simulator
) -> None:
    async with feeding(quick(primary, secondary)) as (feed, got):
        with primary["bybit"].partition():
            await got.until_event("failover")
            await got.until(lambda: "binance" in got.first_price)
            assert got.first_price["binance"] - got.at("failover") < SWITCHED_WITHIN
            await got.until(lambda: feed.status.state is FeedState.LIVE)
            assert feed.status.exchange == "binance"


async def test_a_failover_does_not_wait_for_the_next_venues_rest(primary: Simulator, secondary: Simulator) -> None:
    """The next venue's markets are known already, and the 24 h statistics can come later."""
    async with feeding(quick(primary, secondary)) as (_, got):
        await until(lambda: any("exchangeInfo" in path for _, path in secondary["binance"].rest_calls))
        with secondary["binance"].slow_rest(3.5), primary["bybit"].partition():
            await got.until(lambda: "binance" in got.first_price)
            assert got.first_price["binance"] - got.at("failover") < SWITCHED_WITHIN


async def test_if_the_next_venue_is_cut_during_a_failover_it_is_dialled_again(
    primary: Simulator, secondary: Simulator
) -> None:
    """The next venue drops its first connection while the feed subscribes; the second one delivers."""
    venue = secondary["binance"]

    def cut_once() -> None:
        venue.on_subscription = None
        venue.cut()

    async with feeding(quick(primary, secondary)) as (feed, got):
        venue.on_subscription = cut_once
        with primary["bybit"].partition():
            await got.until_event("failover")
            await got.until(lambda: "binance" in got.first_price)
            await got.until(lambda: feed.status.exchange == "binance" and feed.status.state is FeedState.LIVE)
            assert len(venue.dials) == 2
            assert len(got.details("failover")) == 1


async def test_a_trial_that_is_cut_is_not_reported(primary: Simulator, secondary: Simulator) -> None:
    """The preferred venue works again, is cut during its trial, and works again. There is one failback and no break,
    and prices of the two venues are not mixed."""
    first, second = primary["bybit"], secondary["binance"]
    async with feeding(quick(primary, secondary)) as (feed, got):
        with first.partition():
            await got.until(lambda: "binance" in got.first_price)
            dials = len(first.dials)
        await until(lambda: bool(first.connections))  # the first venue is on trial
        told = len([event for event in got.events if event in ("disconnected", "error")])
        first.cut()
        await until(lambda: len(first.dials) >= dials + 2)
        await got.until_event("failback")
        assert len([event for event in got.events if event in ("disconnected", "error")]) == told
        assert got.details("failback")[0]["to"] == "bybit"
        seen = len(got.prices)
        await got.until(lambda: len(got.prices) > seen + 5)
        assert {tick.exchange for tick in got.prices[seen:]} == {"bybit"}
        await until(lambda: not second.connections)
        assert feed.status.failover_count == 1


async def test_the_venue_on_trial_takes_over_without_a_dial_when_the_active_one_fails(
    primary: Simulator, secondary: Simulator
) -> None:
    """The connection of the venue on trial is already open."""
    first, second = primary["bybit"], secondary["binance"]
    settings = quick(primary, secondary)
    settings.connection.failback_after = 10  # the trial begins 1 s after the failover and would last 10 s
    async with feeding(settings) as (feed, got):
        with first.partition():
            await got.until(lambda: "binance" in got.first_price)
        await until(lambda: bool(first.connections))
        dials = len(first.dials)
        await asyncio.wait_for(_flowed(first.connections[0].opened, 1.5), 5)
        with second.partition():
            await got.until_event("failover", 2)
            await got.until(lambda: got.prices[-1].exchange == "bybit")
            assert len(first.dials) == dials
            assert feed.status.exchange == "bybit"


async def _flowed(since: float, seconds: float) -> None:
    """Wait until a connection has been open for this many seconds."""
    loop = asyncio.get_running_loop()
    await until(lambda: loop.time() - since >= seconds)


async def test_a_venue_that_is_cut_right_after_the_failback_stays_active(
    primary: Simulator, secondary: Simulator
) -> None:
    first = primary["bybit"]
    async with feeding(quick(primary, secondary)) as (feed, got):
        with first.partition():
            await got.until(lambda: "binance" in got.first_price)
        # by a failback, or by a failover if a busy machine pauses Binance
        await got.until(lambda: feed.status.exchange == "bybit")
        first.cut()
        await got.until(lambda: got.events[-1:] == ["connected"] or "reconnecting" in got.events)
        seen = len(got.prices)
        await got.until(lambda: len(got.prices) > seen + 20)
        assert feed.status.state is FeedState.LIVE


async def test_the_feed_reconnects_when_one_of_the_failed_venues_is_back(
    primary: Simulator, secondary: Simulator
) -> None:
    """Both venues of a live feed fail, so the breaker opens and dials become rare. The first venue that works again
    delivers."""
    settings = quick(primary, secondary, circuit_breaker=CircuitBreaker(failures=3, window=20, cooldown=1))
    first, second = primary["bybit"], secondary["binance"]
    async with feeding(settings) as (feed, got):
        with first.partition():
            with second.partition():
                await got.until_event("circuit_open")
                assert not feed.tradable
                await got.until(lambda: any(each["exchange"] == "binance" for each in got.details("error")))
                assert feed.status.state is not FeedState.LIVE
                began = len(got.prices)
            await got.until(lambda: len(got.prices) > began)
            assert got.prices[-1].exchange == "binance"
            await got.until_event("circuit_half_open")
            assert feed.tradable


async def test_a_venue_with_a_long_retry_after_is_left_at_once(primary: Simulator, secondary: Simulator) -> None:
    """The Retry-After of a 429 is longer than the feed may be silent. The next venue is used, and the first one is not
    dialled before the end of the Retry-After."""
    venue = primary["bybit"]
    settings = quick(primary, secondary)
    settings.connection.attempts_before_failover = 9
    async with feeding(settings) as (feed, got):
        with venue.refusing(429, retry_after=3):
            venue.cut()
            moved = await got.until_event("failover", timeout=2)
            assert "429" in moved["reason"]
            await got.until(lambda: got.prices[-1].exchange == "binance")
            refused_at = venue.dials[-1]
        await until(lambda: venue.dials[-1] > refused_at)
        assert venue.dials[-1] - refused_at >= 3
        await got.until_event("failback")
        assert feed.status.exchange == "bybit"


async def test_two_venues_that_accept_and_drop_are_dialled_with_backoff(
    primary: Simulator, secondary: Simulator
) -> None:
    """A change of the venue does not reset the backoff: the waits before one venue's dials are 0.1, 0.2, ... s."""
    settings = quick(primary, secondary)
    settings.connection.backoff_initial, settings.connection.backoff_max = 0.1, 30
    settings.connection.backoff_jitter = 0
    venues = primary["bybit"], secondary["binance"]
    async with nothing_left():
        feed = MarketFeed(settings=settings)
        got = Witness(feed)
        with venues[0].accept_then_drop(), venues[1].accept_then_drop():
            connecting = asyncio.create_task(feed.connect())
            await until(lambda: any(len(venue.dials) >= 3 for venue in venues))
            for venue in venues:
                pauses = [after - before for before, after in zip(venue.dials, venue.dials[1:], strict=False)]
                due = (0.1, 0.2, 0.4)
                assert all(pause >= least - 0.01 for pause, least in zip(pauses, due, strict=False))
        await connecting
        await got.more_trades()
        await feed.disconnect()
