"""Connections and venues that fail at the same time, and what a closed connection leaves behind."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Callable
from dataclasses import replace
from time import monotonic

from exchanges import Access, Subscription
from exchanges.ccxt_adapter.venue import open_venue
from exchanges.simulator import Simulator
from feed import MarketFeed
from feed.policies.rate_limit import RateLimit
from tests.feed.outages.support import QUICK
from tests.support import Recorder, settings_for, until


async def test_the_active_venue_and_the_venue_on_trial_may_fail_at_the_same_time(
    binance: Simulator, bybit: Simulator
) -> None:
    """Both connections are cut at the same moment, and the feed continues."""
    patient = replace(QUICK, attempts_before_failover=3, failback_after=5)
    bybit["bybit"].rate = 100
    feed = MarketFeed(settings=settings_for(binance, bybit, connection=patient))
    got = Recorder(feed)
    async with feed:
        with binance["binance"].partition():
            await got.until_event("failover")
            await got.until(lambda: got.status[-1][0] == "connected")
        for _ in range(3):
            await until(lambda: any(each.subscriptions for each in binance["binance"].connections))
            connected = got.events.count("connected")
            bybit["bybit"].cut()
            binance["binance"].cut()
            await got.until_event("connected", connected + 1)
        assert "closed" not in got.events


async def test_a_trial_that_ends_together_with_the_active_session_has_failed(
    binance: Simulator, bybit: Simulator
) -> None:
    """One check finds that both sessions have ended. The venue on trial has failed too, so its next dial waits."""
    feed = MarketFeed(settings=settings_for(binance, bybit, connection=replace(QUICK, stable_after=60)))
    bybit["bybit"].rate = 100
    got = Recorder(feed)
    async with feed:
        with binance["binance"].refusing(503):
            binance["binance"].cut()
            await got.until_event("connected", 2)
        routing = feed._runner.routing
        assert routing is not None
        trial = routing.main.sessions["binance"]
        await until(lambda: trial.pool.last_data is not None)
        attempts = trial.shared.backoff.attempt
        for session in routing.main.sessions.values():
            session.drop("cut off")
        await got.until(lambda: got.events[-1] == "reconnecting")
        assert trial.shared.backoff.attempt == attempts + 1


async def test_the_dial_for_a_connections_successor_waits_for_the_rate_limit(binance: Simulator) -> None:
    """The venue counts every dial. When its limit is reached, the old connection continues until a dial is allowed."""
    feed = MarketFeed(["BTC"], settings=settings_for(binance, connection=QUICK))
    got = Recorder(feed)
    async with feed:
        assert feed._runner.routing is not None
        shared = feed._runner.routing.venues["binance"]
        shared.dials = RateLimit(1, 1.0, margin=0, slack=0)
        spent_at = monotonic()
        shared.dials.spend(spent_at)
        binance["binance"].shutdown_notice()
        await until(lambda: len(binance["binance"].dials) == 2)
        assert binance["binance"].dials[1] - spent_at >= 1.0
        assert "disconnected" not in got.events


class Deaf:
    """A listener that ignores all events."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None


async def test_a_closed_connection_leaves_few_objects_for_the_garbage_collector(binance: Simulator) -> None:
    """ccxt's objects refer to one another, so only a full garbage collection frees them: few objects may be left."""
    venue = open_venue("binance", Access(rest_url=binance.rest_url, ws_url=binance.ws_url))
    await venue.load()
    wanted = Subscription({coin: venue.market(coin) for coin in ("BTC", "ETH", "SOL")}, ["trades", "ticker", "candles"])

    async def connect() -> None:
        stream = venue.connect(wanted, Deaf(), lambda: None)
        running = asyncio.create_task(stream.run())
        await until(lambda: any(each.subscriptions for each in binance["binance"].connections))
        running.cancel()
        await asyncio.gather(running, stream.close(), return_exceptions=True)
        await until(lambda: not binance["binance"].connections)

    await connect()
    gc.collect()
    gc.disable()
    try:
        before = sys.getallocatedblocks()
        for _ in range(5):
            await connect()
        left = (sys.getallocatedblocks() - before) / 5
    finally:
        gc.enable()
        await venue.close()
    assert left < 1500, f"{left:.0f} blocks of memory per connection"
