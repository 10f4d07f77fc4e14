"""Silence is reported in time and once; a quiet coin does not end the connection; only data ends a silence."""

from __future__ import annotations

from itertools import pairwise
from math import inf

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from feed.policies.staleness import ROUNDING, Finding, SilenceKind, SilenceWatch
from feed.settings import Staleness

LIMITS = Staleness(feed_stale_after=5.0, coin_stale_after=60.0, reconnect_after=10.0)
COINS = ["BTC", "ETH", "SOL"]
Told = list[tuple[float, Finding]]


def watch(
    silence_watch: SilenceWatch, now: float, notes: list[tuple[float, str]], until: float, *, eager: bool = True
) -> Told:
    """Run the silence watch as its owner does: check when a check is due; if ``eager``, also when note() is True."""
    told: Told = []

    def check(at: float) -> None:
        told.extend((at, finding) for finding in silence_watch.check(at))

    for at, coin in [*notes, (until, "")]:
        while (due := silence_watch.next_check(now)) < at:
            assert due > now, "the owner's loop would never wait"
            now = due
            check(now)
        now = at
        if coin and silence_watch.note(coin, at) and eager:
            check(at)
    check(until)
    return told


def kinds(told: Told) -> list[str]:
    return [f"{finding.kind} {finding.coin}".strip() for _, finding in told]


def expected(notes: list[tuple[float, str]], until: float) -> list[tuple[str, str, float]]:
    """The reference: every silence of the feed and of each coin, derived from the whole past."""
    found = []

    def silences(times: list[float], limit: float, stale: SilenceKind, recovered: SilenceKind, coin: str) -> None:
        for start, end in pairwise([0.0, *times, until]):
            if end - start >= limit:
                found.append((stale, coin, limit))
                if end != until or until in times:
                    found.append((recovered, coin, end - start))

    silences([at for at, _ in notes], LIMITS.feed_stale_after, SilenceKind.FEED_STALE, SilenceKind.FEED_RECOVERED, "")
    for name in COINS:
        mine = [at for at, coin in notes if coin == name]
        silences(mine, LIMITS.coin_stale_after, SilenceKind.COIN_STALE, SilenceKind.COIN_RECOVERED, name)
    if any(end - start >= LIMITS.reconnect_after for start, end in pairwise([0.0, *(at for at, _ in notes), until])):
        found.append((SilenceKind.DEAD, "", LIMITS.reconnect_after))
    return sorted((str(kind), coin, seconds) for kind, coin, seconds in found)


# No sum of these pauses is exactly a limit, because the rounding of floats would decide there.
NOTES = st.lists(st.tuples(st.integers(1, 130).map(lambda n: n * 0.173), st.sampled_from(COINS)), max_size=12)


@given(NOTES, st.floats(0.05, 100))
def test_every_silence_is_reported_once_and_in_time(pauses: list[tuple[float, str]], rest: float) -> None:
    now, notes = 0.0, []
    for pause, coin in pauses:
        now += pause
        notes.append((now, coin))
    silence_watch = SilenceWatch(LIMITS)
    silence_watch.start(COINS, 0.0)
    told = watch(silence_watch, 0.0, notes, now + rest)
    model = expected(notes, now + rest)
    found = sorted((str(finding.kind), finding.coin, finding.seconds) for _, finding in told)
    assert [row[:2] for row in found] == [row[:2] for row in model]
    assert [row[2] for row in found] == pytest.approx([row[2] for row in model], abs=0.01)
    for at, finding in told:
        if finding.kind is SilenceKind.FEED_STALE:
            last = max((then for then, _ in notes if then <= at), default=0.0)
            assert 5.0 <= at - last <= 5.5


@example([(n * 0.173, coin) for n, coin in ((76, "ETH"), (3, "BTC"), (130, "BTC"), (130, "BTC"), (83, "BTC"))])
@given(NOTES)
def test_a_recovery_is_found_within_a_second_even_if_the_result_of_note_is_ignored(
    pauses: list[tuple[float, str]],
) -> None:
    now, notes = 0.0, []
    for pause, coin in pauses:
        now += pause
        notes.append((now, coin))
    eager, waiting = SilenceWatch(LIMITS), SilenceWatch(LIMITS)
    for silence_watch in (eager, waiting):
        silence_watch.start(COINS, 0.0)
    exact = watch(eager, 0.0, notes, now + 1.1)
    late = watch(waiting, 0.0, notes, now + 1.1, eager=False)
    assert sorted(kinds(exact)) == sorted(kinds(late))
    for kind in SilenceKind:
        for (at, _), (then, _) in zip(
            *([row for row in told if row[1].kind is kind] for told in (exact, late)), strict=True
        ):
            # a poll may come exactly at the limit, but a planned check comes ROUNDING after the limit
            assert at - ROUNDING <= then <= at + 1.01


def test_a_quiet_coin_is_reported_and_never_ends_the_connection() -> None:
    silence_watch = SilenceWatch(LIMITS)
    silence_watch.start(["BTC", "INJ"], 0.0)
    notes = [(float(second), "BTC") for second in range(1, 600)] + [(600.0, "INJ")]
    told = watch(silence_watch, 0.0, notes, 601.0)
    assert kinds(told) == ["coin_stale INJ", "coin_recovered INJ"]
    assert [finding.details for _, finding in told] == [
        {"coin": "INJ", "seconds": pytest.approx(60, abs=0.01)},
        {"coin": "INJ"},
    ]


def test_a_stalled_feed_is_stale_then_dead_and_its_coins_are_reported_at_their_own_limit() -> None:
    silence_watch = SilenceWatch(LIMITS)
    silence_watch.start(COINS, 0.0)
    told = watch(silence_watch, 0.0, [(3.0, coin) for coin in COINS], 62.0)
    assert kinds(told) == ["feed_stale", "dead"]
    assert [at for at, _ in told] == pytest.approx([8.0, 13.0], abs=0.01)
    assert sorted(kinds(watch(silence_watch, 62.0, [], 64.0))) == [f"coin_stale {coin}" for coin in COINS]


def test_dead_is_returned_once_per_connection_and_stale_once_per_silence() -> None:
    """A silence that lasts over several connections ends with the first data and is reported with its whole length."""
    silence_watch = SilenceWatch(LIMITS)
    silence_watch.start(COINS, 0.0)
    assert kinds(watch(silence_watch, 0.0, [(1.0, "BTC")], 12.0)) == ["feed_stale", "dead"]
    silence_watch.start(COINS, 12.0)
    assert kinds(watch(silence_watch, 12.0, [], 21.9)) == []
    assert kinds(watch(silence_watch, 21.9, [], 40.0)) == ["dead"]
    silence_watch.start(COINS, 40.0)
    told = watch(silence_watch, 40.0, [(41.0, "ETH")], 42.0)
    assert [(finding.kind, finding.seconds) for _, finding in told] == [(SilenceKind.FEED_RECOVERED, 40.0)]


def test_a_lost_connection_is_not_reported_as_dead_but_its_silence_is_reported() -> None:
    silence_watch = SilenceWatch(LIMITS)
    silence_watch.start(COINS, 0.0)
    silence_watch.note("BTC", 1.0)
    silence_watch.lost()
    assert kinds(watch(silence_watch, 1.0, [], 30.0)) == ["feed_stale"]


def test_coins_may_be_added_and_removed_without_effect_on_other_coins() -> None:
    silence_watch = SilenceWatch(LIMITS)
    silence_watch.start(["BTC", "ETH"], 0.0)
    assert kinds(watch(silence_watch, 0.0, [(float(n), "BTC") for n in range(1, 61)], 60.5)) == ["coin_stale ETH"]
    silence_watch.watch(["ETH", "SOL"], 61.0)
    assert kinds(watch(silence_watch, 61.0, [], 64.9)) == []
    assert kinds(watch(silence_watch, 64.9, [(65.2, "ETH")], 66.0)) == [
        "feed_stale",
        "feed_recovered",
        "coin_recovered ETH",
    ]


def test_the_silence_of_a_coin_that_is_added_again_begins_when_it_is_added() -> None:
    silence_watch = SilenceWatch(LIMITS)
    silence_watch.start(["BTC", "ETH"], 0.0)
    assert kinds(watch(silence_watch, 0.0, [(float(n), "BTC") for n in range(1, 70)], 70.0)) == ["coin_stale ETH"]
    silence_watch.watch(["SOL"], 70.0)
    assert kinds(watch(silence_watch, 70.0, [(float(n), "SOL") for n in range(71, 200)], 200.0)) == []
    silence_watch.watch(["BTC", "ETH", "SOL"], 200.0)
    assert kinds(watch(silence_watch, 200.0, [(200.5, "SOL"), (201.0, "ETH")], 201.5)) == []


def test_a_feed_without_coins_is_not_stale() -> None:
    silence_watch = SilenceWatch(LIMITS)
    silence_watch.start(["BTC"], 0.0)
    assert kinds(watch(silence_watch, 0.0, [], 6.0)) == ["feed_stale"]
    silence_watch.watch([], 6.0)
    assert silence_watch.check(100.0) == []
    silence_watch.start(["BTC"], 100.0)
    assert kinds(watch(silence_watch, 100.0, [], 104.0)) == []
    assert kinds(watch(silence_watch, 104.0, [], 106.0)) == ["feed_stale"]


def test_a_late_check_reports_a_recovery_and_the_silence_after_it() -> None:
    silence_watch = SilenceWatch(LIMITS)
    silence_watch.start(["BTC"], 0.0)
    assert kinds(watch(silence_watch, 0.0, [], 61.0)) == ["feed_stale", "dead", "coin_stale BTC"]
    silence_watch.note("BTC", 62.0)
    found = silence_watch.check(130.0)
    assert [(finding.kind, finding.seconds) for finding in found] == [
        (SilenceKind.FEED_RECOVERED, 62.0),
        (SilenceKind.FEED_STALE, 68.0),
        (SilenceKind.COIN_RECOVERED, 62.0),
        (SilenceKind.COIN_STALE, 68.0),
    ]


def test_data_of_a_coin_that_is_removed_right_afterwards_still_ends_a_silence() -> None:
    silence_watch = SilenceWatch(LIMITS)
    silence_watch.start(["BTC", "ETH"], 0.0)
    assert kinds(watch(silence_watch, 0.0, [], 6.0)) == ["feed_stale"]
    assert silence_watch.note("BTC", 7.0)
    silence_watch.watch(["ETH"], 7.1)
    assert silence_watch.check(7.2) == [Finding(SilenceKind.FEED_RECOVERED, 7.0)]


def test_data_needs_a_check_only_if_it_ends_a_silence() -> None:
    silence_watch = SilenceWatch(LIMITS)
    silence_watch.start(["BTC", "INJ"], 0.0)
    watch(silence_watch, 0.0, [(float(second), "BTC") for second in range(1, 62)], 62.0)
    assert not silence_watch.note("BTC", 63.0)
    assert silence_watch.note("INJ", 63.0)


def test_no_check_is_due_before_the_first_start() -> None:
    silence_watch = SilenceWatch(LIMITS)
    assert silence_watch.next_check(123.0) == inf
    assert silence_watch.check(1e6) == []


def test_the_time_of_a_suspended_machine_counts_as_silence() -> None:
    """This time does not count if data has come since the machine woke up."""
    silence_watch = SilenceWatch(LIMITS)
    silence_watch.start(COINS, 0.0)
    silence_watch.note("BTC", 3.0)
    silence_watch.check(3.0)
    silence_watch.backdate(600.0, before=3.5)
    assert [f.kind for f in silence_watch.check(4.0)] == [
        SilenceKind.FEED_STALE,
        *[SilenceKind.COIN_STALE] * 3,
        SilenceKind.DEAD,
    ]
    silence_watch = SilenceWatch(LIMITS)
    silence_watch.start(COINS, 0.0)
    for coin in COINS:
        silence_watch.note(coin, 3.9)
    silence_watch.backdate(600.0, before=3.5)
    assert silence_watch.check(4.0) == []
