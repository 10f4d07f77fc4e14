"""Verdicts on numbered frames, which most venues' rows are made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from exchanges.books.proof import NumberedFrames, Numbers, Step


def numbers(frame: Mapping[str, Any]) -> Iterable[Numbers]:
    yield Numbers("BTCUSDT", **frame)


def steps(proof: NumberedFrames, *frames: Mapping[str, Any]) -> list[Step]:
    return [verdict.step for frame in frames for _, verdict in proof.judge(frame, "")]


def test_updates_that_follow_a_snapshot_are_proven() -> None:
    proof = NumberedFrames(numbers)
    frames = {"last": 5, "snapshot": True}, {"first": 6, "last": 9}, {"last": 12, "previous": 9}, {"last": 13}
    assert steps(proof, *frames) == [Step.JOINED, Step.FOLLOWS, Step.FOLLOWS, Step.FOLLOWS]


def test_nothing_is_proven_before_the_snapshot() -> None:
    assert steps(NumberedFrames(numbers), {"last": 6}) == [Step.WAITING]


def test_a_repeated_update_changes_nothing() -> None:
    proof = NumberedFrames(numbers)
    assert steps(proof, {"last": 5, "snapshot": True}, {"last": 5}, {"last": 6}) == [
        Step.JOINED,
        Step.REPEATED,
        Step.FOLLOWS,
    ]


def test_a_missing_update_is_told_once_and_nothing_is_proven_until_the_next_snapshot() -> None:
    proof = NumberedFrames(numbers)
    frames = {"last": 5, "snapshot": True}, {"last": 7}, {"last": 8}, {"last": 20, "snapshot": True}, {"last": 21}
    assert steps(proof, *frames) == [Step.JOINED, Step.LOST, Step.WAITING, Step.JOINED, Step.FOLLOWS]


def test_the_first_update_joins_where_ccxt_fetches_the_snapshot_but_not_after_a_loss() -> None:
    proof = NumberedFrames(numbers, joins_late=True)
    assert steps(proof, {"last": 5}, {"last": 7}, {"last": 8}) == [Step.JOINED, Step.LOST, Step.WAITING]
    proof.forget("BTCUSDT")
    assert steps(proof, {"last": 9}) == [Step.JOINED]


def test_a_number_that_is_repeated_because_nothing_changed_follows() -> None:
    proof = NumberedFrames(numbers)
    assert steps(proof, {"last": 5, "snapshot": True}, {"last": 5, "previous": 5}) == [Step.JOINED, Step.FOLLOWS]
