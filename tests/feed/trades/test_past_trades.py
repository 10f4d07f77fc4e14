"""Trades that a venue repeats at a subscription, and trades that are missing after a change of the venue."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchanges.events import TradeEvent
from feed.trades.gaps import DELIVER, DUPLICATE, HELD, Gap
from feed.trades.sequence import TradeSequence
from tests.feed.trades.sequence_support import Owner, owner, trade, trades


def repeated(it: Owner, past: list[TradeEvent]) -> None:
    """Handle past trades as the backfiller does."""
    for item in it.policy.missed(past):
        item.backfilled = True
        it.stream(item)


@pytest.mark.parametrize("numbered", [True, False])
def test_past_trades_before_the_first_live_trade_are_not_delivered(numbered: bool) -> None:
    it = owner(numbered=numbered)
    repeated(it, trades(1, 2, 3))
    assert it.delivered == []
    assert it.stream(trade(4)) is DELIVER


@pytest.mark.parametrize("numbered", [True, False])
def test_past_trades_fill_the_gap_of_an_outage(numbered: bool) -> None:
    """If the past trades reach back to a delivered trade, no trade is missing, and no trade is fetched."""
    it = owner(1, 2, numbered=numbered)
    it.policy.lost(0.0)
    it.policy.resumed(3.0)
    repeated(it, trades(1, 2, 3, 4))
    assert it.stream(trade(5)) is DELIVER
    assert it.stream(trade(4)) is DUPLICATE
    assert it.ids == ["1", "2", "3", "4", "5"]
    assert [item.backfilled for item in it.delivered] == [False, False, True, True, False]
    assert it.gaps == []


@pytest.mark.parametrize("numbered", [True, False])
def test_past_trades_that_do_not_reach_back_far_enough_leave_a_gap(numbered: bool) -> None:
    it = owner(1, 2, numbered=numbered)
    it.policy.lost(0.0)
    it.policy.resumed(3.0)
    repeated(it, trades(5, 6))
    it.stream(trade(7))
    assert it.ids == ["1", "2"]
    (gap,) = it.gaps
    assert (gap.fetch, gap.from_ts, gap.to_ts) == (True, 20, 50)
    it.ended(trades(2, 3, 4), 0.1)
    assert it.ids == ["1", "2", "3", "4", "5", "6", "7"]


@pytest.mark.parametrize("numbered", [True, False])
def test_if_the_newest_past_trade_was_already_delivered_there_is_no_gap(numbered: bool) -> None:
    it = owner(1, 2, numbered=numbered)
    it.policy.lost(0.0)
    it.policy.resumed(3.0)
    repeated(it, trades(2))
    it.stream(trade(3))
    assert it.ids == ["1", "2", "3"]
    assert it.gaps == []


@pytest.mark.parametrize("numbered", [True, False])
def test_past_trades_of_the_next_venue_continue_after_the_last_venues_last_trade(numbered: bool) -> None:
    it = Owner(TradeSequence(numbered, 300, since_ts=25))
    repeated(it, trades(1, 2, 3))
    it.stream(trade(4))
    assert it.ids[-2:] == ["3", "4"]
    assert not {"1", "2"} & set(it.ids)


def test_past_trades_without_ids_are_delivered_only_if_they_are_certainly_new() -> None:
    """A past trade with the time of a delivered trade may be the same trade."""
    it = owner(numbered=False)
    it.stream(trade("", 1000))
    it.policy.lost(0.0)
    it.policy.resumed(3.0)
    repeated(it, [trade("", 900), trade("", 1000), trade("", 1001)])
    it.stream(trade("", 1500))
    assert [item.timestamp for item in it.delivered] == [1000, 1001, 1500]


@given(
    st.lists(st.integers(0, 2), min_size=4, max_size=40),
    st.lists(st.tuples(st.integers(1, 39), st.integers(0, 5), st.integers(0, 12)), max_size=3),
    st.booleans(),
)
def test_past_trades_are_never_repeated_or_reordered_over_any_outages(
    pauses: list[int], outages: list[tuple[int, int, int]], numbered: bool
) -> None:
    """At each new subscription the venue repeats its last trades. If they reach back far enough, no trade is
    missing."""
    times = [sum(pauses[: n + 1]) for n in range(len(pauses))]
    it = Owner(TradeSequence(numbered, 300, fetch=False))
    missed = {start + n for start, length, _ in outages for n in range(length)}
    depth = {start + length: depth for start, length, depth in outages}
    live: list[int] = []
    for number, at in enumerate(times):
        if number in missed:
            continue
        if number in depth and live:
            it.policy.lost(0.0)
            it.policy.resumed(1.0)
            first = max(0, number - depth[number])
            repeated(it, [trade(n, times[n]) for n in range(first, number)])
        it.stream(trade(number, at), 0.0)
        live.append(number)
    it.carry_out(it.policy.give_up())
    assert len(set(it.ids)) == len(it.ids)
    assert {str(number) for number in live} <= set(it.ids)
    delivered = [item.timestamp for item in it.delivered]
    assert delivered == sorted(delivered)


@pytest.mark.parametrize("numbered", [True, False])
def test_after_a_failover_the_time_since_the_last_trade_is_a_gap(numbered: bool) -> None:
    old = owner(1, 2)
    old.stream(trade(4))
    old.carry_out(old.policy.give_up())
    assert old.ids == ["1", "2", "4"]
    new = Owner(TradeSequence(numbered, 300, since_ts=old.policy.stamp))
    gap = new.stream(trade(900, 100)).gap
    assert gap == Gap(None, None, 40, 100, None, fetch=True)
    assert new.stream(trade(901, 110)) is HELD
    new.ended([trade(897, 30), trade(898, 50), trade(899, 90), trade(900, 100)], 0.5)
    assert new.ids == ["898", "899", "900", "901"]
    assert [(end.trades, end.complete) for end in new.filled] == [(2, True)]
    assert new.stream(trade(902, 120)) is DELIVER


def test_no_gap_is_opened_if_the_new_venues_stream_overlaps_the_old_venues_stream() -> None:
    new = Owner(TradeSequence(True, 300, since_ts=500))
    assert new.stream(trade(7, 499)) is DELIVER


@pytest.mark.parametrize("asked", ["subscription", "rest"])
def test_trades_listed_before_the_first_trade_in_the_same_millisecond_count_as_delivered(asked: str) -> None:
    """The first trade may be the last trade of an earlier program, which has got the trades before this trade."""
    it = owner(numbered=False)
    it.stream(trade("b", 10))
    it.policy.lost(0.0)
    it.policy.resumed(3.0)
    past = [trade("a", 10), trade("b", 10), trade("c", 10), trade("d", 15)]
    if asked == "subscription":
        repeated(it, past)
    it.stream(trade("e", 20))
    if asked == "rest":
        it.ended(past, 0.1)
    assert it.ids == ["b", "c", "d", "e"]


def test_trades_between_the_last_trade_of_one_venue_and_the_first_trade_of_the_next_are_delivered() -> None:
    it = Owner(TradeSequence(consecutive_ids=False, max_gap=300, since_ts=10))
    it.stream(trade("c", 20))
    it.ended([trade("a", 15), trade("b", 20), trade("c", 20)], 0.1)
    assert it.ids == ["a", "b", "c"]
