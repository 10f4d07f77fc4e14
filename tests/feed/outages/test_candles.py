"""Candles that end during an outage, a trial or a failover are closed once, each from its venue's record."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

import pytest

from exchanges.simulator import Simulator
from feed import MarketFeed
from tests.feed.outages.support import QUICK
from tests.support import Recorder, settings_for, until


async def test_a_candle_whose_end_was_missed_is_closed_with_the_venues_final_values(binance: Simulator) -> None:
    """A coin is silent while its candle ends. The next candle's first row must not close this candle with the
    values seen before."""
    venue = binance["binance"]
    feed = MarketFeed(["BTC", "ETH"], settings=settings_for(binance, connection=QUICK))
    got = Recorder(feed)
    async with feed:
        await got.until(lambda: any(candle.coin == "BTC" for candle in got.candles))
        opened = next(candle.timestamp for candle in got.candles if candle.coin == "BTC")
        with venue.silent("BTC"):
            await venue.trade("BTC", count=50, quantity=1.0)
            venue.skip(60)
        await got.until(lambda: any(candle.coin == "BTC" and candle.closed for candle in got.candles))
    closed = next(candle for candle in got.candles if candle.coin == "BTC" and candle.closed)
    market = venue.market("BTC")
    true = market.candle(opened, 60_000, venue.now())
    assert (closed.timestamp, closed.close) == (opened, true.close / market.scale)
    assert closed.volume == pytest.approx(true.lots / market.lot_scale)


def closed_candles(got: Recorder, coin: str) -> list[int]:
    """The open times of the coin's closed candles, oldest first."""
    return sorted(candle.timestamp for candle in got.candles if candle.coin == coin and candle.closed)


async def test_a_candle_that_ends_while_no_venue_is_connected_is_closed(binance: Simulator, bybit: Simulator) -> None:
    """The old venue does not deliver the candle's end any more, and the new venue did not deliver its beginning."""
    feed = MarketFeed(["BTC"], settings=settings_for(bybit, binance, connection=QUICK))
    got = Recorder(feed)
    async with feed:
        await got.until(lambda: bool(got.candles))
        opened = got.candles[-1].timestamp
        for simulator in (bybit, binance):
            for venue in simulator.venues.values():
                venue.skip(60)
        await bybit["bybit"].trade("BTC")
        await got.until(lambda: bool(closed_candles(got, "BTC")))
        with bybit["bybit"].partition():
            with binance["binance"].partition():
                await got.until_event("failover")
                binance["binance"].skip(60)
            await got.until(lambda: {opened, opened + 60_000} <= set(closed_candles(got, "BTC")))
    closed = closed_candles(got, "BTC")  # a minute of the real clock may end as well, and close another candle
    assert len(closed) == len(set(closed))


async def test_a_candle_that_ends_while_its_venue_is_on_trial_is_closed(binance: Simulator, bybit: Simulator) -> None:
    """The active venue stalls at the candle's end. Only the other venue delivers the end, while it is still on
    trial."""
    feed = MarketFeed(["BTC"], settings=settings_for(binance, bybit, connection=replace(QUICK, failback_after=10)))
    got = Recorder(feed)
    async with feed:
        with binance["binance"].partition():
            await got.until_event("failover")
            await got.until_event("connected", 2)
            await got.until(lambda: bool(got.candles) and got.candles[-1].exchange == "bybit")
        await until(lambda: any(len(each.subscriptions) == 3 for each in binance["binance"].connections))
        made = binance["binance"].trades_made
        await until(lambda: binance["binance"].trades_made > made + 250)  # 2.5 s, much longer than stable_after
        with bybit["bybit"].stalled():
            opened = got.candles[-1].timestamp
            binance["binance"].skip(60)
            await binance["binance"].trade("BTC")
            with bybit["bybit"].partition():
                await got.until_event("failover", 2)
                await got.until(lambda: opened in closed_candles(got, "BTC"))
    closed = closed_candles(got, "BTC")  # a minute of the real clock may have ended too
    assert closed == sorted(set(closed))


async def test_a_candle_that_ended_during_a_failed_trial_is_closed(binance: Simulator, bybit: Simulator) -> None:
    """A venue closed the candle during a trial, and the trial failed. Later the feed switches to this venue, before the
    active venue has closed the candle."""
    feed = MarketFeed(["BTC"], settings=settings_for(binance, bybit, connection=replace(QUICK, failback_after=10)))
    got = Recorder(feed)
    first, second = binance["binance"], bybit["bybit"]
    async with feed:
        with first.partition():
            await got.until_event("failover")
            await got.until(lambda: bool(got.candles) and got.candles[-1].exchange == "bybit")
        await until(lambda: any(len(each.subscriptions) == 3 for each in first.connections))
        opened = got.candles[-1].timestamp
        first.skip(60)
        made = first.trades_made
        await until(lambda: first.trades_made > made + 150)  # long enough for the first row of the next candle
        first.cut()
        with second.partition():
            await got.until_event("failover", 2)
            await got.until(lambda: opened in closed_candles(got, "BTC"))
    closed = closed_candles(got, "BTC")
    assert closed == sorted(set(closed))


@pytest.mark.usefixtures("leaping_clocks")
async def test_a_candle_that_its_venue_could_not_repair_is_closed_by_the_next_venue(
    binance: Simulator, bybit: Simulator
) -> None:
    """The candle ended in an outage, and the venue's REST does not answer. This candle is closed at the failover."""
    feed = MarketFeed(["BTC"], settings=settings_for(bybit, binance, connection=QUICK))
    got = Recorder(feed)
    first, second = bybit["bybit"], binance["binance"]
    async with feed:
        await got.until(lambda: bool(got.candles))
        opened = got.candles[-1].timestamp
        with first.rest_down(), ExitStack() as outage:
            outage.enter_context(first.refusing(503))
            first.cut()
            await got.until_event("disconnected")
            for venue in (first, second):
                venue.skip(60)
            outage.close()
            await got.until(lambda: got.candles[-1].timestamp > opened)
            for venue in (first, second):
                venue.skip(60)
            await first.trade("BTC")
            await got.until(lambda: closed_candles(got, "BTC")[-1:] >= [opened + 60_000])
            assert opened not in closed_candles(got, "BTC")
            with first.partition():
                await got.until(lambda: opened in closed_candles(got, "BTC"))
    closed = [(candle.coin, candle.timestamp) for candle in got.candles if candle.closed]
    assert len(closed) == len(set(closed))


async def test_a_candle_that_is_repaired_during_a_trial_is_closed_when_the_venue_on_trial_is_active(
    binance: Simulator, bybit: Simulator
) -> None:
    """The active venue stalled before the candle's end, and the venue on trial was dialled after the candle's end."""
    feed = MarketFeed(["BTC"], settings=settings_for(binance, bybit, connection=replace(QUICK, failback_after=10)))
    got = Recorder(feed)
    first, second = binance["binance"], bybit["bybit"]
    async with feed:
        faults = ExitStack()
        with first.refusing(503):
            first.cut()
            await got.until_event("connected", 2)
            await got.until(lambda: bool(got.candles) and got.candles[-1].exchange == "bybit")
            for venue in (first, second):
                venue.skip(60)
            await second.trade("BTC")
            await got.until(lambda: bool(closed_candles(got, "BTC")))
            opened = closed_candles(got, "BTC")[-1] + 60_000
            faults.enter_context(second.stalled())
            for venue in (first, second):
                venue.skip(60)
        await until(lambda: any("klines" in path for _, path in first.rest_calls))
        made = first.trades_made
        await until(lambda: first.trades_made > made + 150)  # 1.5 s, much longer than stable_after
        second.cut()
        await got.until_event("failover", 2)
        await got.until(lambda: opened in closed_candles(got, "BTC"))
        faults.close()
    closed = closed_candles(got, "BTC")
    assert closed == sorted(set(closed))
