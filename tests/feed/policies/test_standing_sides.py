"""Finds a side of an order book that stands still although trades pass through it or quotes contradict it."""

from __future__ import annotations

import pytest

from feed.policies.standing_sides import ALONE, StandingSides

BIDS = [(10.0, 1.0), (9.0, 1.0)]
ASKS = [(11.0, 1.0), (12.0, 1.0)]


@pytest.mark.parametrize(("price", "name"), [(11.5, "asks"), (9.5, "bids")])
def test_a_side_that_stands_still_while_trades_pass_through_it_is_found(price: float, name: str) -> None:
    side = StandingSides()
    side.on_book(BIDS, ASKS, 0.0)
    side.on_trade(price, price < 10, 1.0)
    side.on_trade(price, price < 10, 2.9)
    assert side.fault(2.9) == ""
    assert name in side.fault(3.1)


def test_a_side_that_moves_after_the_trade_does_not_stand_still() -> None:
    side = StandingSides()
    side.on_book(BIDS, ASKS, 0.0)
    side.on_trade(11.5, False, 1.0)
    side.on_book(BIDS, [(11.0, 0.5)], 1.1)
    assert side.fault(10.0) == ""


def test_trades_at_the_best_levels_cause_no_doubt() -> None:
    side = StandingSides()
    side.on_book(BIDS, ASKS, 0.0)
    for _ in range(5):
        side.on_trade(10.0, True, 1.0)
        side.on_trade(11.0, False, 1.0)
    assert side.fault(10.0) == ""


@pytest.mark.parametrize(("sold", "name"), [(True, "bids"), (False, "asks")])
def test_a_side_that_stands_still_while_takers_trade_at_better_prices_is_found(sold: bool, name: str) -> None:
    """The trades filled orders that the book does not show, so this side of the book does not follow the market."""
    side = StandingSides()
    side.on_book(BIDS, ASKS, 0.0)
    for now in (1.0, 2.0, 2.9):
        side.on_trade(10.5, sold, now)
    assert side.fault(2.9) == ""
    assert f"its {name} stand still" in side.fault(3.1)
    side.on_book(BIDS[:1], ASKS[:1], 3.2)
    assert side.fault(10.0) == ""


def test_one_or_two_trades_with_hidden_orders_cause_no_doubt() -> None:
    side = StandingSides()
    side.on_book(BIDS, ASKS, 0.0)
    side.on_trade(10.5, True, 1.0)
    side.on_trade(10.5, True, 2.0)
    assert side.fault(10.0) == ""


@pytest.mark.parametrize(("changes", "found"), [(ALONE - 1, False), (ALONE, True)])
def test_one_trade_at_a_better_price_is_enough_while_only_the_other_side_changes(changes: int, found: bool) -> None:
    side = StandingSides()
    side.on_book(BIDS, ASKS, 0.0)
    for number in range(changes):
        side.on_book([(10.0, 2.0 + number)], ASKS, 0.1)
    side.on_trade(10.5, False, 1.0)
    assert side.fault(2.9) == ""
    assert ("its asks stand still" in side.fault(3.1)) is found


def test_trades_at_better_prices_cause_no_doubt_if_the_book_may_already_contain_them() -> None:
    """One order makes several trades. The venue may send the book, which has no timestamp, before these trades."""
    side = StandingSides()
    side.on_book(BIDS, ASKS, 0.0)
    for now in (0.1, 0.2, 0.3):
        side.on_trade(10.5, True, now, stamped=False)
    assert side.fault(10.0) == ""
    side.on_trade(9.5, True, 11.0, stamped=False)
    assert "its bids stand still" in side.fault(14.0)


@pytest.mark.parametrize(("bid", "ask", "name"), [(10.5, 11.0, "bids"), (10.0, 11.5, "asks")])
def test_a_side_that_stands_still_while_quotes_have_another_best_price_is_found(
    bid: float, ask: float, name: str
) -> None:
    side = StandingSides()
    side.on_book(BIDS, ASKS, 0.0)
    for now in (1.0, 2.0, 2.9):
        side.on_quote(bid, ask, now)
    assert side.fault(2.9) == ""
    assert f"its {name} stand still" in side.fault(3.1)
    side.on_book(BIDS[:1], ASKS[:1], 3.2)
    assert side.fault(10.0) == ""


def test_a_quote_that_agrees_ends_the_doubt_and_a_few_different_quotes_cause_no_doubt() -> None:
    side = StandingSides()
    side.on_book(BIDS, ASKS, 0.0)
    for now in (1.0, 2.0):
        side.on_quote(10.5, 11.5, now)
    assert side.fault(9.0) == ""
    side.on_quote(10.0, 11.0, 9.0)
    for now in (9.1, 9.2, 9.3):
        side.on_quote(10.5, 11.5, now)
    assert side.fault(11.0) == ""
