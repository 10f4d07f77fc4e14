"""The sides of a book are sorted, have only levels of the proven range, and are bounded in size."""

from __future__ import annotations

import random

import pytest

from exchanges.books.order_book import KEPT_LEVELS, MOST_LEVELS, LocalBook, Side


def test_levels_come_best_first_on_both_sides() -> None:
    book = LocalBook()
    book.replace([(9.0, 1.0), (10.0, 2.0)], [(12.0, 1.0), (11.0, 2.0)], whole=(True, True))
    assert book.bids.top(5) == [(10.0, 2.0), (9.0, 1.0)]
    assert book.asks.top(1) == [(11.0, 2.0)]


@pytest.mark.parametrize("sign", [1, -1])
def test_a_side_equals_a_sorted_dict_after_any_updates(sign: int) -> None:
    draw = random.Random(sign)
    side, model = Side(sign), {float(price): 1.0 for price in range(100, 150)}
    side.replace(model.items(), whole=True)
    for _ in range(3_000):
        levels = [(float(draw.randint(80, 170)), float(draw.randint(0, 3))) for _ in range(draw.randint(0, 6))]
        side.apply(levels)
        for price, size in levels:
            model.pop(price, None)
            if size:
                model[price] = size
        assert side.top(1_000) == sorted(model.items(), reverse=sign == 1)


def test_a_level_outside_of_the_snapshots_range_is_not_kept() -> None:
    side = Side(1)
    side.replace([(10.0, 1.0), (9.0, 1.0)], whole=False)
    side.apply([(8.5, 3.0), (9.5, 1.0)])
    assert side.top(9) == [(10.0, 1.0), (9.5, 1.0), (9.0, 1.0)]


def test_memory_is_bounded_and_dropped_levels_are_not_proven() -> None:
    side = Side(1)
    side.replace([(float(price), 1.0) for price in range(1, 100)], whole=True)
    for price in range(100, MOST_LEVELS + 2):
        side.apply([(float(price), 1.0)])
    assert len(side) == KEPT_LEVELS
    assert side.bounded
    side.apply([(50.0, 1.0)])
    assert side.top(MOST_LEVELS)[-1][0] > 50.0


def test_two_books_are_compared_within_the_range_that_both_prove() -> None:
    one, other = LocalBook(), LocalBook()
    one.replace([(10.0, 1.0), (9.0, 1.0)], [(11.0, 1.0)], whole=(False, True))
    other.replace([(10.0, 1.0), (9.0, 1.0), (8.0, 1.0)], [(11.0, 1.0)], whole=(False, True))
    assert one.difference(other) == ""
    other.bids.apply([(9.0, 2.0)])
    assert one.difference(other) == "bid 9: 1 here, 2 there"
