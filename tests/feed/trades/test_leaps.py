"""One wrong id or stamp of a venue causes no lost, repeated or late good trade."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feed.trades.sequence import HOLD_FOR, TradeSequence
from tests.feed.trades.leaps_support import FIRST, HOUR, Feed, good, good_trades, run
from tests.feed.trades.sequence_support import Owner

PAUSES = st.lists(st.sampled_from([0, 1, 5, 40, 300, 2500]), min_size=4, max_size=30)
AHEAD = st.sampled_from([1, 2, 3, 50, 101, 40_000, 60_000, 999_000, 1_500_000, 10**12])


@given(PAUSES, st.integers(0, 29), AHEAD, st.floats(0, 1.5))
def test_an_id_that_is_too_high_causes_no_lost_repeated_or_late_trade(
    pauses: list[int], place: int, ahead: int, rest_lag: float
) -> None:
    """The trade itself is delivered once: from REST with its right id, or from the stream with the wrong id."""
    truth = good_trades(pauses)
    times = [item.timestamp for item in truth]
    wire = list(truth)
    place %= len(wire)
    wire[place] = replace(wire[place], trade_id=str(FIRST + place + ahead))
    feed = Feed(TradeSequence(True, 300), rest_lag, [(item.timestamp / 1000, item) for item in truth])
    run(feed, wire, times)
    assert Counter(feed.prices) == Counter(item.price for item in truth)
    rest = [price for price in feed.prices if price != truth[place].price]
    assert rest == sorted(rest)
    assert feed.longest <= HOLD_FOR + 0.01
    assert feed.policy.open_gaps.deadline is None


@given(PAUSES, st.integers(0, 29), AHEAD, st.floats(0, 1.5))
def test_an_additional_trade_with_too_high_an_id_causes_no_lost_trade(
    pauses: list[int], place: int, ahead: int, rest_lag: float
) -> None:
    truth = good_trades(pauses)
    place %= len(truth)
    extra = replace(truth[place], trade_id=str(FIRST + place + 1 + ahead), price=1.0)
    wire = [*truth[: place + 1], extra, *truth[place + 1 :]]
    feed = Feed(TradeSequence(True, 300), rest_lag, [(item.timestamp / 1000, item) for item in truth])
    run(feed, wire, [item.timestamp for item in wire])
    assert Counter(feed.prices) == Counter(item.price for item in wire)
    rest = [price for price in feed.prices if price != 1.0]
    assert rest == sorted(rest)
    assert feed.longest <= HOLD_FOR + 0.01


@given(PAUSES, st.integers(0, 29), st.sampled_from([200, 5_000, 40_000, 999_000, 4_000_000]), st.floats(0, 1.5))
def test_an_id_that_is_too_low_causes_no_lost_repeated_or_late_trade(
    pauses: list[int], place: int, behind: int, rest_lag: float
) -> None:
    truth = good_trades([pause + 1 for pause in pauses])
    wire = list(truth)
    place = 1 + place % (len(wire) - 1)
    wire[place] = replace(wire[place], trade_id=str(FIRST + place - behind))
    feed = Feed(TradeSequence(True, 300), rest_lag, [(item.timestamp / 1000, item) for item in truth])
    run(feed, wire, [item.timestamp for item in truth])
    assert Counter(feed.prices) == Counter(item.price for item in truth)
    rest = [price for price in feed.prices if price != truth[place].price]
    assert rest == sorted(rest)
    assert feed.longest <= HOLD_FOR + 0.01


@given(PAUSES, st.integers(0, 29), st.sampled_from([-23 * HOUR, -HOUR, -5_000, 5_000, 59_000, HOUR, 23 * HOUR]))
@pytest.mark.parametrize("numbered", [True, False])
def test_a_wrong_stamp_causes_no_lost_repeated_or_late_trade(
    numbered: bool, pauses: list[int], place: int, off: int
) -> None:
    truth = good_trades(pauses)
    wire = list(truth)
    place %= len(wire)
    wire[place] = replace(wire[place], timestamp=wire[place].timestamp + off)
    feed = Feed(TradeSequence(numbered, 300), 0.0, [(item.timestamp / 1000, item) for item in truth])
    run(feed, wire, [item.timestamp for item in truth])
    assert feed.prices == [item.price for item in truth]
    assert feed.longest == 0.0
    assert feed.gaps == []


@given(PAUSES, PAUSES, st.sampled_from([0, HOUR, 23 * HOUR]), st.booleans())
def test_restarted_ids_cause_no_lost_trade_even_after_a_wrong_stamp(
    before: list[int], after: list[int], ahead: int, outage: bool
) -> None:
    truth = good_trades([*(pause + 1 for pause in before), 50, *(pause + 1 for pause in after)])
    wire = [
        item if n < len(before) else replace(item, trade_id=str(1 + n - len(before))) for n, item in enumerate(truth)
    ]
    wire[len(before) - 1] = replace(wire[len(before) - 1], timestamp=wire[len(before) - 1].timestamp + ahead)
    feed = Feed(TradeSequence(True, 300))
    times = [item.timestamp for item in truth]
    for n, (item, at) in enumerate(zip(wire, times, strict=True)):
        feed.go_on_until(at / 1000)
        if outage and n == len(before):
            feed.policy.lost(feed.now)
            feed.policy.resumed(feed.now)
        feed.stream(item)
    feed.go_on_until(feed.now + 10)
    assert feed.prices == [item.price for item in truth]
    assert feed.longest <= HOLD_FOR + 0.01


@pytest.mark.parametrize("ahead", [3, 40_000, 999_000, 1_500_000])
def test_a_wrong_jump_of_ids_is_found_even_after_the_end_of_its_gap_and_a_reconnect(ahead: int) -> None:
    truth = good_trades([0, 10, 10, 10])
    feed = Feed(TradeSequence(True, 300))
    for item in truth[:2]:
        feed.stream(item)
    feed.stream(replace(good(FIRST + 1 + ahead, truth[1].timestamp + 5, 1.0)))
    feed.go_on_until(feed.now + 5)
    feed.policy.lost(feed.now)
    feed.policy.resumed(feed.now + 1)
    for item in truth[2:]:
        feed.stream(item)
    assert feed.prices == [100.0, 101.0, 1.0, 102.0, 103.0]
    assert feed.policy.next_id == FIRST + 4
    assert feed.longest <= HOLD_FOR + 0.01


def test_a_jump_of_ids_is_a_gap_if_later_trades_continue_from_it() -> None:
    """A later trade with a lower id is late, whatever its stamp."""
    feed = Feed(TradeSequence(True, 300, fetch=False))
    for number, at in ((0, 0), (3, 10), (4, 20)):
        feed.stream(good(FIRST + number, HOUR + at, float(number)))
    feed.go_on_until(1.0)
    feed.stream(good(FIRST + 1, HOUR + 5, 1.0))
    feed.stream(good(FIRST + 5, HOUR + 40, 5.0))
    assert feed.prices == [0.0, 3.0, 4.0, 5.0]


@pytest.mark.parametrize("answers", [[(0, 3), (0, 10)], [(0, 10)], [(0, 3), (3, 10)]])
def test_a_waiting_trade_with_a_wrong_id_gives_way_to_the_trade_that_rest_has_under_this_id(
    answers: list[tuple[int, int]],
) -> None:
    """Before REST shows the id to be wrong, a newer trade opens another gap."""
    truth = [good(number, 1_000_000 + number, 100.0 + number) for number in range(10)]
    it = Owner(TradeSequence(True, 300))
    for item in (truth[0], truth[1], replace(truth[2], trade_id="5")):
        it.stream(item)
    for place, (first, end) in enumerate(answers):
        if place == len(answers) - 1:
            it.stream(truth[9])
        it.carry_out(it.policy.answered([[replace(item) for item in truth[first:end]]], 0.0))
    assert [(item.trade_id, item.price) for item in it.delivered] == [(item.trade_id, item.price) for item in truth]
    assert [filled.complete for filled in it.filled] == [True, True]


def test_a_trade_that_came_with_a_wrong_id_is_not_delivered_again_in_place_of_another_wrong_id() -> None:
    truth = [good(number, 1_000_000 + number, 100.0 + number) for number in range(10)]
    it = Owner(TradeSequence(True, 300))
    for item in (*truth[:3], replace(truth[5], trade_id="7"), replace(truth[7], trade_id="10"), *truth[8:]):
        it.stream(item)
    it.carry_out(it.policy.answered([[replace(item) for item in truth]], 0.0))
    assert Counter(item.price for item in it.delivered) == Counter(item.price for item in truth)


# --- many late trades, after the venue became active ----------------------------------------------------------------


@given(
    st.lists(st.sampled_from([0, 0, 1, 40, 300]), min_size=12, max_size=40),
    st.lists(st.integers(0, 9), min_size=40, max_size=40),
    st.integers(1, 8),
    st.floats(0, 1.2),
)
def test_late_trades_make_no_correct_id_look_wrong(
    pauses: list[int], late: list[int], begin: int, rest_lag: float
) -> None:
    """Right after a failover most trades come some places late, so almost every id jumps, often with equal stamps.

    An id that the venue's REST has too is right. Trades that REST had before the first streamed trade are not repeated.
    """
    truth = good_trades(pauses)
    feed = Feed(
        TradeSequence(True, 300, since_ts=truth[0].timestamp),
        rest_lag,
        [(item.timestamp / 1000, item) for item in truth],
    )
    places = sorted(range(begin, len(truth)), key=lambda n: (n + late[n], n))
    at = [truth[min(n + late[n], len(truth) - 1)].timestamp for n in places]
    run(feed, [truth[n] for n in places], at)
    assert feed.prices == sorted(set(feed.prices))
    assert feed.longest <= HOLD_FOR + 0.01
    if all(end.complete for end in feed.filled):
        assert feed.prices[-len(truth) + begin :] == [item.price for item in truth[begin:]]
