"""Gaps, late trades and outages of one coin, one case per test."""

from __future__ import annotations

import timeit

import pytest

from exchanges.events import TradeEvent
from feed.trades import sequence
from feed.trades.duplicates import LIMIT
from feed.trades.gaps import DELIVER, DUPLICATE, HELD, LATE, Filled, Gap, TradeVerdict
from feed.trades.open_gaps import MAX_OPEN
from feed.trades.sequence import TradeSequence
from tests.feed.trades.sequence_support import Owner, owner, trade, trades


def test_a_trade_that_was_missing_in_two_answers_of_rest_is_late_when_it_comes() -> None:
    """After two answers without the trade, the later trades were delivered."""
    it = owner(1)
    it.stream(trade(3), 0.0)
    for at in (0.1, 0.2):
        it.carry_out(it.policy.answered([trades(1, 3)], at))
    assert it.ids == ["1", "3"]
    assert [end.complete for end in it.filled] == [True]
    assert [it.stream(trade(number), 0.3) for number in (2, 3)] == [LATE, DUPLICATE]


def test_trades_are_put_in_order_even_if_gaps_are_not_fetched() -> None:
    it = owner(1, fetch=False)
    for number in (2, 4, 3, 5, 7, 6):
        it.stream(trade(number), 0.0)
    assert it.ids == ["1", "2", "3", "4", "5", "6", "7"]


def test_a_far_too_high_id_does_not_stop_the_stream() -> None:
    """The trade is delivered with this id, and the sequence continues as if the trade had not come."""
    it = owner(1, 2)
    assert it.stream(trade(10**15, timestamp=25)) is DELIVER
    assert [it.stream(trade(number)) for number in (3, 4, 5)] == [DELIVER] * 3
    assert it.gaps == []


def test_an_id_far_ahead_is_accepted_when_the_next_id_follows_it() -> None:
    """The venue has restarted its ids. The number of missing trades is unknown, and new ids are checked as before."""
    it = owner(1, 2)
    far = 10**9
    for number in (far, far + 1, far + 2, far + 4):
        it.stream(trade(number, timestamp=number))
    assert [gap.fetch for gap in it.gaps] == [False, True]
    assert it.gaps[1].from_id == far + 3
    assert it.ids == ["1", "2", str(far), str(far + 1), str(far + 2)]


def test_a_gap_is_reported_and_filled_while_later_trades_wait() -> None:
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


def test_if_a_late_trade_is_also_fetched_the_copy_that_comes_first_is_delivered() -> None:
    it = owner(1)
    it.stream(trade(4))
    assert it.stream(trade(2)) is HELD
    assert it.stream(trade(2)) is DUPLICATE
    it.ended(trades(2, 3), 0.1)
    assert [(item.trade_id, item.backfilled) for item in it.delivered[1:]] == [("2", False), ("3", True), ("4", False)]


def test_a_missing_trade_that_comes_after_its_gap_was_given_up_is_late() -> None:
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


def test_fetched_pages_are_used_even_if_the_fetch_does_not_end_before_the_deadline() -> None:
    it = owner(1)
    it.stream(trade(5))
    it.policy.add(trades(2, 3))
    it.carry_out(it.policy.expire(2.0))
    assert it.ids == ["1", "2", "3", "5"]
    assert [(end.trades, end.complete) for end in it.filled] == [(2, False)]


def test_without_a_time_of_arrival_the_deadline_counts_from_the_first_call_of_expire() -> None:
    it = owner(1)
    it.stream(trade(3), None)
    assert it.policy.open_gaps.deadline is None
    assert it.policy.expire(100.0) is HELD
    assert it.policy.open_gaps.deadline == 102.0
    it.carry_out(it.policy.expire(102.0))
    assert it.ids == ["1", "3"]


def test_ids_show_which_trades_are_missing_after_an_outage() -> None:
    it = owner(1, 2)
    it.policy.lost(0.0)
    it.policy.resumed(5.0)
    assert it.stream(trade(2)) is DUPLICATE
    assert it.stream(trade(3)) is DELIVER
    it.policy.lost(6.0)
    it.policy.resumed(8.0)
    assert it.stream(trade(5)).gap == Gap(4, 4, 30, 50, 1, fetch=True)


def test_a_silence_opens_a_gap_even_during_an_outage_because_another_connection_may_deliver() -> None:
    it = owner(1, 2, numbered=False)
    it.policy.lost(0.0)
    assert it.stream(trade(3)) is DELIVER
    it.policy.doubt()
    assert it.stream(trade(5)).gap == Gap(None, None, 30, 50, None, fetch=True)


@pytest.mark.parametrize("numbered", [False, True])
def test_a_doubt_counts_also_if_nothing_was_missed_before_it(numbered: bool) -> None:
    it = Owner(TradeSequence(numbered, 300, since_ts=100))
    it.policy.unbroken()
    it.policy.doubt()
    assert it.stream(trade(15)).gap == Gap(None, None, 100, 150, None, fetch=True)


def test_an_outage_longer_than_max_gap_is_reported_and_not_fetched() -> None:
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


def test_a_gap_too_big_to_fetch_is_only_reported() -> None:
    it = owner(1)
    assert it.stream(trade(sequence.MAX_MISSING + 3)).verdict is TradeVerdict.RELEASE
    assert [gap.fetch for gap in it.gaps] == [False]


def test_the_numbers_of_waiting_trades_and_gaps_are_limited() -> None:
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
def test_a_trade_whose_id_is_not_a_number_is_delivered_in_order_of_arrival(trade_id: str) -> None:
    it = owner(1)
    assert it.stream(trade(trade_id, 10)) is DELIVER
    it.stream(trade(3))
    assert it.stream(trade(trade_id, 30)) is HELD
    it.ended([trade(trade_id, 20), trade(2)], 0.1)
    assert it.ids == ["1", trade_id, "2", "3", trade_id]


def test_a_gap_by_time_runs_from_the_last_trade_to_the_first_new_trade() -> None:
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


def test_fetched_trades_are_sorted_by_time() -> None:
    it = owner(numbered=False)
    it.stream(trade("a", 1000))
    it.policy.resumed(0.0)
    it.stream(trade("d", 4000))
    it.ended([trade("c", 3000), trade("b", 2000)], 0.1)
    assert it.ids == ["a", "b", "c", "d"]


def test_trades_of_the_millisecond_in_which_a_gap_ends_are_ordered_by_their_ids() -> None:
    """The record has trades of this millisecond that the stream delivers later, in another message."""
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


def test_trades_without_ids_fill_a_gap_only_if_they_are_certainly_missing() -> None:
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


def test_accepting_trades_in_order_is_fast() -> None:
    """The time is compared with the time of storing each trade in a dict in the same run, because machines differ."""
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


def test_a_stamp_from_the_future_does_not_change_the_time_of_later_trades() -> None:
    """If ids are not consecutive, the trade with the latest stamp counts as the newest trade, for the price and
    for gaps."""
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
    it.stream(arrives("d", 10 * hour + 30, 9 * hour))  # an old trade: the previous trade is still the newest
    assert it.policy.stamp == 10 * hour + 20
    assert it.ids == ["a", "b", "c", "d"]


def test_a_sequence_has_delivered_until_the_trade_before_its_first_open_gap() -> None:
    it = owner(1)
    it.stream(trade(4))
    assert it.policy.delivered_until == trade(1).timestamp
    it.carry_out(it.policy.answered([trades(1, 2, 3, 4)], 0.1))
    assert it.policy.delivered_until == trade(4).timestamp


@pytest.mark.parametrize("numbered", [True, False])
def test_the_first_trade_after_another_venues_trades_opens_a_gap_by_time(numbered: bool) -> None:
    policy = TradeSequence(numbered, 300)
    policy.follow(1_000)
    gap = policy.accept(trade(7, 2_000), 0.0).gap
    assert gap is not None
    assert (gap.from_ts, gap.to_ts, gap.fetch) == (1_000, 2_000, True)
