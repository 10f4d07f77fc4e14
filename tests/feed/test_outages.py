"""Faults that the soak found: outages that lost something without a report, each as a short test."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from time import monotonic

import pytest

from exchanges import Access, Subscription
from exchanges.ccxt_adapter.venue import open_venue
from exchanges.simulator import Simulator
from feed import MarketFeed, TradeEvent
from feed.policies.rate_limit import RateLimit
from feed.settings import Backfill, Connection, Staleness
from tests.support import Recorder, settings_for, taped_ids, until

QUICK = Connection(
    connect_timeout=2, backoff_initial=0.05, backoff_max=0.5, stable_after=0.5, attempts_before_failover=2,
    failback_after=1,
)  # fmt: skip


@pytest.fixture
async def bybit() -> AsyncIterator[Simulator]:
    async with Simulator(venues=("bybit",), rate=0, seed=1) as simulator:
        yield simulator


@pytest.fixture
async def binance() -> AsyncIterator[Simulator]:
    async with Simulator(venues=("binance",), rate=100, seed=1) as simulator:
        yield simulator


def _more_than(count: int, received: list[TradeEvent]) -> bool:
    return len(received) > count


async def test_a_stall_is_an_outage_where_trade_ids_are_not_consecutive(bybit: Simulator) -> None:
    """The connection stays up and trades pass it by: once the silence was told, what it hid is fetched."""
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
        await got.until(lambda: got.ids("BTC") == taped_ids(venue, "BTC"))
        assert sum(trade.backfilled for trade in got.trades) == 20
        assert got.events.count("connected") == 1
        assert [each["complete"] for each in got.details("gap_filled")] == [True]


@pytest.mark.parametrize("dropped", ["BTC", "ALL"])
@pytest.mark.parametrize("name", ["binance", "bybit"])
async def test_trades_that_stop_while_tickers_continue_are_subscribed_to_again(name: str, dropped: str) -> None:
    """The venue has dropped the subscription without a word: the connection is replaced, and no trade is lost."""
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
                    lambda coin=coin: got.ids(coin) == [i for i in taped_ids(venue, coin) if i >= first[coin]]  # type: ignore[misc] # its default
                )
            assert got.details("gap_filled")
            assert all(each["complete"] for each in got.details("gap_filled"))
            assert {each["coin"] for each in got.details("gap")} == ({"BTC"} if dropped == "BTC" else set(coins))
            assert "disconnected" not in got.events
            assert got.events.count("error") == 1


async def test_a_trade_that_comes_too_late_is_counted(binance: Simulator) -> None:
    """Those behind it could not wait, and out of order it must not be delivered."""
    venue = binance["binance"]
    settings = settings_for(binance, connection=QUICK, backfill=Backfill(enabled=False))
    feed = MarketFeed(["BTC"], settings=settings)
    got = Recorder(feed)
    async with feed:
        venue.rate = 0
        await venue.trade("BTC")
        await got.until(lambda: got.ids("BTC")[-1:] == taped_ids(venue, "BTC")[-1:])
        assert feed.get_health()["metrics"]["late_trades"] == 0
        with venue.late(1.0, 0.8):
            await venue.trade("BTC")
        await venue.trade("BTC")
        await until(lambda: feed.get_health()["metrics"]["late_trades"] == 1)
        *_, before, late, after = taped_ids(venue, "BTC")
        assert got.ids("BTC")[-2:] == [before, after]
        assert late not in got.ids("BTC")
        assert feed.get_health()["metrics"]["lost_bars"] == 0


async def test_a_gap_after_a_long_silence_of_a_coin_is_filled(bybit: Simulator) -> None:
    """The others' data flows on, so the feed is not stale; the coin is, and what it missed is fetched."""
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
        await got.until(lambda: got.ids("ETH") == taped_ids(venue, "ETH"))


async def test_many_small_gaps_share_a_request(binance: Simulator) -> None:
    """A request weighs 25 of 6000 a minute and returns up to 1000 trades: one per gap would lead to a ban."""
    venue = binance["binance"]
    feed = MarketFeed(["BTC"], settings=settings_for(binance, connection=QUICK))
    got = Recorder(feed)
    async with feed:
        venue.rate = 0
        await venue.trade("BTC")
        await got.until(lambda: bool(got.ids("BTC")) and got.ids("BTC")[-1] == taped_ids(venue, "BTC")[-1])
        first = got.ids("BTC")[0]
        for count in range(41):
            with venue.missing(1.0):
                await venue.trade("BTC")
            await venue.trade("BTC")
            if not count:
                await got.until_event("gap_filled")
        await got.until(lambda: got.ids("BTC") == [each for each in taped_ids(venue, "BTC") if each >= first])
        assert sum(path.endswith("rades") for _, path in venue.rest_calls) <= 3
        assert all(each["complete"] for each in got.details("gap_filled"))
        assert len(got.details("gap")) == len(got.details("gap_filled")) == 41


async def test_a_fetch_that_fails_is_tried_again_while_the_gap_may_wait(binance: Simulator) -> None:
    """REST hiccups just when the stream is back: the trades wait up to 2 s anyway, so there is time to ask again."""
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


async def test_a_venue_delivers_nothing_twice_when_the_feed_returns_to_it(binance: Simulator, bybit: Simulator) -> None:
    """The second venue is left before it has traded, so the first one's last trades are within the gap to be filled."""
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


async def test_a_candle_whose_end_was_missed_is_not_closed_by_guess(binance: Simulator) -> None:
    """A coin is silent while its candle ends: the next candle's first row must not close it with values seen so far."""
    venue = binance["binance"]
    feed = MarketFeed(["BTC", "ETH"], settings=settings_for(binance, connection=QUICK))
    got = Recorder(feed)
    async with feed:
        await got.until(lambda: any(bar.coin == "BTC" for bar in got.candles))
        opened = next(bar.timestamp for bar in got.candles if bar.coin == "BTC")
        with venue.silent("BTC"):
            await venue.trade("BTC", count=50, quantity=1.0)
            venue.skip(60)
        await got.until(lambda: any(bar.coin == "BTC" and bar.closed for bar in got.candles))
    closed = next(bar for bar in got.candles if bar.coin == "BTC" and bar.closed)
    market = venue.market("BTC")
    true = market.candle(opened, 60_000, venue.now())
    assert (closed.timestamp, closed.close) == (opened, true.close / market.scale)
    assert closed.volume == pytest.approx(true.lots / market.lot_scale)


async def test_the_active_venue_and_the_one_on_trial_may_fall_at_once(binance: Simulator, bybit: Simulator) -> None:
    """Both connections are cut in the same moment: the feed goes on."""
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


async def test_a_trial_that_ends_with_the_active_venue_has_failed(binance: Simulator, bybit: Simulator) -> None:
    """Both are found ended in one look: the failure of the one on trial counts too, so its next dial waits."""
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
        attempts = trial.backoff.attempt
        for session in routing.main.sessions.values():
            session.drop("cut off")
        await got.until(lambda: got.events[-1] == "reconnecting")
        assert trial.backoff.attempt == attempts + 1


async def test_the_successor_of_a_connection_waits_for_its_turn_too(binance: Simulator) -> None:
    """The venue counts every dial: when its limit is reached, the old connection goes on until there is room."""
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


async def test_a_gap_that_is_seen_while_the_feed_ends_is_not_fetched(binance: Simulator) -> None:
    """The venue closes at the same time: a fetch would meet one without markets."""
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


async def test_a_gap_by_time_is_fetched_back_to_its_beginning(binance: Simulator, bybit: Simulator) -> None:
    """All venues were down for long: what the next one traded since is more than a page, but it can be had by id."""
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
                first = venue.tape["BTC"][-1].id + 1
                await venue.trade("BTC", count=2500)
            venue.rate = 100
            await got.until_event("gap_filled")
        assert got.details("gap_filled")[0]["complete"]
        received = [int(trade.trade_id) for trade in got.trades if trade.exchange == "binance"]
        assert received[0] <= first
        assert received == list(range(received[0], received[0] + len(received)))


def closed_bars(got: Recorder, coin: str) -> list[int]:
    """The candles that were closed, oldest first."""
    return sorted(bar.timestamp for bar in got.candles if bar.coin == coin and bar.closed)


async def test_a_candle_that_ends_while_no_venue_is_connected_is_closed(binance: Simulator, bybit: Simulator) -> None:
    """The venue that was left does not deliver its end any more, the next one has not seen its beginning."""
    feed = MarketFeed(["BTC"], settings=settings_for(bybit, binance, connection=QUICK))
    got = Recorder(feed)
    async with feed:
        await got.until(lambda: bool(got.candles))
        opened = got.candles[-1].timestamp
        for simulator in (bybit, binance):
            for venue in simulator.venues.values():
                venue.skip(60)
        await bybit["bybit"].trade("BTC")
        await got.until(lambda: bool(closed_bars(got, "BTC")))
        with bybit["bybit"].partition():
            with binance["binance"].partition():
                await got.until_event("failover")
                binance["binance"].skip(60)
            await got.until(lambda: len(closed_bars(got, "BTC")) >= 2)
    assert closed_bars(got, "BTC")[:2] == [opened, opened + 60_000]  # a real minute may end too


async def test_a_candle_that_ends_while_its_venue_is_on_trial_is_closed(binance: Simulator, bybit: Simulator) -> None:
    """The active venue stalls over the candle's end, which only the one on trial tells, before it takes over."""
    feed = MarketFeed(["BTC"], settings=settings_for(binance, bybit, connection=replace(QUICK, failback_after=10)))
    got = Recorder(feed)
    async with feed:
        with binance["binance"].partition():
            await got.until_event("failover")
            await got.until_event("connected", 2)
            await got.until(lambda: bool(got.candles) and got.candles[-1].exchange == "bybit")
        await until(lambda: any(len(each.subscriptions) == 3 for each in binance["binance"].connections))
        made = binance["binance"].trades_made
        await until(lambda: binance["binance"].trades_made > made + 250)  # 2.5 s: well over stable_after
        with bybit["bybit"].stalled():
            opened = got.candles[-1].timestamp
            binance["binance"].skip(60)
            await binance["binance"].trade("BTC")
            with bybit["bybit"].partition():
                await got.until_event("failover", 2)
                await got.until(lambda: opened in closed_bars(got, "BTC"))
    closed = closed_bars(got, "BTC")  # a real minute may have ended before or after the one that was skipped
    assert closed == sorted(set(closed))


async def test_a_candle_that_ended_on_a_failed_trial_is_closed(binance: Simulator, bybit: Simulator) -> None:
    """The venue closed it during a trial; when the venue is needed again, the active one has not seen its end."""
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
        await until(lambda: first.trades_made > made + 150)  # and the first candle of the next candle
        first.cut()
        with second.partition():
            await got.until_event("failover", 2)
            await got.until(lambda: opened in closed_bars(got, "BTC"))
    closed = closed_bars(got, "BTC")
    assert closed == sorted(set(closed))


@pytest.mark.usefixtures("leaping_clocks")
async def test_a_candle_that_its_venue_could_not_repair_is_closed_by_the_next_one(
    binance: Simulator, bybit: Simulator
) -> None:
    """It ended in an outage, the venue's record can't be had, and a later candle is closed when the venue is left."""
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
            await got.until(lambda: closed_bars(got, "BTC")[-1:] >= [opened + 60_000])
            assert opened not in closed_bars(got, "BTC")
            with first.partition():
                await got.until(lambda: opened in closed_bars(got, "BTC"))
    closed = [(bar.coin, bar.timestamp) for bar in got.candles if bar.closed]
    assert len(closed) == len(set(closed))


async def test_a_candle_that_is_repaired_on_trial_is_closed_when_the_trial_takes_over(
    binance: Simulator, bybit: Simulator
) -> None:
    """It ended unseen by the active venue, which stalls, and before the one on trial was dialled."""
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
            await got.until(lambda: bool(closed_bars(got, "BTC")))
            opened = closed_bars(got, "BTC")[-1] + 60_000
            faults.enter_context(second.stalled())
            for venue in (first, second):
                venue.skip(60)
        await until(lambda: any("klines" in path for _, path in first.rest_calls))
        made = first.trades_made
        await until(lambda: first.trades_made > made + 150)  # 1.5 s: well over stable_after
        second.cut()
        await got.until_event("failover", 2)
        await got.until(lambda: opened in closed_bars(got, "BTC"))
        faults.close()
    closed = closed_bars(got, "BTC")
    assert closed == sorted(set(closed))


class Deaf:
    """A listener that keeps nothing."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None


async def test_a_closed_connection_leaves_little_for_the_garbage_collector(binance: Simulator) -> None:
    """ccxt's objects refer to one another, so they wait for a full collection: hundreds of dials must not add up."""
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
