"""A book that is lost repeatedly is synchronized again after growing pauses."""

from __future__ import annotations

from itertools import islice

from exchanges.ccxt_adapter.books.pauses import PausesOfBooks, doubling


def test_a_pause_doubles_up_to_the_longest() -> None:
    assert list(islice(doubling(0.25, 2.0), 5)) == [0.25, 0.5, 1.0, 2.0, 2.0]


def test_a_book_is_synchronized_at_once_unless_it_is_lost_repeatedly() -> None:
    pauses = PausesOfBooks(1.0, 4.0, steady=60.0)
    assert [pauses.wait("BTC", now) for now in (0.0, 1.0, 2.0, 3.0, 4.0)] == [0.0, 1.0, 2.0, 4.0, 4.0]
    assert pauses.wait("ETH", 5.0) == 0.0
    assert [pauses.wait("BTC", now) for now in (64.0, 65.0)] == [0.0, 1.0]
