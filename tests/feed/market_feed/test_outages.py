"""Connections that are cut, closed, silent or refused: what the feed reports and does."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest

from exchanges.simulator import SimulatedVenue, Simulator
from feed import (
    FeedState,
    MarketFeed,
    NoExchangeAvailable,
    Settings,
    SettingsError,
    StaleDataError,
)
from feed.settings import Connection, ExchangeConfig, Staleness
from tests.feed.market_feed.support import VENUES, connected, subscribed
from tests.support import Recorder, made_ids, settings_for


async def test_a_cut_connection_causes_one_reconnect(feed: MarketFeed, venue: SimulatedVenue, got: Recorder) -> None:
    await connected(feed, venue)
    dials = len(venue.dials)
    venue.cut()
    lost = await got.until_event("disconnected")
    assert lost["exchange"] == venue.name
    assert lost["reason"]
    during = feed.status
    assert (during.state, during.connected) == (FeedState.RECONNECTING, False)
    await subscribed(venue, dials)
    await venue.trade("BTC", count=3)
    await got.until_event("connected", 2)
    await got.until(lambda: got.ids("BTC") == made_ids(venue, "BTC"))
    assert feed.status.state is FeedState.LIVE
    assert feed.status.reconnect_count == 1
    again = got.details("reconnecting")[0]
    assert again["attempt"] == 1
    assert again["delay"] > 0


@pytest.mark.parametrize("code", [1000, 1001, 1006, 1008, 1012])
async def test_the_feed_reconnects_after_the_venue_has_closed_the_connection(
    feed: MarketFeed, venue: SimulatedVenue, got: Recorder, code: int
) -> None:
    await connected(feed, venue)
    dials = len(venue.dials)
    venue.close(code)
    await got.until_event("disconnected")
    await subscribed(venue, dials)
    await venue.trade("ETH")
    await got.until_event("connected", 2)


async def test_a_silent_connection_is_reported_and_then_replaced(simulator: Simulator) -> None:
    """TCP is connected and pings are answered, but no data comes. First the feed is stale, then the connection
    is replaced."""
    venue = next(iter(simulator.venues.values()))
    settings = settings_for(simulator, staleness=Staleness(feed_stale_after=0.3, reconnect_after=0.9))
    feed = MarketFeed(settings=settings)
    got = Recorder(feed)
    await connected(feed, venue)
    dials = len(venue.dials)
    with venue.stalled():
        stale = await got.until_event("feed_stale")
        assert stale["seconds"] >= 0.3
        assert feed.status.state is FeedState.STALE
        with pytest.raises(StaleDataError, match="silent"):
            feed.require_fresh("BTC")
        lost = await got.until_event("disconnected")
        assert "no data" in lost["reason"]
        assert got.events.index("feed_stale") < got.events.index("disconnected")
    await subscribed(venue, dials)
    await venue.trade("BTC")
    await got.until_event("feed_recovered")
    assert feed.require_fresh("btc").coin == "BTC"
    await feed.disconnect()


async def test_a_venue_that_drops_every_connection_is_not_dialled_too_often(simulator: Simulator) -> None:
    """The backoff grows with each dial that succeeds without stable data."""
    venue = next(iter(simulator.venues.values()))
    settings = settings_for(simulator, connection=Connection(backoff_initial=0.1, backoff_max=10, backoff_jitter=0))
    feed = MarketFeed(settings=settings)
    got = Recorder(feed)
    with venue.accept_then_drop():
        with pytest.raises(NoExchangeAvailable):
            await feed.connect(timeout=3)
        delays = [each["delay"] for each in got.details("reconnecting")]
        assert delays == sorted(delays)
        assert delays[:4] == [0.1, 0.2, 0.4, 0.8]
        assert len(venue.dials) <= 6


@pytest.mark.parametrize("status", [403, 451])
async def test_a_venue_that_blocks_this_location_is_reported_as_blocking(
    feed: MarketFeed, venue: SimulatedVenue, got: Recorder, status: int
) -> None:
    with venue.blocked(status), pytest.raises(NoExchangeAvailable) as caught:
        await feed.connect(timeout=10)
    assert str(status) in caught.value.reasons[venue.name]
    blocked = got.details("exchange_blocked")[0]
    assert blocked["status"] == status
    assert blocked["exchange"] == venue.name


async def test_the_report_of_a_refused_upgrade_has_status_and_address(
    feed: MarketFeed, venue: SimulatedVenue, simulator: Simulator
) -> None:
    import_module("exchanges.ccxt_adapter.venue")  # ccxt is imported first, because the import takes time
    with venue.refusing(503), pytest.raises(NoExchangeAvailable) as caught:
        await feed.connect(timeout=5)
    assert caught.value.reasons[venue.name].startswith(f"HTTP 503 from {simulator.ws_url}/")


@pytest.mark.parametrize("ask", [MarketFeed.get_price, MarketFeed.require_fresh, MarketFeed.volatility])
@pytest.mark.parametrize("coin", [5, None, ["BTC"], b"BTC"])
def test_the_error_for_an_invalid_coin_says_what_was_found(ask: Callable[[MarketFeed, Any], Any], coin: Any) -> None:
    """A valid coin that the feed does not have causes no error; there is no price for it."""
    with pytest.raises(SettingsError, match=re.escape(f"coin: found {coin!r}, allowed is a coin such as BTC")):
        ask(MarketFeed(["BTC"], settings=Settings()), coin)


async def test_if_no_venue_works_within_the_timeout_the_error_has_one_line_per_venue(unused_tcp_port: int) -> None:
    # ccxt is imported first: on a busy machine its import takes longer than the timeout
    import_module("exchanges.ccxt_adapter.venue")
    where = f"127.0.0.1:{unused_tcp_port}"
    settings = settings_for()
    settings.exchanges = [
        ExchangeConfig(name, rest_url=f"http://{where}", ws_url=f"ws://{where}") for name in ("bybit", "binance")
    ]
    with pytest.raises(NoExchangeAvailable) as caught:
        await MarketFeed(settings=settings).connect(timeout=2)
    lines = str(caught.value).splitlines()
    assert lines[0] == "no exchange delivered data within 2 s:"
    assert [line.split(":")[0].strip() for line in lines[1:]] == ["bybit", "binance"]
    assert all("Cannot connect" in line for line in lines[1:])


async def test_an_unlisted_coin_is_reported_and_the_other_coins_continue(simulator: Simulator) -> None:
    venue = next(iter(simulator.venues.values()))
    venue.rate = 100
    feed = MarketFeed(["BTC", "NOPE"], settings=settings_for(simulator))
    got = Recorder(feed)
    async with feed:
        missing = got.details("coin_unavailable")
        assert [each["coin"] for each in missing] == ["NOPE"]
        assert "NOPE/USDT" in missing[0]["reason"]


async def test_the_lack_of_a_coin_on_all_venues_is_not_reported_as_the_end_of_the_feed() -> None:
    """Data of the other coin flows. Status events about the search for a venue name the missing coin, and the feed
    stays on its venue."""
    async with Simulator(venues=VENUES, rate=100) as simulator:
        feed = MarketFeed(["BTC", "NOPE"], settings=settings_for(simulator))
        got = Recorder(feed)
        async with feed:
            await got.until(lambda: "exhausted" in got.events)
            assert got.details("exhausted")[0]["reason"].startswith("no exchange is left for NOPE, ")
            assert got.details("exhausted")[0]["coins"] == ["NOPE"]
            assert {each["exchange"] for each in got.details("coin_unavailable")} == set(VENUES)
            assert not {"failover", "error", "disconnected"} & set(got.events)
            assert feed.status.connected
            assert feed.tradable


async def test_connect_fails_at_once_if_no_venue_lists_the_coins(simulator: Simulator) -> None:
    with pytest.raises(NoExchangeAvailable, match="does not list NOPE"):
        await MarketFeed(["NOPE"], settings=settings_for(simulator)).connect(timeout=30)
