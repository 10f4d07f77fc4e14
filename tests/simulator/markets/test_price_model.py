"""Prices, 24 h statistics and candles depend on the seed, are plausible, and agree with the trades."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise
from statistics import pstdev
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchanges.simulator import Simulator, SimulatorError
from exchanges.simulator.markets.candles import (
    BINANCE_INTERVALS,
    BYBIT_INTERVALS,
    DAY,
    MINUTE,
    candle_end,
    candle_start,
    fixed,
)
from exchanges.simulator.markets.catalog import DEFAULT_COINS, list_markets
from exchanges.simulator.markets.history import MINUTES
from exchanges.simulator.markets.market import Market, Trade
from exchanges.simulator.markets.price_model import Flow, PriceModel

START = 1_723_161_600_000  # Unix ms, the start of a minute


def a_market(coin: str = "BTC", seed: str = "1", now: int = START) -> Market:
    return Market(list_markets(0, [coin])[0], seed, f"{seed} shape", now)


def facts(trades: Sequence[Trade]) -> list[tuple[int, float, float, bool]]:
    return [(trade.id, trade.price, trade.quantity, trade.buyer_maker) for trade in trades]


def test_the_same_seed_gives_the_same_trades_and_history() -> None:
    one, two, other = (a_market(seed=seed) for seed in ("1", "1", "2"))
    assert facts(one.make(500, START)) == facts(two.make(300, START) + two.make(200, START + 5))
    assert facts(one.trades) != facts(other.make(500, START))
    day = 0, MINUTES
    assert one.history.candles(*day) == two.history.candles(*day) != other.history.candles(*day)
    assert one.history.candles(7, 9) == one.history.candles(*day)[7:9]


async def test_two_simulators_with_one_seed_make_the_same_trades_but_two_venues_do_not() -> None:
    one, two = Simulator(seed=7, rate=0), Simulator(seed=7, rate=0)
    for sim in (one, two):
        for venue in sim.venues.values():
            await venue.trade("BTC", count=50)
    assert facts(one["binance"].trades["BTC"]) == facts(two["binance"].trades["BTC"])
    assert facts(one["binance"].trades["BTC"]) != facts(one["bybit"].trades["BTC"])


def test_prices_stay_plausible_and_volatility_clusters() -> None:
    model = PriceModel("x", 6_000_000, 100)
    prices = [model.step()[0] for _ in range(100_000)]
    assert 0.5 < min(prices) / 6_000_000 <= max(prices) / 6_000_000 < 2
    spells = [prices[i : i + 500] for i in range(0, len(prices), 500)]
    widths = [pstdev(b - a for a, b in pairwise(spell)) for spell in spells]
    assert max(widths) > 3 * min(widths)
    calm = sorted(widths)[len(widths) // 2]
    after_hot = [b for a, b in pairwise(widths) if a > 1.5 * calm]
    assert after_hot
    assert sum(after_hot) / len(after_hot) > calm


def test_trades_come_at_the_given_rate_and_in_proportion_to_the_coins_weights() -> None:
    flow = Flow("x", [9.0, 1.0])
    orders = [order for _ in range(1000) for order in flow.orders(10.0)]
    made = [sum(count for market, count in orders if market == i) for i in (0, 1)]
    assert abs(sum(made) - 10_000) <= Flow.LONGEST
    assert 0.8 < made[0] / sum(made) < 0.97
    assert any(count > 1 for _, count in orders)


def test_candles_equal_the_venues_trades() -> None:
    market = a_market()
    for second in range(0, 600, 7):
        market.make(3, START + second * 1000)
    for interval in (MINUTE, 3 * MINUTE, 5 * MINUTE, 60 * MINUTE, 1000):
        candles = market.candles(interval, START, START + 600_000, START + 600_000)
        traded = [candle for candle in candles if candle.count]
        assert sum(candle.count for candle in traded) == len(market.trades)
        for candle in traded:
            check(candle, market, [t for t in market.trades if candle_start(t.timestamp, interval) == candle.start])


def check(candle: Any, market: Market, trades: list[Trade]) -> None:
    prices = [trade.price for trade in trades]
    assert (candle.open / market.scale, candle.close / market.scale) == (prices[0], prices[-1])
    assert (candle.high / market.scale, candle.low / market.scale) == (max(prices), min(prices))
    lots = [round(trade.quantity * market.lot_scale) for trade in trades]
    assert candle.lots == sum(lots)
    assert candle.turnover == sum(round(t.price * market.scale) * lot for t, lot in zip(trades, lots, strict=True))
    assert candle.buy_lots == sum(lot for t, lot in zip(trades, lots, strict=True) if not t.buyer_maker)
    assert (candle.count, candle.first_id, candle.last_id) == (len(trades), trades[0].id, trades[-1].id)


def test_candles_follow_each_other_without_a_gap() -> None:
    market = a_market()
    market.make(3, START + 1000)
    market.make(3, START + 4 * MINUTE)
    now = START + 6 * MINUTE
    candles = market.candles(MINUTE, START - 3 * MINUTE, now, now)
    assert [candle.start for candle in candles] == [START + i * MINUTE for i in range(-3, 7)]
    for before, after in pairwise(candles):
        if not after.count:
            assert after.open == after.high == after.low == after.close == before.close
    assert candles[2].close == market.start_price
    assert [candle.count for candle in candles[3:]] == [3, 0, 0, 0, 3, 0, 0]


@pytest.mark.parametrize("passed", [0, 30_000, 5 * MINUTE, DAY // 2, DAY + 5 * MINUTE])
def test_the_24_h_statistics_agree_with_the_minute_candles_of_the_last_day(passed: int) -> None:
    market = a_market("DOGE")
    for ms in range(0, passed + 1, max(1, passed // 50)):
        market.make(2, START + ms)
    now = START + passed
    day = market.day(now)
    candles = market.candles(MINUTE, now - now % MINUTE - DAY + MINUTE, now, now)
    assert len(candles) == 1440
    assert day.high == max(candle.high for candle in candles)
    assert day.low == min(candle.low for candle in candles)
    assert day.close == market.last_price == candles[-1].close
    assert day.lots == sum(candle.lots for candle in candles)
    assert day.count == sum(candle.count for candle in candles)
    assert day.turnover == pytest.approx(sum(candle.turnover for candle in candles), rel=1e-3)


def test_the_24_h_statistics_change_with_every_trade() -> None:
    market = a_market()
    before = market.day(START)
    trades = market.make(10, START + 1)
    after = market.day(START + 1)
    assert after.count - before.count == 10
    assert after.lots - before.lots == sum(round(t.quantity * market.lot_scale) for t in trades)


@given(st.sampled_from([*BINANCE_INTERVALS.values(), *BYBIT_INTERVALS.values()]), st.integers(0, 4_000_000_000_000))
def test_every_time_lies_in_exactly_one_candle(interval: int, ms: int) -> None:
    start = candle_start(ms, interval)
    end = candle_end(start, interval)
    assert start <= ms < end
    assert candle_start(start, interval) == start
    assert candle_start(end, interval) == end


@given(st.integers(-(10**15), 10**15), st.integers(0, 8))
def test_numbers_are_written_with_exact_decimals(amount: int, digits: int) -> None:
    assert Decimal(fixed(amount, digits)) == Decimal(amount).scaleb(-digits)
    assert Decimal(fixed(amount, digits, 8)) == Decimal(amount).scaleb(-digits)


def test_the_twenty_coins_are_listed_first_then_usdc_markets_then_invented_coins() -> None:
    listed = list_markets(3000)
    assert len(listed) == len({item.id for item in listed}) == 3000
    assert [item.coin for item in listed[:20]] == list(DEFAULT_COINS)
    assert [item.id for item in listed[20:25]] == ["BTCUSDC", "ETHUSDC", "SOLUSDC", "BNBUSDC", "XRPUSDC"]
    assert [item.id for item in list_markets(0, ["btc", "ETH/USDC", "PEPE"])] == ["BTCUSDT", "ETHUSDC", "PEPEUSDT"]


async def test_given_ids_must_increase_and_ids_continue_when_none_are_given() -> None:
    venue = Simulator(rate=0, venues=("binance",))["binance"]
    await venue.trade("BTC", ids=range(1, 4))
    with pytest.raises(SimulatorError, match="trade id 3 of BTCUSDT after 3"):
        await venue.trade("BTC", ids=[3])
    await venue.trade("BTC", count=2)
    assert [trade.id for trade in venue.trades["BTC"]] == [1, 2, 3, 4, 5]


async def test_the_error_for_an_unlisted_coin_names_the_listed_coins() -> None:
    venue = Simulator(rate=0, venues=("binance",), coins=["BTC", "ETH"])["binance"]
    with pytest.raises(SimulatorError, match="binance does not list 'NOPE'; listed are BTC, ETH"):
        await venue.trade("NOPE")
