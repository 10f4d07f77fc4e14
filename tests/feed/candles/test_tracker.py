"""Candles that a venue streams are closed exactly once, never with incomplete values; missed candles are reported."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchanges.events import Candle
from feed.candles.missing import DOUBT, MAX_HOLES
from feed.candles.tracker import SETTLED, CandleTracker
from tests.feed.candles.support import MINUTE, READ_AT, T0, answer, at, closed, follow, row, updates

SECOND = 1_000_000_000  # ns


def tracker() -> CandleTracker:
    return CandleTracker("BTC", "1m", "binance")


def test_the_venues_flag_closes_a_candle_once() -> None:
    tracked = tracker()
    assert follow(tracked, row(0, 11.0), READ_AT, False) == [
        Candle("BTC", "1m", T0, 10.0, 11.0, 10.0, 11.0, 1.0, False, "binance", READ_AT)
    ]
    assert closed(follow(tracked, row(0, 12.0), at(1) * 1_000_000, True)) == [(0, 12.0)]
    assert follow(tracked, row(0, 12.0), at(1) * 1_000_000, True) == []
    after = follow(tracked, row(1, 13.0), at(1) * 1_000_000, False)
    assert closed(after) == []
    assert updates(after) == [(1, 13.0)]


def test_without_flags_a_candle_is_closed_with_its_last_row_when_the_next_candle_begins() -> None:
    tracked = tracker()
    follow(tracked, row(0, 11.0))
    follow(tracked, row(0, 12.0))
    candles = follow(tracked, row(1, 13.0))
    assert [(c.timestamp, c.close, c.closed) for c in candles] == [(at(0), 12.0, True), (at(1), 13.0, False)]
    assert follow(tracked, row(0, 99.0)) == []


def test_a_receiver_that_changes_its_candle_does_not_change_the_trackers_candle() -> None:
    tracked = tracker()
    [update] = follow(tracked, row(0, 11.0))
    update.close = 99.0  # a user changes the candle
    [ended, _] = follow(tracked, row(1))
    assert (ended.close, ended.closed) == (11.0, True)
    assert update.closed is False


def test_candles_skipped_while_connected_are_not_requested() -> None:
    tracked = tracker()
    follow(tracked, row(0))
    assert closed(follow(tracked, row(5))) == [(0, 10.0)]
    assert tracked.holes() == []


def test_an_open_candle_that_the_venue_continues_after_an_interruption_is_complete() -> None:
    tracked = tracker()
    follow(tracked, row(0, 11.0))
    tracked.interrupted()
    follow(tracked, row(0, 12.0))
    assert closed(follow(tracked, row(1))) == [(0, 12.0)]
    assert tracked.holes() == []


def test_an_open_candle_that_ended_during_an_outage_is_a_hole() -> None:
    tracked = tracker()
    follow(tracked, row(0, 11.0))
    tracked.interrupted()
    candles = follow(tracked, row(3, 13.0))
    assert closed(candles) == []
    assert updates(candles) == [(3, 13.0)]
    assert tracked.holes() == [at(0), at(1), at(2)]
    filled = tracked.fill(answer(row(2, 7.0), row(0, 5.0), row(1, 6.0), row(3, 99.0)), READ_AT)
    assert closed(filled) == [(0, 5.0), (1, 6.0), (2, 7.0)]
    assert {c.received_at for c in filled} == {READ_AT}
    assert tracked.holes() == []
    assert tracked.fill(answer(row(0), row(1))) == []


def test_if_data_is_lost_right_after_a_candle_closed_only_candles_up_to_the_next_row_are_missing() -> None:
    tracked = tracker()
    follow(tracked, row(0), 0, True)
    tracked.interrupted()
    follow(tracked, row(0), 0, True)  # a venue repeats its newest closed candle at subscription
    follow(tracked, row(2), 0, False)
    assert tracked.holes() == [at(1)]


def test_a_missing_candle_that_the_venue_lacks_too_is_requested_only_once() -> None:
    tracked = tracker()
    follow(tracked, row(0))
    tracked.interrupted()
    follow(tracked, row(4))
    assert closed(tracked.fill(answer(row(1), row(3), row(4)))) == [(1, 10.0), (3, 10.0)]
    assert tracked.holes() == [at(0)]  # this candle is before the answer's first row
    assert tracked.forget() == [at(0)]
    assert (tracked.holes(), tracked.lost) == ([], 1)


def test_a_row_that_the_venue_flags_as_closed_fills_a_hole() -> None:
    tracked = tracker()
    follow(tracked, row(0))
    tracked.interrupted()
    follow(tracked, row(2), 0, False)
    assert follow(tracked, row(0, 12.0), 0, None) == []  # nothing shows that these values are final
    assert closed(follow(tracked, row(0, 12.0), 0, True)) == [(0, 12.0)]
    assert tracked.holes() == [at(1)]


def test_the_number_of_holes_is_limited() -> None:
    tracked = tracker()
    follow(tracked, row(0))
    tracked.interrupted()
    follow(tracked, row(100_000))
    holes = tracked.holes()
    assert len(holes) == MAX_HOLES
    assert holes[-1] == at(99_999)
    tracked.interrupted()
    follow(tracked, row(100_010))
    assert len(tracked.holes()) == MAX_HOLES
    assert tracked.lost > 0


# --- rows with a wrong time -------------------------------------------------------------------------------------------

HOUR = 60


@pytest.mark.parametrize("flags", [True, False], ids=["with flags", "without"])
@pytest.mark.parametrize("wrong", [HOUR, 1, 24 * HOUR, -HOUR, -24 * HOUR, 0.5, -0.25], ids=lambda minutes: f"{minutes}")
@pytest.mark.parametrize("first", [True, False], ids=["first", "later"])
def test_a_row_with_a_wrong_time_affects_no_other_row(wrong: float, flags: bool, first: bool) -> None:
    """A row that is stamped ahead, far behind or between two candles closes nothing, and no later row is lost."""
    tracked, delivered = tracker(), list[Candle]()

    def tell(minute: float, price: float, seconds: float, ended: bool = False) -> None:
        now = T0 + seconds * 1000
        told = [at(0) + round(minute * MINUTE), *row(0, price, seconds + 1)[1:]]
        delivered.extend(follow(tracked, told, int(now * 1e6), ended if flags else None, now))

    if not first:
        tell(0, 11.0, 5)
    tell(wrong, 99.0, 10)
    tell(0, 12.0, 20)
    assert closed(delivered) == []
    tell(0, 13.0, 59)
    if flags:
        tell(0, 13.0, 60, ended=True)
    tell(1, 14.0, 61)
    tell(1, 15.0, 90)
    assert [each for each in closed(delivered) if each[0] >= 0] == [(0, 13.0)]
    shown = {each for each in updates(delivered) if each[0] >= 0}
    assert shown == {*([] if first else [(0, 11.0)]), (0, 12.0), (0, 13.0), (1, 14.0), (1, 15.0)}
    assert [opened for opened in tracked.holes() if opened >= T0] == []


def test_a_candle_is_not_closed_by_its_flag_before_its_end() -> None:
    tracked, told = tracker(), list[Candle]()
    for second, ended in ((5, False), (20, True), (30, False), (60, True), (61, False)):
        now = T0 + second * 1000
        told += follow(tracked, row(second // 61, 10.0 + second, second % 61 + 1), now * 1_000_000, ended, now)
    assert closed(told) == [(0, 70.0)]
    assert updates(told) == [(0, 15.0), (0, 40.0), (1, 71.0)]


def test_later_rows_undo_several_wrong_rows_that_agree() -> None:
    """The wrong rows look like those of a venue whose clock is ahead; then the venue continues as before."""
    tracked, delivered = tracker(), list[Candle]()
    stamps = [0, 0, HOUR, HOUR, HOUR, 0, 0, 0, 0, 1, 1]
    for second, minute in enumerate(stamps):
        now = T0 + second * 1000 if minute != 1 else at(1) + second
        delivered += follow(tracked, row(minute, 10.0 + second, 1.0 + second), int(now * 1e6), False, now)
    assert updates(delivered)[-2:] == [(1, 19.0), (1, 20.0)]
    assert all(minute == 0 for minute, _ in closed(delivered))
    assert [opened for opened in tracked.holes() if opened > at(1)] == []


def test_no_candle_is_lost_if_a_venues_clock_is_ahead_of_the_known_time() -> None:
    tracked, delivered = tracker(), list[Candle]()
    for second in range(0, 200, 10):
        now = T0 + second * 1000 - 3_600_000
        delivered += follow(tracked, row(second // 60, 10.0 + second, second % 60 + 1), int(now * 1e6), None, now)
    assert closed(delivered) == [(0, 60.0), (1, 120.0), (2, 180.0)]


@pytest.mark.parametrize("flags", [True, False])
def test_an_earlier_state_of_the_open_candle_is_dropped(flags: bool) -> None:
    """A second connection that is late may deliver an earlier state; the newest state is kept."""
    tracked = tracker()
    follow(tracked, row(0, 11.0, 5.0), 0, False if flags else None)
    follow(tracked, row(0, 12.0, 7.0), 0, False if flags else None)
    assert follow(tracked, row(0, 11.0, 5.0), 0, False if flags else None) == []
    assert flags or closed(follow(tracked, row(1))) == [(0, 12.0)]


def test_a_wrong_volume_does_not_exclude_later_rows() -> None:
    tracked = tracker()
    follow(tracked, row(0, 11.0, 1e9))
    told = [follow(tracked, row(0, 12.0, 5.0 + number)) for number in range(4)]
    assert [len(each) for each in told] == [0, 0, 1, 1]
    assert closed(follow(tracked, row(1))) == [(0, 12.0)]


def test_a_record_that_is_behind_fills_a_hole_only_in_the_final_attempt() -> None:
    """The record has less volume than the stream has shown, so the record lacks the last trades."""
    tracked = tracker()
    follow(tracked, row(0, 11.0, 5.0))
    tracked.interrupted()
    follow(tracked, row(2))
    record = answer(row(0, 10.5, 3.0), row(1), row(2))
    assert closed(tracked.fill(record)) == [(1, 10.0)]
    assert tracked.holes() == [at(0)]
    assert closed(tracked.fill(record, among=[at(7)], final=True)) == []
    assert closed(tracked.fill(record, final=True)) == [(0, 10.5)]


def torn(*, later: bool = True) -> CandleTracker:
    """A tracker that lost data while minute 0 was open with a volume of 5; with ``later``, minute 1 has a trade."""
    tracked = tracker()
    follow(tracked, row(0, 11.0, 5.0))
    tracked.interrupted()
    follow(tracked, row(1, 11.0, 1.0 if later else 0.0))
    assert tracked.holes() == [at(0)]
    return tracked


def test_a_record_with_only_the_volume_that_the_stream_has_shown_fills_no_hole() -> None:
    """The record may lack the trades after the loss. Only a later row proves that the record has all of the candle."""
    tracked = torn()
    assert tracked.fill(answer(row(0, 11.0, 5.0))) == []
    assert tracked.holes() == [at(0)]
    assert closed(tracked.fill(answer(row(0, 12.0, 7.0), row(1, 12.0, 0.1)))) == [(0, 12.0)]


def test_a_record_that_does_not_list_running_candles_is_used_in_the_final_attempt() -> None:
    tracked = torn()
    assert tracked.fill(answer(row(0, 12.0, 7.0))) == []
    assert closed(tracked.fill(answer(row(0, 12.0, 7.0)), final=True)) == [(0, 12.0)]


def test_the_newest_candle_of_a_record_that_lists_running_candles_is_not_used_if_later_data_is_missing() -> None:
    tracked = torn()
    tracked.record.answered(answer(row(0, 11.0, 5.0)), at(0) + 59_999)
    assert tracked.fill(answer(row(0, 11.0, 5.0)), final=True) == []
    assert tracked.holes() == [at(0)]


def test_without_later_trades_the_records_newest_row_is_used_after_a_pause() -> None:
    """The row is not used while the record of any market is known to be behind."""
    tracked = torn(later=False)
    assert tracked.fill(answer(row(0, 11.0, 5.0)), settled=False) == []
    tracked.record.was_behind(READ_AT)
    assert tracked.fill(answer(row(0, 11.0, 5.0)), READ_AT + 10 * SECOND) == []
    assert closed(tracked.fill(answer(row(0, 12.0, 7.0)), READ_AT + int(DOUBT) * SECOND)) == [(0, 12.0)]


def test_a_candle_closed_by_time_has_only_values_that_the_record_proves() -> None:
    frozen, whole = answer(row(0, 11.0, 5.0)), answer(row(0, 12.0, 7.0), row(1, 12.0, 0.0))
    due, over = at(1), at(1) + 3_000
    for interrupted in (False, True):
        for streamed in (due - 1, due + SETTLED - 1, due + SETTLED):  # when data of other markets came last
            tracked = tracker()
            follow(tracked, row(0, 11.0, 5.0))
            if interrupted:
                tracked.interrupted()
            told = tracked.close_recorded(frozen, over, heard=due - 1, streamed=streamed)
            assert bool(told) == (streamed == due + SETTLED)
            if not told:
                assert tracked.due == due
                assert closed(tracked.close_recorded(whole, over, heard=due - 1, streamed=streamed)) == [(0, 12.0)]


def test_a_record_known_to_be_behind_closes_a_candle_only_if_the_candles_market_has_newer_data() -> None:
    for heard in (at(1) - 1, at(1)):
        tracked = tracker()
        follow(tracked, row(0, 11.0, 5.0))
        tracked.record.was_behind(READ_AT)
        told = tracked.close_recorded(answer(row(0, 11.0, 5.0)), at(1) + 3_000, READ_AT + SECOND, heard=heard)
        assert closed(told) == ([(0, 11.0)] if heard == at(1) else [])


def test_a_candle_missing_in_a_record_that_may_be_behind_does_not_count_as_empty() -> None:
    """The candle counts as missing when a later candle comes."""
    tracked = tracker()
    follow(tracked, row(0), 0, True)
    tracked.interrupted()
    assert tracked.close_recorded(answer(row(0)), at(2) + 3_000, streamed=at(0)) == []
    follow(tracked, row(3))
    assert tracked.holes() == [at(1), at(2)]


@given(
    data=st.lists(
        st.tuples(
            st.integers(1, 45),  # seconds that pass
            st.integers(1, 30),  # the price's change
            st.sampled_from(["", "", "", "", "ahead", "behind", "off grid", "earlier", "lost", "again"]),
        ),
        max_size=80,
    ),
    flags=st.booleans(),
)
def test_each_closed_candle_is_the_venues_own_and_comes_once(data: list[tuple[int, int, str]], flags: bool) -> None:
    """The model is a venue that makes a trade at each step and then sends the open candle.

    Some rows have a wrong time, some come twice, some are older than the row before them, and some are lost.
    """
    tracked, second, told = tracker(), 0, list[Candle]()
    record: dict[int, list[float]] = {}  # minute -> its row so far

    def tell(row: list[float], ended: bool = False) -> None:
        now = T0 + second * 1000
        told.extend(follow(tracked, list(row), now * 1_000_000, ended if flags else None, now))

    for passed, change, fault in data:
        before = second // 60
        second += passed
        minute, price = second // 60, 100.0 + change
        if flags and minute != before and before in record:
            tell(record[before], ended=True)
        opened, first, high, low, _, volume = record.get(minute, [at(minute), price, price, price, price, 0.0])
        record[minute] = [opened, first, max(high, price), min(low, price), price, volume + 1.0]
        wrong = {"ahead": 90 * MINUTE, "behind": -90 * MINUTE, "off grid": 15_000}.get(fault)
        if wrong is not None:
            tell([opened + wrong, *record[minute][1:]])
        if fault == "lost":
            tracked.interrupted()
            continue  # the connection is down, so the tracker does not get this row
        tell(record[minute])
        if fault == "again":
            tell(record[minute])
        if fault == "earlier" and record[minute][5] > 1:
            tell([*record[minute][:4], price + 1, record[minute][5] - 1])
    shut = {(candle.timestamp - T0) // MINUTE: candle for candle in told if candle.closed}
    assert len(shut) == sum(candle.closed for candle in told)
    for minute, candle in shut.items():
        assert [candle.timestamp, candle.open, candle.high, candle.low, candle.close, candle.volume] == record[minute]
    holes = {(opened - T0) // MINUTE for opened in tracked.holes()}
    assert not holes & shut.keys()
    seen = {(candle.timestamp - T0) // MINUTE for candle in told}
    assert seen - {max(record, default=0)} <= holes | shut.keys() | {max(seen, default=0)}
    assert seen <= record.keys()


steps = st.lists(
    st.tuples(st.sampled_from(["row", "next", "skip", "late", "lost"]), st.booleans(), st.integers(1, 20)),
    max_size=60,
)


@given(steps=steps, flags=st.booleans())
def test_every_candle_is_closed_once_or_a_hole_whatever_happens(
    steps: list[tuple[str, bool, int]], flags: bool
) -> None:
    """The model is a venue that numbers its rows: a candle's close price shows how many of its rows were seen."""
    tracked = tracker()
    minute, price = 0, 10.0
    delivered = follow(tracked, row(0, price), 0, False if flags else None)
    down, skipped = False, set()
    final: dict[int, float] = {}  # the venue's own closed candles
    for step, ends, amount in steps:
        if step == "late" and minute > 0:
            delivered += follow(tracked, row(minute - 1, 5.0), 0, None)
        elif step == "lost":
            tracked.interrupted()
            down = True  # the connection is down until the next row
        elif step in ("next", "skip"):
            passed = amount if step == "skip" else 1
            if flags and not down and minute not in final:
                delivered += follow(tracked, row(minute, price), 0, True)
            final[minute] = price
            if not down:
                skipped |= set(range(minute + 1, minute + passed))
            minute += passed
            price = 10.0 + amount
            delivered += follow(tracked, row(minute, price), 0, False if flags else None)
            down = False
        elif step == "row" and minute not in final:
            price += 1.0
            closing = flags and ends
            delivered += follow(tracked, row(minute, price), 0, closing if flags else None)
            down = False
            if closing:
                final[minute] = price
    shut = closed(delivered)
    assert shut == sorted(set(shut)), "closed twice or out of order"
    holes = {(opened - T0) // MINUTE for opened in tracked.holes()}
    assert not holes & {candle for candle, _ in shut}
    for candle, close in shut:
        assert final[candle] == close
    settled = holes | {candle for candle, _ in shut}
    assert set(range(minute)) - skipped <= settled
    filled = tracked.fill(answer(*(row(candle, 3.0) for candle in range(minute + 1))))
    assert {candle for candle, _ in closed(filled)} == holes
    assert tracked.holes() == []


def test_a_candle_that_was_closed_but_not_delivered_is_fetched() -> None:
    tracked = tracker()
    follow(tracked, row(1), closed=True)
    tracked.note_unclosed([at(1)])
    assert tracked.holes() == [at(1)]


def test_after_a_candle_with_a_future_time_no_candle_is_closed_a_second_time() -> None:
    """Later rows show that the newest candle's time was wrong. By then, the candle before it is already closed."""
    start = 1_760_000_040_000 // 60_000 * 60_000
    now = float(start - 40_000)
    tracker, closed = CandleTracker("ETH", "1m"), list[int]()

    def row(opened: int, over: bool) -> None:
        candle = Candle("ETH", "1m", opened, 1.0, 1.0, 1.0, 1.0, 1.0, over, received_at=int(now * 1e6))
        closed.extend(each.timestamp for each in tracker.follow(candle, said=True) if each.closed)

    for opened, over in ((start - 120_000, True), (start - 60_000, False), (start - 60_000, True), (start, False)):
        row(opened, over)
    for over in (True, False, False, True, True):
        row(start - 60_000, over)
    row(start, False)
    assert closed == sorted(set(closed))
