"""What the feed delivers, over the real ccxt.pro classes and real sockets, on both venues."""

from __future__ import annotations

import asyncio
import time

import pytest

from exchanges.ccxt_adapter.transport.choose import TRANSPORTS
from exchanges.events import Ticker
from exchanges.simulator import SimulatedVenue, Simulator
from feed import (
    MarketFeed,
    StaleDataError,
)
from tests.feed.market_feed.support import connected
from tests.support import Recorder, made_ids, settings_for, until


async def test_every_trade_arrives_once_and_in_order(feed: MarketFeed, venue: SimulatedVenue, got: Recorder) -> None:
    """Price, quantity, side, time and id of each trade have the values that the venue sent."""
    await connected(feed, venue)
    await venue.trade("BTC", count=50)
    await venue.trade("ETH", count=50)
    await got.until(lambda: len(got.trades) == 101)
    for coin in ("BTC", "ETH"):
        mine = [trade for trade in got.trades if trade.coin == coin]
        assert [(int(t.trade_id), t.price, t.quantity, t.is_buyer_maker, t.timestamp, t.exchange) for t in mine] == [
            (t.id, t.price, t.quantity, t.buyer_maker, t.timestamp, venue.name) for t in venue.trades[coin]
        ]
        assert all(trade.received_at >= trade.timestamp * 1_000_000 for trade in mine)


async def test_24_h_statistics_over_rest_give_a_price_only_if_they_have_a_time(
    simulator: Simulator, venue: SimulatedVenue
) -> None:
    """Bybit's tickers over REST have no time, so their price may be of any age. The first trade or ticker of the
    stream gives a price.
    """
    for coin in ("BTC", "ETH"):
        await venue.trade(coin)  # before the feed connects: only REST shows these trades
    feed = MarketFeed(settings=settings_for(simulator, channels=["trades"]))
    got = Recorder(feed)
    connecting = asyncio.create_task(feed.connect())
    await until(lambda: [len(each.subscriptions) for each in venue.connections] == [2])
    await venue.trade("BTC")
    await connecting
    async with feed:
        await got.until(lambda: any(tick.coin == "BTC" for tick in got.prices))
        assert (feed.get_price("ETH") is not None) == (venue.name == "binance")
        await venue.trade("ETH")
        await got.until(lambda: any(trade.coin == "ETH" for trade in got.trades))
        tick = feed.get_price("ETH")
        assert tick is not None
        assert tick.volume_24h > 0


async def test_24_h_statistics_that_were_fetched_before_the_dial_have_the_age_of_their_request(
    feed: MarketFeed, venue: SimulatedVenue
) -> None:
    await connected(feed, venue)
    assert feed._runner.routing is not None
    (opened,) = feed._runner.routing.main.sessions[venue.name].pool.opened
    now = time.time_ns()
    opened.listener.on_day_stats(
        Ticker("ETH", 1.0, now // 1_000_000, exchange=venue.name, received_at=now - 10 * 10**9)
    )
    assert feed.require_fresh("ETH", max_age=60).price == 1.0
    with pytest.raises(StaleDataError):
        feed.require_fresh("ETH", max_age=5)


async def test_the_first_tick_of_a_coin_has_its_24_h_statistics(
    feed: MarketFeed, venue: SimulatedVenue, got: Recorder
) -> None:
    await connected(feed, venue)
    first = {tick.coin: tick for tick in reversed(got.prices)}
    assert set(first) == {"BTC", "ETH"}
    for tick in first.values():
        assert tick.volume_24h > 0
        assert -100 < tick.change_24h < 100
        assert tick.change_24h == tick.change_24h


async def test_one_connection_carries_all_coins_and_channels(simulator: Simulator) -> None:
    """Twenty coins with trades, tickers and candles need one dial, and no rule of the venue is broken."""
    venue = next(iter(simulator.venues.values()))
    venue.rate = 200
    settings = settings_for(simulator)
    settings.coins = MarketFeed().coin_configs
    async with MarketFeed(settings=settings) as feed:
        await until(lambda: len(feed.get_all_prices()) == 20)
        await until(lambda: [len(each.subscriptions) for each in venue.connections] == [60])
        assert len(venue.dials) == 1
        assert venue.violations == []


@pytest.mark.parametrize("coins", [["BTC"], None], ids=["one coin", "two coins"])
async def test_all_trades_of_a_burst_are_delivered_once_in_order(
    feed: MarketFeed, venue: SimulatedVenue, got: Recorder, coins: list[str] | None
) -> None:
    """The venue sends 30,000 trades as fast as the socket takes them."""
    await connected(feed, venue)
    await venue.burst(30_000, coins=coins or ["BTC", "ETH"])
    await got.until(lambda: len(got.trades) == 30_001, timeout=60)
    for coin in ("BTC", "ETH"):
        assert got.ids(coin) == made_ids(venue, coin)


async def test_bad_frames_lose_no_good_trade(feed: MarketFeed, venue: SimulatedVenue, got: Recorder) -> None:
    """Truncated JSON, rows that are null and amounts that are no numbers are counted and reported; the stream
    continues.
    """
    await connected(feed, venue)
    await venue.burst(10_000, coins=["BTC", "ETH"], malformed=0.05)
    await got.until(lambda: len(got.trades) == 10_001, timeout=60)
    for coin in ("BTC", "ETH"):
        assert got.ids(coin) == made_ids(venue, coin)
    assert feed.status.bad_frames > 0
    told = await got.until_event("bad_frame")
    assert told["count"] >= 1
    assert told["sample"]
    assert "disconnected" not in got.events


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_tickers_have_the_venues_24_h_statistics(transport: str) -> None:
    """Callbacks and iterators get tickers even if the settings do not list the channel, and also tickers whose price is
    not newer."""
    if transport == "picows":
        pytest.importorskip("picows", reason="the extra [fast] is not installed")
    async with Simulator(venues=("binance",), rate=20) as simulator:
        settings = settings_for(simulator, channels=["trades"])
        settings.exchanges[0].options["transport"] = transport
        feed = MarketFeed(settings=settings)
        told: list[Ticker] = []
        feed.subscribe_tickers(told.append, ["ETH"])
        async with feed:
            stream = feed.tickers()
            ticker = await anext(stream)
            assert (ticker.exchange, ticker.market) == ("binance", f"{ticker.coin}/USDT")
            assert ticker.last > 0
            assert ticker.volume_24h is not None
            assert ticker.change_24h is not None
            await until(lambda: any(each.bid is not None and each.ask is not None for each in told))
        assert {(each.coin, each.market) for each in told} == {("ETH", "ETH/USDT")}
        assert {each.market async for each in stream} <= {"BTC/USDT", "ETH/USDT"}  # the iterator ends at disconnect()
