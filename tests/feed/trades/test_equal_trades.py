"""Trades that differ only in their ids: an order that fills several equal orders makes them in one millisecond."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feed.trades.gaps import DELIVER
from feed.trades.sequence import HOLD_FOR, TradeSequence
from tests.feed.trades.leaps_support import Feed, good, run
from tests.feed.trades.sequence_support import Owner, trade


@pytest.mark.parametrize("answers", [[range(1, 10)], [range(1, 7), range(1, 10)]])
def test_missing_trades_that_differ_only_in_their_ids_are_all_delivered(answers: list[range]) -> None:
    it = Owner(TradeSequence(True, 300))
    for number in (1, 3, 5, 9):
        it.stream(trade(number, 1_000))
    for answer in answers:
        it.carry_out(it.policy.answered([[trade(number, 1_000) for number in answer]], 0.0))
    assert it.ids == [str(number) for number in range(1, 10)]
    assert [filled.complete for filled in it.filled] == [True] * 3


def test_one_answer_without_a_trade_does_not_show_that_its_id_is_wrong() -> None:
    """The answer may come from a replica that is behind."""
    it = Owner(TradeSequence(True, 300))
    for number in (1, 3, 5):
        it.stream(trade(number, 1_000))
    for answer in ([1, 2, 4, 5], [1, 2, 3, 4, 5]):
        it.carry_out(it.policy.answered([[trade(number, 1_000) for number in answer]], 0.0))
    assert it.ids == ["1", "2", "3", "4", "5"]
    assert [filled.complete for filled in it.filled] == [True, True]


def test_equal_trades_of_a_long_gap_are_all_delivered_if_rest_is_behind() -> None:
    it = Owner(TradeSequence(True, 300))
    for number in (1, 152, 154):
        it.stream(trade(number, 1_000))
    for answer in (range(1, 101), range(1, 155)):
        it.carry_out(it.policy.answered([[trade(number, 1_000) for number in answer]], 0.0))
    assert it.ids == [str(number) for number in range(1, 155)]
    assert [filled.complete for filled in it.filled] == [True, True]


def test_an_equal_trade_before_an_older_gap_does_not_take_the_newest_trade_away_when_time_is_over() -> None:
    """The answers end before the ids after both gaps, so they do not show whether these ids are right."""
    it = Owner(TradeSequence(True, 300))
    it.stream(trade(1, 900))
    it.stream(trade(4, 1_000))
    it.carry_out(it.policy.answered([[trade(1, 900), trade(2, 950), trade(3, 1_000)]], 0.0))
    it.stream(trade(9, 2_000))
    it.carry_out(it.policy.expire(HOLD_FOR))
    assert it.stream(trade(10, 2_100)) is DELIVER
    assert it.ids == ["1", "2", "3", "4", "9", "10"]


def test_a_trade_whose_id_is_far_too_high_does_not_wait_once_rest_has_it_under_another_id() -> None:
    it = Owner(TradeSequence(True, 300))
    it.stream(trade(1, 900))
    it.stream(trade(500, 1_000))
    it.carry_out(it.policy.answered([[trade(1, 900), trade(2, 1_000)]], 0.0))
    assert it.ids == ["1", "2"]
    assert it.stream(trade(3, 1_100)) is DELIVER


@given(
    st.sets(st.integers(2, 40), min_size=1),
    st.lists(st.sampled_from([0, 0, 0, 1, 250]), min_size=41, max_size=41),
    st.floats(0, 1.2),
)
def test_trades_of_equal_content_are_delivered_once_each(
    streamed: set[int], pauses: list[int], rest_lag: float
) -> None:
    """The stream has some of the trades, and REST all of them, later."""
    times = [1_000_000 + sum(pauses[: number + 1]) for number in range(41)]
    truth = [good(number, times[number], 100.0) for number in range(41)]
    wire = [item for number, item in enumerate(truth) if number in {0, 1, *streamed}]
    feed = Feed(TradeSequence(True, 300), rest_lag, [(item.timestamp / 1000, item) for item in truth])
    feed.now = 1_000.0
    run(feed, wire, [item.timestamp for item in wire])
    last = int(wire[-1].trade_id)
    assert [item.trade_id for item in feed.delivered] == [item.trade_id for item in truth[: last + 1]]
    assert all(filled.complete for filled in feed.filled)
