"""A gap counts as complete only with a proof, and a wrong id or timestamp loses no right trade; over real sockets."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Self

import pytest
from aiohttp import web

from exchanges.ccxt_adapter.transport.choose import TRANSPORTS
from exchanges.events import Candle
from exchanges.simulator import SimulatedVenue, Simulator
from feed import MarketFeed, Settings
from feed.events import CoinConfig
from feed.settings import Connection, ExchangeConfig, Staleness
from tests.support import Recorder, made_ids, settings_for, until

QUICK = Connection(
    connect_timeout=5, backoff_initial=0.05, backoff_max=0.2, stable_after=60, attempts_before_failover=1
)
VENUES = ["binance", "bybit"]


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> str:
    if request.param == "picows":
        pytest.importorskip("picows", reason="the extra [fast] is not installed")
    return str(request.param)


@pytest.fixture(params=VENUES)
async def simulator(request: pytest.FixtureRequest) -> AsyncIterator[Simulator]:
    async with Simulator(venues=(request.param,), rate=20, seed=1, coins=["BTC"]) as simulator:
        yield simulator


def feed_on(transport: str, *simulators: Simulator, coin_stale_after: float = 60) -> MarketFeed:
    staleness = Staleness(feed_stale_after=30, coin_stale_after=coin_stale_after, reconnect_after=60)
    settings = settings_for(*simulators, coins=["BTC"], connection=QUICK, staleness=staleness)
    for exchange in settings.exchanges:
        exchange.options["transport"] = transport
    return MarketFeed(settings=settings)


async def flowing(got: Recorder) -> None:
    """Wait until trades have come."""
    await got.until(lambda: len(got.trades) >= 5)


def whole(venue: SimulatedVenue, got: Recorder) -> bool:
    """Whether all of the venue's trades since the first delivered trade were delivered, once and in order."""
    ids = [int(trade.trade_id) for trade in got.trades if trade.exchange == venue.name]
    truth = made_ids(venue, "BTC")
    return ids == [number for number in truth if ids[0] <= number <= ids[-1]]


@pytest.mark.parametrize("seconds", [0.3, 1.2])
async def test_a_record_behind_the_stream_is_requested_until_it_reaches_beyond_the_gap(
    transport: str, simulator: Simulator, seconds: float
) -> None:
    (venue,) = simulator.venues.values()
    feed = feed_on(transport, simulator)
    got = Recorder(feed)
    async with feed:
        await flowing(got)
        with venue.rest_behind(seconds):
            with venue.refusing(503):
                venue.cut()
                await got.until_event("disconnected")
                made = venue.trades_made
                await until(lambda: venue.trades_made > made + 5)
            filled = await got.until_event("gap_filled")
            assert filled["complete"]
            assert filled["trades"] > 5
            assert whole(venue, got)


@pytest.mark.parametrize("broken", ["frozen", "down"])
async def test_a_gap_is_incomplete_if_the_record_never_reaches_beyond_the_gap(
    transport: str, simulator: Simulator, broken: str
) -> None:
    (venue,) = simulator.venues.values()
    feed = feed_on(transport, simulator)
    got = Recorder(feed)
    async with feed:
        await flowing(got)
        with venue.rest_frozen() if broken == "frozen" else venue.rest_down():
            with venue.refusing(503):
                venue.cut()
                await got.until_event("disconnected")
                made = venue.trades_made
                await until(lambda: venue.trades_made > made + 5)
            filled = await got.until_event("gap_filled")
        assert filled["complete"] is False
        assert not whole(venue, got)
        count = len(got.trades)
        await got.until(lambda: len(got.trades) > count + 10)


async def test_after_a_failover_a_gap_is_complete_only_if_the_record_reaches_beyond_the_gap(transport: str) -> None:
    async with (
        Simulator(venues=("bybit",), rate=20, seed=1, coins=["BTC"]) as first,
        Simulator(venues=("binance",), rate=20, seed=1, coins=["BTC"]) as second,
    ):
        feed = feed_on(transport, first, second)
        got = Recorder(feed)
        async with feed:
            await flowing(got)
            with second["binance"].rest_behind(1.2), first["bybit"].partition():
                await got.until_event("failover")
                filled = await got.until_event("gap_filled")
                last = [trade.timestamp for trade in got.trades if trade.exchange == "bybit"][-1]
                assert filled["complete"]
                assert whole(second["binance"], got)
                missed = [trade for trade in second["binance"].trades["BTC"] if trade.timestamp > last]
                assert missed[0].id in got.ids("BTC")


@pytest.mark.parametrize("ahead", [40_000, 999_000])
async def test_an_id_that_is_far_too_high_neither_delays_nor_loses_a_trade(transport: str, ahead: int) -> None:
    async with Simulator(venues=("binance",), rate=20, seed=1, coins=["BTC"]) as simulator:
        venue = simulator["binance"]
        feed = feed_on(transport, simulator)
        got = Recorder(feed)
        async with feed:
            await flowing(got)
            for count in (30, 60):
                venue.leap(ahead)
                await got.until(lambda count=count: len(got.trades) > count)  # type: ignore[misc] # mypy refuses a lambda with a default
            first, last = (trade.timestamp for trade in (got.trades[0], got.trades[-1]))
            truth = [trade for trade in venue.trades["BTC"] if first <= trade.timestamp <= last]
            known = {(trade.timestamp, trade.price, trade.quantity) for trade in truth}
            told = Counter((trade.timestamp, trade.price, trade.quantity) for trade in got.trades)
            assert len(truth) - 1 <= len(got.trades) <= len(truth) + 1
            assert set(told) <= known
            assert max(told.values()) == 1


async def test_missing_ids_do_not_delay_trades_for_long(transport: str) -> None:
    async with Simulator(venues=("binance",), rate=50, seed=1, coins=["BTC"]) as simulator:
        venue = simulator["binance"]
        feed = feed_on(transport, simulator)
        got = Recorder(feed)
        async with feed:
            with venue.skipping(5):
                await got.until(lambda: len(got.details("gap_filled")) >= 3)
                gaps = len(got.details("gap"))
                count = len(got.trades)
                await got.until(lambda: len(got.trades) > count + 100)
            assert len(got.details("gap")) <= gaps + 20
            await got.until(lambda: len(got.details("gap_filled")) == len(got.details("gap")))
            assert all(details["complete"] for details in got.details("gap_filled"))
            ids = got.ids("BTC")
            assert ids == sorted(set(ids))
            assert set(made_ids(venue, "BTC")[-100:-20]) <= set(ids)


async def test_a_trade_that_the_venue_repeats_much_later_is_delivered_once(transport: str) -> None:
    async with Simulator(venues=("bybit",), rate=20, seed=1, coins=["BTC"]) as simulator:
        venue = simulator["bybit"]
        feed = feed_on(transport, simulator)
        got = Recorder(feed)
        async with feed:
            await flowing(got)
            with venue.repeated(0.2):
                for _ in range(32):
                    await venue.trade("BTC", count=50)
                await got.until(lambda: made_ids(venue, "BTC")[1450] in got.ids("BTC"))
            assert whole(venue, got)


@pytest.mark.parametrize("fault", ["lost", "late"])
async def test_a_candle_whose_final_state_does_not_come_is_closed_by_time(
    transport: str, simulator: Simulator, fault: str
) -> None:
    """The candle is closed once, in time, and with all of its trades."""
    (venue,) = simulator.venues.values()
    settings = settings_for(simulator, coins=["BTC"], connection=QUICK)
    settings.exchanges[0].options["transport"] = transport
    feed = MarketFeed(settings=settings)
    got = Recorder(feed)
    async with feed:
        await flowing(got)
        with venue.lost_close() if fault == "lost" else venue.late_close(100):
            venue.skip((58 - venue.now() / 1000) % 60)
            opened = venue.now() // 60_000 * 60_000
            await got.until(lambda: any(c.closed and c.timestamp == opened for c in got.candles), timeout=40)
            closed = next(c for c in got.candles if c.closed and c.timestamp == opened)
            late = venue.now() - closed.timestamp - 60_000
            traded = [t for t in venue.trades["BTC"] if closed.timestamp <= t.timestamp < closed.timestamp + 60_000]
            assert late < 15_000
            assert closed.volume == pytest.approx(sum(t.quantity for t in traded))
        assert sum(c.closed and c.timestamp == closed.timestamp for c in got.candles) == 1


async def test_a_candle_whose_end_was_missed_is_not_closed_by_a_record_that_stands_still(simulator: Simulator) -> None:
    """The record has the trades that came before the connection was lost, but not the later trades."""
    (venue,) = simulator.venues.values()
    feed = feed_on("aiohttp", simulator)
    got = Recorder(feed)
    async with feed:
        await flowing(got)
        venue.skip((57 - venue.now() / 1000) % 60)
        opened = venue.now() // 60_000 * 60_000
        await got.until(lambda: any(c.timestamp == opened for c in got.candles))
        with venue.rest_frozen():
            with venue.refusing(503):
                venue.cut()
                await until(lambda: venue.now() > opened + 61_000)
            await got.until(lambda: any(c.timestamp > opened for c in got.candles))
            later = time.monotonic() + 6.0  # meanwhile the record is requested several times
            await until(lambda: time.monotonic() > later)
            assert not any(c.closed for c in got.candles if c.timestamp == opened)
        await got.until(lambda: any(c.closed for c in got.candles if c.timestamp == opened), timeout=40)
        (closed,) = [c for c in got.candles if c.closed and c.timestamp == opened]
        traded = [t for t in venue.trades["BTC"] if opened <= t.timestamp < opened + 60_000]
        assert closed.volume == pytest.approx(sum(t.quantity for t in traded))
        assert closed.close == traded[-1].price


@pytest.mark.parametrize("name", VENUES)
async def test_trades_stamped_an_hour_ahead_close_no_candle_and_cause_no_lag(transport: str, name: str) -> None:
    """Each coin has one trade with a wrong stamp and few other trades, so the wrong stamps agree with one another."""
    coins = ["BTC", "ETH", "SOL", "XRP", "ADA", "LTC"]
    async with Simulator(venues=(name,), rate=2, seed=1, coins=coins) as simulator:
        (venue,) = simulator.venues.values()
        settings = settings_for(simulator, coins=coins, connection=QUICK)
        settings.exchanges[0].options["transport"] = transport
        feed = MarketFeed(settings=settings)
        got = Recorder(feed)
        early = []

        def judge(candle: Candle) -> None:
            if candle.closed and candle.timestamp + 60_000 > venue.now():
                early.append(candle)

        async def trade(coin: str) -> None:
            before = len(got.trades)
            await venue.trade(coin, count=1)
            await got.until(lambda: len(got.trades) > before)

        feed.subscribe_candles(judge)
        async with feed:
            for coin in coins:
                await trade(coin)
            for coin in coins:
                venue.stamp_ahead(3600, coin)
                looked = time.monotonic() + 0.6  # the feed checks its lag twice a second
                await trade(coin)
                await until(partial(_is_after, looked))
            for coin in coins:
                await trade(coin)
            looked = time.monotonic() + 2.5  # the feed checks its candles once a second
            await until(partial(_is_after, looked))
            assert len(venue.altered) == len(coins)
            assert early == []
            assert "feed_lagging" not in got.events


def _is_after(moment: float) -> bool:
    return time.monotonic() > moment


class Wire:
    """A small venue that sends trades with the ids and stamps of the test, and returns no trades over REST."""

    def __init__(self) -> None:
        self._streams: dict[web.WebSocketResponse, set[str]] = {}

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/api/v3/exchangeInfo", self._markets)
        app.router.add_get("/{rest:api.*}", self._nothing)
        app.router.add_get("/{stream:.*}", self._open)
        self._runner = web.AppRunner(app, shutdown_timeout=0.2)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.address = f"127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *exc: object) -> None:
        for stream in list(self._streams):
            await stream.close()
        await self._runner.cleanup()

    def feed(self, transport: str, staleness: Staleness) -> MarketFeed:
        where = ExchangeConfig(
            "binance",
            rest_url=f"http://{self.address}",
            ws_url=f"ws://{self.address}",
            options={"transport": transport, "market_cache": False},
        )
        coins = [CoinConfig("BTC")]
        return MarketFeed(settings=Settings(coins=coins, exchanges=[where], staleness=staleness, channels=["trades"]))

    async def trade(self, number: int, stamp: int | None = None) -> None:
        at = int(time.time() * 1000) if stamp is None else stamp
        row = {
            "e": "trade",
            "E": at,
            "s": "BTCUSDT",
            "t": number,
            "p": "5.0",
            "q": "1.0",
            "T": at,
            "m": True,
            "M": True,
        }
        for stream, topics in self._streams.items():
            if "btcusdt@trade" in topics:
                await stream.send_json(row)

    async def _markets(self, request: web.Request) -> web.Response:
        filters = [
            {"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "1000000", "tickSize": "0.01"},
            {"filterType": "LOT_SIZE", "minQty": "0.00001", "maxQty": "9000", "stepSize": "0.00001"},
        ]
        market = {
            "symbol": "BTCUSDT", "status": "TRADING", "baseAsset": "BTC", "quoteAsset": "USDT", "orderTypes": [],
            "isSpotTradingAllowed": True, "permissions": ["SPOT"], "permissionSets": [["SPOT"]], "filters": filters,
        }  # fmt: skip
        return web.json_response({"timezone": "UTC", "serverTime": int(time.time() * 1000), "symbols": [market]})

    async def _nothing(self, request: web.Request) -> web.Response:
        found = {"serverTime": int(time.time() * 1000)} if request.path.endswith("/time") else []
        return web.json_response(found)

    async def _open(self, request: web.Request) -> web.WebSocketResponse:
        stream = web.WebSocketResponse()
        await stream.prepare(request)
        topics = self._streams[stream] = set()
        try:
            async for message in stream:
                asked = message.json()
                topics.update(asked.get("params", ()))
                await stream.send_json({"result": None, "id": asked["id"]})
        finally:
            del self._streams[stream]
        return stream


@asynccontextmanager
async def repeating(wire: Wire, number: int, stamp: int | None = None) -> AsyncIterator[None]:
    """Send one trade again and again while the context lasts."""

    async def repeat() -> None:
        while True:
            await wire.trade(number, stamp)
            await asyncio.sleep(0.05)

    task = asyncio.create_task(repeat())
    try:
        yield
    finally:
        task.cancel()


@pytest.mark.parametrize("kind", ["repeated", "late"])
async def test_with_only_repeated_or_late_trades_a_coin_and_its_feed_are_stale(transport: str, kind: str) -> None:
    """The coin has no other data."""
    async with Wire() as wire:
        feed = wire.feed(transport, Staleness(feed_stale_after=0.8, coin_stale_after=1, reconnect_after=60))
        got = Recorder(feed)
        connecting = asyncio.create_task(feed.connect())
        async with repeating(wire, 1000):
            await connecting
            await got.until(lambda: bool(got.trades))
        first = got.trades[0].timestamp
        number, stamp = (1000, first) if kind == "repeated" else (1002, first + 1)
        if kind == "late":
            await wire.trade(1004, first + 5)
            await wire.trade(1005, first + 6)
            await got.until(lambda: got.ids("BTC")[-1] == 1005)
        count = len(got.trades)
        async with repeating(wire, number, stamp):
            await got.until_event("coin_stale")
            await got.until_event("feed_stale")
        assert len(got.trades) == count
        await feed.disconnect()


async def test_no_trade_is_lost_if_a_stamp_is_a_day_ahead_and_the_ids_restart(transport: str) -> None:
    async with Wire() as wire:
        feed = wire.feed(transport, Staleness())
        got = Recorder(feed)
        connecting = asyncio.create_task(feed.connect())
        async with repeating(wire, 5_000_000):
            await connecting
            await got.until(lambda: bool(got.trades))
        await wire.trade(5_000_001, int(time.time() * 1000) + 82_800_000)
        for number in (1, 2, 3, 4):
            await wire.trade(number)
        await got.until(lambda: len(got.trades) == 6)
        assert got.ids("BTC") == [5_000_000, 5_000_001, 1, 2, 3, 4]
        tick = feed.get_price("BTC")
        assert tick is not None
        assert abs(tick.timestamp - time.time() * 1000) < 60_000
        await feed.disconnect()
