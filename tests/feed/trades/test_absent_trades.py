"""Ids and trades that the venue's own record shows to be absent, before, during and after outages."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchanges.events import TradeEvent
from feed.trades.gaps import DELIVER, DUPLICATE, LATE
from feed.trades.sequence import HOLD_FOR, TradeSequence
from tests.feed.trades.leaps_support import FIRST, HOUR, Feed, good, good_trades, run

# --- ids that the venue's record does not have ------------------------------------------------------------------------


def skipping(count: int, each: int, pause: int = 100) -> list[TradeEvent]:
    """Trades whose ids skip one number after every ``each``-th trade."""
    truth, number = list[TradeEvent](), FIRST
    for n in range(count):
        truth.append(good(number, HOUR + n * pause, float(n)))
        number += 2 if n % each == 0 else 1
    return truth


def test_unused_ids_leave_gaps_complete_and_delay_trades_only_for_a_moment() -> None:
    """Two answers prove that no trade has the id. After a few such ids, the ids do not count as consecutive any
    more."""
    truth = skipping(400, 20)
    feed = Feed(TradeSequence(True, 300), 0.0, [(item.timestamp / 1000, item) for item in truth])
    run(feed, truth, [item.timestamp for item in truth])
    assert feed.prices == [item.price for item in truth]
    assert all(end.complete for end in feed.filled)
    assert len(feed.gaps) == 3
    assert not feed.policy.numbered
    assert feed.longest < 0.7


def begun(how: str, first: TradeEvent) -> Feed:
    """A feed that is about to get the venue's first trade, after the event ``how``."""
    policy = TradeSequence(True, 300, since_ts=first.timestamp - 1 if how == "taken over" else None)
    if how not in ("new", "taken over"):
        policy.accept(replace(first, trade_id=str(int(first.trade_id) - 1), timestamp=first.timestamp - 1), 0.0)
    if how == "returned to":
        policy.returned(first.timestamp - 1)
    elif how == "connected again":
        policy.lost(0.0)
        policy.resumed(0.1)
    elif how == "silent":
        policy.doubt()
    return Feed(policy)


@pytest.mark.parametrize("how", ["new", "taken over", "returned to", "connected again", "silent"])
def test_trades_that_show_that_ids_are_not_consecutive_are_delivered_once(how: str) -> None:
    """Ids stop counting as consecutive between two successive trades. There is no gap, and no trade is repeated.

    In an earlier version, an old outage was mistaken for the present outage.
    """
    truth = skipping(100, 5)
    feed = begun(how, truth[0])
    feed.record = [(item.timestamp / 1000, item) for item in truth]
    run(feed, truth, [item.timestamp for item in truth])
    assert not feed.policy.numbered
    assert feed.prices == [item.price for item in truth]
    by_time = [gap for gap in feed.gaps if gap.from_id is None]
    # there is a gap only if another venue had the last trade
    assert all(gap.to_ts == truth[0].timestamp for gap in by_time)


@pytest.mark.parametrize("trades_between", [0, 1, 5])
def test_no_trade_is_repeated_by_an_outage_after_ids_stopped_being_consecutive(trades_between: int) -> None:
    """The last trades before the outage are recognized by their ids, although these ids were not remembered at
    first."""
    truth = skipping(100, 5)
    feed = Feed(TradeSequence(True, 300), 0.0, [(item.timestamp / 1000, item) for item in truth])
    place = 0
    while True:
        feed.go_on_until(truth[place].timestamp / 1000)
        if not feed.policy.numbered:
            break
        feed.stream(truth[place])
        place += 1
    for item in truth[place : place + trades_between]:
        feed.go_on_until(item.timestamp / 1000)
        feed.stream(item)
    place += trades_between
    feed.policy.lost(feed.now)
    feed.go_on_until(truth[place + 10].timestamp / 1000)
    feed.policy.resumed(feed.now)
    run(feed, truth[place + 10 :], [item.timestamp for item in truth[place + 10 :]])
    assert feed.prices == [item.price for item in truth]


@pytest.mark.parametrize("numbered", [True, False])
def test_an_outage_after_a_silence_does_not_begin_at_an_earlier_outage(numbered: bool) -> None:
    """A gap after a short outage is fetched, whatever outages there were before, and even if the coin was silent."""
    truth = good_trades([0] + [1000] * 40)
    feed = Feed(TradeSequence(numbered, 10), 0.0, [(item.timestamp / 1000, item) for item in truth])
    run_until_lost(feed, truth[:2], back_at=truth[5].timestamp / 1000)
    run_until_lost(feed, truth[5:20], back_at=truth[23].timestamp / 1000, silent=True)
    run(feed, truth[23:], [item.timestamp for item in truth[23:]])
    assert feed.prices == [item.price for item in truth]
    assert all(gap.fetch for gap in feed.gaps)


@pytest.mark.parametrize("ahead", [0, 20_000, HOUR])
def test_trades_that_come_after_their_gap_was_given_up_are_counted_as_late(ahead: int) -> None:
    """Without consecutive ids, the time of a trade shows that it belongs before delivered trades. A wrong stamp
    excludes no trade."""
    truth = good_trades([0] + [100] * 30)
    feed = Feed(TradeSequence(False, 300))  # the venue's record is empty, so no trade is found
    run_until_lost(feed, truth[:5], back_at=truth[10].timestamp / 1000)
    run(feed, [replace(truth[10], timestamp=truth[10].timestamp + ahead)], [truth[10].timestamp])
    assert [end.complete for end in feed.filled] == [False]
    late = [replace(item, received_at=int(feed.now * 1e9)) for item in truth[5:10]]
    verdicts = [feed.policy.accept(item, feed.now) for item in late]
    assert ahead or all(verdict is LATE for verdict in verdicts)
    verdicts = [feed.policy.accept(replace(item), feed.now) for item in truth[11:]]
    assert all(verdict is DELIVER for verdict in verdicts)
    assert feed.policy.accept(replace(truth[7]), feed.now) is DUPLICATE


def test_a_repeated_trade_from_the_time_of_another_venue_is_not_delivered() -> None:
    """The trade's id is not remembered, because the trade was never delivered. If this trade comes first after a
    reconnect, it hides no gap."""
    truth = skipping(100, 5, pause=500)
    feed = Feed(TradeSequence(True, 300), 0.0, [(item.timestamp / 1000, item) for item in truth])
    run(feed, truth[:30], [item.timestamp for item in truth[:30]])
    assert not feed.policy.numbered
    feed.go_on_until(truth[50].timestamp / 1000)
    feed.policy.returned(truth[50].timestamp)
    run(feed, truth[53:56], [item.timestamp for item in truth[53:56]])
    feed.stream(replace(truth[40], received_at=int(feed.now * 1e9)))
    run_until_lost(feed, [], back_at=truth[79].timestamp / 1000)
    feed.stream(replace(truth[41], received_at=int(feed.now * 1e9)))
    run(feed, truth[80:], [item.timestamp for item in truth[80:]])
    assert feed.prices == [item.price for item in (*truth[:30], *truth[50:])]


def test_a_trade_that_a_trial_missed_before_it_took_over_is_a_gap() -> None:
    """One of the trial's trades is earlier than the old venue's last trade, and one is later than the missing trade."""
    truth = good_trades([0] + [100] * 5)
    policy = TradeSequence(True, 300, since_ts=truth[1].timestamp)
    fresh = policy.missed([truth[0], truth[1], truth[3]])
    policy.unbroken()
    assert fresh == [truth[3]]
    outcome = policy.accept(fresh[0], 0.0)
    assert outcome.gap is not None
    assert (outcome.gap.from_id, outcome.gap.to_id) == (FIRST + 2, FIRST + 2)


def run_until_lost(feed: Feed, wire: list[TradeEvent], *, back_at: float, silent: bool = False) -> None:
    """Let the connection deliver these trades, fall silent if ``silent``, be lost, and deliver again at ``back_at``."""
    for item in wire:
        feed.go_on_until(item.timestamp / 1000)
        feed.stream(item)
    if silent:
        feed.policy.doubt()
    feed.policy.lost(feed.now)
    feed.go_on_until(back_at)
    feed.policy.resumed(feed.now)


def test_after_ids_stop_being_consecutive_repeated_trades_are_dropped_and_new_trades_delivered() -> None:
    truth = skipping(100, 2)
    feed = Feed(TradeSequence(True, 300), 0.0, [(item.timestamp / 1000, item) for item in truth])
    run(feed, truth, [item.timestamp for item in truth])
    assert not feed.policy.numbered
    before = len(feed.delivered)
    for item in truth[::7]:
        feed.stream(item)
    assert len(feed.delivered) == before
    anew = [good(1 + n, HOUR + 60_000 + n, 1000.0 + n) for n in range(20)]
    for item in anew:
        feed.stream(item)
    assert feed.prices[before:] == [item.price for item in anew]


def test_a_trade_that_an_answer_omits_at_first_is_not_lost() -> None:
    truth = good_trades([0, 10, 10, 10, 10])
    record = [(item.timestamp / 1000, item) for item in truth]
    record[2] = (record[2][0] + 0.2, truth[2])
    feed = Feed(TradeSequence(True, 300), 0.0, record)
    wire = [*truth[:2], *truth[3:]]
    run(feed, wire, [item.timestamp for item in wire])
    assert feed.prices == [item.price for item in truth]
    assert [(end.trades, end.complete) for end in feed.filled] == [(1, True)]
    assert feed.policy.numbered


# --- a record that is behind ------------------------------------------------------------------------------------------


@given(st.floats(0, 3.5), st.integers(1, 6), st.booleans())
def test_a_gap_is_complete_only_if_the_record_reaches_beyond_it(lag: float, missing: int, numbered: bool) -> None:
    """The record is requested again while trades wait. If it does not reach beyond the gap, the gap is incomplete."""
    truth = good_trades([0] + [20] * 30)
    lost = range(10, 10 + missing)
    feed = Feed(TradeSequence(numbered, 300), lag, [(item.timestamp / 1000, item) for item in truth])
    for n, item in enumerate(truth):
        feed.go_on_until(item.timestamp / 1000)
        if n == lost.stop:
            feed.policy.lost(feed.now - 1)
            feed.policy.resumed(feed.now)
        if n not in lost:
            feed.stream(item)
    feed.go_on_until(feed.now + 10)
    (end,) = feed.filled
    whole = feed.prices == [item.price for item in truth]
    assert whole or not end.complete
    assert end.complete or not (whole and numbered)
    if lag < 1.7:
        assert whole
    assert Counter(feed.prices) <= Counter(item.price for item in truth)
    assert feed.longest <= HOLD_FOR + 0.01


@given(st.floats(0, 3.5), st.integers(0, 6), st.booleans())
def test_after_a_failover_a_gap_is_complete_only_if_the_record_reaches_beyond_it(
    lag: float, missing: int, numbered: bool
) -> None:
    """On the next venue, the gap begins at the other venue's last trade, for any ids."""
    truth = good_trades([0] + [20] * 30)
    feed = Feed(
        TradeSequence(numbered, 300, since_ts=truth[10].timestamp), lag, [(i.timestamp / 1000, i) for i in truth]
    )
    wire = truth[11 + missing :]
    run(feed, wire, [item.timestamp for item in wire])
    whole = feed.prices[-len(truth[11:]) :] == [item.price for item in truth[11:]]
    (end,) = feed.filled
    assert whole or not end.complete
    if lag < 1.7:
        assert end.complete
