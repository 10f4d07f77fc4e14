"""The price cache decides which events make a tick, and no event blocks a later tick."""

from __future__ import annotations

from math import isnan
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from exchanges.events import Ticker, TradeEvent
from feed.market_data.price_cache import PriceCache

AT = 1_700_000_000_000  # Unix ms


def ticker(price: float, at: int, *, received: int | None = None, exchange: str = "binance") -> Ticker:
    received_at = (at if received is None else received) * 1_000_000
    return Ticker("BTC", price, at, 5e8, 1.5, exchange=exchange, received_at=received_at)


def trade(price: float, at: int, exchange: str = "binance") -> TradeEvent:
    return TradeEvent("BTC", price, 1.0, False, at, exchange, "1", at * 1_000_000)


def test_a_ticker_makes_a_tick_only_when_it_is_newer() -> None:
    prices = PriceCache()
    assert prices["BTC"].on_ticker(ticker(10, AT), 0) is not None
    assert prices["BTC"].on_ticker(ticker(11, AT), 0) is None
    assert prices["BTC"].on_ticker(ticker(12, AT - 1), 0) is None
    assert prices["BTC"].on_ticker(ticker(13, AT + 1), 0) is not None
    assert prices.ticks["BTC"].price == 13


def test_every_trade_makes_a_tick_with_the_day_stats() -> None:
    prices = PriceCache()
    prices["BTC"].on_ticker(ticker(10, AT), 0)
    tick = prices["BTC"].on_trade(trade(9, AT - 5), 0)
    assert (tick.price, tick.volume_24h, tick.change_24h) == (9, 5e8, 1.5)


def test_a_trade_sets_the_price_even_if_nobody_subscribes_to_ticks() -> None:
    """The tick is made when the program asks for the price; it has the 24 h statistics of the time of the trade."""
    prices = PriceCache()
    prices["BTC"].on_ticker(ticker(10, AT), 0)
    prices["BTC"].note(trade(9, AT + 5), 7.0)
    tick = prices.tick("BTC")
    assert tick is not None
    assert (tick.price, tick.timestamp, tick.volume_24h, tick.exchange) == (9, AT + 5, 5e8, "binance")
    assert prices.tick("BTC") == tick
    assert prices["BTC"].priced_at == 7.0
    prices["BTC"].note(trade(8, AT + 6), 8.0)
    prices["BTC"].learn(ticker(7, AT - 1, exchange="bybit"))
    assert prices.ticks["BTC"].price == 8
    assert prices.ticks["BTC"].volume_24h == 5e8
    assert prices.tick("ETH") is None


def test_changing_a_tick_does_not_change_the_cache() -> None:
    """This holds for delivered ticks, from a trade or a ticker, and for ticks that the program requested."""
    prices = PriceCache()
    for tick in (
        prices["BTC"].on_ticker(ticker(10, AT), 0),
        prices["BTC"].on_trade(trade(10, AT + 1), 0),
        prices.tick("BTC"),
        prices.ticks["BTC"],
    ):
        assert tick is not None
        tick.price, tick.timestamp, tick.exchange, tick.volume_24h = 1.0, AT + 10**9, "", 0.0
        known = prices.tick("BTC")
        assert known is not None
        assert (known.price, known.exchange, known.volume_24h) == (10, "binance", 5e8)
    assert prices["BTC"].on_ticker(ticker(11, AT + 2), 0) is not None
    assert prices.cached == 1


def test_a_venues_price_never_comes_with_another_venues_day_stats() -> None:
    prices = PriceCache()
    prices["BTC"].on_ticker(ticker(10, AT), 0)
    tick = prices["BTC"].on_trade(trade(9, AT + 5, "bybit"), 0)
    assert isnan(tick.volume_24h)
    assert isnan(tick.change_24h)
    other = prices["BTC"].on_ticker(ticker(8, AT - 1000, exchange="bybit"), 0)
    assert other is None
    assert prices["BTC"].on_trade(trade(7, AT + 6, "bybit"), 0).change_24h == 1.5


def test_a_stamp_from_the_future_does_not_block_later_prices() -> None:
    prices = PriceCache()
    prices["BTC"].on_ticker(ticker(10, AT + 72_000_000, received=AT), 0)
    tick = prices["BTC"].on_ticker(ticker(11, AT + 1000, received=AT + 1000), 0)
    assert tick is not None
    assert prices["BTC"].on_ticker(ticker(12, AT + 500, received=AT + 1500), 0) is None
    assert prices.ticks["BTC"].price == 11


def test_an_old_ticker_does_not_replace_a_newer_price() -> None:
    """A cache in front of the venue's REST server may return an old ticker."""
    prices = PriceCache()
    prices["BTC"].on_trade(trade(10, AT), 0)
    assert prices["BTC"].on_ticker(ticker(9, AT - 120_000, received=AT + 50), 0) is None
    assert prices.ticks["BTC"].price == 10


def test_a_wrong_or_stepping_local_clock_blocks_no_price() -> None:
    prices = PriceCache()
    hour = 3_600_000
    for number, skew in enumerate((hour, hour, -hour, 0)):
        at = AT + number * 1000
        assert prices["BTC"].on_ticker(ticker(number + 1.0, at, received=at + skew), 0) is not None


def test_a_ticker_without_a_time_gives_a_price_only_if_the_coin_has_none() -> None:
    """The ticker gets the time of its arrival. After a trade has given a price, only the ticker's 24 h statistics are
    used."""
    price = PriceCache()["BTC"]
    for number in (1, 2):
        tick = price.on_ticker(ticker(number, 0, received=AT + number), 0)
        assert tick is not None
        assert (tick.price, tick.timestamp) == (number, AT + number)
    price.on_trade(trade(9, AT - 60_000), 0)
    assert price.on_ticker(ticker(3, 0, received=AT + 3), 0) is None
    assert price.tick is not None
    assert price.tick.price == 9
    assert price.on_trade(trade(10, AT + 5), 0).volume_24h == 5e8


EVENTS = st.tuples(st.sampled_from(["trade", "ticker", "timeless"]), st.integers(0, 50), st.sampled_from(["a", "b"]))


@given(st.lists(EVENTS, max_size=40))
def test_a_price_without_a_time_never_replaces_one_with_a_time(events: list[tuple[str, int, str]]) -> None:
    """This holds for events of all kinds, in any order and from any venue."""
    price = PriceCache()["BTC"]
    timed: dict[str, bool] = {}  # last venue with a price -> whether that price had a time
    for number, (kind, at, exchange) in enumerate(events, 1):
        received = AT + number * 100
        before: Any = price.tick
        if kind == "trade":
            price.on_trade(trade(number, AT + at, exchange), 0)
            timed = {exchange: True}
        elif kind == "ticker":
            if price.on_ticker(ticker(number, AT + at, received=received, exchange=exchange), 0) is not None:
                timed = {exchange: True}
        else:
            tick = price.on_ticker(ticker(number, 0, received=received, exchange=exchange), 0)
            assert (tick is None) is timed.get(exchange, False)
            if tick is None:
                assert price.tick is not None
                assert price.tick.price == before.price
            else:
                assert (tick.price, tick.timestamp) == (number, received)
                timed = {exchange: False}


def test_a_ticker_does_not_hide_that_the_last_trade_was_late() -> None:
    """A venue's trades may be late while its tickers are not."""
    price = PriceCache()["BTC"]
    price.on_trade(trade(100.0, 1_000), 50.0)
    price.on_ticker(ticker(101.0, 61_000), 50.1)
    assert price.streamed("binance", 49.0) == [(50.0, 1_000, False), (50.1, 61_000, True)]
    assert price.streamed("binance", 50.0) == [(50.1, 61_000, True)]
    price.on_trade(trade(100.0, 2_000), 51.0)
    assert price.streamed("binance", 50.5) == [(51.0, 2_000, False)]
    assert not price.streamed("bybit", 49.0)
