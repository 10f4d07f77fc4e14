"""Deliveries compared with the true sequence: no trade is lost, repeated or out of order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st

from feed.trades import sequence
from feed.trades.gaps import Gap, TradeVerdict
from feed.trades.sequence import REORDER_FOR, TradeSequence
from tests.feed.trades.sequence_support import Owner, owner, trade

# --- consecutive ids --------------------------------------------------------------------------------------------------


FATES = st.lists(
    st.tuples(
        st.sampled_from(["streamed"] * 6 + ["missing"] * 3 + ["doubled"]),
        st.integers(0, 12) | st.just(0),  # by how many trades the trade is late
        st.integers(0, 30),  # how many trades later the trade is repeated
    ),
    max_size=60,
)


ANSWERS = st.lists(
    st.tuples(
        st.floats(0, 3),  # seconds until the fetch is answered
        st.sets(st.integers(0, 70)),  # ids that the answer lacks
        st.integers(0, 8),  # by how many ids the answer reaches beyond the gap on both sides
        st.booleans(),  # whether the answer comes in two pages
    ),
    min_size=1,
    max_size=8,
)


def wire(fates: Sequence[tuple[str, int, int]]) -> list[int]:
    """The ids in order of arrival; 1 is the first, because a sequence needs a beginning."""
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
    """Stream, fetch and expire trades on one fake clock; return the ids of all trades that were fetched."""
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
    assert it.policy.open_gaps.deadline is None, "a trade waits although its deadline has passed"
    return fetched


@given(FATES, st.floats(0.001, 0.5), ANSWERS)
def test_no_trade_is_lost_repeated_or_out_of_order_under_any_interleaving(
    fates: list[tuple[str, int, int]], step: float, answers: list[tuple[float, set[int], int, bool]]
) -> None:
    it, arrivals, passed_over = owner(), wire(fates), Counter[int]()
    with mock.patch.object(sequence, "PROOFS", 10**9):
        fetched = run(it, arrivals, step, answers, passed_over)
    ids = [int(n) for n in it.ids]
    late = {int(item.trade_id) for item in it.late}
    assert ids == sorted(set(ids)), "doubled or out of order"
    assert set(arrivals) - set(ids) <= late, "streamed, but neither delivered nor reported as late"
    assert not late & set(ids), "late, although delivered"
    reported = {n for gap in it.gaps for n in range(gap.from_id or 0, (gap.to_id or 0) + 1)}
    assert set(range(1, max(arrivals) + 1)) - set(ids) <= reported, "a missing trade was never reported"
    for item in it.delivered:
        assert not item.backfilled or int(item.trade_id) in fetched
    assert [end.gap for end in it.filled] == [gap for gap in it.gaps if gap.fetch], "each gap ends, in order"
    for end in it.filled:
        hole = range(end.gap.from_id or 0, (end.gap.to_id or 0) + 1)
        assert end.complete or not set(hole) <= set(ids)
        assert not end.complete or all(n in ids or passed_over[n] >= 2 for n in hole)
        assert end.trades == sum(item.backfilled for item in it.delivered if int(item.trade_id) in hole)


@given(FATES, st.floats(0.001, 0.5), st.lists(st.floats(0, 1.99), min_size=1), st.integers(0, 8))
def test_if_the_venue_answers_in_time_every_trade_is_delivered(
    fates: list[tuple[str, int, int]], step: float, latencies: list[float], reach: int
) -> None:
    it, arrivals = owner(), wire(fates)
    run(it, arrivals, step, [(latency, set(), reach, False) for latency in latencies], Counter())
    assert it.ids == [str(n) for n in range(1, max(arrivals) + 1)]
    assert all(end.complete for end in it.filled)
    assert not it.late


@given(FATES, st.floats(0.001, 0.5))
def test_without_fetching_trades_only_wait_for_late_ones(fates: list[tuple[str, int, int]], step: float) -> None:
    it, now = owner(fetch=False), 0.0
    for number in wire(fates):
        now += step
        it.carry_out(it.policy.expire(now))
        it.stream(trade(number), now)
        assert it.policy.open_gaps.deadline is None or it.policy.open_gaps.deadline <= now + REORDER_FOR
    it.carry_out(it.policy.expire(now + REORDER_FOR))
    assert it.policy.open_gaps.deadline is None
    assert it.ids == sorted(set(it.ids), key=int)


# --- ids that are not consecutive -------------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.integers(0, 3)), min_size=1, max_size=60),
    st.lists(st.integers(0, 59), max_size=4),
    st.lists(st.tuples(st.integers(0, 10), st.integers(0, 80)), min_size=1, max_size=5),
)
def test_without_consecutive_ids_outages_are_filled_by_time(
    life: list[tuple[int, bool, int]], outages: list[int], fetches: list[tuple[int, int]]
) -> None:
    """Some trades have equal times, some are missed or repeated; a fetch is answered some trades later."""
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
    it.carry_out(it.policy.give_up(fetched_only=True))
    times = [item.timestamp for item in it.delivered]
    assert times == sorted(times)
    assert it.ids == sorted(it.ids, key=int), "out of order"
    assert len(set(it.ids)) == len(it.ids), "doubled"
    assert streamed <= set(it.ids), "lost"
    if answered_all and streamed and not down:
        first = next(index for index, item in enumerate(truth) if item.trade_id in streamed)
        assert set(it.ids) == {item.trade_id for item in truth[first:]}
    assert [end.gap for end in it.filled] == [gap for gap in it.gaps if gap.fetch]
