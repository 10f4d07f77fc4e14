"""The feed over the real ccxt.pro classes and real sockets, on both venues."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable
from importlib import import_module
from typing import Any

import pytest

from exchanges.ccxt_adapter.transport.choose import TRANSPORTS
from exchanges.events import Ticker
from exchanges.simulator import SimulatedVenue, Simulator
from feed import (
    FeedError,
    FeedState,
    MarketFeed,
    NoExchangeAvailable,
    Settings,
    SettingsError,
    StaleDataError,
    TradeEvent,
)
from feed.settings import Connection, ExchangeConfig, Staleness
from tests.support import Recorder, settings_for, taped_ids, until

VENUES = ["binance", "bybit"]


@pytest.fixture(params=VENUES)
async def simulator(request: pytest.FixtureRequest) -> AsyncIterator[Simulator]:
    async with Simulator(venues=(request.param,), rate=0) as simulator:
        yield simulator


async def connected(feed: MarketFeed, venue: SimulatedVenue) -> None:
    """Connect, and return when the one trade that it takes for data to flow has arrived."""
    arrived = asyncio.Event()
    handle = feed.subscribe_trades(lambda trade: arrived.set())
    connecting = asyncio.create_task(feed.connect())
    await subscribed(venue)
    await venue.trade("BTC")
    await connecting
    async with asyncio.timeout(10):
        await arrived.wait()
    handle.cancel()


async def subscribed(venue: SimulatedVenue, after: int = 0) -> None:
    """Wait until a connection of more than ``after`` dials carries all that the feed asks for: 2 coins, 3 channels.

    It is the only one: an earlier one that is on its way out would take the trade that the feed waits for.
    """
    await until(lambda: len(venue.dials) > after and [len(each.subscriptions) for each in venue.connections] == [6])


async def test_every_trade_arrives_once_and_in_order(feed: MarketFeed, venue: SimulatedVenue, got: Recorder) -> None:
    """Price, quantity, side, time and id are the venue's own."""
    await connected(feed, venue)
    await venue.trade("BTC", count=50)
    await venue.trade("ETH", count=50)
    await got.until(lambda: len(got.trades) == 101)
    for coin in ("BTC", "ETH"):
        mine = [trade for trade in got.trades if trade.coin == coin]
        assert [(int(t.trade_id), t.price, t.quantity, t.is_buyer_maker, t.timestamp, t.exchange) for t in mine] == [
            (t.id, t.price, t.quantity, t.buyer_maker, t.timestamp, venue.name) for t in venue.tape[coin]
        ]
        assert all(trade.received_at >= trade.timestamp * 1_000_000 for trade in mine)


async def test_a_rest_summary_gives_a_price_only_if_it_has_a_time(simulator: Simulator, venue: SimulatedVenue) -> None:
    """Bybit's does not: how old that price is nobody knows, and a trade or a ticker on the stream comes soon."""
    for coin in ("BTC", "ETH"):
        await venue.trade(coin)  # before the feed: only REST knows of it
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


async def test_a_summary_that_waited_for_the_dial_has_the_age_of_its_fetch(
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


async def test_the_first_tick_of_a_coin_has_its_24_h_figures(
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
    """Twenty coins with trades, tickers and candles: one dial, and no rule broken."""
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
async def test_a_burst_arrives_complete(
    feed: MarketFeed, venue: SimulatedVenue, got: Recorder, coins: list[str] | None
) -> None:
    """30,000 trades as fast as the socket takes them, and not one is missing, doubled or out of order."""
    await connected(feed, venue)
    await venue.burst(30_000, coins=coins or ["BTC", "ETH"])
    await got.until(lambda: len(got.trades) == 30_001, timeout=60)
    for coin in ("BTC", "ETH"):
        assert got.ids(coin) == taped_ids(venue, coin)


async def test_bad_frames_lose_no_good_trade(feed: MarketFeed, venue: SimulatedVenue, got: Recorder) -> None:
    """Truncated JSON, null rows and amounts that are no numbers are counted and told; the stream goes on."""
    await connected(feed, venue)
    await venue.burst(10_000, coins=["BTC", "ETH"], malformed=0.05)
    await got.until(lambda: len(got.trades) == 10_001, timeout=60)
    for coin in ("BTC", "ETH"):
        assert got.ids(coin) == taped_ids(venue, coin)
    assert feed.status.bad_frames > 0
    told = await got.until_event("bad_frame")
    assert told["count"] >= 1
    assert told["sample"]
    assert "disconnected" not in got.events


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
    await got.until(lambda: got.ids("BTC") == taped_ids(venue, "BTC"))
    assert feed.status.state is FeedState.LIVE
    assert feed.status.reconnect_count == 1
    again = got.details("reconnecting")[0]
    assert again["attempt"] == 1
    assert again["delay"] > 0


@pytest.mark.parametrize("code", [1000, 1001, 1006, 1008, 1012])
async def test_a_close_is_followed_by_a_reconnect(
    feed: MarketFeed, venue: SimulatedVenue, got: Recorder, code: int
) -> None:
    await connected(feed, venue)
    dials = len(venue.dials)
    venue.close(code)
    await got.until_event("disconnected")
    await subscribed(venue, dials)
    await venue.trade("ETH")
    await got.until_event("connected", 2)


async def test_a_silent_venue_is_reported_and_then_left(simulator: Simulator) -> None:
    """TCP up and pings answered, but no data: stale first, then the connection is replaced, without waiting for it."""
    venue = next(iter(simulator.venues.values()))
    settings = settings_for(simulator, staleness=Staleness(feed_stale_after=0.3, reconnect_after=0.9))
    feed = MarketFeed(settings=settings)
    got = Recorder(feed)
    await connected(feed, venue)
    dials = len(venue.dials)
    with venue.stalled():
        stale = await got.until_event("feed_stale")
        assert 0.3 <= stale["seconds"] < 0.9
        assert feed.status.state is FeedState.STALE
        with pytest.raises(StaleDataError, match="silent"):
            feed.require_fresh("BTC")
        lost = await got.until_event("disconnected")
        assert "no data" in lost["reason"]
    await subscribed(venue, dials)
    await venue.trade("BTC")
    await got.until_event("feed_recovered")
    assert feed.require_fresh("btc").coin == "BTC"
    await feed.disconnect()


async def test_a_venue_that_drops_every_connection_is_not_stormed(simulator: Simulator) -> None:
    """The backoff grows over dials that succeed but bring no stable data."""
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
async def test_a_venue_that_blocks_this_place_is_named_as_such(
    feed: MarketFeed, venue: SimulatedVenue, got: Recorder, status: int
) -> None:
    with venue.blocked(status), pytest.raises(NoExchangeAvailable) as caught:
        await feed.connect(timeout=10)
    assert str(status) in caught.value.reasons[venue.name]
    blocked = got.details("exchange_blocked")[0]
    assert blocked["status"] == status
    assert blocked["exchange"] == venue.name


async def test_a_refused_upgrade_says_status_and_address(
    feed: MarketFeed, venue: SimulatedVenue, simulator: Simulator
) -> None:
    import_module("exchanges.ccxt_adapter.venue")  # as below
    with venue.refusing(503), pytest.raises(NoExchangeAvailable) as caught:
        await feed.connect(timeout=5)
    assert caught.value.reasons[venue.name].startswith(f"HTTP 503 from {simulator.ws_url}/")


@pytest.mark.parametrize("ask", [MarketFeed.get_price, MarketFeed.require_fresh, MarketFeed.volatility])
@pytest.mark.parametrize("coin", [5, None, ["BTC"], b"BTC"])
def test_an_invalid_coin_is_named(ask: Callable[[MarketFeed, Any], Any], coin: Any) -> None:
    """Where an unknown one has no price."""
    with pytest.raises(SettingsError, match=re.escape(f"coin: found {coin!r}, allowed is a coin such as BTC")):
        ask(MarketFeed(["BTC"], settings=Settings()), coin)


async def test_no_venue_within_the_timeout_is_one_line_per_venue(unused_tcp_port: int) -> None:
    import_module(
        "exchanges.ccxt_adapter.venue"
    )  # ccxt takes seconds where the machine is busy: they are not the venues'
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


async def test_an_unlisted_coin_is_reported_and_the_others_continue(simulator: Simulator) -> None:
    venue = next(iter(simulator.venues.values()))
    venue.rate = 100
    feed = MarketFeed(["BTC", "NOPE"], settings=settings_for(simulator))
    got = Recorder(feed)
    async with feed:
        missing = got.details("coin_unavailable")
        assert [each["coin"] for each in missing] == ["NOPE"]
        assert "NOPE/USDT" in missing[0]["reason"]


async def test_a_coin_that_no_venue_has_does_not_sound_like_the_end_of_the_feed() -> None:
    """The others flow: what is told of the search for this one names it, and the feed has not moved."""
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


async def test_coins_that_no_venue_lists_fail_at_once(simulator: Simulator) -> None:
    with pytest.raises(NoExchangeAvailable, match="does not list NOPE"):
        await MarketFeed(["NOPE"], settings=settings_for(simulator)).connect(timeout=30)


async def test_disconnecting_leaves_nothing_behind(simulator: Simulator, venue: SimulatedVenue) -> None:
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
    assert seen == taped_ids(venue, "BTC")


async def test_stalled_consumers_slow_nobody_and_keep_to_their_policies(
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
    await got.until(lambda: len(got.ids("BTC")) == 2_001)  # while the others stand still
    gate.set()
    await until(lambda: len(seen) == 2)
    ids = [str(number) for number in got.ids("BTC")]
    assert seen == [ids[0], ids[-1]]  # the one in hand, and the newest
    assert latest.dropped == 1_999
    assert [(await anext(oldest_go)).trade_id for _ in range(100)] == ids[-100:]


async def test_a_callback_that_changes_its_trade_changes_no_price(feed: MarketFeed, venue: SimulatedVenue) -> None:
    """An event belongs to whoever receives it: the price is the venue's."""
    ticks: list[tuple[str, float, int]] = []

    def spoil(trade: TradeEvent) -> None:
        trade.price, trade.timestamp, trade.coin, trade.exchange = 1.0, 1, "NONE", "none"

    feed.subscribe_trades(spoil)
    feed.subscribe_price(lambda tick: ticks.append((tick.coin, tick.price, tick.timestamp)), ["BTC"])
    await connected(feed, venue)
    ticks.clear()
    await venue.trade("BTC", count=20)
    await venue.trade("ETH")
    await until(lambda: len(ticks) == 20 and feed.get_price("ETH") is not None)
    assert ticks == [("BTC", t.price, t.timestamp) for t in venue.tape["BTC"][-20:]]
    assert feed.current_prices["ETH"].price == venue.tape["ETH"][-1].price
    assert feed.current_prices.keys() == {"BTC", "ETH"}


async def test_a_raising_callback_disturbs_nobody(feed: MarketFeed, venue: SimulatedVenue) -> None:
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
def test_wrong_arguments_raise_at_once(arguments: dict[str, object], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        MarketFeed(**arguments)  # type: ignore[arg-type] # wrong on purpose


async def test_disconnecting_at_once_ends_the_connect(feed: MarketFeed) -> None:
    """Even before the feed's task has taken its first step."""
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


async def test_an_impatient_connect_does_not_end_a_patient_one(feed: MarketFeed, venue: SimulatedVenue) -> None:
    patient = asyncio.create_task(feed.connect())
    with pytest.raises(NoExchangeAvailable):
        await feed.connect(timeout=0.01)
    await subscribed(venue)
    await venue.trade("BTC")
    await patient
    assert feed.status.state is FeedState.LIVE


async def test_a_channel_subscribed_later_is_delivered(feed: MarketFeed, venue: SimulatedVenue, got: Recorder) -> None:
    """Another timeframe renews the connection, without a gap: the old one stays until the new one carries data."""
    await connected(feed, venue)
    later: list[str] = []
    feed.subscribe_candles(lambda candle: later.append(candle.timeframe), timeframe="5m")
    await until(lambda: [len(each.subscriptions) for each in venue.connections][-1:] == [8])
    await venue.trade("BTC")
    await until(lambda: "5m" in later)
    await until(lambda: len(venue.connections) == 1)
    await venue.trade("BTC")
    await got.until(lambda: got.ids("BTC") == taped_ids(venue, "BTC"))
    assert "disconnected" not in got.events


async def test_a_price_is_not_fresh_once_the_feed_is_closed(feed: MarketFeed, venue: SimulatedVenue) -> None:
    await connected(feed, venue)
    assert feed.require_fresh("BTC", max_age=60).coin == "BTC"
    await feed.disconnect()
    with pytest.raises(StaleDataError, match="not connected"):
        feed.require_fresh("BTC", max_age=60)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_tickers_are_the_venues_own_summary_of_the_day(transport: str) -> None:
    """As callbacks and as an iterator, also where no ticker was asked for; an update that is no newer price, too."""
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
        assert {each.market async for each in stream} <= {"BTC/USDT", "ETH/USDT"}  # it ends with the connection
