"""How a bot is tested against outages: pytest finds the fixtures by itself where market-feed is installed."""

import asyncio
import queue

import pytest

from feed import MarketFeed, StaleDataError


class Bot:
    """The bot under test: it quotes a price as long as it may trust it."""

    def __init__(self, feed):
        self.feed = feed

    def quote(self):
        try:
            return self.feed.require_fresh("BTC").price
        except StaleDataError:
            return None


def test_the_bot_pauses_in_an_outage(market_simulator, market_feed):
    """A plain test: the exchanges and the feed run in threads of their own."""
    events = queue.Queue()
    market_feed.subscribe_status(lambda event, details: events.put(event))
    market_feed.subscribe_price(lambda tick: events.put(tick.coin))
    market_feed.start()
    bot = Bot(market_feed)
    wait_for(events, "BTC")
    assert bot.quote() is not None
    with market_simulator["binance"].stalled():  # connected, pings answered, no data
        wait_for(events, "feed_stale")
        assert bot.quote() is None
    wait_for(events, "feed_recovered")
    wait_for(events, "BTC")
    assert bot.quote() is not None


def test_the_bot_goes_on_at_the_next_exchange(market_simulator, market_feed):
    market_feed.start()
    assert market_feed.status.exchange == "binance"
    events = queue.Queue()
    market_feed.subscribe_status(lambda event, details: events.put((event, details["exchange"])))
    with market_simulator["binance"].blocked(451):
        market_simulator["binance"].cut()
        wait_for(events, ("connected", "bybit"))


@pytest.mark.market_simulator(venues=["bybit"], rate=0)  # no trades but those that the test makes
def test_the_bot_sees_the_price_that_the_test_makes(market_simulator, market_feed_settings):
    """A coroutine test, with any plugin for them or with none; the bot finds the exchanges by itself."""

    async def main():
        feed = MarketFeed(["BTC"])  # market_feed_settings has set MARKET_FEED_SETTINGS
        ticks = feed.prices("BTC")
        connecting = asyncio.create_task(feed.connect())
        while not connecting.done():  # data that flows is what connect() waits for
            market_simulator["bybit"].trade("BTC", price=50_000)
            await asyncio.wait({connecting}, timeout=0.1)
        market_simulator["bybit"].trade("BTC", price=51_000)
        async for tick in ticks:
            if tick.price == 51_000:
                break
        await feed.disconnect()

    asyncio.run(main())


def wait_for(events, wanted):
    """Until the event has come; queue.Empty after 30 s without any."""
    while events.get(timeout=30) != wanted:
        pass
