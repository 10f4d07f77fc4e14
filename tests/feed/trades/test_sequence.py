"""Nothing is lost, doubled or out of order, whatever is late, doubled, missing or fetched, and no trade waits long."""

from __future__ import annotations

import timeit
from collections import Counter
from collections.abc import Sequence
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchanges.events import TradeEvent
from feed.trades import sequence
from feed.trades.duplicates import LIMIT
from feed.trades.gaps import DELIVER, DUPLICATE, HELD, LATE, Filled, Gap, TradeVerdict
from feed.trades.open_gaps import MAX_OPEN
from feed.trades.sequence import REORDER_FOR, TradeSequence
from tests.feed.trades.sequence_support import Owner, owner, trade, trades

# --- consecutive ids: against the true sequence -----------------------------------------------------------------------


FATES = st.lists(
    st.tuples(
        st.sampled_from(["streamed"] * 6 + ["missing"] * 3 + ["doubled"]),
        st.integers(0, 12) | st.just(0),  # how many trades late
        st.integers(0, 30),  # how much later the double comes
    ),
    max_size=60,
)


ANSWERS = st.lists(
    st.tuples(
        st.floats(0, 3),  # seconds until the fetch is answered
        st.sets(st.integers(0, 70)),  # what it can't find
        st.integers(0, 8),  # how far it reaches beyond the hole on both sides
        st.booleans(),  # whether it comes in two pages
    ),
    min_size=1,
    max_size=8,
)


def wire(fates: Sequence[tuple[str, int, int]]) -> list[int]:
    """The ids as they arrive: 1 first, for a sequence needs its beginning."""
    arrivals = []
    for number, (fate, lateness, double) in enumerate(fates, start=2):
        if fate != "missing":
            arrivals.append((number + lateness, number))
        if fate == "doubled":
            arrivals.append((number + lateness + double, number))
    return [1] + [number for _, number in sorted(arrivals)]


def run(
    it: Owner,
    arrivals: Sequence[int],
    step: float,
    answers: Sequence[tuple[float, set[int], int, bool]],
    passed_over: Counter[int],
) -> set[int]:
    """Stream, fetch and expire on one fake clock; returns the ids whose fetched copy could be placed in time."""
    now, pending, asked, fetched = 0.0, list[tuple[float, int, Gap]](), 0, set[int]()
    waiting: dict[int, float] = {}

    def pass_time(until: float) -> None:
        while True:
            due = [(at, 0, n) for n, (at, _, _) in enumerate(pending)]
            if (deadline := it.policy.open_gaps.deadline) is not None:
                due.append((deadline, 1, 0))
            if not due or min(due)[0] > until:
                return
            at, expiry, which = min(due)
            if expiry:
                it.carry_out(it.policy.expire(at))
                assert it.policy.open_gaps.deadline is None or it.policy.open_gaps.deadline > at
                continue
            _, index, gap = pending.pop(which)
            _, unfound, reach, paged = answers[index % len(answers)]
            assert gap.from_id is not None
            assert gap.to_id is not None
            span = range(max(1, gap.from_id - reach), gap.to_id + reach + 1)
            found = [trade(n) for n in span if n not in unfound]
            fetched.update(n for n in span if n not in unfound)
            passed_over.update(n for n in span if n in unfound)
            if paged:
                it.policy.add(found[: len(found) // 2])
                found = found[len(found) // 2 :]
            it.carry_out(it.policy.answered([found], at))

    for number in arrivals:
        now += step
        pass_time(now)
        outcome = it.stream(trade(number), now)
        if outcome.verdict is TradeVerdict.HELD:
            waiting[number] = now
        if outcome.gap is not None and outcome.gap.fetch:
            pending.append((now + answers[asked % len(answers)][0], asked, outcome.gap))
            asked += 1
        for n, since in waiting.items():
            assert now - since <= 2.0 + 1e-6 or str(n) in it.ids, "held for longer than promised"
    pass_time(now + 5)
    assert it.policy.open_gaps.deadline is None, "something waits although its time is over"
    return fetched


@given(FATES, st.floats(0.001, 0.5), ANSWERS)
def test_nothing_is_lost_doubled_or_out_of_order_under_any_interleaving(
    fates: list[tuple[str, int, int]], step: float, answers: list[tuple[float, set[int], int, bool]]
) -> None:
    it, arrivals, passed_over = owner(), wire(fates), Counter[int]()
    with mock.patch.object(sequence, "PROOFS", 10**9):
        fetched = run(it, arrivals, step, answers, passed_over)
    ids = [int(n) for n in it.ids]
    late = {int(item.trade_id) for item in it.late}
    assert ids == sorted(set(ids)), "doubled or out of order"
    assert set(arrivals) - set(ids) <= late, "streamed, but neither delivered nor told to be late"
    assert not late & set(ids), "late, although delivered"
    reported = {n for gap in it.gaps for n in range(gap.from_id or 0, (gap.to_id or 0) + 1)}
    assert set(range(1, max(arrivals) + 1)) - set(ids) <= reported, "missing, but never reported"
    for item in it.delivered:
        assert not item.backfilled or int(item.trade_id) in fetched
    assert [end.gap for end in it.filled] == [gap for gap in it.gaps if gap.fetch], "each gap ends, in order"
    for end in it.filled:
        hole = range(end.gap.from_id or 0, (end.gap.to_id or 0) + 1)
        assert end.complete or not set(hole) <= set(ids)
        assert not end.complete or all(n in ids or passed_over[n] >= 2 for n in hole)
        assert end.trades == sum(item.backfilled for item in it.delivered if int(item.trade_id) in hole)


def test_a_trade_that_comes_after_it_was_proven_absent_is_late() -> None:
    """The venue's REST left it out twice, so the trades after it are delivered already."""
    it = owner(1)
    it.stream(trade(3), 0.0)
    for at in (0.1, 0.2):
        it.carry_out(it.policy.answered([trades(1, 3)], at))
    assert it.ids == ["1", "3"]
    assert [end.complete for end in it.filled] == [True]
    assert [it.stream(trade(number), 0.3) for number in (2, 3)] == [LATE, DUPLICATE]


@given(FATES, st.floats(0.001, 0.5), st.lists(st.floats(0, 1.99), min_size=1), st.integers(0, 8))
def test_with_a_venue_that_answers_in_time_every_trade_arrives(
    fates: list[tuple[str, int, int]], step: float, latencies: list[float], reach: int
) -> None:
    it, arrivals = owner(), wire(fates)
    run(it, arrivals, step, [(latency, set(), reach, False) for latency in latencies], Counter())
    assert it.ids == [str(n) for n in range(1, max(arrivals) + 1)]
    assert all(end.complete for end in it.filled)
    assert not it.late


@given(FATES, st.floats(0.001, 0.5))
def test_without_fetching_trades_wait_only_for_those_out_of_order(
    fates: list[tuple[str, int, int]], step: float
) -> None:
    it, now = owner(fetch=False), 0.0
    for number in wire(fates):
        now += step
        it.carry_out(it.policy.expire(now))
        it.stream(trade(number), now)
        assert it.policy.open_gaps.deadline is None or it.policy.open_gaps.deadline <= now + REORDER_FOR
    it.carry_out(it.policy.expire(now + REORDER_FOR))
    assert it.policy.open_gaps.deadline is None
    assert it.ids == sorted(set(it.ids), key=int)


def test_trades_out_of_order_are_put_in_order_without_fetching_too() -> None:
    it = owner(1, fetch=False)
    for number in (2, 4, 3, 5, 7, 6):
        it.stream(trade(number), 0.0)
    assert it.ids == ["1", "2", "3", "4", "5", "6", "7"]


def test_an_absurd_id_does_not_stop_the_stream() -> None:
    """It is delivered as it is, and the sequence continues without it."""
    it = owner(1, 2)
    assert it.stream(trade(10**15, timestamp=25)) is DELIVER
    assert [it.stream(trade(number)) for number in (3, 4, 5)] == [DELIVER] * 3
    assert it.gaps == []


def test_an_id_far_ahead_is_believed_when_the_next_one_follows_it() -> None:
    """The venue counts anew: what it missed nobody can tell, and the new sequence is held like the old one."""
    it = owner(1, 2)
    far = 10**9
    for number in (far, far + 1, far + 2, far + 4):
        it.stream(trade(number, timestamp=number))
    assert [gap.fetch for gap in it.gaps] == [False, True]
    assert it.gaps[1].from_id == far + 3
    assert it.ids == ["1", "2", str(far), str(far + 1), str(far + 2)]


# --- consecutive ids: one by one --------------------------------------------------------------------------------------


def test_a_gap_is_found_held_filled_and_reported() -> None:
    it = owner(1, 2)
    outcome = it.stream(trade(6))
    assert outcome.verdict is TradeVerdict.HELD
    assert outcome.gap is not None
    assert outcome.gap.details == {"from_id": 3, "to_id": 5, "missing": 3, "fetched": True}
    assert it.stream(trade(7)) is HELD
    it.ended(trades(2, 3, 4, 5, 6), 0.1)
    assert it.ids == ["1", "2", "3", "4", "5", "6", "7"]
    assert [item.backfilled for item in it.delivered] == [False] * 2 + [True] * 3 + [False] * 2
    assert it.filled == [Filled(outcome.gap, 3, True)]
    assert it.stream(trade(8)) is DELIVER


def test_a_gap_that_the_stream_fills_late_needs_no_fetch() -> None:
    it = owner(1)
    gap = it.stream(trade(3)).gap
    assert it.stream(trade(2)).verdict is TradeVerdict.RELEASE
    assert it.ids == ["1", "2", "3"]
    assert gap is not None
    assert it.filled == [Filled(gap, 0, True)]
    assert it.policy.answered([trades(2)], 0.1) is HELD


def test_of_a_late_and_a_fetched_copy_the_first_counts() -> None:
    it = owner(1)
    it.stream(trade(4))
    assert it.stream(trade(2)) is HELD
    assert it.stream(trade(2)) is DUPLICATE
    it.ended(trades(2, 3), 0.1)
    assert [(item.trade_id, item.backfilled) for item in it.delivered[1:]] == [("2", False), ("3", True), ("4", False)]


def test_a_trade_after_its_gap_was_given_up_is_late_not_out_of_order() -> None:
    it = owner(1)
    it.stream(trade(3), 10.0)
    assert it.policy.open_gaps.deadline == 12.0
    assert it.policy.expire(11.9) is HELD
    it.carry_out(it.policy.expire(12.0))
    assert it.ids == ["1", "3"]
    assert [end.complete for end in it.filled] == [False]
    assert it.stream(trade(2)) is LATE
    assert it.stream(trade(3)) is DUPLICATE
    assert it.stream(trade(4)) is DELIVER


def test_pages_that_came_before_the_time_was_over_count() -> None:
    it = owner(1)
    it.stream(trade(5))
    it.policy.add(trades(2, 3))
    it.carry_out(it.policy.expire(2.0))
    assert it.ids == ["1", "2", "3", "5"]
    assert [(end.trades, end.complete) for end in it.filled] == [(2, False)]


def test_without_a_clock_the_time_runs_from_the_first_expire() -> None:
    it = owner(1)
    it.stream(trade(3), None)
    assert it.policy.open_gaps.deadline is None
    assert it.policy.expire(100.0) is HELD
    assert it.policy.open_gaps.deadline == 102.0
    it.carry_out(it.policy.expire(102.0))
    assert it.ids == ["1", "3"]


def test_after_an_outage_the_ids_decide() -> None:
    it = owner(1, 2)
    it.policy.lost(0.0)
    it.policy.resumed(5.0)
    assert it.stream(trade(2)) is DUPLICATE
    assert it.stream(trade(3)) is DELIVER
    it.policy.lost(6.0)
    it.policy.resumed(8.0)
    assert it.stream(trade(5)).gap == Gap(4, 4, 30, 50, 1, fetch=True)


def test_a_longer_outage_than_max_gap_is_reported_and_not_fetched() -> None:
    it = owner(1, max_gap=10)
    it.policy.lost(0.0)
    it.policy.resumed(11.0)
    assert it.stream(trade(9)).verdict is TradeVerdict.RELEASE
    assert it.gaps == [Gap(2, 8, 10, 90, 7, fetch=False)]
    assert it.ids == ["1", "9"]
    assert it.stream(trade(11)).gap == Gap(10, 10, 90, 110, 1, fetch=True)


def test_a_quiet_coins_old_trade_does_not_make_a_short_outage_long() -> None:
    it = owner(1, max_gap=10)
    it.policy.lost(0.0)
    it.policy.resumed(3.0)
    gap = it.stream(trade(3, 3_600_000)).gap
    assert gap is not None
    assert gap.fetch


def test_a_hole_too_big_to_fetch_is_only_reported() -> None:
    it = owner(1)
    assert it.stream(trade(sequence.MAX_MISSING + 3)).verdict is TradeVerdict.RELEASE
    assert [gap.fetch for gap in it.gaps] == [False]


def test_held_trades_and_holes_are_bounded() -> None:
    it = owner(1)
    for number in range(3, sequence.HOLD_LIMIT + 10):
        it.stream(trade(number))
    assert len(it.delivered) > sequence.HOLD_LIMIT
    it = owner(1)
    for number in range(3, 1000, 2):
        it.stream(trade(number))
    assert len(it.delivered) == 499 + 1 - MAX_OPEN
    assert it.ids == [str(n) for n in range(1, 2 * len(it.ids), 2)]


def test_restarted_ids_do_not_end_the_stream() -> None:
    it = owner(1_000_001, 1_000_002)
    it.stream(trade(1_000_004))
    it.stream(trade(7, 20_000_000))
    it.stream(trade(8, 20_000_001))
    assert it.stream(trade(9, 20_000_002)) is DELIVER
    assert it.ids == ["1000001", "1000002", "1000004", "7", "8", "9"]
    assert [gap.fetch for gap in it.gaps] == [True, False]


@pytest.mark.parametrize("trade_id", ["", "a-1", "1.5"])
def test_a_trade_whose_id_is_not_a_number_is_delivered_in_its_turn(trade_id: str) -> None:
    it = owner(1)
    assert it.stream(trade(trade_id, 10)) is DELIVER
    it.stream(trade(3))
    assert it.stream(trade(trade_id, 30)) is HELD
    it.ended([trade(trade_id, 20), trade(2)], 0.1)
    assert it.ids == ["1", trade_id, "2", "3", trade_id]


# --- ids that don't count: against the true sequence ------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.integers(0, 3)), min_size=1, max_size=60),
    st.lists(st.integers(0, 59), max_size=4),
    st.lists(st.tuples(st.integers(0, 10), st.integers(0, 80)), min_size=1, max_size=5),
)
def test_where_ids_do_not_count_outages_are_filled_by_time(
    life: list[tuple[int, bool, int]], outages: list[int], fetches: list[tuple[int, int]]
) -> None:
    """Trades with equal times, missed ones, doubles; a fetch answers some trades later with the venue's last rows."""
    truth = [trade(n, sum(pause for pause, _, _ in life[: n + 1])) for n in range(len(life))]
    it, down, pending, answered_all = Owner(TradeSequence(False, 300)), False, list[tuple[int, int, Gap]](), True
    streamed = set[str]()

    def answer(index: int) -> bool:
        _, depth, gap = pending.pop(0)
        known = [trade(item.trade_id, item.timestamp) for item in truth[: index + 1]]
        reached = not known[: -depth or None] or depth >= len(known) or known[-depth - 1].timestamp < gap.from_ts
        it.carry_out(it.policy.answered([known[len(known) - min(depth, len(known)) :]], 0.5))
        return reached

    for index, item in enumerate(truth):
        if index in outages and streamed:
            down = True
        if down and life[index][1]:
            continue
        if down:
            down = False
            it.policy.resumed(0.0)
        streamed.add(item.trade_id)
        for _ in range(1 + life[index][2] // 3):
            outcome = it.stream(trade(item.trade_id, item.timestamp))
            if outcome.gap is not None:
                delay, depth = fetches[len(it.gaps) % len(fetches)]
                pending.append((index + delay, depth, outcome.gap))
        while pending and pending[0][0] <= index:
            answered_all &= answer(index)
    while pending:
        answered_all &= answer(len(truth) - 1)
    it.carry_out(it.policy.give_up())
    times = [item.timestamp for item in it.delivered]
    assert times == sorted(times)
    assert it.ids == sorted(it.ids, key=int), "out of order"
    assert len(set(it.ids)) == len(it.ids), "doubled"
    assert streamed <= set(it.ids), "lost"
    if answered_all and streamed and not down:
        first = next(index for index, item in enumerate(truth) if item.trade_id in streamed)
        assert set(it.ids) == {item.trade_id for item in truth[first:]}
    assert [end.gap for end in it.filled] == [gap for gap in it.gaps if gap.fetch]


def test_a_gap_by_time_runs_from_the_last_trade_to_the_first_new_one() -> None:
    it = owner(numbered=False)
    it.stream(trade("a", 1000))
    it.policy.resumed(0.0)
    outcome = it.stream(trade("d", 4000))
    assert outcome.gap is not None
    assert outcome.gap.details == {"from_ts": 1000, "to_ts": 4000, "missing": None, "fetched": True}
    rows = [trade("a", 1000), trade("b", 1000), trade("c", 3000), trade("d", 4000), trade("e", 5000)]
    it.ended(rows, 0.1)
    assert it.ids == ["a", "b", "c", "d"]
    assert it.filled == [Filled(outcome.gap, 2, True)]
    assert it.stream(trade("c", 3000)) is DUPLICATE


def test_rows_are_delivered_by_time_in_whatever_order_they_are_fetched() -> None:
    it = owner(numbered=False)
    it.stream(trade("a", 1000))
    it.policy.resumed(0.0)
    it.stream(trade("d", 4000))
    it.ended([trade("c", 3000), trade("b", 2000)], 0.1)
    assert it.ids == ["a", "b", "c", "d"]


def test_of_the_moment_in_which_a_gap_ends_trades_are_delivered_by_their_ids() -> None:
    """The record has trades of that millisecond that the stream brings later, in a message of their own."""
    it = owner(numbered=False)
    it.stream(trade(5, 1000))
    it.policy.resumed(0.0)
    for number in (8, 9):
        it.stream(trade(number, 4000))
    it.ended([trade(number, 1000 if number == 5 else 4000) for number in (5, 6, 7, 8, 9, 10, 11)], 0.1)
    for number in (10, 11, 12):
        it.stream(trade(number, 4000))
    assert it.ids == ["5", "6", "7", "8", "9", "10", "11", "12"]


def test_no_id_is_forgotten_while_a_fetch_may_bring_it_again() -> None:
    it = owner(numbered=False)
    it.stream(trade("a", 1000))
    it.policy.resumed(0.0)
    for number in range(2 * LIMIT):
        it.stream(trade(number, 4000))
    it.ended([trade("a", 1000), trade(0, 4000)], 0.1)
    assert it.ids == ["a", *map(str, range(2 * LIMIT))]


def test_trades_without_ids_are_filled_only_where_they_are_certainly_missing() -> None:
    it = owner(numbered=False)
    it.stream(trade("", 1000))
    it.policy.resumed(0.0)
    it.stream(trade("", 4000))
    it.ended([trade("", at) for at in (1000, 2000, 2000, 4000)], 0.1)
    assert [item.timestamp for item in it.delivered] == [1000, 2000, 2000, 4000]


def test_an_outage_before_the_first_trade_opens_no_gap() -> None:
    it = owner(numbered=False)
    it.policy.lost(0.0)
    it.policy.resumed(9.0)
    assert it.stream(trade("a", 1000)) is DELIVER


def test_the_usual_path_takes_few_lookups() -> None:
    """As a ratio to a dict store with a parsed key in the same run, for machines differ."""
    policy = TradeSequence(True, 300)
    items = trades(*range(1, 50_001))
    seen: dict[int, TradeEvent] = {}

    def reference() -> None:
        for item in items:
            seen[int(item.trade_id)] = item

    def ordinary() -> None:
        fresh = TradeSequence(True, 300).accept
        for item in items:
            fresh(item)

    assert policy.accept(items[0]) is DELIVER
    best = [min(timeit.repeat(body, number=1, repeat=5)) for body in (ordinary, reference)]
    assert best[0] < 6 * best[1]


def test_a_stamp_from_the_future_does_not_date_the_trades_behind_it() -> None:
    """Where ids don't count, the newest trade is the one stamped last: its price is news, and gaps begin with it."""
    it = owner(numbered=False)

    def arrives(trade_id: str, at: int, stamped: int) -> TradeEvent:
        item = trade(trade_id, stamped)
        item.received_at = at * 1_000_000
        return item

    hour = 3_600_000
    it.stream(arrives("a", 10 * hour, 10 * hour))
    it.stream(arrives("b", 10 * hour + 10, 11 * hour))
    it.stream(arrives("c", 10 * hour + 20, 10 * hour + 20))
    assert it.policy.stamp == 10 * hour + 20
    it.stream(arrives("d", 10 * hour + 30, 9 * hour))  # of long ago: the newest is still the one before
    assert it.policy.stamp == 10 * hour + 20
    assert it.ids == ["a", "b", "c", "d"]
