"""Coins of one venue over several connections; in the tests a connection carries only two coins."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from exchanges.simulator import SimulatedVenue, Simulator
from exchanges.simulator.connections.client_connection import ClientConnection
from exchanges.venue import Capacity
from exchanges.venues import find
from feed import FeedState, MarketFeed, StaleDataError
from feed.settings import Staleness
from tests.support import Recorder, made_ids, settings_for, until

COINS = ("BTC", "ETH", "SOL", "XRP", "DOGE")
STREAMS = 3  # streams of a coin: trades, ticker, candles
EACH = 2  # coins per connection


@pytest.fixture(params=["binance", "bybit"])
async def simulator(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Simulator]:
    name = request.param
    profile = find.profile_of(name)
    small = replace(profile.limits, capacity=Capacity(EACH * STREAMS))
    monkeypatch.setitem(find._special(name), name, replace(profile, limits=small))
    async with Simulator(venues=(name,), rate=150, coins=[*COINS, "ADA"]) as simulator:
        yield simulator


@pytest.fixture
def venue(simulator: Simulator) -> SimulatedVenue:
    return next(iter(simulator.venues.values()))


@pytest.fixture
async def feed(simulator: Simulator) -> AsyncIterator[MarketFeed]:
    limits = Staleness(feed_stale_after=1, reconnect_after=2)
    feed = MarketFeed(settings=settings_for(simulator, coins=COINS, staleness=limits))
    yield feed
    await feed.disconnect()


@pytest.fixture
async def got(feed: MarketFeed, venue: SimulatedVenue) -> Recorder:
    """The recorder of a feed whose connections are all open."""
    got = Recorder(feed)
    await feed.connect()
    await until(lambda: sorted(len(c.subscriptions) for c in venue.connections) == [3, 6, 6])
    await got.until(lambda: all(len(got.ids(coin)) > 2 for coin in COINS))
    return got


def carrying(venue: SimulatedVenue, coin: str) -> ClientConnection:
    return next(c for c in venue.connections if any(coin in stream.upper() for stream in c.subscriptions))


async def complete(got: Recorder, venue: SimulatedVenue, coins: tuple[str, ...] = COINS) -> None:
    """Wait until all trades so far have come, each once and in order."""
    last = {coin: made_ids(venue, coin)[-1] for coin in coins}

    def whole(coin: str) -> bool:
        ids = got.ids(coin)
        return ids[-1] >= last[coin] and ids == [i for i in made_ids(venue, coin) if ids[0] <= i <= ids[-1]]

    await got.until(lambda: all(map(whole, coins)))


async def test_coins_are_spread_over_as_many_connections_as_they_need(
    feed: MarketFeed, venue: SimulatedVenue, got: Recorder
) -> None:
    assert len(venue.dials) == 3
    assert got.events.count("connected") == 1
    assert set(got.details("connected")[0]["coins"]) == set(COINS)
    await complete(got, venue)
    assert venue.violations == []


async def test_a_broken_connection_is_dialled_again_while_the_other_connections_stay(
    feed: MarketFeed, venue: SimulatedVenue, got: Recorder
) -> None:
    """The event names the connection's coins. Other coins have no gap, and with consecutive ids no trade is lost."""
    carrying(venue, "SOL").reset()
    lost = await got.until_event("disconnected")
    assert set(lost["coins"]) == {"SOL", "XRP"}
    assert lost["reason"]
    assert feed.status.state is FeedState.LIVE
    again = await got.until_event("connected", 2)
    assert set(again["coins"]) == {"SOL", "XRP"}
    told = await got.until_event("reconnecting")
    assert told["attempt"] == 1
    await complete(got, venue)
    assert {details["coin"] for details in got.details("gap")} <= {"SOL", "XRP"}
    assert len(venue.dials) == 4
    assert feed.status.failover_count == 0


async def test_a_half_open_connection_is_noticed_while_other_connections_have_data(
    feed: MarketFeed, venue: SimulatedVenue, got: Recorder
) -> None:
    dead = carrying(venue, "ETH")
    dead.half_open = True
    lost = await got.until_event("disconnected")
    assert set(lost["coins"]) == {"BTC", "ETH"}
    await got.until_event("connected", 2)
    await until(lambda: carrying(venue, "ETH") is not dead)
    await complete(got, venue, ("SOL", "XRP", "DOGE"))
    if venue.name == "binance":  # Bybit's REST only has the last 60 trades of a market
        await complete(got, venue)
    assert {details["coin"] for details in got.details("gap")} <= {"BTC", "ETH"}
    assert "feed_stale" not in got.events


async def test_the_loss_of_all_connections_counts_as_one_reconnect(
    feed: MarketFeed, venue: SimulatedVenue, got: Recorder
) -> None:
    """If all connections break, the session ends, as with a single connection."""
    venue.cut()
    await got.until(lambda: any("coins" not in details for details in got.details("disconnected")))
    await got.until(lambda: feed.status.reconnect_count == 1)
    await complete(got, venue)
    assert feed.status.state is FeedState.LIVE


async def test_a_connection_that_cannot_be_restored_ends_the_session(
    feed: MarketFeed, venue: SimulatedVenue, got: Recorder
) -> None:
    """The dial is blocked while the other connections have data. The venue blocks us, so these connections are closed
    too."""
    with venue.blocked(451):
        carrying(venue, "SOL").reset()
        await got.until_event("exchange_blocked")
    assert feed.status.state is not FeedState.LIVE


async def test_a_coin_is_added_to_a_connection_with_room_or_to_a_new_connection(
    feed: MarketFeed, venue: SimulatedVenue, got: Recorder
) -> None:
    await feed.remove_coins("DOGE")
    await until(lambda: len(venue.connections) == 2)  # the third connection is not needed any more
    await feed.add_coins("ADA")
    assert len(venue.dials) == 4
    assert len(venue.connections) == 3
    await feed.add_coins("DOGE")
    assert len(venue.dials) == 4
    await until(lambda: sorted(len(c.subscriptions) for c in venue.connections) == [6, 6, 6])
    await complete(got, venue, ("BTC", "ETH", "SOL", "XRP"))
    assert "disconnected" not in got.events


async def test_a_new_coin_takes_a_removed_coins_place_within_the_venues_limits(
    feed: MarketFeed, venue: SimulatedVenue, got: Recorder
) -> None:
    """The venue still counts the old streams, so the connection is replaced. The connection's other coin loses no
    trade."""
    venue.laws.streams = EACH * STREAMS
    await feed.remove_coins("BTC")
    await feed.add_coins("ADA")
    assert feed.get_price("ADA") is not None
    await complete(got, venue, ("ETH", "SOL", "XRP", "DOGE"))
    assert venue.violations == []
    assert "disconnected" not in got.events


async def test_with_an_additional_channel_the_coins_are_spread_over_more_connections(
    feed: MarketFeed, venue: SimulatedVenue, got: Recorder
) -> None:
    """A coin that moves has data on its new connection before it leaves the old connection."""
    feed.subscribe_candles(lambda candle: None, timeframe="5m")
    weight = STREAMS + 1
    await until(lambda: len(venue.connections) == 5 and all(len(c.subscriptions) == weight for c in venue.connections))
    await complete(got, venue)
    assert "disconnected" not in got.events


async def test_every_connection_ends_when_the_feed_disconnects(
    feed: MarketFeed, venue: SimulatedVenue, got: Recorder
) -> None:
    async with asyncio.timeout(5):
        await feed.disconnect()
    await until(lambda: not venue.connections)


@pytest.mark.parametrize("name", ["binance", "bybit"])
async def test_a_thousand_coins_of_one_venue_keep_the_venues_limits(name: str) -> None:
    """All coins have prices, each is subscribed once, and there are no more connections than needed."""
    async with Simulator(venues=(name,), rate=100, markets=1005) as simulator:
        venue = simulator[name]
        coins = list(dict.fromkeys(market.coin for market in venue.markets.values()))
        assert len(coins) == 1000
        async with MarketFeed(settings=settings_for(simulator, coins=coins, channels=["trades", "ticker"])) as feed:
            await until(lambda: len(feed.get_all_prices()) == 1000, 60)
            await until(lambda: len(venue.topics) == 2000, 60)
            assert len(venue.dials) == len(venue.connections) == (2 if name == "binance" else 3)
            assert sum(len(each.subscriptions) for each in venue.connections) == 2000
            assert sum("ticker" in path for _, path in venue.rest_calls) == 1  # one request for all coins
        assert venue.violations == []


@pytest.mark.parametrize("transport", ["aiohttp", "picows"])
async def test_a_connection_that_lags_beside_other_connections_is_reported_and_replaced(
    simulator: Simulator, venue: SimulatedVenue, transport: str
) -> None:
    """One gateway of a venue may be late; the prices of its coins would be old, although the feed looks healthy."""
    pytest.importorskip(transport, reason="the extra [fast] is not installed")
    settings = settings_for(simulator, coins=COINS)
    settings.staleness = Staleness(max_lag=1)
    settings.exchanges[0].options["transport"] = transport
    feed = MarketFeed(settings=settings)
    got, healths = Recorder(feed), set[str]()
    feed.subscribe_status(lambda event, _: healths.add(feed.get_health()["status"]) if "lagging" in event else None)
    async with feed:
        await got.until(lambda: all(len(got.ids(coin)) > 2 for coin in COINS))
        with venue.split(2.0):
            await got.until_event("feed_lagging")
            await until(lambda: feed.status.lag is not None and not venue_lags(feed), 40)
            await got.until_event("feed_caught_up")
        late = got.details("feed_lagging")[0]["coins"]
        assert set(late) < set(COINS)
        assert healths == {"degraded"}
        assert feed.status.state is FeedState.LIVE
        assert "disconnected" not in got.events


def venue_lags(feed: MarketFeed) -> bool:
    """Whether require_fresh refuses the price of some coin because of its age."""
    try:
        for coin in COINS:
            feed.require_fresh(coin, 1.5)
    except StaleDataError:
        return True
    return False
