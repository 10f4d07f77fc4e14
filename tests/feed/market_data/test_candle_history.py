"""Past candles come from the real ccxt.pro classes over real sockets, and are joined to the live stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from exchanges.simulator import SimulatedVenue, Simulator
from feed import Candle, FeedError, MarketFeed, SettingsError
from feed.market_data.candle_history import _judge
from tests.support import Recorder, settings_for, until

MINUTE = 60_000
VENUES = ["binance", "bybit"]


@pytest.fixture(params=VENUES)
async def simulator(request: pytest.FixtureRequest) -> AsyncIterator[Simulator]:
    async with Simulator(venues=(request.param,), rate=200) as simulator:
        yield simulator


def values(candle: Candle) -> tuple[float, ...]:
    return candle.timestamp, candle.open, candle.high, candle.low, candle.close


def without_hole(candles: list[Candle], length: int = MINUTE) -> bool:
    opened = [candle.timestamp for candle in candles]
    return opened == list(range(opened[0], opened[0] + len(opened) * length, length))


async def test_history_has_the_candles_of_the_venues_record_oldest_first(
    feed: MarketFeed, venue: SimulatedVenue
) -> None:
    """History has closed candles without a hole, and the running candle at its end."""
    await feed.connect()
    market = venue.market("BTC")
    for timeframe, length in (("1m", MINUTE), ("5m", 5 * MINUTE), ("1h", 60 * MINUTE)):
        candles = await feed.candles_history("btc", timeframe, 20)
        assert len(candles) == 20
        assert without_hole(candles, length)
        assert all(candle.closed for candle in candles[:-1])
        assert {(c.coin, c.timeframe, c.exchange) for c in candles} == {("BTC", timeframe, venue.name)}
        recorded = market.candles(length, candles[0].timestamp, candles[-2].timestamp, venue.now())
        assert [values(candle) for candle in candles[:-1]] == [
            (true.start, *(price / market.scale for price in (true.open, true.high, true.low, true.close)))
            for true in recorded
        ]


async def test_history_longer_than_one_answer_is_fetched_page_by_page(feed: MarketFeed) -> None:
    """Candles that the venue has deleted are left out; a simulated venue keeps the candles of one day."""
    await feed.connect()
    candles = await feed.candles_history("ETH", "1m", 1300)
    assert len(candles) == 1300
    assert without_hole(candles)
    assert 1440 <= len(await feed.candles_history("ETH", "1m", 3000)) <= 1450


async def test_the_live_stream_continues_where_history_ends(feed: MarketFeed, venue: SimulatedVenue) -> None:
    """Each candle is in the history or is closed by the stream later, never both, even if a minute ends between the
    two."""
    live: list[Candle] = []
    feed.subscribe_candles(live.append, "BTC")
    await feed.connect()
    await until(lambda: bool(live))
    for _ in range(5):
        venue.skip(30)
        past = await feed.candles_history("BTC", "1m", 5)
        seen = len(live)
        venue.skip(60)
        await until(lambda seen=seen: any(c.closed for c in live[seen:]))  # type: ignore[misc] # mypy refuses a lambda with a default
        venue.skip(60)
        await until(lambda seen=seen: sum(c.closed for c in live[seen:]) >= 2)  # type: ignore[misc] # mypy refuses a lambda with a default
        followed = [candle for candle in live[seen:] if candle.closed]
        assert without_hole([candle for candle in past if candle.closed] + followed)
    closed = [candle.timestamp for candle in live if candle.closed]
    assert len(closed) == len(set(closed))


async def test_history_has_closed_candles_as_the_stream_delivered_them(feed: MarketFeed, venue: SimulatedVenue) -> None:
    live: list[Candle] = []
    feed.subscribe_candles(live.append, "BTC")
    await feed.connect()
    await until(lambda: bool(live))
    for _ in range(3):
        closed = sum(candle.closed for candle in live)
        venue.skip(60)
        await until(lambda closed=closed: sum(c.closed for c in live) > closed)  # type: ignore[misc] # mypy refuses a lambda with a default
    past = {candle.timestamp: candle for candle in await feed.candles_history("BTC", "1m", 10)}
    for candle in live:
        if candle.closed:
            assert past[candle.timestamp] == candle


async def test_a_candle_that_the_stream_missed_is_also_closed_in_the_stream(
    simulator: Simulator, venue: SimulatedVenue
) -> None:
    """The candle ended while the coin was silent. A request for history closes it for every subscriber, once."""
    feed = MarketFeed(settings=settings_for(simulator))
    live: list[Candle] = []
    feed.subscribe_candles(live.append, "BTC")
    async with feed:
        await until(lambda: bool(live))
        running = live[-1].timestamp
        with venue.silent("BTC"):
            venue.skip(120)
            past = await feed.candles_history("BTC", "1m", 4)
        assert [candle.timestamp for candle in live if candle.closed and candle.timestamp >= running] == [
            candle.timestamp for candle in past if candle.closed and candle.timestamp >= running
        ]
        seen = len(live)
        venue.skip(60)
        await until(lambda: any(candle.closed for candle in live[seen:]))
        closed = [candle.timestamp for candle in live if candle.closed]
        assert len(closed) == len(set(closed))
        assert not [c for i, c in enumerate(live) if any(b.closed and b.timestamp == c.timestamp for b in live[:i])]


NOW = 1_700_000_040_000 + 2 * MINUTE  # Unix ms, the start of a minute


@pytest.mark.parametrize(
    ("asked_at", "answered_at", "closed"),
    [
        (NOW + 30_000, NOW + 30_500, [True, True, False]),
        (NOW + 500, NOW + 900, [True, True, False]),
        (NOW - 100, NOW + 100, [True, True, False]),
        (NOW + MINUTE + 500, NOW + MINUTE + 900, [True, True, False]),  # the record may be behind
        (NOW + MINUTE + 3_000, NOW + MINUTE + 3_100, [True, True, True]),
        (NOW - 30_000, NOW - 29_000, [True, False, False]),  # the last candle has not begun yet
        (None, None, [True, True, False]),
    ],
)
def test_a_candle_of_the_record_counts_as_closed_once_it_is_over(
    asked_at: float | None, answered_at: float | None, closed: list[bool]
) -> None:
    past = [Candle("BTC", "1m", NOW + n * MINUTE, 1.0, 1.0, 1.0, 1.0, 1.0, True) for n in (-2, -1, 0)]
    _judge(past, asked_at, answered_at)
    assert [candle.closed for candle in past] == closed


async def test_volatility_is_known_soon_after_connecting(feed: MarketFeed, venue: SimulatedVenue) -> None:
    """The program does not wait for an hour of candles, and does not request history."""
    async with feed:
        await until(lambda: feed.volatility("BTC") is not None and feed.volatility("ETH") is not None)
        assert sum("kline" in path for _, path in venue.rest_calls) >= 2
        assert feed.volatility("BTC", 240) is None
        await feed.candles_history("BTC", "1m", 300)
        assert feed.volatility("BTC", 240) is not None


async def test_a_request_that_cannot_be_served_gets_a_clear_error(feed: MarketFeed, venue: SimulatedVenue) -> None:
    """The error says which arguments are allowed, or names the venue that does not answer and the reason."""
    with pytest.raises(FeedError, match="not connected"):
        await feed.candles_history("BTC")
    await feed.connect()
    for arguments, said in (
        (("BTC", "7m"), f"timeframe: found '7m', allowed on {venue.name} are .*1m, 3m, 5m"),
        (("DOGE",), "coin: found 'DOGE', allowed are those of the feed: BTC, ETH"),
        ((["BTC"],), "coin: found .* allowed are those of the feed: BTC, ETH"),
        (("BTC", "1m", 0), "limit: found 0, allowed is a whole number of candles from 1 to 10,000"),
        (("BTC", "1m", 2.5), "limit: found 2.5"),
    ):
        with pytest.raises(SettingsError, match=said):
            await feed.candles_history(*arguments)
    with venue.rest_down(503), pytest.raises(FeedError, match=f"BTC: no 1h candles from {venue.name}: .*503"):
        await feed.candles_history("BTC", "1h")


async def test_disconnecting_ends_history_requests_that_still_wait(feed: MarketFeed, venue: SimulatedVenue) -> None:
    """The requests end with a clear error, in the feed's own loop and in another loop, and leave no task behind."""
    before = asyncio.all_tasks()
    await feed.connect()
    with venue.slow_rest(60):
        asked = len(venue.rest_calls)
        elsewhere = asyncio.create_task(asyncio.to_thread(lambda: asyncio.run(feed.candles_history("BTC", "5m"))))
        here = asyncio.create_task(feed.candles_history("BTC", "1h"))
        await until(lambda: len(venue.rest_calls) >= asked + 2)
        await feed.disconnect()
        for waiting in (here, elsewhere):
            with pytest.raises(FeedError):
                await waiting
    serving = "RequestHandler"  # tasks of the simulator, which is slow on purpose
    await until(lambda: all(serving in repr(task.get_coro()) for task in asyncio.all_tasks() - before))


async def test_history_can_be_awaited_in_another_event_loop(feed: MarketFeed) -> None:
    """A program without asyncio may run another loop in a thread, while the feed runs in its own loop."""
    await feed.connect()
    assert len(await asyncio.to_thread(lambda: asyncio.run(feed.candles_history("BTC", "1m", 5)))) == 5


async def test_history_follows_the_coin_to_the_venue_that_lists_it() -> None:
    """The past candles of each coin come from the venue of its prices."""
    async with (
        Simulator(venues=("binance",), rate=100, coins=["BTC"]) as first,
        Simulator(venues=("bybit",), rate=100, coins=["BTC", "ETH"]) as second,
        MarketFeed(settings=settings_for(first, second)) as feed,
    ):
        await until(lambda: feed.get_price("ETH") is not None)
        for coin, exchange in (("BTC", "binance"), ("ETH", "bybit")):
            assert {candle.exchange for candle in await feed.candles_history(coin)} == {exchange}


async def test_two_timeframes_can_be_streamed_at_the_same_time(feed: MarketFeed, venue: SimulatedVenue) -> None:
    """Each timeframe has its own candles, and each candle is closed once."""
    got = Recorder(feed)
    five: list[Candle] = []
    feed.subscribe_candles(five.append, "BTC", timeframe="5m")
    await feed.connect()
    await until(lambda: bool(five) and any(candle.coin == "BTC" for candle in got.candles))
    for _ in range(11):
        venue.skip(60)
        await asyncio.sleep(0)
    await until(lambda: sum(candle.closed for candle in five) >= 2)
    await until(lambda: sum(candle.closed and candle.coin == "BTC" for candle in got.candles) >= 10)
    minutes = {candle.timestamp: candle for candle in got.candles if candle.closed and candle.coin == "BTC"}
    for true in (candle for candle in five if candle.closed):
        inside = [minutes[at] for at in range(true.timestamp, true.timestamp + 5 * MINUTE, MINUTE) if at in minutes]
        # a minute without trades has the close price of the minute before, which may be outside of these five minutes
        if len(inside) == 5:
            traded = [candle for candle in inside if candle.volume] or inside
            assert (true.open, true.close) == (traded[0].open, traded[-1].close)
            assert (true.high, true.low) == (max(c.high for c in traded), min(c.low for c in traded))
    assert {candle.timeframe for candle in five} == {"5m"}
    assert {candle.timeframe for candle in got.candles} == {"1m"}
