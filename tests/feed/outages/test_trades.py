"""Short tests of outages that the soak found: no trade is lost or repeated without a report."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial

import pytest

from exchanges.simulator import Simulator
from feed import MarketFeed, TradeEvent
from feed.settings import Backfill, Staleness
from tests.feed.outages.support import QUICK
from tests.support import Recorder, made_ids, settings_for, until


def _more_than(count: int, received: list[TradeEvent]) -> bool:
    return len(received) > count


async def test_without_consecutive_ids_a_stall_counts_as_an_outage_and_missed_trades_are_fetched(
    bybit: Simulator,
) -> None:
    """The connection is open but delivers no trades. After the silence was reported, the missed trades are fetched."""
    venue = bybit["bybit"]
    staleness = Staleness(feed_stale_after=0.3, coin_stale_after=60, reconnect_after=30)
    feed = MarketFeed(["BTC"], settings=settings_for(bybit, connection=QUICK, staleness=staleness))
    got = Recorder(feed)
    async with feed:
        venue.skip(-1)
        await venue.trade("BTC")
        venue.skip(1)
        await venue.trade("BTC")
        await got.until(lambda: len(got.trades) == 2)
        with venue.stalled():
            await got.until_event("feed_stale")
            await venue.trade("BTC", count=20)
        await venue.trade("BTC")
        await got.until(lambda: got.ids("BTC") == made_ids(venue, "BTC"))
        assert sum(trade.backfilled for trade in got.trades) == 20
        assert got.events.count("connected") == 1
        assert [each["complete"] for each in got.details("gap_filled")] == [True]


@pytest.mark.parametrize("dropped", ["BTC", "ALL"])
@pytest.mark.parametrize("name", ["binance", "bybit"])
async def test_trades_that_stop_while_tickers_continue_are_subscribed_to_again(name: str, dropped: str) -> None:
    """The venue has dropped the subscription without a message. The connection is replaced, and no trade is lost."""
    coins = ["BTC", "ETH"]
    async with Simulator(venues=(name,), rate=20, seed=1, coins=coins) as simulator:
        venue = simulator[name]
        settings = settings_for(simulator, coins=coins, connection=QUICK, staleness=Staleness(1, 60, 1.5))
        feed = MarketFeed(settings=settings)
        got = Recorder(feed)
        async with feed:
            await got.until(lambda: all(len(got.ids(coin)) > 2 for coin in coins))
            with venue.tradeless(dropped):
                pass
            told = await got.until_event("error")
            assert "BTC" in told["error"]
            assert "BTC" in told["coins"]
            assert dropped == "ALL" or told["coins"] == ["BTC"]
            await until(lambda: len(venue.dials) == 2 and len(venue.connections) == 1)
            venue.rate = 0
            for coin in coins:
                await venue.trade(coin)
            first = {coin: got.ids(coin)[0] for coin in coins}
            for coin in coins:
                await got.until(
                    lambda coin=coin: got.ids(coin) == [i for i in made_ids(venue, coin) if i >= first[coin]]  # type: ignore[misc] # mypy refuses a lambda with a default
                )
            assert got.details("gap_filled")
            assert all(each["complete"] for each in got.details("gap_filled"))
            assert {each["coin"] for each in got.details("gap")} == ({"BTC"} if dropped == "BTC" else set(coins))
            assert "disconnected" not in got.events
            assert got.events.count("error") == 1


async def test_a_trade_that_comes_too_late_is_counted(binance: Simulator) -> None:
    """The next trade did not wait for the late trade, and the late trade must not be delivered out of order."""
    venue = binance["binance"]
    settings = settings_for(binance, connection=QUICK, backfill=Backfill(enabled=False))
    feed = MarketFeed(["BTC"], settings=settings)
    got = Recorder(feed)
    async with feed:
        venue.rate = 0
        await venue.trade("BTC")
        await got.until(lambda: got.ids("BTC")[-1:] == made_ids(venue, "BTC")[-1:])
        assert feed.get_health()["metrics"]["late_trades"] == 0
        with venue.late(1.0, 0.8):
            await venue.trade("BTC")
        await venue.trade("BTC")
        await until(lambda: feed.get_health()["metrics"]["late_trades"] == 1)
        *_, before, late, after = made_ids(venue, "BTC")
        assert got.ids("BTC")[-2:] == [before, after]
        assert late not in got.ids("BTC")
        assert feed.get_health()["metrics"]["lost_bars"] == 0


async def test_a_gap_after_a_long_silence_of_a_coin_is_filled(bybit: Simulator) -> None:
    """Data of other coins flows, so the feed is not stale; but the coin is stale, and its missed trades are fetched."""
    venue = bybit["bybit"]
    staleness = Staleness(feed_stale_after=5, coin_stale_after=0.3, reconnect_after=30)
    feed = MarketFeed(["BTC", "ETH"], settings=settings_for(bybit, connection=QUICK, staleness=staleness))
    got = Recorder(feed)
    async with feed:
        await venue.trade("ETH")
        await got.until(lambda: len(got.trades) == 1)
        with venue.silent("ETH"):
            await got.until(lambda: any(each["coin"] == "ETH" for each in got.details("coin_stale")))
            await venue.trade("ETH", count=5)
        await venue.trade("ETH")
        await got.until(lambda: got.ids("ETH") == made_ids(venue, "ETH"))


async def test_many_small_gaps_are_filled_with_one_request(binance: Simulator) -> None:
    """Binance allows a weight of 6000 a minute, and a request for trades weighs 25: one request per gap would be too
    much."""
    venue = binance["binance"]
    feed = MarketFeed(["BTC"], settings=settings_for(binance, connection=QUICK))
    got = Recorder(feed)
    async with feed:
        venue.rate = 0
        await venue.trade("BTC")
        await got.until(lambda: bool(got.ids("BTC")) and got.ids("BTC")[-1] == made_ids(venue, "BTC")[-1])
        first = got.ids("BTC")[0]
        for count in range(41):
            with venue.missing(1.0):
                await venue.trade("BTC")
            await venue.trade("BTC")
            if not count:
                await got.until_event("gap_filled")
        await got.until(lambda: got.ids("BTC") == [each for each in made_ids(venue, "BTC") if each >= first])
        assert sum(path.endswith("rades") for _, path in venue.rest_calls) <= 3
        assert all(each["complete"] for each in got.details("gap_filled"))
        assert len(got.details("gap")) == len(got.details("gap_filled")) == 41


async def test_a_failed_request_for_a_gap_is_tried_again_while_trades_wait(binance: Simulator) -> None:
    """REST fails just when the stream is back. Trades after the gap wait up to 2 s, which is enough for a second
    request."""
    venue = binance["binance"]
    feed = MarketFeed(["BTC"], settings=settings_for(binance, connection=QUICK))
    got = Recorder(feed)
    async with feed:
        await got.until(lambda: bool(got.ids("BTC")))
        with venue.rest_down():
            venue.cut()
            await venue.trade("BTC", count=20)
            asked = len(venue.rest_calls)
            await got.until_event("connected", 2)
            await until(lambda: len(venue.rest_calls) > asked)
        await got.until_event("gap_filled")
        assert got.details("gap_filled")[0]["complete"]
        received = got.ids("BTC")
        assert received == list(range(received[0], received[0] + len(received)))


async def test_no_trade_is_delivered_twice_when_the_feed_returns_to_a_venue(
    binance: Simulator, bybit: Simulator
) -> None:
    """The second venue is left before it has delivered a trade, so the gap contains the first venue's last trades."""
    impatient = replace(QUICK, attempts_before_failover=1, failback_after=60)
    feed = MarketFeed(settings=settings_for(binance, bybit, coins=("BTC", "ETH", "SOL"), connection=impatient))
    got = Recorder(feed)
    async with feed:
        await got.until(lambda: len(got.trades) > 20)
        for switches, many in ((1, 100), (3, 300)):
            with binance["binance"].partition():
                await got.until_event("failover", switches)
                await got.until(lambda: got.status[-1][0] == "connected")
            with bybit["bybit"].partition():
                await got.until_event("failover", switches + 1)
            await got.until(partial(_more_than, many, got.trades))
        for coin in ("BTC", "ETH", "SOL"):
            ids = got.ids(coin)
            assert ids == list(range(ids[0], ids[0] + len(ids)))


async def test_a_gap_that_is_seen_while_the_feed_ends_is_not_fetched(binance: Simulator) -> None:
    """The venue is being closed, so a request would find no markets."""
    feed = MarketFeed(["BTC"], settings=settings_for(binance))
    got = Recorder(feed)
    async with feed:
        await got.until(lambda: bool(got.trades))
        assert feed._runner.routing is not None
        session = feed._runner.routing.main.sessions["binance"]
        (opened,) = session.pool.opened
        closing = session.close()
        last = got.trades[-1]
        opened.listener.on_trade(replace(last, trade_id=str(int(last.trade_id) + 1000)))
        assert not any(task.get_name().startswith("backfill") for task in asyncio.all_tasks())
        await closing


async def test_a_gap_that_is_known_by_its_time_is_fetched_from_its_beginning(
    binance: Simulator, bybit: Simulator
) -> None:
    """No venue was reachable for a long time. The next venue's trades of this time fill several pages, which are
    requested by id."""
    feed = MarketFeed(["BTC"], settings=settings_for(bybit, binance, connection=QUICK))
    got = Recorder(feed)
    venue = binance["binance"]
    async with feed:
        await bybit["bybit"].trade("BTC")
        await got.until(lambda: bool(got.trades))
        with bybit["bybit"].partition():
            with venue.partition():
                await got.until_event("failover")
                venue.rate = 0
                first = venue.trades["BTC"][-1].id + 1
                await venue.trade("BTC", count=2500)
            venue.rate = 100
            await got.until_event("gap_filled")
        assert got.details("gap_filled")[0]["complete"]
        received = [int(trade.trade_id) for trade in got.trades if trade.exchange == "binance"]
        assert received[0] <= first
        assert received == list(range(received[0], received[0] + len(received)))
