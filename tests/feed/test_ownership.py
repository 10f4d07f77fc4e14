"""The feed's state can't be changed from outside, and no callback can end the reader of the socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from copy import deepcopy
from typing import Any

import pytest

from exchanges.ccxt_adapter.transport.choose import TRANSPORTS
from exchanges.simulator import Simulator
from feed import MarketFeed, PriceTick, TradeEvent
from tests.support import Recorder, settings_for


@pytest.fixture(params=TRANSPORTS)
async def feed(request: pytest.FixtureRequest, simulator: Simulator) -> AsyncIterator[MarketFeed]:
    if request.param == "picows":
        pytest.importorskip("picows", reason="the extra [fast] is not installed")
    settings = settings_for(simulator)
    settings.exchanges[0].options["transport"] = request.param
    feed = MarketFeed(settings=settings)
    yield feed
    await feed.disconnect()


@pytest.fixture(params=["binance", "bybit"])
async def simulator(request: pytest.FixtureRequest) -> AsyncIterator[Simulator]:
    async with Simulator(venues=(request.param,), rate=20, seed=1) as simulator:
        yield simulator


async def test_changing_a_tick_changes_no_price_of_the_feed(feed: MarketFeed) -> None:
    """Neither a callback nor a caller of get_price can change the feed's price."""

    def spoil(tick: PriceTick) -> None:
        tick.price, tick.timestamp, tick.exchange = -1.0, 0, "nowhere"

    feed.subscribe_price(spoil)
    feed.subscribe_trades(lambda trade: setattr(trade, "price", -2.0))
    got = Recorder(feed)
    async with feed:
        await got.until(lambda: {tick.coin for tick in got.prices} == {"BTC", "ETH"})
        assert all(tick.price == -1.0 for tick in got.prices), "all subscribers of an event get the same object"
        for _ in range(2):
            told = [feed.get_price("BTC"), feed.require_fresh("BTC"), feed.get_all_prices()["BTC"]]
            told.append(feed.current_prices["BTC"])
            for tick in told:
                assert tick is not None
                assert tick.price > 0
                assert tick.timestamp > 0
                assert tick.exchange == got.details("connected")[0]["exchange"]
                tick.price *= -1
                tick.exchange = ""


async def test_changing_other_results_changes_nothing_in_the_feed(feed: MarketFeed) -> None:
    got = Recorder(feed)
    async with feed:
        await got.until(lambda: bool(got.trades))
        feed.coin_configs[0].symbol = "DOGE"
        feed.coin_configs[0].markets["binance"] = "DOGE/USDT"
        feed.coin_configs.clear()
        feed.get_status()["coins"].clear()
        feed.get_health()["metrics"].clear()
        feed.status.exchange = ""
        assert [(config.symbol, config.markets) for config in feed.coin_configs] == [("BTC", {}), ("ETH", {})]
        assert feed.get_status()["coins"] == ["BTC", "ETH"]
        assert feed.status.exchange


async def test_each_subscriber_gets_its_own_copy_of_a_status_events_details(feed: MarketFeed) -> None:
    """This holds for plain callbacks, coroutine callbacks and iterators, in any order of subscription."""

    def spoil(event: str, details: dict[str, Any]) -> None:
        details.get("coins", []).clear()
        details["exchange"] = "nowhere"

    seen: list[tuple[str, dict[str, Any]]] = []

    async def later(event: str, details: dict[str, Any]) -> None:
        seen.append((event, deepcopy(details)))
        spoil(event, details)

    feed.subscribe_status(spoil)
    events = feed.events()
    feed.subscribe_status(later)
    got = Recorder(feed)
    async with feed:
        await got.until(lambda: bool(got.trades))
        while (read := await anext(events))[0] != "connected":
            spoil(*read)
    kept = {event: details for event, details in seen}["connected"]
    for details in (read[1], kept, got.details("connected")[0]):
        assert details["coins"] == ["BTC", "ETH"]
        assert details["exchange"] != "nowhere"


@pytest.mark.parametrize("raised", [GeneratorExit, asyncio.CancelledError, BaseException, RuntimeError])
async def test_any_exception_of_a_callback_is_reported_and_loses_no_trade(
    feed: MarketFeed, raised: type[BaseException]
) -> None:
    before: list[str] = []

    def failing(trade: TradeEvent) -> None:
        before.append(trade.trade_id)
        raise raised

    async def failing_later(trade: TradeEvent) -> None:
        raise raised

    feed.subscribe_trades(failing)
    feed.subscribe_trades(failing_later)
    got = Recorder(feed)
    async with feed:
        await got.until(lambda: len(got.trades) > 20)
        await got.until(lambda: len(got.details("callback_error")) >= 2)
        assert [trade.trade_id for trade in got.trades] == before
        assert feed.status.errors >= 2
        assert {details["error"] for details in got.details("callback_error")} == {repr(raised())}
        assert got.events.count("connected") == 1
