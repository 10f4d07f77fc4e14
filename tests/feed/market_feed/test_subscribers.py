"""Slow or faulty subscribers change nothing for the feed or for other subscribers."""

from __future__ import annotations

import asyncio

from exchanges.simulator import SimulatedVenue
from feed import (
    FeedState,
    MarketFeed,
    TradeEvent,
)
from tests.feed.market_feed.support import connected
from tests.support import Recorder, made_ids, until


async def test_coroutine_callbacks_get_every_trade_in_order(
    feed: MarketFeed, venue: SimulatedVenue, got: Recorder
) -> None:
    seen: list[int] = []

    async def slow(trade: TradeEvent) -> None:
        await asyncio.sleep(0)
        seen.append(int(trade.trade_id))

    feed.subscribe_trades(slow, coins=["btc"])
    await connected(feed, venue)
    await venue.burst(2_000, coins=["BTC"])
    await until(lambda: len(seen) == 2_001)
    assert seen == made_ids(venue, "BTC")


async def test_stalled_consumers_delay_no_other_consumer_and_drop_events_by_their_own_policies(
    feed: MarketFeed, venue: SimulatedVenue, got: Recorder
) -> None:
    gate = asyncio.Event()
    seen: list[str] = []

    async def stuck(trade: TradeEvent) -> None:
        await gate.wait()
        seen.append(trade.trade_id)

    latest = feed.subscribe_trades(stuck, ["BTC"], on_full="latest")
    oldest_go = feed.trades(["BTC"], size=100)
    await connected(feed, venue)
    await venue.burst(2_000, coins=["BTC"])
    await got.until(lambda: len(got.ids("BTC")) == 2_001)  # in this time, the other consumers take no events
    gate.set()
    await until(lambda: len(seen) == 2)
    ids = [str(number) for number in got.ids("BTC")]
    assert seen == [ids[0], ids[-1]]  # the event that the callback was handling, and the newest event
    assert latest.dropped == 1_999
    assert [(await anext(oldest_go)).trade_id for _ in range(100)] == ids[-100:]


async def test_a_callback_that_changes_its_trade_changes_no_price(feed: MarketFeed, venue: SimulatedVenue) -> None:
    """A receiver may change its event; the feed keeps the price of the venue."""
    ticks: list[tuple[str, float, int]] = []

    def spoil(trade: TradeEvent) -> None:
        trade.price, trade.timestamp, trade.coin, trade.exchange = 1.0, 1, "NONE", "none"

    feed.subscribe_trades(spoil)
    feed.subscribe_price(lambda tick: ticks.append((tick.coin, tick.price, tick.timestamp)), ["BTC"])
    await connected(feed, venue)
    ticks.clear()
    true = [("BTC", made.price, made.timestamp) for made in await venue.trade("BTC", count=20)]
    await venue.trade("ETH")
    await until(lambda: true[-1] in ticks and feed.get_price("ETH") is not None)
    assert [tick for tick in ticks if tick in true] == true
    # some ticks come from tickers, but their price is that of a trade too
    assert {price for _, price, _ in ticks} <= {made.price for made in venue.trades["BTC"]}
    assert feed.current_prices["ETH"].price == venue.trades["ETH"][-1].price
    assert feed.current_prices.keys() == {"BTC", "ETH"}


async def test_a_callback_that_raises_does_not_affect_other_subscribers(
    feed: MarketFeed, venue: SimulatedVenue
) -> None:
    def broken(trade: TradeEvent) -> None:
        raise RuntimeError("mine")

    feed.subscribe_trades(broken)
    got = Recorder(feed)
    await connected(feed, venue)
    await venue.trade("BTC", count=5)
    await got.until(lambda: len(got.trades) == 6)
    told = await got.until_event("callback_error")
    assert told["callback"].endswith("broken")
    assert "mine" in told["error"]
    assert told["exchange"] == venue.name
    assert told["at"] > 0


async def test_a_coroutine_callback_may_disconnect(feed: MarketFeed, venue: SimulatedVenue) -> None:
    done = asyncio.Event()

    async def enough(trade: TradeEvent) -> None:
        await feed.disconnect()
        done.set()

    await connected(feed, venue)
    feed.subscribe_trades(enough)
    await venue.trade("BTC")
    async with asyncio.timeout(5):
        await done.wait()
    assert feed.status.state is FeedState.CLOSED


async def test_a_cancelled_subscription_receives_nothing_more(
    feed: MarketFeed, venue: SimulatedVenue, got: Recorder
) -> None:
    heard: list[TradeEvent] = []
    handle = feed.subscribe_trades(heard.append)
    await connected(feed, venue)
    handle.cancel()
    handle.cancel()
    await venue.trade("BTC", count=3)
    await got.until(lambda: len(got.trades) == 4)
    assert len(heard) == 1


async def test_a_channel_subscribed_later_is_delivered(feed: MarketFeed, venue: SimulatedVenue, got: Recorder) -> None:
    """A new timeframe needs a new connection; the old connection stays until the new connection carries data."""
    await connected(feed, venue)
    later: list[str] = []
    feed.subscribe_candles(lambda candle: later.append(candle.timeframe), timeframe="5m")
    await until(lambda: [len(each.subscriptions) for each in venue.connections][-1:] == [8])
    await venue.trade("BTC")
    await until(lambda: "5m" in later)
    await until(lambda: len(venue.connections) == 1)
    await venue.trade("BTC")
    await got.until(lambda: got.ids("BTC") == made_ids(venue, "BTC"))
    assert "disconnected" not in got.events
