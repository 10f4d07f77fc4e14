"""Prices and times decide whether the first price of another market is accepted."""

from __future__ import annotations

from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feed.policies.price_plausibility import ALONE, PricePlausibility, VenueMarket

A, B, C = (VenueMarket(name, "NEIRO/USDT") for name in ("a", "b", "c"))
B_TOO = VenueMarket("b", "NEIRO/USDC")


@pytest.fixture
def policy() -> PricePlausibility:
    return PricePlausibility(1.5)


def test_a_price_near_the_last_price_is_plausible(policy: PricePlausibility) -> None:
    assert policy.judge("NEIRO", B, 1.49, 0.0, 1.0, 0.0) == (True, None)
    assert policy.judge("NEIRO", B, 1 / 1.49, 0.0, 1.0, 0.0) == (True, None)
    assert policy.withheld("NEIRO") == {}


@pytest.mark.parametrize("price", [1.51, 1 / 1.51, 100.0, 0.01])
def test_a_price_too_far_in_either_direction_is_withheld_and_reported_once(
    policy: PricePlausibility, price: float
) -> None:
    first = policy.judge("NEIRO", B, price, 0.0, 1.0, 0.0)
    assert not first.plausible
    assert first.told == pytest.approx(max(price, 1 / price))
    assert policy.judge("NEIRO", B, price, 1.0, 1.0, 1.0) == (False, None)
    assert list(policy.withheld("NEIRO")) == [B]
    assert policy.withheld("OTHER") == {}


def test_the_older_the_last_price_is_the_more_the_next_price_may_differ(policy: PricePlausibility) -> None:
    assert policy.allowed(0.0) == pytest.approx(1.5)
    assert policy.allowed(600.0) == pytest.approx(1.5**2)
    assert policy.allowed(3600.0) == pytest.approx(1.5**7)
    assert policy.allowed(1e12) < inf
    assert not policy.judge("NEIRO", B, 2.0, 0.0, 1.0, 300.0).plausible
    assert policy.judge("NEIRO", B, 2.0, 0.0, 1.0, 600.0).plausible


@pytest.mark.parametrize("unknown", [None, nan, 0.0, -1.0, inf])
def test_the_first_price_is_accepted_without_a_comparison(policy: PricePlausibility, unknown: float | None) -> None:
    assert policy.judge("NEIRO", B, 1.0, 0.0, unknown, 0.0).plausible


@pytest.mark.parametrize("price", [nan, 0.0, -1.0, inf])
def test_an_invalid_price_is_ignored(policy: PricePlausibility, price: float) -> None:
    assert policy.judge("NEIRO", B, price, 0.0, 1.0, 0.0) == (False, None)
    assert policy.withheld("NEIRO") == {}


def test_two_venues_that_agree_overrule_the_old_price(policy: PricePlausibility) -> None:
    policy.judge("NEIRO", B, 100.0, 0.0, 1.0, 0.0)
    assert policy.judge("NEIRO", C, 101.0, 5.0, 1.0, 5.0).plausible
    assert policy.withheld("NEIRO") == {}


def test_two_markets_of_one_venue_count_as_one_venue(policy: PricePlausibility) -> None:
    policy.judge("NEIRO", B, 100.0, 0.0, 1.0, 0.0)
    assert not policy.judge("NEIRO", B_TOO, 100.0, 1.0, 1.0, 1.0).plausible


def test_two_venues_that_contradict_each_other_are_both_withheld(policy: PricePlausibility) -> None:
    policy.judge("NEIRO", B, 100.0, 0.0, 1.0, 0.0)
    assert not policy.judge("NEIRO", C, 0.01, 1.0, 1.0, 1.0).plausible
    assert set(policy.withheld("NEIRO")) == {B, C}


def test_an_old_price_of_another_market_does_not_count_as_agreement(policy: PricePlausibility) -> None:
    policy.judge("NEIRO", B, 100.0, 0.0, 1.0, 0.0)
    assert not policy.judge("NEIRO", C, 100.0, ALONE + 1, 1.0, 0.0).plausible


def test_a_price_is_accepted_after_ten_minutes_without_any_other_price(policy: PricePlausibility) -> None:
    for second in range(0, 600, 10):
        assert not policy.judge("NEIRO", B, 100.0, float(second), 1.0, float(second)).plausible
    assert policy.judge("NEIRO", B, 100.0, ALONE, 1.0, ALONE).plausible
    assert policy.withheld("NEIRO") == {}


def test_a_single_deviating_market_stays_withheld_while_the_old_price_is_renewed(policy: PricePlausibility) -> None:
    for second in range(0, 3600, 10):
        assert not policy.judge("NEIRO", B, 100.0, float(second), 1.0, 0.5).plausible


def test_a_withheld_market_is_released_when_the_old_venue_agrees(policy: PricePlausibility) -> None:
    policy.judge("NEIRO", B, 100.0, 0.0, 1.0, 0.0)
    assert policy.judge("NEIRO", B, 100.0, 20.0, 90.0, 0.1).plausible
    assert policy.withheld("NEIRO") == {}


def test_a_mismatch_is_reported_again_if_the_next_price_of_the_market_comes_much_later(
    policy: PricePlausibility,
) -> None:
    assert policy.judge("NEIRO", B, 100.0, 0.0, 1.0, 0.0).told is not None
    assert policy.judge("NEIRO", B, 100.0, ALONE + 1, 1.0, 0.0).told is not None


def test_a_coin_that_is_removed_is_forgotten(policy: PricePlausibility) -> None:
    policy.judge("NEIRO", B, 100.0, 0.0, 1.0, 0.0)
    policy.forget("NEIRO")
    assert policy.withheld("NEIRO") == {}


_PRICES = st.floats(1e-9, 1e9)


@given(_PRICES, _PRICES, st.floats(0.0, 1e9))
def test_the_result_does_not_depend_on_which_price_is_older(one: float, other: float, age: float) -> None:
    forth = PricePlausibility(1.5).judge("NEIRO", B, one, 0.0, other, age)
    back = PricePlausibility(1.5).judge("NEIRO", B, other, 0.0, one, age)
    assert forth.plausible == back.plausible
