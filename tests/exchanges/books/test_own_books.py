"""Books that this project keeps itself, from a snapshot and diffs (Binance) or from a snapshot and deltas (Bybit)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from exchanges.books.delta_book import DeltaBook
from exchanges.books.diff_book import DiffBook
from exchanges.books.proof import BookSnapshot, BookUpdate, Step

BIDS, ASKS = [(10.0, 1.0), (9.0, 1.0), (8.0, 1.0)], [(11.0, 1.0), (12.0, 1.0), (13.0, 1.0)]
LIMITS = (3, 10, 100)


def diff(first: int, last: int, bids: Sequence[Any] = (), asks: Sequence[Any] = (), **more: Any) -> BookUpdate:
    stamp, read = more.pop("timestamp", last), more.pop("received_at", 0)
    return BookUpdate("", "BTCUSDT", list(bids), list(asks), last, stamp, read, first, **more)


def snapshot(number: int, limit: int = 3) -> BookSnapshot:
    return BookSnapshot(BIDS, ASKS, number, limit)


def joined(*, depth: int = 1) -> DiffBook:
    book = DiffBook(depth, LIMITS)
    book.apply(diff(1, 5))
    assert book.join(snapshot(5)).step is Step.JOINED
    return book


@pytest.mark.parametrize(("number", "step"), [(3, Step.WAITING), (4, Step.JOINED), (5, Step.JOINED), (9, Step.JOINED)])
def test_a_snapshot_joins_the_diffs_by_the_documented_rule(number: int, step: Step) -> None:
    book = DiffBook(1, LIMITS)
    assert book.apply(diff(5, 7, [(10.0, 7.0)])).step is Step.WAITING
    book.apply(diff(8, 9, [(9.5, 9.0)]))
    assert book.join(snapshot(number)).step is step
    if step is Step.JOINED:
        assert book.sequence == 9
        sizes = dict(book.levels.bids.top(3))
        assert sizes[10.0] == (7.0 if number < 7 else 1.0)
        assert (9.5 in sizes) is (number < 9)


def test_a_snapshot_newer_than_every_diff_waits_for_the_diff_that_joins_it() -> None:
    book = DiffBook(1, LIMITS)
    book.apply(diff(1, 5))
    assert book.join(snapshot(8)).step is Step.WAITING
    assert book.wants_snapshot() == 0
    assert book.apply(diff(6, 7, [(10.0, 7.0)])).step is Step.WAITING
    assert book.apply(diff(8, 9, [(10.0, 9.0)])).step is Step.JOINED
    assert book.levels.bids.top(1) == [(10.0, 9.0)]


def test_diffs_too_old_for_any_snapshot_are_dropped() -> None:
    book = DiffBook(1, LIMITS)
    for number in range(1, 40):
        book.apply(diff(number, number, received_at=number * 1_000_000_000))
    assert book.join(snapshot(20)).step is Step.WAITING
    assert book.join(snapshot(25)).step is Step.JOINED
    assert book.sequence == 39


def test_no_snapshot_is_requested_before_the_first_diff() -> None:
    book = DiffBook(1, LIMITS)
    assert book.wants_snapshot() == 0
    book.apply(diff(1, 5))
    assert book.wants_snapshot() == 10


def test_after_a_missing_diff_the_book_joins_a_new_snapshot() -> None:
    book = joined()
    assert book.apply(diff(6, 7)).step is Step.FOLLOWS
    verdict = book.apply(diff(9, 10))
    assert verdict.step is Step.LOST
    assert "after 7 came 9 to 10" in verdict.reason
    assert not book.proven
    assert book.wants_snapshot()
    assert book.join(snapshot(10)).step is Step.JOINED


def test_a_repeated_diff_changes_nothing() -> None:
    book = joined()
    book.apply(diff(6, 7, [(10.0, 5.0)]))
    assert book.apply(diff(5, 6, [(10.0, 3.0)])).step is Step.REPEATED
    assert book.levels.bids.top(1) == [(10.0, 5.0)]


def test_numbers_that_restart_count_as_a_loss_and_not_as_repeated_diffs() -> None:
    book = joined()
    book.apply(diff(6, 7, timestamp=1_000_000))
    assert book.apply(diff(1, 2, timestamp=1_005_000)).step is Step.LOST


def test_diffs_of_perpetuals_follow_the_diff_that_they_name() -> None:
    book = DiffBook(1, LIMITS)
    book.apply(diff(10, 20, previous=8))
    book.apply(diff(25, 30, previous=20))
    assert book.join(snapshot(15)).step is Step.JOINED
    assert book.sequence == 30
    assert book.apply(diff(35, 40, previous=30)).step is Step.FOLLOWS
    assert book.apply(diff(45, 50, previous=41)).step is Step.LOST


def test_the_first_snapshot_has_few_levels_and_the_next_snapshot_has_many() -> None:
    book = DiffBook(1, LIMITS)
    book.apply(diff(1, 5))
    assert book.wants_snapshot() == 10
    book.join(BookSnapshot(BIDS, ASKS, 5, 3))
    assert book.wants_snapshot() == 100
    book.join(BookSnapshot(BIDS, ASKS, 5, 100))
    assert book.wants_snapshot() == 0


def test_after_a_too_small_snapshot_larger_snapshots_are_requested_until_one_has_joined() -> None:
    """Larger snapshots cost more of the venue's weight, which other coins' books need."""
    book = joined()
    assert book.apply(diff(6, 6, bids=[(10.0, 0.0), (9.0, 0.0), (8.0, 0.0), (7.0, 1.0)])).step is Step.LOST
    assert book.wants_snapshot() == 100
    assert book.join(BookSnapshot([(7.0, 1.0)], ASKS, 6, 100)).step is Step.JOINED
    book.forget()
    book.apply(diff(7, 7))
    assert book.wants_snapshot() == 10


def test_if_the_price_has_already_left_a_snapshots_range_a_larger_snapshot_is_requested() -> None:
    """REST may take a second, in which the price moves."""
    book = DiffBook(1, LIMITS)
    book.apply(diff(1, 5))
    assert book.wants_snapshot() == 10
    book.apply(diff(6, 6, bids=[(10.0, 0.0), (9.0, 0.0), (8.0, 0.0), (7.0, 1.0)]))
    assert book.join(BookSnapshot(BIDS, ASKS, 5, 3)).step is Step.WAITING
    assert book.wants_snapshot() == 100


def test_a_book_with_half_of_its_levels_is_proven_and_a_book_with_an_empty_side_is_not() -> None:
    book = DiffBook(1, (3,))
    book.apply(diff(1, 5))
    book.join(snapshot(5))
    assert book.wants_snapshot() == 0
    book.apply(diff(6, 6, asks=[(11.0, 0.0), (12.0, 0.0), (13.0, 0.0), (12.5, 1.0)]))
    assert book.proven
    assert book.wants_snapshot() == 0  # half of a snapshot's levels are enough
    book = DiffBook(2, (3,))
    book.apply(diff(1, 5))
    book.join(snapshot(5))
    book.apply(diff(6, 6, asks=[(11.0, 0.0), (12.0, 0.0), (13.0, 0.0)], bids=[(10.5, 1.0)]))
    assert not book.proven


def test_a_book_is_renewed_when_few_levels_are_left() -> None:
    bids = [(100.0 - n, 1.0) for n in range(10)]
    asks = [(101.0 + n, 1.0) for n in range(10)]
    book = DiffBook(2, (10,))
    book.apply(diff(1, 5))
    book.join(BookSnapshot(bids, asks, 5, 10))
    assert book.wants_snapshot() == 0
    book.apply(diff(6, 6, asks=[(101.0 + n, 0.0) for n in range(7)]))
    assert book.proven
    assert book.wants_snapshot() == 10
    new = [(108.0 + n, 1.0) for n in range(10)]
    assert book.join(BookSnapshot(bids, new, 6, 10)).step is Step.JOINED
    assert book.levels.asks.top(20) == new


def test_a_proven_book_is_compared_with_a_small_snapshot_at_intervals() -> None:
    book = DiffBook(1, LIMITS)
    book.apply(diff(1, 5))
    book.join(BookSnapshot(BIDS, ASKS, 5, 100))
    book.apply(diff(6, 6, timestamp=70_000))
    assert book.wants_snapshot() == 10
    assert book.join(BookSnapshot(BIDS, ASKS, 6, 10)).step is Step.FOLLOWS
    assert book.wants_snapshot() == 0
    book.apply(diff(7, 7, timestamp=140_000))
    assert book.join(BookSnapshot([(10.0, 9.0)], ASKS, 7, 10)).step is Step.LOST


@pytest.mark.parametrize("frozen", ["bids", "asks"])
def test_if_only_one_side_changes_the_book_is_compared_with_a_snapshot_and_less_often_if_they_agree(
    frozen: str,
) -> None:
    book = DiffBook(1, LIMITS, first=10)  # the snapshot has 10 levels, so that it need not be renewed
    book.apply(diff(1, 5))
    assert book.join(BookSnapshot(BIDS, ASKS, 5, 10)).step is Step.JOINED

    def move(number: int) -> BookUpdate:
        level = [(10.0, float(number))] if frozen == "asks" else [(11.0, float(number))]
        return diff(number, number, *((level, []) if frozen == "asks" else ([], level)))

    for number in range(6, 10):
        book.apply(move(number))
        assert book.wants_snapshot() == 0
    book.apply(diff(10, 10, [(10.0, 1.0)], [(11.0, 1.0)]))
    for number in range(11, 16):
        assert book.wants_snapshot() == 0
        book.apply(move(number))
    assert book.wants_snapshot() == 10
    right = BookSnapshot(book.levels.bids.top(3), book.levels.asks.top(3), 15, 10)
    assert book.join(right).step in (Step.FOLLOWS, Step.JOINED)
    for number in range(16, 21):
        assert book.wants_snapshot() == 0
        book.apply(move(number))
    assert book.wants_snapshot() == 10  # after a snapshot that agreed, it takes ten updates of one side in a row
    assert book.join(BookSnapshot(BIDS[1:], ASKS[1:], 20, 10)).step is Step.LOST


def test_a_book_whose_sides_change_in_turn_is_not_compared() -> None:
    book = joined()
    book.join(snapshot(5, limit=100))
    for number in range(6, 60, 2):
        book.apply(diff(number, number, [(10.0, float(number))]))
        book.apply(diff(number + 1, number + 1, [], [(11.0, float(number))]))
        assert book.wants_snapshot() == 0


def test_a_book_that_differs_from_a_new_snapshot_is_not_proven() -> None:
    book = joined()
    verdict = book.join(BookSnapshot([(10.0, 2.0)], ASKS, 5, 3))
    assert verdict.step is Step.LOST
    assert "bid 10" in verdict.reason


def test_a_book_is_not_proven_while_the_price_is_outside_of_its_range() -> None:
    book = joined()
    verdict = book.apply(diff(6, 6, bids=[(10.0, 0.0), (9.0, 0.0), (8.0, 0.0), (7.0, 1.0)]))
    assert verdict.step is Step.LOST
    assert "range" in verdict.reason
    assert book.apply(diff(7, 7, bids=[(6.0, 1.0)])).step is Step.WAITING
    assert book.wants_snapshot()
    assert book.apply(diff(8, 8, bids=[(8.5, 2.0)])).step is Step.JOINED
    assert book.levels.bids.top(5) == [(8.5, 2.0)]


def test_a_new_snapshot_proves_a_book_whose_price_has_left_the_range() -> None:
    book = joined()
    book.apply(diff(6, 6, bids=[(10.0, 0.0), (9.0, 0.0), (8.0, 0.0), (7.0, 1.0)]))
    assert book.join(BookSnapshot([(7.0, 1.0), (6.0, 1.0)], ASKS, 6, 3)).step is Step.JOINED
    assert book.levels.bids.top(5) == [(7.0, 1.0), (6.0, 1.0)]


def bybit(last: int, bids: Sequence[Any] = (), asks: Sequence[Any] = (), cross: int | None = None) -> BookUpdate:
    return BookUpdate("", "BTCUSDT", list(bids), list(asks), last, last, 0, cross=cross)


def begun(last: int = 5, cross: int = 50) -> BookUpdate:
    return BookUpdate("", "BTCUSDT", list(BIDS), list(ASKS), last, last, 0, snapshot=True, cross=cross)


def test_deltas_follow_a_snapshot_and_the_book_is_cut_to_the_venues_depth() -> None:
    book = DeltaBook(3)
    assert book.apply(bybit(4)).step is Step.WAITING
    assert book.apply(begun()).step is Step.JOINED
    assert book.apply(bybit(6, [(9.5, 2.0)])).step is Step.FOLLOWS
    assert book.levels.bids.top(9) == [(10.0, 1.0), (9.5, 2.0), (9.0, 1.0)]
    book.apply(bybit(7, [(10.0, 0.0), (9.5, 0.0), (8.0, 4.0), (7.0, 5.0)]))
    assert book.levels.bids.top(9) == [(9.0, 1.0), (8.0, 4.0), (7.0, 5.0)]


def test_after_a_missing_delta_the_book_is_lost_until_the_next_snapshot() -> None:
    book = DeltaBook(3)
    book.apply(begun())
    assert book.apply(bybit(7)).step is Step.LOST
    assert book.apply(bybit(8)).step is Step.WAITING
    assert book.apply(begun(9, 60)).step is Step.JOINED


def test_a_snapshot_after_the_venues_restart_replaces_the_book() -> None:
    book = DeltaBook(3)
    book.apply(begun(500, 50))
    assert book.apply(begun(1, 60)).step is Step.JOINED
    assert book.apply(bybit(2, cross=61)).step is Step.FOLLOWS


def test_numbers_that_restart_without_a_snapshot_count_as_a_loss() -> None:
    book = DeltaBook(3)
    book.apply(begun(500, 50))
    assert book.apply(bybit(499, cross=49)).step is Step.REPEATED
    assert book.apply(bybit(3, cross=60)).step is Step.LOST
