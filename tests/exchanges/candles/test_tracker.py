"""Candles that a venue streams are closed exactly once, never with incomplete values; missed ones are told."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from exchanges.candles.missing import MAX_HOLES
from exchanges.candles.tracker import CandleTracker
from exchanges.events import Candle
from tests.exchanges.candles.support import MINUTE, READ_AT, T0, at, closed, row, updates


def tracker() -> CandleTracker:
    return CandleTracker("BTC", "1m", "binance")


def test_the_venues_flag_closes_a_candle_once() -> None:
    bars = tracker()
    assert bars.update(row(0, 11.0), READ_AT, False) == [
        Candle("BTC", "1m", T0, 10.0, 11.0, 10.0, 11.0, 1.0, False, "binance", READ_AT)
    ]
    assert closed(bars.update(row(0, 12.0), READ_AT + 1, True)) == [(0, 12.0)]
    assert bars.update(row(0, 12.0), READ_AT + 2, True) == []
    assert bars.late == 1
    after = bars.update(row(1, 13.0), READ_AT + 3, False)
    assert closed(after) == []
    assert updates(after) == [(1, 13.0)]


def test_without_flags_the_next_candle_closes_the_one_before_with_its_last_row() -> None:
    bars = tracker()
    bars.update(row(0, 11.0))
    bars.update(row(0, 12.0))
    candles = bars.update(row(1, 13.0))
    assert [(c.timestamp, c.close, c.closed) for c in candles] == [(at(0), 12.0, True), (at(1), 13.0, False)]
    assert bars.update(row(0, 99.0)) == []
    assert bars.late == 1


def test_a_delivered_candle_belongs_to_its_receiver() -> None:
    bars = tracker()
    [update] = bars.update(row(0, 11.0))
    update.close = 99.0  # a user's doing
    [ended, _] = bars.update(row(1))
    assert (ended.close, ended.closed) == (11.0, True)
    assert update.closed is False


def test_rows_that_are_no_candle_are_counted_and_change_nothing() -> None:
    bars = tracker()
    rows: list[Any] = [None, [], {}, [at(0), "x", 1, 1, 1, 1], [None] * 6]
    for bad in rows:
        assert bars.update(bad) == []
    assert bars.bad == 5
    assert updates(bars.update(row(0))) == [(0, 10.0)]


def test_candles_skipped_while_connected_are_no_holes() -> None:
    bars = tracker()
    bars.update(row(0))
    assert closed(bars.update(row(5))) == [(0, 10.0)]
    assert bars.holes() == []


def test_an_open_candle_that_the_venue_continues_after_a_loss_is_whole() -> None:
    bars = tracker()
    bars.update(row(0, 11.0))
    bars.interrupted()
    bars.update(row(0, 12.0))
    assert closed(bars.update(row(1))) == [(0, 12.0)]
    assert bars.holes() == []


def test_an_open_candle_that_ended_while_nobody_listened_is_a_hole_and_not_closed() -> None:
    bars = tracker()
    bars.update(row(0, 11.0))
    bars.interrupted()
    candles = bars.update(row(3, 13.0))
    assert closed(candles) == []
    assert updates(candles) == [(3, 13.0)]
    assert bars.holes() == [at(0), at(1), at(2)]
    filled = bars.fill([row(2, 7.0), row(0, 5.0), row(1, 6.0), row(3, 99.0), "junk"], READ_AT)
    assert closed(filled) == [(0, 5.0), (1, 6.0), (2, 7.0)]
    assert {c.received_at for c in filled} == {READ_AT}
    assert bars.holes() == []
    assert bars.fill([row(0), row(1)]) == []


def test_after_a_loss_right_after_a_close_only_the_candles_between_are_missing() -> None:
    bars = tracker()
    bars.update(row(0), 0, True)
    bars.interrupted()
    bars.update(row(0), 0, True)  # a venue repeats its newest closed candle at subscription
    bars.update(row(2), 0, False)
    assert bars.holes() == [at(1)]


def test_a_hole_that_the_venue_has_no_candle_for_is_no_hole_any_more() -> None:
    bars = tracker()
    bars.update(row(0))
    bars.interrupted()
    bars.update(row(4))
    assert closed(bars.fill([row(1), row(3)])) == [(1, 10.0), (3, 10.0)]
    assert bars.holes() == [at(0)]  # before the first row: the answer did not reach back that far
    assert bars.forget() == [at(0)]
    assert (bars.holes(), bars.lost) == ([], 1)


def test_the_venue_itself_may_fill_a_hole() -> None:
    bars = tracker()
    bars.update(row(0))
    bars.interrupted()
    bars.update(row(2), 0, False)
    assert bars.update(row(0, 12.0), 0, None) == []  # nobody says that these values are final
    assert closed(bars.update(row(0, 12.0), 0, True)) == [(0, 12.0)]
    assert bars.holes() == [at(1)]


def test_holes_are_bounded() -> None:
    bars = tracker()
    bars.update(row(0))
    bars.interrupted()
    bars.update(row(100_000))
    holes = bars.holes()
    assert len(holes) == MAX_HOLES
    assert holes[-1] == at(99_999)
    bars.interrupted()
    bars.update(row(100_010))
    assert len(bars.holes()) == MAX_HOLES
    assert bars.lost > 0


steps = st.lists(
    st.tuples(st.sampled_from(["row", "next", "skip", "late", "lost", "bad"]), st.booleans(), st.integers(1, 20)),
    max_size=60,
)


@given(steps=steps, flags=st.booleans())
def test_every_candle_is_closed_once_or_a_hole_whatever_happens(
    steps: list[tuple[str, bool, int]], flags: bool
) -> None:
    """Against a venue that numbers its rows: the close price of a candle says how many of its rows were seen."""
    bars = tracker()
    minute, price = 0, 10.0
    delivered = bars.update(row(0, price), 0, False if flags else None)
    down, skipped = False, set()
    final: dict[int, float] = {}  # what the venue itself closed each candle with
    for step, ends, amount in steps:
        if step == "bad":
            delivered += bars.update([at(minute)])
        elif step == "late" and minute > 0:
            delivered += bars.update(row(minute - 1, 5.0), 0, None)
        elif step == "lost":
            bars.interrupted()
            down = True  # the candles from here to the next row pass unseen
        elif step in ("next", "skip"):
            passed = amount if step == "skip" else 1
            if flags and not down and minute not in final:
                delivered += bars.update(row(minute, price), 0, True)
            final[minute] = price
            if not down:
                skipped |= set(range(minute + 1, minute + passed))
            minute += passed
            price = 10.0 + amount
            delivered += bars.update(row(minute, price), 0, False if flags else None)
            down = False
        elif step == "row" and minute not in final:
            price += 1.0
            closing = flags and ends
            delivered += bars.update(row(minute, price), 0, closing if flags else None)
            down = False
            if closing:
                final[minute] = price
    shut = closed(delivered)
    assert shut == sorted(set(shut)), "closed twice or out of order"
    holes = {(opened - T0) // MINUTE for opened in bars.holes()}
    assert not holes & {bar for bar, _ in shut}
    for bar, close in shut:
        assert final[bar] == close
    settled = holes | {bar for bar, _ in shut}
    assert set(range(minute)) - skipped <= settled
    filled = bars.fill([row(bar, 3.0) for bar in range(minute + 1)])
    assert {bar for bar, _ in closed(filled)} == holes
    assert bars.holes() == []


def test_a_candle_that_was_closed_undelivered_is_fetched_where_it_is_missing() -> None:
    bars = tracker()
    bars.update(row(1), closed=True)
    bars.owe([at(1)])
    assert bars.holes() == [at(1)]
