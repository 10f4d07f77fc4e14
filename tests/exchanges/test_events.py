"""The methods of an order book give right values, and raise for wrong arguments."""

from __future__ import annotations

import pytest

from feed import OrderBook

BOOK = OrderBook("BTC", [(99.0, 1.0), (98.0, 3.0)], [(101.0, 2.0), (103.0, 2.0)], 0)


def test_best_prices_mid_and_spread_are_computed() -> None:
    assert (BOOK.best_bid, BOOK.best_ask, BOOK.mid, BOOK.spread) == (99.0, 101.0, 100.0, 2.0)


def test_an_empty_side_has_no_price() -> None:
    book = OrderBook("BTC", [], [(101.0, 2.0)], 0)
    assert (book.best_bid, book.mid, book.spread) == (None, None, None)
    assert OrderBook("BTC", [], [], 0).imbalance() is None


@pytest.mark.parametrize(
    ("side", "quantity", "average"),
    [("buy", 2.0, 101.0), ("buy", 3.0, 305 / 3), ("sell", 4.0, 98.25), ("buy", 4.0, 102.0), ("sell", 4.1, None)],
)
def test_the_average_price_is_that_of_the_levels_that_an_order_would_fill(
    side: str, quantity: float, average: float | None
) -> None:
    assert BOOK.cost(side, quantity) == pytest.approx(average)


@pytest.mark.parametrize(("side", "quantity"), [("Buy", 1.0), ("buy", 0.0), ("sell", float("nan"))])
def test_a_wrong_argument_is_refused(side: str, quantity: float) -> None:
    with pytest.raises(ValueError, match="allowed"):
        BOOK.cost(side, quantity)


def test_imbalance_compares_the_best_levels() -> None:
    assert BOOK.imbalance(1) == pytest.approx(-1 / 3)
    assert BOOK.imbalance() == 0.0
    with pytest.raises(ValueError, match="allowed"):
        BOOK.imbalance(0)


@pytest.mark.parametrize(("sizes", "quantity"), [([0.7, 0.1], 0.8), ([0.1] * 10, 1.0), ([1e-8, 2e-8], 3e-8)])
def test_the_quantity_of_the_whole_book_has_a_cost_despite_rounding(sizes: list[float], quantity: float) -> None:
    levels = [(100.0, size) for size in sizes]
    book = OrderBook("BTC", levels, levels, 0)
    assert book.cost("buy", quantity) == book.cost("sell", quantity) == pytest.approx(100.0)
    assert book.cost("buy", quantity * 1.000001) is None
