"""Every book is checked: its levels must be sorted and valid, and it may be crossed for one update at most."""

from __future__ import annotations

import pytest

from exchanges.books.plausibility import CrossedBooks, fault_in

BIDS, ASKS = [(10.0, 1.0), (9.0, 1.0)], [(11.0, 1.0), (12.0, 1.0)]


@pytest.mark.parametrize(
    ("bids", "asks", "fault"),
    [
        (BIDS, ASKS, ""),
        (BIDS[::-1], ASKS, "bids are not sorted"),
        (BIDS, [(11.0, 1.0), (11.0, 2.0)], "asks are not sorted"),
        ([(10.0, 0.0)], ASKS, "size 0"),
        ([(10.0, float("nan"))], ASKS, "size nan"),
        (BIDS, [(-1.0, 1.0)], "at -1"),
    ],
)
def test_invalid_levels_of_a_book_are_found(bids: object, asks: object, fault: str) -> None:
    assert fault in fault_in(bids, asks)  # type: ignore[arg-type] # rows as ccxt gives them
    assert bool(fault) is bool(fault_in(bids, asks))  # type: ignore[arg-type] # rows as ccxt gives them


def test_a_crossed_book_is_not_delivered_and_is_a_fault_if_the_next_update_is_crossed_too() -> None:
    crossed = CrossedBooks()
    assert crossed.on_book(10.0, 10.0, 0.0) == (False, "")
    assert crossed.on_book(10.0, 11.0, 0.1) == (True, "")
    assert crossed.on_book(12.0, 11.0, 0.2) == (False, "")
    delivered, reason = crossed.on_book(12.0, 11.0, 0.3)
    assert not delivered
    assert "crossed" in reason


def test_a_book_that_stays_crossed_for_a_second_without_an_update_is_overdue() -> None:
    crossed = CrossedBooks()
    crossed.on_book(12.0, 11.0, 5.0)
    assert not crossed.overdue(5.5)
    assert crossed.overdue(6.0)
