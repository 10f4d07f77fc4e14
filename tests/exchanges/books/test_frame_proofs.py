"""Books are also proven by rising numbers, by numbers per connection, and by several proofs of one venue."""

from __future__ import annotations

from typing import Any

from exchanges.books.frame_proofs import CountedFrame, CountedFrames, OrderedProofs, RisingNumbers
from exchanges.books.proof import FrameProof, NumberedFrames, Numbers, Step


def rising(frame: dict[str, Any]) -> list[Numbers]:
    return [Numbers("BTCUSDT", frame["last"], snapshot=frame.get("snapshot", False))]


def counted(frame: dict[str, Any]) -> CountedFrame:
    return CountedFrame(frame["number"], frame.get("books", ()), frame.get("topic", ""))


def verdicts(proof: FrameProof, *frames: Any) -> list[tuple[str, Step]]:
    return [(market, verdict.step) for frame in frames for market, verdict in proof.judge(frame, str(frame))]


def steps(proof: FrameProof, *frames: Any) -> list[Step]:
    return [step for _, step in verdicts(proof, *frames)]


def test_an_update_with_a_higher_number_follows_even_if_numbers_are_skipped() -> None:
    frames = {"last": 5, "snapshot": True}, {"last": 6}, {"last": 60}
    assert steps(RisingNumbers(rising), *frames) == [Step.JOINED, Step.FOLLOWS, Step.FOLLOWS]


def test_a_lower_number_means_that_an_update_was_lost() -> None:
    frames = {"last": 5, "snapshot": True}, {"last": 8}, {"last": 7}, {"last": 9}
    assert steps(RisingNumbers(rising), *frames) == [Step.JOINED, Step.FOLLOWS, Step.LOST, Step.EARLY]


def test_an_equal_frame_is_a_repetition_but_another_frame_with_the_same_number_is_not() -> None:
    frames: list[dict[str, Any]] = [{"last": 5, "snapshot": True}, {"last": 8}, {"last": 8}, {"last": 8, "other": 1}]
    assert steps(RisingNumbers(rising), *frames) == [Step.JOINED, Step.FOLLOWS, Step.REPEATED, Step.LOST]
    assert steps(RisingNumbers(rising, ties=True), *frames)[2:] == [Step.REPEATED, Step.FOLLOWS]


def test_an_update_older_than_the_last_snapshot_is_a_repetition() -> None:
    frames = {"last": 5, "snapshot": True}, {"last": 8}, {"last": 20, "snapshot": True}, {"last": 19}, {"last": 21}
    expected = [Step.JOINED, Step.FOLLOWS, Step.JOINED, Step.REPEATED, Step.FOLLOWS]
    assert steps(RisingNumbers(rising), *frames) == expected


def test_numbers_from_a_clock_may_go_back_by_at_most_the_jitter() -> None:
    proof = RisingNumbers(rising, ties=True, jitter=10)
    frames = {"last": 50, "snapshot": True}, {"last": 80}, {"last": 71}, {"last": 70}, {"last": 69}
    assert steps(proof, *frames) == [Step.JOINED, Step.FOLLOWS, Step.FOLLOWS, Step.FOLLOWS, Step.LOST]


def test_the_first_update_with_a_rising_number_joins_if_the_snapshot_comes_over_rest() -> None:
    assert steps(RisingNumbers(rising, joins_late=True), {"last": 5}, {"last": 6}) == [Step.JOINED, Step.FOLLOWS]
    assert steps(RisingNumbers(rising), {"last": 5}) == [Step.EARLY]


def test_updates_of_a_numbered_connection_prove_nothing_until_the_whole_book_has_come() -> None:
    proof = CountedFrames(lambda frame: CountedFrame(frame["number"], ((frame["market"], frame.get("whole", False)),)))
    frames = {"number": 0, "market": "A"}, {"number": 1, "market": "A", "whole": True}, {"number": 2, "market": "A"}
    assert steps(proof, *frames, {"number": 3, "market": "B"}) == [Step.EARLY, Step.JOINED, Step.FOLLOWS, Step.EARLY]
    proof.forget("A")
    assert steps(proof, {"number": 4, "market": "A"}) == [Step.EARLY]


def test_a_missing_frame_of_a_connection_means_a_loss_for_all_its_markets() -> None:
    frames: list[dict[str, Any]] = [
        {"number": 0, "books": [("BTC", True)]},
        {"number": 1, "books": [("ETH", True)]},
        {"number": 3, "books": [("BTC", False)]},
        {"number": 4, "books": [("BTC", True)]},
    ]
    assert verdicts(CountedFrames(counted), *frames) == [
        ("BTC", Step.JOINED), ("ETH", Step.JOINED), ("", Step.LOST), ("BTC", Step.FOLLOWS), ("BTC", Step.JOINED)
    ]  # fmt: skip


def test_frames_that_are_numbered_per_topic_show_no_gap() -> None:
    frames = [{"number": number, "topic": topic} for number, topic in ((0, "a"), (0, "b"), (1, "a"), (1, "b"))]
    assert steps(CountedFrames(counted), *frames) == []
    assert steps(CountedFrames(counted), *frames, {"number": 3, "topic": "a"}) == [Step.LOST]


def test_the_strictest_of_several_proofs_decides() -> None:
    def linked(frame: dict[str, Any]) -> list[Numbers]:
        return [Numbers("BTCUSDT", frame["last"], previous=frame.get("previous"), snapshot="snapshot" in frame)]

    proof = OrderedProofs(NumberedFrames(linked), RisingNumbers(rising))
    frames = {"last": 5, "snapshot": True}, {"last": 7, "previous": 5}, {"last": 7, "previous": 5}, {"last": 9}
    assert steps(proof, *frames) == [Step.JOINED, Step.FOLLOWS, Step.REPEATED, Step.LOST]
