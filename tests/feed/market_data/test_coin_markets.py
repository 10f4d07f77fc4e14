"""Which market's data is delivered for a coin; tested with whole feeds over loopback sockets."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack
from typing import Any

import pytest

from exchanges.ccxt_adapter.transport.choose import TRANSPORTS
from exchanges.simulator import SimulatedVenue, Simulator
from feed import MarketFeed, Quote, Settings, StaleDataError
from feed.events import CoinConfig
from tests.support import Recorder, settings_for, until

VENUES = ("binance", "bybit", "binance_us")


class Exchanges:
    """Three venues that list the same coins at almost the same prices."""

    def __init__(self, *simulators: Simulator) -> None:
        self.simulators = simulators

    def __getitem__(self, name: str) -> SimulatedVenue:
        return next(each[name] for each in self.simulators if name in each.venues)


@pytest.fixture
async def simulator() -> AsyncIterator[Exchanges]:
    async with AsyncExitStack() as stack:
        simulators = [Simulator(venues=(name,), rate=200, seed=7) for name in VENUES]
        yield Exchanges(*[await stack.enter_async_context(each) for each in simulators])


def quick(simulator: Exchanges, coins: tuple[str, ...] = ("BTC", "ETH"), **options: Any) -> Settings:
    """Settings with which the feed changes to the next venue at the first failure."""
    settings = settings_for(*simulator.simulators, coins=coins, channels=["trades", "ticker", "candles", "quotes"])
    settings.connection.attempts_before_failover = 1
    for config in settings.exchanges:
        config.options.update(options)
    return settings


def of(coin: str, got: Recorder, quotes: list[Quote]) -> list[Any]:
    """The coin's prices, trades, candles and quotes; the events of each type are in order."""
    events = (got.prices, got.trades, got.candles, quotes)
    return [each for kind in events for each in kind if each.coin == coin]


def needs(transport: str) -> None:
    if transport == "picows":
        pytest.importorskip("picows", reason="the extra [fast] is not installed")


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_another_coin_with_the_same_name_is_reported_and_the_next_venue_is_used(
    simulator: Exchanges, transport: str
) -> None:
    needs(transport)
    feed = MarketFeed(settings=quick(simulator, transport=transport))
    got, quotes = Recorder(feed), list[Quote]()
    feed.subscribe_quotes(quotes.append)
    with simulator["bybit"].other_coin("ETH"):
        async with feed:
            await got.until(lambda: bool(got.ids("ETH") and got.ids("BTC")))
            with simulator["binance"].blocked(451):
                simulator["binance"].cut()
                told = await got.until_event("price_mismatch")
                assert told["coin"] == "ETH"
                assert told["from"] == {"exchange": "binance", "market": "ETH/USDT"}
                assert told["to"] == {"exchange": "bybit", "market": "ETH/USDT"}
                assert told["ratio"] > 50
                await got.until(lambda: any(t.coin == "ETH" and t.exchange == "binance_us" for t in got.trades))
                await got.until(lambda: any(t.coin == "BTC" and t.exchange == "bybit" for t in got.trades))
                assert feed.status.exchange == "bybit"
                assert feed.require_fresh("ETH", 5).exchange == "binance_us"
                seen = of("ETH", got, quotes)
                assert {each.exchange for each in seen} == {"binance", "binance_us"}
                prices = [tick.price for tick in got.prices if tick.coin == "ETH"]
                assert max(prices) < 1.5 * min(prices)
                assert {candle.exchange for candle in await feed.candles_history("ETH", limit=3)} <= {
                    "binance",
                    "binance_us",
                }
    assert len(got.details("price_mismatch")) == 1


@pytest.mark.parametrize("channel", ["trades", "ticker", "candles", "quotes", "books"])
async def test_another_coin_with_the_same_name_is_noticed_on_every_channel(simulator: Exchanges, channel: str) -> None:
    settings = quick(simulator)
    settings.channels = [channel]
    feed = MarketFeed(settings=settings)
    seen, told = defaultdict[str, set[str]](set), list[str]()
    feed.subscribe_status(lambda event, details: told.append(event))
    if channel == "quotes":
        feed.subscribe_quotes(lambda quote: seen[quote.coin].add(quote.exchange))
    elif channel == "books":
        feed.subscribe_books(lambda book: seen[book.coin].add(book.exchange))
    elif channel == "candles":
        feed.subscribe_candles(lambda candle: seen[candle.coin].add(candle.exchange))
    else:
        feed.subscribe_price(lambda tick: seen[tick.coin].add(tick.exchange))
    with simulator["bybit"].other_coin("ETH"):
        async with feed:
            await until(lambda: bool(seen["ETH"] and seen["BTC"]))
            with simulator["binance"].blocked(451):
                simulator["binance"].cut()
                await until(lambda: "bybit" in seen["BTC"])
                await until(lambda: "price_mismatch" in told or "bybit" in seen["ETH"])
    assert "bybit" not in seen["ETH"]


async def test_if_no_other_venue_has_the_coin_a_deviating_price_is_withheld_and_the_old_price_is_kept(
    simulator: Exchanges,
) -> None:
    settings = quick(simulator, coins=("BTC", "ETH", "SOL"))
    settings.exchanges = settings.exchanges[:2]
    feed = MarketFeed(settings=settings)
    got = Recorder(feed)
    with simulator["bybit"].other_coin("ETH"), simulator["bybit"].other_coin("SOL"):
        async with feed:
            await got.until(lambda: all(got.ids(coin) for coin in ("BTC", "ETH", "SOL")))
            with simulator["binance"].blocked(451):
                simulator["binance"].cut()
                await got.until_event("price_mismatch", 2)
                assert {told["coin"] for told in got.details("price_mismatch")} == {"ETH", "SOL"}
                before = feed.get_price("ETH")
                await got.until(lambda: sum(t.coin == "BTC" and t.exchange == "bybit" for t in got.trades) > 20)
                assert feed.require_fresh("BTC", 5).exchange == "bybit"
                for coin in ("ETH", "SOL"):
                    with pytest.raises(StaleDataError, match=f"perhaps another coin: {coin}/USDT of bybit"):
                        feed.require_fresh(coin)
                    assert {t.exchange for t in got.trades if t.coin == coin} == {"binance"}
                assert feed.get_price("ETH") == before


async def test_if_two_venues_agree_against_the_old_price_their_price_is_accepted(simulator: Exchanges) -> None:
    feed = MarketFeed(settings=quick(simulator))
    got = Recorder(feed)
    with ExitStack() as listings:
        for name in ("bybit", "binance_us"):
            listings.enter_context(simulator[name].other_coin("ETH"))
        async with feed:
            await got.until(lambda: bool(got.ids("ETH") and got.ids("BTC")))
            listings.enter_context(simulator["binance"].blocked(451))
            simulator["binance"].cut()
            await got.until_event("price_mismatch")
            await got.until(lambda: got.trades[-1].coin == "ETH" and got.trades[-1].exchange != "binance")
            await got.until(lambda: any(t.coin == "ETH" and t.exchange == "bybit" for t in got.trades))
            feed.require_fresh("ETH", 5)


async def test_a_crash_of_the_price_on_the_active_venue_is_never_withheld(simulator: Exchanges) -> None:
    settings = quick(simulator)
    settings.connection.attempts_before_failover = 3
    feed = MarketFeed(settings=settings)
    got = Recorder(feed)
    async with feed:
        await got.until(lambda: bool(got.ids("ETH")))
        (crash,) = await simulator["binance"].trade("ETH", price=1.0)
        await got.until(lambda: crash.id in got.ids("ETH"))
        simulator["binance"].cut()  # a reconnect is no change of the venue
        await got.until_event("connected", 2)
        (again,) = await simulator["binance"].trade("ETH", price=30_000.0)
        await got.until(lambda: again.id in got.ids("ETH"))
        assert got.details("price_mismatch") == []
        assert got.details("market_changed") == []


async def test_a_change_of_the_market_is_reported_once(simulator: Exchanges) -> None:
    """The currency changes: the settings name EUR as the currency of BTC on the second venue."""
    settings = quick(simulator)
    settings.coins = [CoinConfig("BTC", markets={"bybit": "BTC/EUR"}), CoinConfig("ETH")]
    feed = MarketFeed(settings=settings)
    got = Recorder(feed)
    with simulator["bybit"].quoted("EUR"):
        async with feed:
            await got.until(lambda: bool(got.ids("ETH") and got.ids("BTC")))
            with simulator["binance"].blocked(451):
                simulator["binance"].cut()
                told = await got.until_event("market_changed")
                await got.until(lambda: sum(t.exchange == "bybit" for t in got.trades) > 20)
    changes = [{key: each[key] for key in ("exchange", "coin", "from", "to")} for each in got.details("market_changed")]
    assert changes == [
        {
            "exchange": "bybit",
            "coin": "BTC",
            "from": {"exchange": "binance", "market": "BTC/USDT"},
            "to": {"exchange": "bybit", "market": "BTC/EUR"},
        }
    ]
    assert told["coin"] == "BTC"
    assert {t.market for t in got.trades if t.exchange == "bybit" and t.coin == "BTC"} == {"BTC/EUR"}


async def test_the_coin_returns_to_the_active_venue_when_its_price_there_is_plausible_again(
    simulator: Exchanges,
) -> None:
    feed = MarketFeed(settings=quick(simulator))
    got = Recorder(feed)
    other = simulator["bybit"].other_coin("ETH")
    other.__enter__()
    async with feed:
        await got.until(lambda: bool(got.ids("ETH") and got.ids("BTC")))
        with simulator["binance"].blocked(451):
            simulator["binance"].cut()
            await got.until_event("price_mismatch")
            await got.until(lambda: any(t.coin == "ETH" and t.exchange == "binance_us" for t in got.trades))
            other.__exit__(None, None, None)
            await got.until(lambda: any(t.coin == "ETH" and t.exchange == "bybit" for t in got.trades))
            ends = next(n for n, t in enumerate(got.trades) if t.coin == "ETH" and t.exchange == "bybit")
            await until(lambda: len(got.trades) > ends + 200)
            assert {t.exchange for t in got.trades[ends:]} == {"bybit"}


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_coin_continues_from_a_market_of_a_thousand_units_to_a_market_of_single_units(
    simulator: Exchanges, transport: str
) -> None:
    """Trades, candles, quotes and REST answers are scaled, and the change of the market is reported."""
    needs(transport)
    settings = quick(simulator, transport=transport)
    settings.coins = [CoinConfig("ETH", markets={"binance": "1000ETH/USDT"}), CoinConfig("BTC")]
    with simulator["binance"].thousands("ETH"):
        feed = MarketFeed(settings=settings)
        got, quotes = Recorder(feed), list[Quote]()
        feed.subscribe_quotes(quotes.append)
        async with feed:
            await got.until(lambda: bool(got.ids("ETH") and got.ids("BTC")))
            await until(lambda: any(quote.coin == "ETH" for quote in quotes))
            candles = await feed.candles_history("ETH", limit=5)
            simulator["binance"].cut()
            with simulator["binance"].blocked(451):
                changed = await got.until_event("market_changed")
                await got.until(lambda: any(t.coin == "ETH" and t.exchange == "bybit" for t in got.trades))
                feed.require_fresh("ETH", 5)
    assert changed["from"] == {"exchange": "binance", "market": "1000ETH/USDT"}
    assert got.details("price_mismatch") == []
    prices = [tick.price for tick in got.prices if tick.coin == "ETH"]
    prices += [candle.close for candle in (*got.candles, *candles) if candle.coin == "ETH"]
    prices += [quote.bid for quote in quotes if quote.coin == "ETH"]
    assert max(prices) < 1.5 * min(prices)
    on_first = [t for t in got.trades if t.coin == "ETH" and t.market == "1000ETH/USDT"]
    assert all(t.quantity > 0 for t in on_first)


@pytest.mark.parametrize("hotpath", [True, False])
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_block_trades_are_counted_and_not_delivered(simulator: Exchanges, transport: str, hotpath: bool) -> None:
    """Block trades are delivered neither from the stream nor from REST after an outage."""
    needs(transport)
    settings = quick(simulator, transport=transport, hotpath=hotpath)
    settings.exchanges = settings.exchanges[1:2]
    settings.connection.attempts_before_failover = 3
    feed, bybit = MarketFeed(settings=settings), simulator["bybit"]
    got = Recorder(feed)
    async with feed:
        await got.until(lambda: bool(got.ids("ETH") and got.ids("BTC")))
        block = await bybit.block_trade("BTC", price=1.0)
        await until(lambda: feed.get_health()["metrics"]["off_book_trades"] == 1)
        bybit.cut()
        missed = await bybit.block_trade("BTC", price=2.0)
        (traded,) = await bybit.trade("BTC")
        await got.until(lambda: traded.id in got.ids("BTC"))
        await got.until(lambda: any(trade.backfilled and trade.coin == "BTC" for trade in got.trades))
        await got.until(lambda: any(candle.coin == "BTC" for candle in got.candles))
    assert {block.id, missed.id}.isdisjoint(got.ids("BTC"))
    assert min(tick.price for tick in got.prices if tick.coin == "BTC") > 100
    assert min(candle.low for candle in got.candles if candle.coin == "BTC") > 100


@pytest.mark.parametrize("hotpath", [True, False])
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_ticker_whose_market_differs_from_its_topic_is_counted_as_a_bad_frame(
    simulator: Exchanges, transport: str, hotpath: bool
) -> None:
    needs(transport)
    settings = quick(simulator, transport=transport, hotpath=hotpath)
    settings.exchanges = settings.exchanges[1:2]
    feed, bybit = MarketFeed(settings=settings), simulator["bybit"]
    got = Recorder(feed)
    async with feed:
        await until(lambda: "tickers.BTCUSDT" in bybit.topics)
        for kind in ("delta", "snapshot"):
            row = {"symbol": "ETHUSDT", "lastPrice": "2.5"}
            frame = {"topic": "tickers.BTCUSDT", "ts": bybit.now(), "type": kind, "cs": 1, "data": row}
            bybit.send("tickers.BTCUSDT", json.dumps(frame))
        bybit.flush()
        await until(lambda: feed.status.bad_frames == 2)
        told = await got.until_event("bad_frame")
        assert "OtherMarket" in told["sample"]
    assert min(tick.price for tick in got.prices) > 100


async def test_only_currencies_of_the_settings_are_used(simulator: Exchanges) -> None:
    """A venue that has the coin only in other currencies is not used; the reason names these currencies."""
    feed = MarketFeed(settings=quick(simulator))
    got = Recorder(feed)
    with simulator["bybit"].quoted("KRW"):
        async with feed:
            await got.until(lambda: bool(got.ids("ETH") and got.ids("BTC")))
            with simulator["binance"].blocked(451):
                simulator["binance"].cut()
                await got.until(lambda: any(t.exchange == "binance_us" for t in got.trades))
    assert {t.market.partition("/")[2] for t in got.trades} == {"USDT"}
    told = [str(details) for event, details in got.status if details["exchange"] in ("bybit", "binance_us")]
    assert any("KRW, which `quote` does not list" in text or "does not list any of BTC, ETH" in text for text in told)


async def test_a_coin_that_the_first_venue_lacks_is_not_delivered_in_another_currency(simulator: Exchanges) -> None:
    settings = quick(simulator)
    settings.exchanges = settings.exchanges[:2]
    feed = MarketFeed(settings=settings)
    got = Recorder(feed)
    with simulator["binance"].unlisted("ETH"), simulator["bybit"].quoted("KRW"):
        async with feed:
            await got.until(lambda: bool(got.ids("BTC")))
            told = await got.until_event("coin_unavailable", 2)
            assert (told["exchange"], told["coin"]) == ("bybit", "ETH")
            assert "it has KRW, which `quote` does not list" in told["reason"]
            assert feed.get_price("ETH") is None


async def test_a_currency_is_used_if_the_coins_settings_give_it_for_the_venue(simulator: Exchanges) -> None:
    settings = quick(simulator)
    settings.exchanges = settings.exchanges[1:2]
    settings.coins = [CoinConfig("BTC", markets={"bybit": "BTC/KRW"})]
    feed = MarketFeed(settings=settings)
    got = Recorder(feed)
    with simulator["bybit"].quoted("KRW"):
        async with feed:
            await got.until(lambda: bool(got.ids("BTC")))
    assert {t.market for t in got.trades} == {"BTC/KRW"}
