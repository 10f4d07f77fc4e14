"""Coins that are added and removed while the feed runs, over real sockets on both venues."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from exchanges.simulator import SimulatedVenue, Simulator
from feed import FeedError, MarketFeed, SettingsError
from tests.support import Recorder, made_ids, settings_for, until

STREAMS = 3  # streams of a coin: trades, ticker, candles


@pytest.fixture(params=["binance", "bybit"])
async def simulator(request: pytest.FixtureRequest) -> AsyncIterator[Simulator]:
    async with Simulator(venues=(request.param,), rate=60) as simulator:
        yield simulator


async def connected(feed: MarketFeed, venue: SimulatedVenue) -> None:
    await feed.connect()
    await until(lambda: len({s for c in venue.connections for s in c.subscriptions}) == 2 * STREAMS)


def whole(got: Recorder, venue: SimulatedVenue, coin: str, last: int) -> bool:
    """Whether all trades from the first received trade up to ``last`` were delivered, once and in order."""
    ids = got.ids(coin)
    return bool(ids) and ids[-1] >= last and ids == [i for i in made_ids(venue, coin) if ids[0] <= i <= ids[-1]]


def coins_of(got: Recorder) -> list[str]:
    """The coins of all delivered events."""
    delivered: list[list[Any]] = [got.trades, got.prices, got.candles]
    return [each.coin for kind in delivered for each in kind]


async def test_an_added_coin_comes_over_the_open_connection(
    feed: MarketFeed, venue: SimulatedVenue, got: Recorder
) -> None:
    """There is no new dial, and the other coins' trades stay complete and in order."""
    await connected(feed, venue)
    await feed.add_coins(["sol", "SOL", "BTC"])
    assert [config.symbol for config in feed.coin_configs] == ["BTC", "ETH", "SOL"]
    assert feed.get_status()["coins"] == ["BTC", "ETH", "SOL"]
    await got.until(lambda: len(got.ids("SOL")) > 5)
    tick = feed.get_price("SOL")
    assert tick is not None
    assert tick.volume_24h > 0
    last = {coin: made_ids(venue, coin)[-1] for coin in ("BTC", "ETH", "SOL")}
    for coin in last:
        await got.until(lambda coin=coin: whole(got, venue, coin, last[coin]))  # type: ignore[misc] # mypy refuses a lambda with a default
    assert len(venue.dials) == 1
    assert venue.violations == []
    assert "disconnected" not in got.events


async def test_nothing_of_a_removed_coin_is_delivered(feed: MarketFeed, venue: SimulatedVenue, got: Recorder) -> None:
    """The removed coin has no price and is not in the status any more; the other coins continue without a break."""
    await connected(feed, venue)
    await got.until(lambda: bool(got.ids("BTC")) and bool(got.ids("ETH")))
    await feed.remove_coins("eth")
    kept = coins_of(got).count("ETH")
    assert feed.get_price("ETH") is None
    assert set(feed.get_all_prices()) == {"BTC"}
    assert feed.get_status()["coins"] == ["BTC"]
    await venue.trade("ETH", count=5)
    await venue.trade("BTC", count=5)
    await got.until(lambda: whole(got, venue, "BTC", made_ids(venue, "BTC")[-1]))
    assert coins_of(got).count("ETH") == kept
    assert feed.get_price("ETH") is None
    assert "disconnected" not in got.events


async def test_an_open_gap_ends_when_its_coin_is_removed(
    feed: MarketFeed, venue: SimulatedVenue, got: Recorder
) -> None:
    """Trades that wait for the fetch are not delivered any more, so the gap is reported as incomplete."""
    await connected(feed, venue)
    await got.until(lambda: bool(got.ids("BTC")) and bool(got.ids("ETH")))
    venue.rate = 0
    with venue.slow_rest(30):
        venue.cut()
        await venue.trade("ETH", count=3)
        await got.until_event("connected", 2)
        await until(lambda: len({s for c in venue.connections for s in c.subscriptions}) == 2 * STREAMS)
        await venue.trade("ETH")
        gap = await got.until_event("gap")
        assert gap["coin"] == "ETH"
        await feed.remove_coins("ETH")
        told = got.details("gap_filled")
        assert [(each["coin"], each["trades"], each["complete"]) for each in told] == [("ETH", 0, False)]


async def test_a_coin_that_is_added_again_is_delivered_like_a_new_coin(
    feed: MarketFeed, venue: SimulatedVenue, got: Recorder
) -> None:
    """No stale price is shown, no gap is reported for the time without a subscription, and no trade comes twice."""
    venue.paused = True
    connecting = asyncio.create_task(feed.connect())
    await until(lambda: [len(c.subscriptions) for c in venue.connections] == [2 * STREAMS])
    await venue.trade("BTC")
    await venue.trade("ETH")
    await connecting
    await got.until(lambda: bool(got.ids("ETH")))
    seen = got.ids("ETH")
    await feed.remove_coins(["ETH"])
    missed = [trade.id for trade in await venue.trade("ETH", count=5)]
    await venue.trade("BTC")
    await got.until(lambda: len(got.ids("BTC")) == 2)
    adding = asyncio.create_task(feed.add_coins(["ETH"]))
    while not adding.done():
        await venue.trade("ETH")
        await asyncio.wait({adding}, timeout=0.1)
    await venue.trade("ETH")
    await got.until(lambda: got.ids("ETH")[-1] == made_ids(venue, "ETH")[-1])
    again = got.ids("ETH")[len(seen) :]
    assert got.ids("ETH")[: len(seen)] == seen
    assert again == made_ids(venue, "ETH")[-len(again) :]
    assert again[0] > missed[-1]
    assert "gap" not in got.events


async def test_a_subscription_may_name_a_coin_after_the_coin_was_added(feed: MarketFeed, venue: SimulatedVenue) -> None:
    """This holds for callbacks and iterators. Before the coin is added, its name causes an error."""
    with pytest.raises(SettingsError, match="SOL"):
        feed.subscribe_trades(lambda trade: None, ["SOL"])
    await connected(feed, venue)
    await feed.add_coins("SOL")
    came = asyncio.Event()
    feed.subscribe_trades(lambda trade: came.set(), ["SOL"])
    async with asyncio.timeout(20):
        async for tick in feed.prices("SOL"):
            assert tick.coin == "SOL"
            break
        await came.wait()


async def test_an_unlisted_coin_is_reported_and_does_not_delay_others(
    feed: MarketFeed, venue: SimulatedVenue, got: Recorder
) -> None:
    await connected(feed, venue)
    async with asyncio.timeout(5):  # less than the connect_timeout of 10 s
        await feed.add_coins(["NOSUCHCOIN", "SOL"])
    assert [details["coin"] for details in got.details("coin_unavailable")] == ["NOSUCHCOIN"]
    assert feed.get_price("SOL") is not None
    await feed.remove_coins("NOSUCHCOIN")
    assert "disconnected" not in got.events


@pytest.mark.usefixtures("leaping_clocks")
async def test_add_coins_returns_only_when_the_coin_has_a_price(
    feed: MarketFeed, venue: SimulatedVenue, got: Recorder
) -> None:
    """A candle may come before the first trade, and the 24 h statistics over REST may fail."""
    await connected(feed, venue)
    with venue.rest_down():
        venue.paused = True
        adding = asyncio.create_task(feed.add_coins("SOL"))
        await until(lambda: len({s for c in venue.connections for s in c.subscriptions}) == 3 * STREAMS)
        venue.skip(61)
        await got.until(lambda: any(candle.coin == "SOL" for candle in got.candles))
        await asyncio.wait({adding}, timeout=0.3)
        assert feed.get_price("SOL") is not None or not adding.done()
        await venue.trade("SOL")
        await adding
    assert feed.get_price("SOL") is not None


async def test_a_market_belongs_to_one_coin(feed: MarketFeed, venue: SimulatedVenue, got: Recorder) -> None:
    """MATIC is the old name of POL. A request for both names is reported, and the coin subscribed first continues."""
    await feed.add_coins("POL")
    await feed.connect()
    await got.until(lambda: bool(got.ids("POL")))
    await feed.add_coins("MATIC")
    assert [details["coin"] for details in got.details("coin_unavailable")] == ["MATIC"]
    await venue.trade("POL", count=3)
    last = made_ids(venue, "POL")[-1]
    await got.until(lambda: whole(got, venue, "POL", last))
    await feed.remove_coins("MATIC")
    await venue.trade("POL", count=3)
    last = made_ids(venue, "POL")[-1]
    await got.until(lambda: whole(got, venue, "POL", last))
    assert feed.get_price("MATIC") is None


async def test_a_coin_may_continue_under_its_other_name(feed: MarketFeed, venue: SimulatedVenue, got: Recorder) -> None:
    """The candles continue too, even when the connection that delivered them under the first name ends."""
    await feed.add_coins("POL")
    await feed.connect()
    await got.until(lambda: bool(got.ids("POL")))
    await feed.remove_coins("POL")
    await feed.add_coins("MATIC")
    feed.subscribe_quotes(lambda quote: None)  # quotes need another connection
    await until(lambda: len(venue.dials) == 2 and len(venue.connections) == 1)
    before = len(got.candles)
    await venue.trade("POL")
    await got.until(lambda: any(candle.coin == "MATIC" for candle in got.candles[before:]))
    assert "bad_frame" not in got.events


async def test_a_coin_that_is_added_again_while_its_connection_is_replaced_gets_candles(
    feed: MarketFeed, venue: SimulatedVenue, got: Recorder
) -> None:
    await feed.add_coins("SOL")
    await feed.connect()
    await got.until(lambda: bool(got.ids("SOL")))
    feed.subscribe_quotes(lambda quote: None)  # quotes need another connection
    await until(lambda: bool(venue.connections) and len(venue.connections[-1].subscriptions) == 3 * (STREAMS + 1))
    await feed.remove_coins("SOL")
    await until(lambda: len(venue.connections) == 1)
    await venue.trade("SOL")
    await feed.add_coins("SOL")
    before = len(got.candles)
    await venue.trade("SOL")
    await got.until(lambda: any(candle.coin == "SOL" for candle in got.candles[before:]))
    assert "bad_frame" not in got.events


async def test_a_venue_that_refused_all_coins_is_asked_again_for_an_added_coin(
    feed: MarketFeed, venue: SimulatedVenue, got: Recorder
) -> None:
    """The only remaining coin was not listed by the venue. This refusal does not concern the next coin."""
    await connected(feed, venue)
    await feed.add_coins("NOSUCH")
    await feed.remove_coins(["BTC", "ETH"])
    venue.cut()
    await got.until_event("exhausted")
    venue.rate = 50
    await feed.add_coins("SOL")
    await got.until(lambda: any(tick.coin == "SOL" for tick in got.prices))


async def test_a_coin_added_while_a_venue_refuses_the_other_coins_is_requested_at_once(simulator: Simulator) -> None:
    """The coin is added before the feed has handled the refusal; the refusal does not concern this coin."""
    venue = next(iter(simulator.venues.values()))
    if venue.name != "bybit":
        pytest.skip("the venue refuses nothing: a market that it does not list is silent")
    feed = MarketFeed(settings=settings_for(simulator, coins=["ADA"]))
    got = Recorder(feed)
    adding: list[asyncio.Task[None]] = []

    def add(event: str, details: dict[str, Any]) -> None:
        if event == "coin_unavailable" and details["channel"] == "candles":  # the last coin_unavailable event
            adding.append(asyncio.create_task(feed.add_coins("ETH")))

    feed.subscribe_status(add)
    async with feed:
        del venue.markets["ADAUSDT"]
        venue.cut()
        await got.until(lambda: bool(got.ids("ETH")))
        await asyncio.gather(*adding)
    assert "exhausted" not in got.events


async def test_a_coin_that_was_refused_is_requested_again_when_it_is_added_again() -> None:
    """The venue may have the coin at the second request, or refuse it again; the connection stays open."""
    async with Simulator(venues=("bybit",), rate=50) as simulator:
        venue = simulator["bybit"]
        feed = MarketFeed(["BTC"], settings=settings_for(simulator))
        got = Recorder(feed)
        async with feed:
            market = venue.markets.pop("ADAUSDT")
            await feed.add_coins("ADA")
            await got.until_event("coin_unavailable", 3)
            await feed.remove_coins("ADA")
            await feed.add_coins("ADA")
            await got.until_event("coin_unavailable", 6)
            await feed.remove_coins("ADA")
            venue.markets["ADAUSDT"] = market
            await feed.add_coins("ADA")
            await got.until(lambda: bool(got.ids("ADA")))
            assert len(venue.dials) == 1


async def test_coins_may_change_before_connect_and_after_disconnect(feed: MarketFeed, venue: SimulatedVenue) -> None:
    await feed.add_coins("SOL")
    await feed.remove_coins("ETH")
    await feed.connect()
    await until(lambda: set(feed.get_all_prices()) == {"BTC", "SOL"})
    await feed.disconnect()
    await feed.remove_coins("SOL")
    assert set(feed.get_all_prices()) == {"BTC"}
    await feed.add_coins("XRP")
    await feed.connect()
    await until(lambda: set(feed.get_all_prices()) == {"BTC", "XRP"})


async def test_changes_of_coins_while_the_feed_reconnects_take_effect_on_the_next_connection(
    feed: MarketFeed, venue: SimulatedVenue, got: Recorder
) -> None:
    await connected(feed, venue)
    with venue.partition():
        await got.until_event("disconnected")
        adding = asyncio.create_task(feed.add_coins("SOL"))
        await feed.remove_coins("ETH")
    await adding
    await until(lambda: set(feed.get_all_prices()) == {"BTC", "SOL"})
    assert venue.connections[-1].subscriptions.keys() == {
        s for s in venue.connections[-1].subscriptions if "ETH" not in s.upper()
    }


async def test_concurrent_changes_all_take_effect(feed: MarketFeed, venue: SimulatedVenue) -> None:
    """The last call for a coin counts; removing a coin ends the wait for its addition."""
    await connected(feed, venue)
    venue.paused = True
    coins = ["SOL", "XRP", "DOGE", "ADA"]
    async with asyncio.timeout(10):
        adding = [asyncio.create_task(feed.add_coins(coin)) for coin in coins]
        await asyncio.sleep(0)
        await asyncio.gather(*(feed.remove_coins(coin) for coin in coins[:3]))
        venue.paused = False
        await asyncio.gather(*adding)
    assert [config.symbol for config in feed.coin_configs] == ["BTC", "ETH", "ADA"]
    await until(lambda: set(feed.get_all_prices()) == {"BTC", "ETH", "ADA"})


async def test_wrong_coins_change_nothing(feed: MarketFeed) -> None:
    before = feed.coin_configs
    with pytest.raises(SettingsError, match="coins"):
        await feed.add_coins(["SOL", "B T C"])
    with pytest.raises(SettingsError, match="XRP"):
        await feed.remove_coins(["ETH", "XRP"])
    with pytest.raises(SettingsError, match="all but one"):
        await feed.remove_coins(["ETH", "BTC"])
    for wrong in (None, [None], [True], b"SOL", ["SOL", 5]):
        with pytest.raises(SettingsError, match="found"):
            await feed.add_coins(wrong)  # type: ignore[arg-type] # wrong on purpose
    with pytest.raises(SettingsError, match="None"):
        await feed.remove_coins(None)  # type: ignore[arg-type] # wrong on purpose
    await feed.add_coins([])
    assert feed.coin_configs == before


def test_coins_change_from_another_thread(tmp_path: object) -> None:
    """The program calls from its own thread, and the thread of the feed makes the change."""

    async def serve(done: asyncio.Event, ready: asyncio.Future[Simulator]) -> None:
        async with Simulator(venues=("binance",), rate=100) as simulator:
            ready.set_result(simulator)
            await done.wait()

    async def main() -> None:
        done, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
        serving = asyncio.create_task(serve(done, ready))
        feed = MarketFeed(settings=settings_for(await ready))
        await asyncio.to_thread(feed.start)
        try:
            await feed.add_coins("SOL")
            assert feed.get_price("SOL") is not None
            await feed.remove_coins("SOL")
            assert feed.get_price("SOL") is None
        finally:
            await asyncio.to_thread(feed.stop)
            done.set()
            await serving
        with pytest.raises(FeedError):
            await feed.candles_history("BTC")

    asyncio.run(main())


async def test_a_coin_that_only_another_venue_lists_comes_from_that_venue() -> None:
    """A second coin that only this venue lists does not affect the first."""
    async with (
        Simulator(venues=("binance",), rate=60, coins=["BTC", "ETH"]) as first,
        Simulator(venues=("bybit",), rate=60, coins=["BTC", "SOL", "XRP"]) as second,
    ):
        feed = MarketFeed(settings=settings_for(first, second))
        got = Recorder(feed)
        async with feed:
            await feed.add_coins("SOL")
            await feed.add_coins("XRP")
            await got.until(lambda: bool(got.ids("SOL")) and bool(got.ids("XRP")))
            assert {trade.exchange for trade in got.trades if trade.coin in ("SOL", "XRP")} == {"bybit"}
            assert len(second["bybit"].dials) == 1
            await feed.remove_coins("SOL")
            assert feed.get_price("SOL") is None
            seen = len(got.ids("XRP"))
            await got.until(lambda: len(got.ids("XRP")) > seen)
            assert len(second["bybit"].dials) == 1


async def test_a_removed_coin_that_another_venue_delivered_is_no_longer_delivered() -> None:
    """This holds even while the addition of another coin waits for a slow answer of the active venue."""
    async with (
        Simulator(venues=("binance",), rate=60, coins=["BTC", "ETH"]) as first,
        Simulator(venues=("bybit",), rate=60, coins=["BTC", "SOL", "XRP"]) as second,
    ):
        feed = MarketFeed(settings=settings_for(first, second, coins=["BTC"]))
        got = Recorder(feed)
        async with feed:
            await feed.add_coins(["SOL", "XRP"])
            await got.until(lambda: bool(got.ids("SOL")) and bool(got.ids("XRP")))
            with first["binance"].slow_rest(3):
                adding = asyncio.create_task(feed.add_coins("ETH"))
                await until(lambda: len(feed.coin_configs) == 4)
                await feed.remove_coins("SOL")
                kept = coins_of(got).count("SOL")
                while not adding.done():
                    await second["bybit"].trade("SOL")
                    await asyncio.wait({adding}, timeout=0.05)
            assert coins_of(got).count("SOL") == kept
            assert feed.get_price("SOL") is None
