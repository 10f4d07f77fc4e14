"""Volatility is the standard deviation of one-minute returns."""

from __future__ import annotations

import math
import statistics
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchanges.events import Candle
from feed.market_data.volatility import LARGEST, SMALLEST, Volatility

T0 = 1_723_075_200_000
prices = st.floats(min_value=1e-9, max_value=1e9)


def candle(minute: int, close: float, *, closed: bool = True, timeframe: str = "1m", exchange: str = "x") -> Candle:
    return Candle("BTC", timeframe, T0 + minute * 60_000, close, close, close, close, 1.0, closed, exchange)


def fed(*candles: Candle) -> Volatility:
    volatility = Volatility()
    for each in candles:
        volatility.add(each)
    return volatility


def deviation(closes: list[float]) -> float:
    returns = [math.log(b / a) for a, b in pairwise(closes)]
    return statistics.stdev(returns) * 100


@given(closes=st.lists(prices, min_size=SMALLEST, max_size=80), data=st.data())
def test_volatility_is_the_sample_standard_deviation_of_the_last_log_returns(
    closes: list[float], data: st.DataObject
) -> None:
    window = data.draw(st.integers(SMALLEST, len(closes)))
    candles = [candle(minute, close) for minute, close in enumerate(closes)]
    value = fed(*candles).volatility("BTC", window)
    assert value == pytest.approx(deviation(closes[-window:]), rel=1e-9, abs=1e-9)
    shuffled = data.draw(st.permutations(candles))
    assert fed(*shuffled).volatility("BTC", window) == value


def test_there_is_no_volatility_while_there_are_too_few_candles() -> None:
    volatility = fed(*(candle(minute, 100 + minute % 3) for minute in range(59)))
    assert volatility.volatility("BTC") is None
    assert volatility.volatility("ETH") is None
    volatility.add(candle(59, 101))
    assert volatility.volatility("BTC") is not None


def test_a_change_over_missing_minutes_is_left_out() -> None:
    """A change of 50 % over several missing minutes is not a one-minute return."""
    volatility = fed(candle(0, 100), candle(1, 101), candle(2, 102), candle(7, 150), candle(8, 151), candle(9, 152))
    returns = [math.log(b / a) for a, b in ((100, 101), (101, 102), (150, 151), (151, 152))]
    assert volatility.volatility("BTC", 6) == pytest.approx(statistics.stdev(returns) * 100)


def test_a_change_between_candles_of_two_venues_is_left_out() -> None:
    candles = [candle(0, 100), candle(1, 101), candle(2, 102), *(candle(m, 110.0 + m, exchange="y") for m in (3, 4, 5))]
    returns = [math.log(b / a) for a, b in ((100, 101), (101, 102), (113, 114), (114, 115))]
    assert fed(*candles).volatility("BTC", 6) == pytest.approx(statistics.stdev(returns) * 100)


def test_there_is_no_volatility_when_most_minutes_are_missing() -> None:
    assert fed(*(candle(2 * minute, 100 + minute) for minute in range(60))).volatility("BTC") is None


def test_a_missing_candle_that_comes_later_is_used() -> None:
    volatility = fed(candle(0, 100), candle(2, 103))
    volatility.add(candle(1, 101))
    assert volatility.volatility("BTC", 3) == pytest.approx(deviation([100, 101, 103]))


def test_a_candle_of_the_same_minute_replaces_the_earlier_one() -> None:
    assert fed(candle(0, 100), candle(1, 999), candle(2, 103), candle(1, 101)).volatility("BTC", 3) == pytest.approx(
        deviation([100, 101, 103])
    )


def test_open_candles_other_timeframes_and_impossible_closes_are_ignored() -> None:
    volatility = fed(candle(0, 100), candle(1, 101), candle(2, 103))
    before = volatility.volatility("BTC", 3)
    for ignored in (
        candle(3, 200, closed=False),
        candle(3, 200, timeframe="5m"),
        candle(3, math.nan),
        candle(3, math.inf),
        candle(3, 0.0),
        candle(3, -1.0),
    ):
        volatility.add(ignored)
    assert volatility.volatility("BTC", 3) == before


def test_extreme_prices_do_not_overflow() -> None:
    value = fed(candle(0, 1e-310), candle(1, 1e15), candle(2, 1e-310)).volatility("BTC", 3)
    assert value is not None
    assert math.isfinite(value)


def test_the_number_of_candles_kept_per_coin_is_limited() -> None:
    volatility = fed(*(candle(minute, 100 + minute % 7) for minute in range(LARGEST + 100)))
    assert volatility.volatility("BTC", LARGEST) == pytest.approx(
        deviation([100 + minute % 7 for minute in range(100, LARGEST + 100)])
    )
    assert volatility.count("BTC") == LARGEST
    volatility.add(candle(-1, 5))  # older than every candle that is kept
    assert volatility.count("BTC") == LARGEST
    volatility.forget("BTC")
    assert volatility.volatility("BTC", 3) is None


@pytest.mark.parametrize("window", [0, 2, -60, LARGEST + 1, 60.0, True, None, "60"])
def test_the_error_for_a_window_out_of_range_says_what_is_allowed(window: Any) -> None:
    with pytest.raises(ValueError, match=f"from {SMALLEST} to {LARGEST}"):
        Volatility().volatility("BTC", window)
