"""Outages over real sockets: failover, failback, gaps, the circuit breaker, and a venue that announces its shutdown."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from time import monotonic
from typing import Any

import pytest

from exchanges.simulator import Simulator
from exchanges.venues import find
from feed import FeedState, MarketFeed, NoExchangeAvailable, StaleDataError
from feed.sessions import prefetch
from feed.sessions.connections import connection
from feed.settings import CircuitBreaker, Connection, ExchangeConfig, Staleness
from tests.support import Recorder, made_ids, settings_for, until

QUICK: dict[str, Any] = {
    "connection": Connection(
        connect_timeout=2, backoff_initial=0.05, backoff_max=0.5, stable_after=0.5, attempts_before_failover=2,
        failback_after=1,
    ),
    "staleness": Staleness(feed_stale_after=0.5, reconnect_after=1),
}  # fmt: skip


@pytest.fixture
async def primary() -> AsyncIterator[Simulator]:
    async with Simulator(venues=("bybit",), rate=100, seed=1) as simulator:
        yield simulator


@pytest.fixture
async def secondary() -> AsyncIterator[Simulator]:
    async with Simulator(venues=("binance",), rate=100, seed=2) as simulator:
        yield simulator


async def test_the_feed_fails_over_to_the_next_venue_at_once_if_the_active_venue_is_blocked(
    primary: Simulator, secondary: Simulator
) -> None:
    """After the failover, all prices come from the next venue."""
    feed = MarketFeed(settings=settings_for(primary, secondary, **QUICK))
    got = Recorder(feed)
    async with feed:
        assert feed.status.exchange == "bybit"
        with primary["bybit"].blocked(451):
            primary["bybit"].cut()
            moved = await got.until_event("failover")
            assert (moved["from"], moved["to"]) == ("bybit", "binance")
            await got.until_event("connected", 2)
            assert feed.status.exchange == "binance"
            assert feed.status.failover_count == 1
            seen = len(got.prices)
            await got.until(lambda: len(got.prices) > seen + 10)
            assert {tick.exchange for tick in got.prices[seen:]} == {"binance"}


async def test_at_a_failback_the_old_connection_stays_until_the_new_connection_has_data(
    primary: Simulator, secondary: Simulator
) -> None:
    feed = MarketFeed(settings=settings_for(primary, secondary, **QUICK))
    got = Recorder(feed)
    async with feed:
        with primary["bybit"].partition():
            await got.until_event("failover")
            await got.until_event("connected", 2)
        back = await got.until_event("failback", timeout=30)
        assert (back["from"], back["to"]) == ("binance", "bybit")
        assert feed.status.exchange == "bybit"
        assert feed.status.state is FeedState.LIVE
        seen = len(got.prices)
        await got.until(lambda: len(got.prices) > seen + 10)
        assert {tick.exchange for tick in got.prices[seen:]} == {"bybit"}
        await until(lambda: not secondary["binance"].connections)


def reached(got: Recorder, trade_id: int) -> bool:
    """Whether all trades of BTC up to this trade have come."""
    return got.ids("BTC")[-1] >= trade_id


async def test_with_consecutive_ids_no_trade_is_lost_across_outages(secondary: Simulator) -> None:
    """There are twelve cuts. Each trade arrives once and in order; trades of the outages are marked as backfilled."""
    venue = secondary["binance"]
    feed = MarketFeed(["BTC"], settings=settings_for(secondary, **QUICK))
    got = Recorder(feed)
    async with feed:
        await got.until(lambda: bool(got.trades))
        for outage in range(1, 13):
            venue.cut()
            await venue.trade("BTC", count=20)
            await got.until_event("connected", outage + 1)
            last = (await venue.trade("BTC", count=5))[-1].id
            await got.until(partial(reached, got, last))
        venue.rate = 0
        last = venue.trades["BTC"][-1].id
        await got.until(partial(reached, got, last))
    received = got.ids("BTC")
    assert received == made_ids(venue, "BTC")[-len(received) :]
    assert received == list(range(received[0], last + 1))
    assert sum(trade.backfilled for trade in got.trades) >= 12 * 20 * 0.5
    assert all(each["complete"] for each in got.details("gap_filled"))
    assert len(got.details("gap")) == len(got.details("gap_filled"))


async def test_the_breaker_opens_after_too_many_failures_and_closes_again(secondary: Simulator) -> None:
    """While the breaker is open, tradable is False and require_fresh raises, but data still comes. Then the breaker
    closes again.
    """
    venue = secondary["binance"]
    settings = settings_for(secondary, **QUICK, circuit_breaker=CircuitBreaker(failures=3, window=20, cooldown=2))
    feed = MarketFeed(settings=settings)
    got = Recorder(feed)
    async with feed:
        for count in range(2, 5):
            venue.cut()
            await got.until_event("connected", count)
        opened = await got.until_event("circuit_open")
        assert "3 failures" in opened["reason"]
        assert opened["until"] > opened["at"]
        assert not feed.tradable
        await got.until(lambda: feed.status.state is FeedState.LIVE)
        with pytest.raises(StaleDataError, match="circuit breaker"):
            feed.require_fresh("BTC")
        seen = len(got.prices)
        await got.until(lambda: len(got.prices) > seen)
        await got.until_event("circuit_half_open")
        assert feed.tradable
        await got.until_event("circuit_closed")
        assert feed.require_fresh("BTC").price > 0


async def test_a_connection_whose_end_the_venue_announces_is_replaced_before_it_ends(secondary: Simulator) -> None:
    """At Binance's serverShutdown, the new connection has data before the old connection is closed; no trade is
    lost or repeated."""
    venue = secondary["binance"]
    feed = MarketFeed(["BTC", "ETH"], settings=settings_for(secondary, **QUICK))
    got = Recorder(feed)
    async with feed:
        await got.until(lambda: len(got.trades) > 5)
        old = venue.connections[0]
        venue.shutdown_notice()
        await until(lambda: len(venue.dials) == 2 and old not in venue.connections)
        await venue.trade("BTC")
        last = venue.trades["BTC"][-1].id
        await got.until(lambda: last in got.ids("BTC"))
        received = got.ids("BTC")
        assert received == list(range(received[0], received[0] + len(received)))
        assert "disconnected" not in got.events
        assert "gap" not in got.events


async def test_the_feed_reconnects_when_one_of_the_failed_venues_works_again(
    primary: Simulator, secondary: Simulator
) -> None:
    feed = MarketFeed(settings=settings_for(primary, secondary, **QUICK))
    got = Recorder(feed)
    with primary["bybit"].partition():
        with secondary["binance"].partition():
            connecting = asyncio.create_task(feed.connect())
            await until(lambda: {each["exchange"] for each in got.details("error")} == {"bybit", "binance"})
            assert not connecting.done()
        await connecting
        assert feed.status.exchange == "binance"
    await feed.disconnect()


async def test_a_coin_that_the_venue_does_not_list_comes_from_the_next_venue(secondary: Simulator) -> None:
    """The coin is reported once; then its data has the name of the venue from which it comes."""
    async with Simulator(venues=("bybit",), rate=100, coins=["BTC", "ETH"]) as narrow:
        feed = MarketFeed(["BTC", "ETH", "SOL"], settings=settings_for(narrow, secondary, **QUICK))
        got = Recorder(feed)
        async with feed:
            await got.until(lambda: {trade.coin for trade in got.trades} == {"BTC", "ETH", "SOL"})
            await got.until_event("coin_unavailable")
            assert [each["coin"] for each in got.details("coin_unavailable")] == ["SOL"]
            assert {(trade.coin, trade.exchange) for trade in got.trades} == {
                ("BTC", "bybit"),
                ("ETH", "bybit"),
                ("SOL", "binance"),
            }
            assert feed.status.exchange == "bybit"
            assert feed.status.failover_count == 0
            await until(lambda: [len(each.subscriptions) for each in secondary["binance"].connections] == [3])


async def test_events_of_fallback_coins_name_the_coin_and_are_no_failover() -> None:
    """The coin's exchange fails, and the next exchange has the coin too. The feed itself stays on its exchange."""
    coins = ["BTC", "SOL"]
    async with (
        Simulator(venues=("bybit",), rate=100, coins=["BTC"]) as narrow,
        Simulator(venues=("binance",), rate=100, coins=coins) as second,
        Simulator(venues=("binance",), rate=100, coins=coins) as third,
    ):
        settings = settings_for(narrow, second, **QUICK)
        settings.exchanges.append(ExchangeConfig("binance_us", rest_url=third.rest_url, ws_url=third.ws_url))
        feed = MarketFeed(coins, settings=settings)
        got = Recorder(feed)
        async with feed:
            await got.until(lambda: ("SOL", "binance") in {(trade.coin, trade.exchange) for trade in got.trades})
            with second["binance"].partition():
                await got.until(lambda: "binance_us" in {trade.exchange for trade in got.trades})
            aside = [(event, details) for event, details in got.status if details["exchange"] != "bybit"]
            assert {"connecting", "connected", "disconnected"} <= {event for event, _ in aside}
            assert {details.get("coin") or tuple(details["coins"]) for _, details in aside} <= {"SOL", ("SOL",)}
            assert not {"failover", "failback"} & set(got.events)
            assert feed.status.exchange == "bybit"
            assert feed.status.failover_count == 0


async def test_a_coin_that_changes_its_connection_within_a_venue_loses_no_trade() -> None:
    """The coin always comes from Binance: over a connection of its own, after a failover together with the other coins,
    then alone again."""
    coins = ["BTC", "ETH", "SOL"]
    async with (
        Simulator(venues=("bybit",), rate=100, coins=coins[:2]) as narrow,
        Simulator(venues=("binance",), rate=200, coins=coins) as wide,
    ):
        venue = wide["binance"]
        feed = MarketFeed(coins, settings=settings_for(narrow, wide, **QUICK))
        got = Recorder(feed)
        async with feed:
            await got.until(lambda: bool(got.ids("SOL")))
            with narrow["bybit"].partition():
                await got.until_event("failover")
                await got.until(lambda: ("BTC", "binance") in {(tick.coin, tick.exchange) for tick in got.prices})
                seen = len(got.ids("SOL"))
                await got.until(lambda: len(got.ids("SOL")) > seen + 30)
            await got.until(lambda: feed.status.exchange == "bybit")  # on a busy machine, a failover may cause this
            seen = len(got.ids("SOL"))
            await got.until(lambda: len(got.ids("SOL")) > seen + 30)
            venue.rate = 0
            await got.until(lambda: got.ids("SOL")[-1] == made_ids(venue, "SOL")[-1])
        made = made_ids(venue, "SOL")
        assert got.ids("SOL") == made[made.index(got.ids("SOL")[0]) :]


async def test_the_next_venue_is_ready_before_it_is_needed(primary: Simulator, secondary: Simulator) -> None:
    """The next venue's markets are loaded while everything works, so that a failover does not wait for the markets."""
    async with MarketFeed(settings=settings_for(primary, secondary, **QUICK)):
        await until(lambda: any("exchangeInfo" in path for _, path in secondary["binance"].rest_calls))
        assert not secondary["binance"].connections


async def test_if_the_next_venue_is_blocked_the_venue_after_it_is_prepared(
    primary: Simulator, secondary: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failover would skip the blocked venue."""
    monkeypatch.setattr(prefetch, "ANSWER_WITHIN", 0.1)
    async with Simulator(venues=("binance_us",), rate=0) as third:
        with secondary["binance"].blocked(451):
            async with MarketFeed(settings=settings_for(primary, secondary, third, **QUICK)):
                await until(lambda: any("exchangeInfo" in path for _, path in third["binance_us"].rest_calls))
                assert not third["binance_us"].connections


async def test_candles_that_an_outage_interrupted_are_closed_from_the_venues_record(secondary: Simulator) -> None:
    """Every candle is closed once with the venue's values, even if it ended while there was no connection."""
    venue = secondary["binance"]
    feed = MarketFeed(["BTC"], settings=settings_for(secondary, **QUICK))
    got = Recorder(feed)
    async with feed:
        await got.until(lambda: bool(got.candles))
        began = got.candles[-1].timestamp
        with venue.partition():
            await got.until_event("disconnected")
            venue.skip(130)
        await got.until(lambda: any(candle.closed and candle.timestamp == began + 60_000 for candle in got.candles))
        closed = {candle.timestamp: candle for candle in got.candles if candle.closed}
        assert set(closed) >= {began, began + 60_000}
        assert len(closed) == sum(candle.closed for candle in got.candles)
        trades = [trade for trade in venue.trades["BTC"] if began <= trade.timestamp < began + 60_000]
        assert closed[began].close == trades[-1].price


async def test_a_feed_in_a_thread_serves_a_program_without_asyncio(secondary: Simulator) -> None:
    feed = MarketFeed(settings=settings_for(secondary, **QUICK))
    await asyncio.to_thread(feed.start)
    assert feed.require_fresh("BTC").price > 0
    await asyncio.to_thread(feed.stop)
    assert feed.status.state is FeedState.CLOSED


async def test_iterators_deliver_the_same_events_as_callbacks(secondary: Simulator) -> None:
    feed = MarketFeed(settings=settings_for(secondary, **QUICK))
    got = Recorder(feed)
    trades = feed.trades("btc")
    async with feed:
        seen = [int((await anext(trades)).trade_id) for _ in range(20)]
    assert seen == got.ids("BTC")[:20]
    events = [event async for event in feed.events()]
    assert events == []


async def test_a_venue_that_cannot_be_set_up_is_left_out(secondary: Simulator) -> None:
    """The venue has no market of the wanted type. This is reported, and the next venue is used."""
    settings = settings_for(secondary, **QUICK)
    settings.exchanges.insert(0, ExchangeConfig("krakenfutures"))
    feed = MarketFeed(settings=settings)
    got = Recorder(feed)
    async with feed:
        assert feed.status.exchange == "binance"
        assert [each["exchange"] for each in got.details("error")] == ["krakenfutures"]
    settings.exchanges = settings.exchanges[:1]
    with pytest.raises(NoExchangeAvailable, match=r"krakenfutures: .*no spot markets"):
        await MarketFeed(settings=settings).connect()


async def test_a_connection_stays_open_when_its_successor_is_refused(secondary: Simulator) -> None:
    """The old connection continues with all channels, including candles."""
    venue = secondary["binance"]
    feed = MarketFeed(["BTC"], settings=settings_for(secondary, **QUICK))
    got = Recorder(feed)
    async with feed:
        await got.until(lambda: bool(got.candles))
        with venue.refusing(503):
            venue.shutdown_notice()
            await until(lambda: len(venue.dials) == 2)
            seen = len(got.candles)
            await got.until(lambda: len(got.candles) > seen + 1)
        assert "disconnected" not in got.events


async def test_a_connection_that_is_too_old_is_replaced_even_after_failed_attempts(
    secondary: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a failed attempt to replace the connection, the feed must not wait until the venue cuts the connection."""
    monkeypatch.setattr(connection, "ANEW", 0.05)
    profile = find.profile_of("binance")
    soon = replace(profile.limits, session_limit=4)
    monkeypatch.setitem(find._special("binance"), "binance", replace(profile, limits=soon))
    venue = secondary["binance"]
    feed = MarketFeed(["BTC"], settings=settings_for(secondary, **QUICK))
    got = Recorder(feed)
    async with feed:
        with venue.refusing(503):
            await until(lambda: len(venue.dials) == 4)
        assert venue.dials[3] - venue.dials[1] < 3
        await until(lambda: len(venue.connections) == 2)
        assert "disconnected" not in got.events


async def test_a_channel_subscribed_while_the_connection_is_renewed_is_delivered(secondary: Simulator) -> None:
    feed = MarketFeed(["BTC"], settings=settings_for(secondary, **QUICK))
    got = Recorder(feed)
    timeframes: set[str] = set()
    async with feed:
        for timeframe in ("5m", "15m"):
            feed.subscribe_candles(lambda candle: timeframes.add(candle.timeframe), timeframe=timeframe)
            await until(lambda: len(secondary["binance"].dials) >= 2)
        await until(lambda: timeframes == {"5m", "15m"})
        assert "disconnected" not in got.events


async def test_stopping_ends_a_feed_that_is_still_connecting(secondary: Simulator) -> None:
    with secondary["binance"].partition():
        feed = MarketFeed(settings=settings_for(secondary, **QUICK))
        running = asyncio.create_task(asyncio.to_thread(feed.run, None))
        await until(lambda: bool(secondary["binance"].dials) or feed.status.errors > 0)
        await asyncio.to_thread(feed.stop)
        await asyncio.wait_for(running, 10)
    assert feed.status.state is FeedState.CLOSED


async def test_a_venue_that_is_left_and_dialled_again_at_once_delivers(secondary: Simulator) -> None:
    """One decision may abandon a trial and make the feed switch to the same venue."""
    feed = MarketFeed(["BTC"], settings=settings_for(secondary, **QUICK))
    got = Recorder(feed)
    async with feed:
        await got.until(lambda: bool(got.trades))
        assert feed._runner.routing is not None
        carrying = feed._runner.routing.main
        for _ in range(3):
            seen = len(got.trades)
            carrying.sessions["binance"].stop()
            carrying._dial("binance")
            await got.until(lambda seen=seen: len(got.trades) > seen + 3)  # type: ignore[misc] # mypy refuses a lambda with a default
            assert feed.get_health()["status"] == "healthy"
            session_ = carrying.sessions["binance"]
            assert session_.connected
            assert session_.pool.last_data is not None


async def test_a_venue_that_becomes_active_while_its_trial_waits_for_the_dial_delivers(secondary: Simulator) -> None:
    """After enough failed attempts the feed switches to the next venue, whose trial may not have dialled yet."""
    feed = MarketFeed(["BTC"], settings=settings_for(secondary, **QUICK))
    got = Recorder(feed)
    async with feed:
        await got.until(lambda: bool(got.trades))
        assert feed._runner.routing is not None
        session = feed._runner.routing.main.sessions["binance"]
        session.demote()
        session.stop()
        session.shared.dial_due = monotonic() + 0.2
        session.start(trial=True)
        await asyncio.sleep(0)  # let the trial begin to wait
        session.promote()
        await until(lambda: session.connected)
        seen = len(got.trades)
        await got.until(lambda: len(got.trades) > seen)
        assert session.delivering
        assert feed.get_health()["status"] == "healthy"


async def test_a_trial_does_not_change_the_reported_exchange(primary: Simulator, secondary: Simulator) -> None:
    """Bad frames of the venue on trial do not change the name of the active exchange."""
    feed = MarketFeed(settings=settings_for(primary, secondary, **QUICK))
    got = Recorder(feed)
    async with feed:
        with primary["bybit"].partition():
            await got.until_event("failover")
            await got.until_event("connected", 2)
        with primary["bybit"].malformed(0.5):
            await got.until(lambda: any(each["exchange"] == "bybit" for each in got.details("bad_frame")))
            assert "failback" not in got.events
            assert feed.status.exchange == "binance"
