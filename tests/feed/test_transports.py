"""Events are the same over both transports."""

from __future__ import annotations

import time
from typing import Any

import pytest

from exchanges import Access
from exchanges.ccxt_adapter.transport.choose import TRANSPORTS
from exchanges.ccxt_adapter.venue import open_venue
from exchanges.simulator import Simulator
from feed import MarketFeed, Quote, Settings
from tests.support import Recorder, settings_for


def over(transport: str, *simulators: Simulator) -> Settings:
    """Settings with these venues over one transport."""
    if transport == "picows":
        pytest.importorskip("picows", reason="the extra [fast] is not installed")
    settings = settings_for(*simulators)
    for config in settings.exchanges:
        config.options["transport"] = transport
    return settings


@pytest.mark.parametrize("venue", ["binance", "bybit"])
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_an_event_has_the_time_at_which_its_frame_was_read(transport: str, venue: str) -> None:
    async with Simulator(venues=(venue,), rate=5) as simulator:
        settings = over(transport, simulator)
        feed = MarketFeed(settings=settings)
        got = Recorder(feed)
        async with feed:
            await got.until(lambda: bool(got.ids("BTC")))
            sent_at = time.time_ns()
            (sent,) = await simulator[venue].trade("BTC")
            await got.until(lambda: sent.id in got.ids("BTC"))
            (trade,) = [each for each in got.trades if each.coin == "BTC" and int(each.trade_id) == sent.id]
            assert sent_at <= trade.received_at <= time.time_ns()
            assert trade.received_at in {tick.received_at for tick in got.prices if tick.coin == "BTC"}


@pytest.mark.parametrize("hotpath", [True, False])
@pytest.mark.parametrize("venue", ["binance", "bybit"])
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_every_event_names_its_market(transport: str, venue: str, hotpath: bool) -> None:
    """This holds for frames that ccxt reads, for frames that the fast decoder reads, and for trades over REST after an
    outage."""
    async with Simulator(venues=(venue,), rate=50, seed=3) as simulator:
        settings = over(transport, simulator)
        settings.exchanges[0].options["hotpath"] = hotpath
        feed = MarketFeed(settings=settings)
        got = Recorder(feed)
        quotes: list[Quote] = []
        feed.subscribe_quotes(quotes.append)
        async with feed:
            await got.until(lambda: bool(got.ids("BTC") and got.ids("ETH") and got.candles))
            simulator[venue].cut()
            await simulator[venue].trade("BTC")
            await simulator[venue].trade("ETH")
            await got.until(lambda: any(trade.backfilled for trade in got.trades))
            await got.until(lambda: bool(quotes) or venue == "bybit")  # the simulated Bybit has no quotes
            candles = await feed.candles_history("BTC", limit=5)
        events: list[Any] = [*got.trades, *got.prices, *got.candles, *quotes, *candles, *feed.get_all_prices().values()]
        assert {(each.coin, each.market) for each in events} == {("BTC", "BTC/USDT"), ("ETH", "ETH/USDT")}


async def test_tickers_over_rest_name_their_market() -> None:
    async with Simulator(venues=("bybit",), rate=0) as simulator:
        venue = open_venue("bybit", Access(rest_url=simulator.rest_url, ws_url=simulator.ws_url))
        try:
            await venue.load()
            (ticker,) = await venue.fetch_tickers({"BTC": "BTC/USDT"})
        finally:
            await venue.close()
        assert ticker.market == "BTC/USDT"
