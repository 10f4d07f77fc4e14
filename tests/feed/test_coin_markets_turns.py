"""Which connection's data of a coin is delivered if several connections have the coin; on a clock set by the test."""

from __future__ import annotations

import gc
import weakref
from math import nan
from typing import Any

import pytest

from exchanges.events import Candle, OrderBook, Quote, TradeEvent
from feed.clock import Clock
from feed.market_data.coin_markets import CoinMarkets
from feed.market_data.hub import MarketDataHub
from feed.subscriptions.dispatcher import Dispatcher


class Hands(Clock):
    """A clock that the test sets; it can simulate a suspend."""

    def __init__(self) -> None:
        self.at = 1000.0
        self.asleep = 0.0

    def monotonic(self) -> float:
        return self.at

    def since(self, at: float) -> float:
        return self.at - at + self.asleep

    def now(self) -> float:
        return self.at


class Standing:
    """A connection that delivers one market."""

    def __init__(self, markets: CoinMarkets, exchange: str, symbol: str = "ETH/USDT") -> None:
        self.exchange, self.symbol = exchange, symbol
        self.turn = 0
        self.admitted = False
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.revoked: list[str] = []
        self.stirred = 0
        markets.begin(self)

    def delivers(self, coin: str) -> bool:
        return self.admitted

    def revoke(self, coin: str) -> None:
        self.revoked.append(coin)
        self.admitted = False

    def tell(self, event: str, **details: Any) -> None:
        self.told.append((event, details))

    def wake(self) -> None:
        self.stirred += 1


class BookSource:
    """A connection that delivers books."""

    turn = 1
    last_data: float | None = 0.0

    def tell(self, event: str, **details: Any) -> None: ...


class World:
    def __init__(self) -> None:
        self.clock = Hands()
        self.hub = MarketDataHub(Dispatcher(lambda *report: None), self.clock, 1.5)
        self.markets, self.prices = self.hub.markets, self.hub.prices

    def stand(self, exchange: str, symbol: str = "ETH/USDT") -> Standing:
        return Standing(self.markets, exchange, symbol)

    def price(self, of: Standing, price: float) -> bool:
        """Let a trade come over a connection; returns whether the trade is delivered."""
        if not self.markets.admit(of, "ETH", of.symbol, price):
            return False
        of.admitted = True
        trade = TradeEvent("ETH", price, 1.0, False, 5, of.exchange, market=of.symbol)
        self.prices["ETH"].on_trade(trade, self.clock.monotonic())
        return True


@pytest.fixture
def world() -> World:
    return World()


def test_a_replaced_connection_does_not_take_the_coin_back(world: World) -> None:
    old, new = world.stand("a"), world.stand("b")
    assert world.price(old, 100.0)
    assert world.price(new, 101.0)
    assert old.revoked == ["ETH"]
    assert not world.price(old, 101.0)
    assert not world.markets.takes(TradeEvent("ETH", 1.0, 1.0, False, 5, "a", market="ETH/USDT"))
    world.markets.end(new)
    assert world.price(old, 101.0)
    assert [event for event, _ in old.told + new.told] == []


def test_an_admitted_price_that_made_no_tick_counts_for_the_comparison(world: World) -> None:
    """The first event of a coin may be a past trade, or a ticker from REST without a timestamp."""
    first, other = world.stand("a"), world.stand("b")
    assert world.markets.admit(first, "ETH", first.symbol, 100.0)
    world.markets.end(first)
    assert world.prices["ETH"].tick is None
    assert not world.price(other, 1.0)


@pytest.mark.parametrize("kind", ["trade", "quote", "book", "candle"])
def test_the_newest_price_of_any_kind_of_event_counts_for_the_comparison(world: World, kind: str) -> None:
    """The first market has been admitted at a price of 100; its price is now 3,000, thirty times as high."""
    first, other = world.stand("a"), world.stand("b")
    assert world.markets.admit(first, "ETH", first.symbol, 100.0)
    world.clock.at += 60
    read_at = int(world.clock.at * 1e9)
    levels = [(2_999.0, 1.0)], [(3_001.0, 1.0)]
    match kind:
        case "trade":
            trade = TradeEvent("ETH", 3_000.0, 1.0, False, 5, "a", market=first.symbol)
            world.prices["ETH"].on_trade(trade, world.clock.monotonic())
        case "quote":
            world.hub.on_quote(Quote("ETH", 3_000.0, 1.0, 3_001.0, 1.0, 5, "a", read_at, first.symbol))
        case "book":
            book = OrderBook("ETH", *levels, 5, "a", read_at, 1, first.symbol)
            world.hub.books.on_book(BookSource(), book, world.clock.monotonic())
        case "candle":
            prices = (3_000.0, 3_000.0, 3_000.0, 3_000.0)
            world.hub.on_candle(Candle("ETH", "1m", 60_000, *prices, 1.0, False, "a", read_at, first.symbol))
    world.markets.end(first)
    assert not world.markets.admit(other, "ETH", other.symbol, 100.0)
    assert world.markets.admit(other, "ETH", other.symbol, 3_000.0)


def test_after_an_event_without_a_price_the_earlier_price_counts(world: World) -> None:
    """The newest event may be a book without levels."""
    first = world.stand("a")
    assert world.price(first, 100.0)
    world.markets.end(first)
    world.clock.at += 1
    assert world.markets.admit(world.stand("a"), "ETH", first.symbol, nan)
    assert not world.price(world.stand("b"), 1.0)


def test_two_connections_of_one_market_may_both_deliver(world: World) -> None:
    old, new = world.stand("a"), world.stand("a")
    assert world.price(old, 100.0)
    assert world.price(new, 300.0)
    assert world.price(old, 100.0)
    assert (old.revoked, new.revoked) == ([], [])


def test_a_withheld_market_delivers_only_after_its_replacement_has_ended(world: World) -> None:
    """When the market's price is plausible again, the replacement on another venue is ended first."""
    first, active = world.stand("a"), world.stand("b")
    assert world.price(first, 100.0)
    world.markets.end(first)
    assert not world.price(active, 1.0)
    assert active.stirred == 1
    other = world.stand("c")
    assert world.price(other, 100.0)
    assert world.markets.withholds("b", "ETH", "ETH/USDT")
    assert not world.price(active, 100.0)
    assert not world.markets.withholds("b", "ETH", "ETH/USDT")
    assert active.stirred == 2
    world.markets.end(other)
    assert world.price(active, 100.0)
    assert [event for event, _ in active.told] == ["price_mismatch"]


def test_a_withheld_market_is_accepted_after_ten_minutes_without_contradiction(world: World) -> None:
    first, active = world.stand("a"), world.stand("b")
    world.price(first, 100.0)
    world.markets.end(first)
    for _ in range(60):
        assert not world.price(active, 1.0)
        assert "ETH/USDT of b" in world.markets.doubt("ETH")
        world.clock.at += 10
    assert world.price(active, 1.0)
    assert world.markets.doubt("ETH") == ""


def test_the_age_of_the_last_price_includes_the_time_of_a_suspend(world: World) -> None:
    first, active = world.stand("a"), world.stand("b")
    world.price(first, 100.0)
    world.markets.end(first)
    world.clock.asleep = 3600.0
    assert world.price(active, 300.0)


def test_another_currency_at_the_same_price_is_reported_as_another_market(world: World) -> None:
    first, second = world.stand("a"), world.stand("a", "ETH/USDC")
    world.price(first, 100.0)
    world.price(second, 100.0)
    world.price(second, 100.0)
    between = {"from": {"exchange": "a", "market": "ETH/USDT"}, "to": {"exchange": "a", "market": "ETH/USDC"}}
    assert second.told == [("market_changed", {"coin": "ETH", **between})]


def test_the_price_of_a_coin_is_forgotten_when_the_coin_is_removed(world: World) -> None:
    first, second = world.stand("a"), world.stand("b")
    world.price(first, 100.0)
    world.markets.forget(["ETH"])
    assert world.price(second, 1.0)


def test_ended_connections_are_not_kept(world: World) -> None:
    first = world.stand("a")
    world.price(first, 100.0)
    gone = weakref.ref(first)
    world.markets.end(first)
    del first
    gc.collect()
    assert gone() is None
