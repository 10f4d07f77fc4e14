"""Verdicts on numbered frames, which prove the books of most venues."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from exchanges.books.proof import NumberedFrames, Numbers, Step, place_of_join


def numbers(frame: Mapping[str, Any]) -> Iterable[Numbers]:
    yield Numbers("BTCUSDT", **frame)


def steps(proof: NumberedFrames, *frames: Mapping[str, Any]) -> list[Step]:
    return [verdict.step for frame in frames for _, verdict in proof.judge(frame, "")]


def test_updates_that_follow_a_snapshot_are_proven() -> None:
    proof = NumberedFrames(numbers)
    frames = {"last": 5, "snapshot": True}, {"first": 6, "last": 9}, {"last": 12, "previous": 9}, {"last": 13}
    assert steps(proof, *frames) == [Step.JOINED, Step.FOLLOWS, Step.FOLLOWS, Step.FOLLOWS]


def test_nothing_is_proven_before_the_snapshot() -> None:
    assert steps(NumberedFrames(numbers), {"last": 6}) == [Step.EARLY]


def test_a_repeated_update_changes_nothing() -> None:
    proof = NumberedFrames(numbers)
    assert steps(proof, {"last": 5, "snapshot": True}, {"last": 5}, {"last": 6}) == [
        Step.JOINED,
        Step.REPEATED,
        Step.FOLLOWS,
    ]


def test_a_number_below_the_first_one_means_a_loss_after_updates_have_followed() -> None:
    """The venue has begun again at a lower number. Without this rule, all its updates would count as repeated."""
    proof = NumberedFrames(numbers)
    frames = {"last": 50, "snapshot": True}, {"last": 49}, {"last": 51}, {"last": 50}, {"last": 3}
    expected = [Step.JOINED, Step.REPEATED, Step.FOLLOWS, Step.REPEATED, Step.LOST]
    assert steps(proof, *frames) == expected


def test_a_missing_update_is_reported_once_and_nothing_is_proven_until_the_next_snapshot() -> None:
    proof = NumberedFrames(numbers)
    frames = {"last": 5, "snapshot": True}, {"last": 7}, {"last": 8}, {"last": 20, "snapshot": True}, {"last": 21}
    assert steps(proof, *frames) == [Step.JOINED, Step.LOST, Step.EARLY, Step.JOINED, Step.FOLLOWS]


def test_the_first_update_joins_if_ccxt_fetches_the_snapshot_but_not_after_a_loss() -> None:
    proof = NumberedFrames(numbers, joins_late=True)
    assert steps(proof, {"last": 5}, {"last": 7}, {"last": 8}) == [Step.JOINED, Step.LOST, Step.EARLY]
    proof.forget("BTCUSDT")
    assert steps(proof, {"last": 9}) == [Step.JOINED]


def test_an_update_may_repeat_the_number_of_the_previous_state() -> None:
    proof = NumberedFrames(numbers)
    assert steps(proof, {"last": 5, "snapshot": True}, {"last": 5, "previous": 5}) == [Step.JOINED, Step.FOLLOWS]


def test_an_update_that_overlaps_the_previous_one_follows_if_it_ends_later() -> None:
    proof = NumberedFrames(numbers)
    frames = {"last": 5, "snapshot": True}, {"first": 4, "last": 8}, {"first": 7, "last": 8}, {"first": 8, "last": 9}
    assert steps(proof, *frames) == [Step.JOINED, Step.FOLLOWS, Step.REPEATED, Step.FOLLOWS]


def test_a_lower_number_follows_if_it_is_linked_to_the_previous_one() -> None:
    proof = NumberedFrames(numbers)
    frames = {"last": 15, "snapshot": True}, {"previous": 15, "last": 3}, {"previous": 3, "last": 5}
    assert steps(proof, *frames) == [Step.JOINED, Step.FOLLOWS, Step.FOLLOWS]


def test_the_loss_of_the_first_update_with_a_lower_number_is_noticed() -> None:
    proof = NumberedFrames(numbers)
    frames = {"last": 10, "snapshot": True}, {"previous": 10, "last": 15}, {"previous": 3, "last": 5}
    assert steps(proof, *frames) == [Step.JOINED, Step.FOLLOWS, Step.LOST]


def test_a_linked_update_that_is_repeated_at_once_changes_nothing() -> None:
    proof = NumberedFrames(numbers)
    frames = {"last": 10, "snapshot": True}, {"previous": 10, "last": 15}, {"previous": 10, "last": 15}
    assert steps(proof, *frames) == [Step.JOINED, Step.FOLLOWS, Step.REPEATED]


def test_a_snapshot_joins_with_newer_updates_that_came_before_it() -> None:
    proof = NumberedFrames(numbers, snapshot_asked=True)
    early = {"previous": 1, "last": 4}, {"previous": 4, "last": 7}, {"previous": 7, "last": 9}
    assert steps(proof, *early) == [Step.WAITING] * 3
    [(_, verdict)] = proof.judge({"last": 4, "snapshot": True}, "")
    assert (verdict.step, verdict.sequence) == (Step.JOINED, 9)
    assert steps(proof, {"previous": 9, "last": 12}) == [Step.FOLLOWS]


def test_a_snapshot_that_is_older_than_all_updates_joins_nothing() -> None:
    proof = NumberedFrames(numbers, snapshot_asked=True)
    frames = {"previous": 4, "last": 7}, {"last": 2, "snapshot": True}, {"previous": 7, "last": 9}
    assert steps(proof, *frames) == [Step.WAITING] * 3
    assert steps(proof, {"last": 7, "snapshot": True}, {"previous": 9, "last": 12}) == [Step.JOINED, Step.FOLLOWS]


def test_a_snapshot_joins_at_the_first_update_that_ends_after_the_snapshot() -> None:
    spans = [(1, 3), (4, 6), (7, 9)]
    assert [place_of_join(number, spans) for number in (0, 2, 3, 5, 6, 9, 12)] == [0, 0, 1, 1, 2, 3, 3]
    assert place_of_join(2, [(4, 6)]) == -1
    assert place_of_join(2, []) == 0


def test_a_snapshot_in_the_stream_always_replaces_the_book() -> None:
    """With the snapshot, the numbers may restart at a lower value."""
    proof = NumberedFrames(numbers)
    frames = {"previous": 90, "last": 95}, {"last": 2, "snapshot": True}, {"previous": 2, "last": 4}
    assert steps(proof, *frames) == [Step.EARLY, Step.JOINED, Step.FOLLOWS]
