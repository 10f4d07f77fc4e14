"""Outages of a working connection, which is closed, cut, half open or stalled; and faults of REST meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic

import pytest
from aiohttp import WSMsgType, web

from exchanges.simulator import SimulatedVenue
from feed import FeedState, MarketFeed, PriceTick
from feed.settings import Backfill, Connection, Staleness
from tests.exchanges.support import served
from tests.fuzz.wire import trade_frame
from tests.scenarios.support import (
    COINS,
    Witness,
    feeding,
    nothing_left,
    only,
    quick,
    quiet,
    redirected,
    simulated,
    whole,
)
from tests.support import until

STABLE = Connection(
    connect_timeout=2, backoff_initial=0.05, backoff_max=0.2, stable_after=0.1, attempts_before_failover=3
)


async def test_after_every_kind_of_close_there_is_one_reconnect_and_no_trade_is_lost(
    venue_name: str, seed: str
) -> None:
    """The kinds are the codes 1000, 1001, 1006 (no close frame), 1008, 1012 and a reset. Gaps are filled."""
    async with simulated(venue_name, seed, rate=20) as simulator:
        venue = only(simulator)
        async with feeding(quick(simulator, connection=STABLE)) as (feed, got):
            await got.until(lambda: all(got.ids(coin) for coin in COINS))
            for count, code in enumerate([1000, 1001, 1006, 1008, 1012, None], start=2):
                if code is None:
                    venue.cut()
                else:
                    venue.close(code, "the scenario's")
                await got.until_event("connected", count)
                await got.more_trades(4)
            assert feed.status.reconnect_count == 6
            assert len(venue.dials) == 7
            await quiet(got, venue)
            for coin in COINS:
                whole(got, venue, coin)
            assert venue.violations == []


@pytest.mark.parametrize("venue_name", ["bybit"])
async def test_the_feed_continues_when_a_partition_ends(venue_name: str, seed: str) -> None:
    """For a while no data gets through. The outage is reported, and dials have growing delays. Afterwards the gap is
    filled."""
    async with simulated(venue_name, seed, rate=20) as simulator:
        venue = only(simulator)
        settings = quick(simulator)
        settings.connection.backoff_jitter = 0
        async with feeding(settings) as (feed, got):
            await got.until(lambda: all(got.ids(coin) for coin in COINS))
            with venue.partition():
                await got.until_event("disconnected")
                await got.until_event("feed_stale")
                await got.until_event("reconnecting", 4)
                assert feed.status.state is FeedState.RECONNECTING
                delays = [each["delay"] for each in got.details("reconnecting")[:4]]
                assert delays == sorted(delays)
            await got.until_event("connected", 2)
            await got.until_event("feed_recovered")
            await quiet(got, venue)
            for coin in COINS:
                whole(got, venue, coin)


@pytest.mark.parametrize("venue_name", ["bybit"])
async def test_a_cut_during_the_backoff_changes_nothing(venue_name: str, seed: str) -> None:
    """The venue is cut off and comes back while nothing is connected. The feed dials once, at the planned time."""
    async with simulated(venue_name, seed) as simulator:
        venue = only(simulator)
        settings = quick(simulator)
        settings.connection.backoff_initial = settings.connection.backoff_max = 0.8
        settings.connection.backoff_jitter = 0
        async with feeding(settings) as (_, got):
            venue.cut()
            again = await got.until_event("reconnecting")
            with venue.partition():
                venue.cut()
            await got.until_event("connected", 2)
            assert again["delay"] == 0.8
            assert len(venue.dials) == 2
            assert got.at("connecting", 2) - got.at("reconnecting") >= 0.7  # 0.8 s, minus the time until the event came


@pytest.mark.parametrize(("venue_name", "live"), [("binance", False), ("bybit", True)])
async def test_a_venue_that_accepts_and_drops_connections_is_dialled_less_and_less_often(
    venue_name: str, seed: str, live: bool
) -> None:
    """With default settings there are at most 12 dials in 20 s: waits are at least 1, 2, 4, ... s, minus the jitter."""
    async with simulated(venue_name, seed) as simulator, nothing_left():
        venue = only(simulator)
        settings = quick(simulator, connection=Connection(), staleness=Staleness())
        feed = MarketFeed(settings=settings)
        got = Witness(feed)
        if live:
            await feed.connect()
        connecting = None
        with venue.accept_then_drop():
            venue.cut()
            began, before = monotonic(), len(venue.dials)
            if not live:
                connecting = asyncio.create_task(feed.connect())
            await until(lambda: len(venue.dials) - before == 3 - live)
            spread = [at - began for at in venue.dials[before:]]
            due = [0.8, 0.8 + 1.6] if live else [0.0, 0.8, 0.8 + 1.6]
            assert all(at >= least for at, least in zip(spread, due, strict=True))
            assert [each["attempt"] for each in got.details("reconnecting")[:2]] == [1, 2]
        await feed.disconnect()
        if connecting is not None:
            await asyncio.gather(connecting, return_exceptions=True)


# -- half open --------------------------------------------------------------------------------------------------------

Afterwards = Callable[[web.WebSocketResponse], Awaitable[None]]


async def only_pings(connection: web.WebSocketResponse) -> None:
    while not connection.closed:
        await connection.ping()
        await asyncio.sleep(0.05)


async def only_pongs(connection: web.WebSocketResponse) -> None:
    """Answer each ping with a pong, as a frame or in the venue's own form, and send unrequested pongs."""
    while not connection.closed:
        with_data = await connection.receive()
        if with_data.type is WSMsgType.PING:
            await connection.pong(with_data.data)
        elif with_data.type is WSMsgType.TEXT and '"ping"' in with_data.data:
            await connection.send_str('{"op":"pong","ret_msg":"pong","success":true}')
        elif with_data.type in (WSMsgType.CLOSE, WSMsgType.CLOSED, WSMsgType.ERROR):
            return
        await connection.pong()


async def ping_flood(connection: web.WebSocketResponse) -> None:
    while not connection.closed:
        for _ in range(500):
            await connection.ping(b"flood")
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("venue_name", "afterwards"),
    [("binance", only_pings), ("bybit", only_pongs), ("binance", ping_flood)],
)
async def test_a_connection_that_is_only_half_open_is_replaced(
    venue_name: str, seed: str, afterwards: Afterwards
) -> None:
    """Pings and pongs don't count as data: the feed is stale after feed_stale_after, and replaces the connection after
    reconnect_after."""
    connections = 0

    async def half_open(request: web.Request) -> web.WebSocketResponse:
        nonlocal connections
        connections += 1
        connection = web.WebSocketResponse(autoping=False, timeout=0.1)
        await connection.prepare(request)
        await connection.send_str(trade_frame(venue_name, "BTC", connections, 50_000.5))
        task = asyncio.ensure_future(afterwards(connection))
        try:
            if afterwards is not only_pongs:
                async for _ in connection:
                    pass
            await task
        except ConnectionError:
            pass  # the feed has closed the connection
        finally:
            task.cancel()
        return connection

    async with simulated(venue_name, seed, rate=0) as simulator, served(web.get("/{path:.*}", half_open)) as address:
        settings = quick(simulator, backfill=Backfill(enabled=False))
        redirected(settings, ws_url=f"ws://{address}", options={"ws": {"keepAlive": 100}})
        settings.connection.attempts_before_failover = 9
        async with feeding(settings) as (_, got):
            stale = await got.until_event("feed_stale")
            assert 0.7 <= stale["seconds"] < 1.3
            lost = await got.until_event("disconnected")
            assert "no data" in lost["reason"]
            assert lost["at"] - got.trades[0].received_at / 1e6 >= 1.4 * 1000 - 1  # event times are in whole ms
            await got.until_event("connected", 2)
            assert connections == 2
            await got.until(lambda: got.ids("BTC") == [1, 2])
            assert "bad_frame" not in got.events


# -- stalls -----------------------------------------------------------------------------------------------------------

TWENTY = ("BTC", "ETH", "SOL", "BNB", "XRP", "DOGE", "ADA", "TRX", "AVAX", "LINK", "DOT", "LTC", "BCH", "UNI", "NEAR",
          "APT", "ATOM", "FIL", "ARB", "OP")  # fmt: skip


async def test_one_stalled_coin_of_twenty_is_reported_and_the_others_continue(venue_name: str, seed: str) -> None:
    async with simulated(venue_name, seed, rate=400, coins=TWENTY) as simulator:
        venue = only(simulator)
        staleness = Staleness(feed_stale_after=5, coin_stale_after=1.2, reconnect_after=10)
        async with feeding(quick(simulator, coins=TWENTY, staleness=staleness)) as (feed, got):
            await got.until(lambda: len(got.prices) > 0 and len({tick.coin for tick in got.prices}) == 20)
            with venue.silent("SOL"):
                await got.until(lambda: any(each["coin"] == "SOL" for each in got.details("coin_stale")))
                seen, fresh = len(got.prices), set[str]()

                # each coin is checked at its own tick, so that its price is new even on a slow machine
                def note(tick: PriceTick) -> None:
                    fresh.add(feed.require_fresh(tick.coin, max_age=3).coin)

                feed.subscribe_price(note)
                await got.until(lambda: fresh == set(TWENTY) - {"SOL"})
                assert "SOL" not in {tick.coin for tick in got.prices[seen:]}
                assert feed.status.state is FeedState.LIVE
            await got.until(lambda: any(each["coin"] == "SOL" for each in got.details("coin_recovered")))
            assert {"disconnected", "feed_stale", "reconnecting"} & set(got.events) == set()
            assert len(venue.dials) == 1


async def test_a_silent_feed_is_reported_after_five_seconds(seed: str) -> None:
    """With default settings the report comes 5.0 to 5.5 s after the last data, in real time."""
    async with simulated("binance", seed, rate=0) as simulator:
        venue = only(simulator)
        heard: list[float] = []
        settings = quick(simulator, staleness=Staleness())
        async with nothing_left():
            feed = MarketFeed(settings=settings)
            got = Witness(feed)
            feed.subscribe_price(lambda tick: heard.append(monotonic()))
            feed.subscribe_candles(lambda candle: heard.append(monotonic()))
            connecting = asyncio.create_task(feed.connect())
            await until(lambda: [len(each.subscriptions) for each in venue.connections] == [6])
            await venue.trade("BTC")
            await connecting
            stale = await got.until_event("feed_stale")
            silent = got.at("feed_stale") - heard[-1]
            await feed.disconnect()
    assert 5.0 <= stale["seconds"] <= 5.5
    assert 4.9 <= silent <= 5.5


# -- REST and the stream ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("venue_name", "how"), [("binance", "down"), ("bybit", "slow")])
async def test_failing_rest_requests_do_not_disturb_a_working_stream(venue_name: str, seed: str, how: str) -> None:
    """Even a reconnect needs no REST. Gaps that can't be filled are reported; trades after a gap wait at most 2 s."""
    async with simulated(venue_name, seed, rate=20) as simulator:
        venue = only(simulator)
        async with feeding(quick(simulator, connection=STABLE)) as (feed, got):
            await got.until(lambda: all(got.ids(coin) for coin in COINS))
            with venue.rest_down(503) if how == "down" else venue.slow_rest(4):
                await got.more_trades(10)
                assert {"disconnected", "error", "feed_stale"} & set(got.events) == set()
                venue.cut()
                await venue.trade("BTC", count=3)
                began = monotonic()
                await got.until_event("connected", 2)
                assert monotonic() - began < 3.5  # the 24 h statistics are known, or the feed does not wait for them
                await got.until_event("gap_filled")
                assert not any(each["complete"] for each in got.details("gap_filled"))
                before = monotonic()
                await got.more_trades(10)
                assert monotonic() - before < 3
            for coin in COINS:
                assert got.ids(coin) == sorted(set(got.ids(coin)))
            assert feed.status.reconnect_count == 1


# -- the goal: twelve outages -----------------------------------------------------------------------------------------


def _strike(venue: SimulatedVenue, number: int) -> None:
    """Cause one outage; its kind depends on ``number``."""
    match number % 4:
        case 0:
            venue.cut()
        case 1:
            venue.close(1001)
        case 2:
            venue.close(1006)
        case _:
            venue.shutdown_notice()


async def test_twelve_outages_at_200_trades_a_second_lose_nothing(seed: str) -> None:
    """On Binance no trade is lost, repeated or out of order, and every gap is filled."""
    async with simulated("binance", seed, rate=200) as simulator:
        venue = only(simulator)
        async with feeding(quick(simulator, connection=STABLE)) as (_, got):
            await got.until(lambda: all(got.ids(coin) for coin in COINS))
            for number in range(12):
                dials = len(venue.dials)
                _strike(venue, number)
                await until(lambda dials=dials: len(venue.dials) > dials)  # type: ignore[misc] # mypy cannot check a lambda with a default
                await got.more_trades(30)
            await quiet(got, venue)
            for coin in COINS:
                whole(got, venue, coin)
            assert len(got.details("gap")) == len(got.details("gap_filled"))
            assert all(each["complete"] for each in got.details("gap_filled"))
            assert sum(trade.backfilled for trade in got.trades) > 0
            assert venue.violations == []
