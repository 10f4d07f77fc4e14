"""Connecting and disconnecting, in any order and at the same time."""

from __future__ import annotations

import asyncio

import pytest

from exchanges.simulator import SimulatedVenue, Simulator
from feed import (
    FeedError,
    FeedState,
    MarketFeed,
    NoExchangeAvailable,
    SettingsError,
    StaleDataError,
)
from tests.feed.market_feed.support import connected, subscribed
from tests.support import Recorder, settings_for, until


async def test_disconnecting_leaves_no_task_and_no_connection(simulator: Simulator, venue: SimulatedVenue) -> None:
    before = asyncio.all_tasks()
    feed = MarketFeed(settings=settings_for(simulator))
    await connected(feed, venue)
    await feed.disconnect()
    await feed.disconnect()
    assert feed.status.state is FeedState.CLOSED
    await until(lambda: asyncio.all_tasks() <= before and not venue.connections)


async def test_a_feed_connects_again_after_it_was_disconnected(
    feed: MarketFeed, venue: SimulatedVenue, got: Recorder
) -> None:
    await connected(feed, venue)
    await feed.disconnect()
    await connected(feed, venue)
    await got.until(lambda: len(got.trades) == 2)
    assert got.events.count("closed") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"exchange": "binanse"}, "binance"),
        ({"exchange": []}, "empty list"),
        ({"coins": []}, "coins"),
        ({"coins": ["BTC", "btc"]}, "again"),
        ({"coins": [7]}, "coins"),
        ({"coins": ["BTC/USDT"]}, "^coins"),
        ({"exchange": ["kraken", "binance", "kraken"]}, "found 'kraken' again"),
        ({"exchange": ["binance_us", "binanceus"]}, "found 'binanceus' again"),
        ({"settings": "/nowhere/settings.yaml"}, "settings.yaml"),
        ({"settings": 5}, "settings: found 5"),
        ({"coins": 5}, "coins: found 5"),
        ({"exchange": 5}, "exchange: found 5"),
        ({"exchange": ""}, "market-feed exchanges"),
        ({"exchange": {"binance": 1}}, "exchange: found"),
    ],
)
def test_wrong_arguments_raise_when_the_feed_is_made(arguments: dict[str, object], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        MarketFeed(**arguments)  # type: ignore[arg-type] # wrong on purpose


async def test_disconnecting_right_after_connecting_ends_the_call_of_connect(feed: MarketFeed) -> None:
    """connect() ends even if the feed's task has not run yet."""
    connecting = asyncio.create_task(feed.connect(timeout=None))
    await asyncio.sleep(0)
    await feed.disconnect()
    with pytest.raises(FeedError, match="before any data came"):
        await asyncio.wait_for(connecting, 5)
    assert feed.status.state is FeedState.CLOSED


async def test_connecting_while_disconnecting_makes_a_new_connection(
    feed: MarketFeed, venue: SimulatedVenue, got: Recorder
) -> None:
    await connected(feed, venue)
    dials = len(venue.dials)
    ending = asyncio.create_task(feed.disconnect())
    await asyncio.sleep(0)
    connecting = asyncio.create_task(feed.connect())
    await subscribed(venue, dials)
    await venue.trade("BTC")
    await asyncio.gather(ending, connecting)
    assert feed.status.state is FeedState.LIVE
    await got.until(lambda: len(got.trades) == 2)


async def test_a_connect_that_times_out_does_not_end_another_connect_that_waits_longer(
    feed: MarketFeed, venue: SimulatedVenue
) -> None:
    patient = asyncio.create_task(feed.connect())
    with pytest.raises(NoExchangeAvailable):
        await feed.connect(timeout=0.01)
    await subscribed(venue)
    await venue.trade("BTC")
    await patient
    assert feed.status.state is FeedState.LIVE


async def test_a_price_is_not_fresh_once_the_feed_is_closed(feed: MarketFeed, venue: SimulatedVenue) -> None:
    await connected(feed, venue)
    assert feed.require_fresh("BTC", max_age=60).coin == "BTC"
    await feed.disconnect()
    with pytest.raises(StaleDataError, match="not connected"):
        feed.require_fresh("BTC", max_age=60)
