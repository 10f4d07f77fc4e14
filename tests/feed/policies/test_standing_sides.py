"""Sides of an order book that trades pass through."""

from __future__ import annotations

import pytest

from feed.policies.standing_sides import StandingSides

BIDS = [(10.0, 1.0), (9.0, 1.0)]
ASKS = [(11.0, 1.0), (12.0, 1.0)]


@pytest.mark.parametrize(("price", "name"), [(11.5, "asks"), (9.5, "bids")])
def test_a_side_that_stands_still_while_trades_pass_through_it_is_found(price: float, name: str) -> None:
    side = StandingSides()
    side.on_book(BIDS, ASKS, 0.0)
    side.on_trade(price, 1.0)
    side.on_trade(price, 2.9)
    assert side.fault(2.9) == ""
    assert name in side.fault(3.1)


def test_a_side_that_moves_after_the_trade_does_not_stand_still() -> None:
    side = StandingSides()
    side.on_book(BIDS, ASKS, 0.0)
    side.on_trade(11.5, 1.0)
    side.on_book(BIDS, [(11.0, 0.5)], 1.1)
    assert side.fault(10.0) == ""


def test_trades_inside_the_spread_and_at_the_best_levels_say_nothing() -> None:
    side = StandingSides()
    side.on_book(BIDS, ASKS, 0.0)
    for price in (10.0, 10.5, 11.0):
        side.on_trade(price, 1.0)
    assert side.fault(10.0) == ""
