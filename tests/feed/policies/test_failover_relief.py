"""While the active venue is silent, lags or is disconnected, the next venues are tried beside it."""

from __future__ import annotations

from feed.policies.failover import (
    REFUSED_FIRST,
    RELIEF_AGAIN,
    RELIEF_SPREAD,
)
from feed.policies.failover_decisions import (
    AbandonTrial,
    FailoverState,
    Retry,
    Switch,
    TryFailback,
    TryRelief,
)
from tests.feed.policies.failover_support import (
    FAILBACK,
    NAMES,
    SILENCE,
    on_binance,
    policy,
    silent,
)


def test_beside_a_silent_venue_the_next_venues_are_tried_shortly_after_each_other() -> None:
    venues = ["a", "b", "c", "d", "e"]
    it, decisions = silent(venues)
    tried, now = [(105.0, decisions)], 105.0
    while it.next_tick(now) < 130.0:
        now = it.next_tick(now)
        tried.append((now, it.tick(now)))
    assert [decisions for _, decisions in tried] == [[TryRelief(venue)] for venue in venues[1:]]
    assert tried[-1][0] - tried[0][0] <= RELIEF_SPREAD + 1e-9


def test_the_venue_that_has_data_first_becomes_active() -> None:
    it, _ = silent()
    it.tick(105.4)
    assert it.data("binance_us", 105.9) == [
        AbandonTrial("binance"),
        Switch("bybit", "binance_us", "no data for 5.9 s"),
    ]
    it, _ = silent()
    it.tick(105.4)
    assert it.data("bybit", 105.9) == [AbandonTrial("binance"), AbandonTrial("binance_us")]
    assert it.state is FailoverState.LIVE


def test_after_a_failed_trial_the_next_venue_is_tried_at_once_and_the_failed_venue_later() -> None:
    it, decisions = silent()
    assert decisions == [TryRelief("binance")]
    assert it.disconnected("binance", 105.1) == [AbandonTrial("binance")]
    assert it.tick(105.1) == [TryRelief("binance_us")]
    assert it.next_tick(105.6) == 105.1 + RELIEF_AGAIN
    assert it.tick(105.1 + RELIEF_AGAIN) == [TryRelief("binance")]


def test_a_venue_that_has_refused_is_not_put_on_trial() -> None:
    it = policy(relief_after=SILENCE)
    it.blocked("binance", 451, 99.0)
    it.data("bybit", 100.0)
    assert it.tick(105.0) == [TryRelief("binance_us")]
    assert it.refused("binance_us", "has halted BTC", 105.2) == [AbandonTrial("binance_us")]
    assert it.next_tick(105.2) == 105.2 + REFUSED_FIRST


def test_the_feed_leaves_a_lagging_venue_for_a_venue_that_is_up_to_date() -> None:
    """The lagging venue's own data does not count. When it has caught up, its next piece of data counts."""
    it = policy(NAMES[:2], SILENCE)
    it.data("bybit", 100.0)
    assert it.lagging("bybit", 6.0, 100.5) == [TryRelief("binance")]
    assert it.data("bybit", 101.0) == []
    assert it.state is FailoverState.RELIEF
    it.caught_up("bybit")
    assert it.data("bybit", 101.5) == [AbandonTrial("binance")]
    assert it.lagging("bybit", 7.0, 102.0) == [TryRelief("binance")]
    assert it.data("binance", 102.4) == [Switch("bybit", "binance", "lags 7.0 s")]


def test_after_an_outage_the_same_venue_is_dialled_once_before_other_venues_are_tried() -> None:
    it = policy(NAMES[:2])
    for second in range(10):
        it.data("bybit", float(second))
    assert it.disconnected("bybit", 10.0) == [Retry("bybit")]
    assert it.disconnected("bybit", 11.0) == [Retry("bybit"), TryRelief("binance")]


def test_another_venue_is_tried_beside_a_venue_that_hangs_from_the_start() -> None:
    it = policy(relief_after=SILENCE)
    assert it.next_tick(0.0) == SILENCE - 1.0
    assert it.tick(SILENCE - 1.0) == [TryRelief("binance")]
    assert it.data("binance", 4.5) == [Switch("bybit", "binance", "no data for 5.5 s")]


def test_silence_is_counted_from_the_feeds_last_data_over_all_venues() -> None:
    """After a refusal the next venue is dialled and hangs. The silence is counted from the feed's last data, not
    from the dial."""
    it = policy(relief_after=SILENCE)
    it.data("bybit", 100.0)
    it.blocked("bybit", 451, 103.0)
    assert it.next_tick(103.0) == 105.0
    assert it.tick(105.0) == [TryRelief("binance_us")]


def test_a_trial_of_a_preferred_venue_continues_after_a_short_silence() -> None:
    it = on_binance(relief_after=SILENCE)
    for second in range(31):
        it.data("binance", float(second))
    assert it.tick(30.0) == [TryFailback("bybit")]
    it.data("bybit", 31.0)
    assert it.tick(35.0) == [TryRelief("binance_us")]
    assert it.data("binance", 36.0) == [AbandonTrial("binance_us")]
    assert (it.state, it.trial) == (FailoverState.TRIAL, "bybit")


def test_a_trial_waits_for_its_next_data_only_if_that_can_cause_a_decision() -> None:
    it = on_binance()
    it.tick(30.0)
    assert it.awaits("bybit", 30.0)
    it.data("bybit", 31.0)
    assert not it.awaits("bybit", 32.0)
    assert it.awaits("bybit", 31.0 + FAILBACK)
    it.lagging("binance", 6.0, 40.0)
    assert it.awaits("bybit", 40.0)
    assert not it.awaits("binance", 40.0)
