"""An item with a timestamp ahead of the venue's time waits until later items show whether the timestamp is wrong."""

from __future__ import annotations

from feed.candles.stamp_check import AGREEING, AHEAD, MOST, StampCheck

NOW = 1_700_000_000_000
HOUR = 3_600_000


def taken(check: StampCheck[str], name: str, ahead: int, now: float | None = NOW, received_at: int = 0) -> str:
    """Return the names of the items that are accepted at once."""
    return "".join(check.take(name, NOW + ahead, now, received_at)[0])


def test_stamps_that_are_not_ahead_are_taken_at_once() -> None:
    check = StampCheck[str](0, 1_000)
    assert [taken(check, "a", ahead) for ahead in (0, AHEAD, -HOUR, -24 * HOUR)] == ["a"] * 4


def test_a_stamp_that_later_stamps_contradict_is_replaced_by_the_time_of_arrival() -> None:
    check = StampCheck[str](0, 1_000)
    assert taken(check, "a", HOUR, NOW) == ""
    assert check.take("b", NOW + 5_000, NOW + 5_000, 0) == (["b"], [("a", NOW)])
    assert check.take("a", NOW + HOUR, None, NOW * 1_000_000) == ([], [])
    assert check.take("b", NOW + 5_000, None, NOW * 1_000_000 + 5_000 * 1_000_000) == (["b"], [("a", NOW + 5_000)])


def test_a_stamp_that_was_ahead_is_accepted_when_its_time_has_come() -> None:
    check = StampCheck[str](0, 1_000)
    assert taken(check, "a", 4_000) == ""
    assert taken(check, "b", 4_500, NOW + 4_000) == "ab"


def test_successive_stamps_that_agree_show_that_the_known_time_of_the_venue_is_wrong() -> None:
    check = StampCheck[str](0, 1_000)
    assert [taken(check, name, HOUR + 1_000 * n, NOW + 1_000 * n) for n, name in enumerate("abcd")] == [
        "", "", "abc", "d",
    ]  # fmt: skip
    assert taken(check, "e", 2 * HOUR, NOW + 4_000) == ""
    check.distrust()
    assert taken(check, "f", HOUR, NOW) == ""


def test_stamps_that_are_ahead_by_different_times_do_not_agree() -> None:
    check = StampCheck[str](0, 1_000)
    assert [taken(check, "a", HOUR * n) for n in (1, 5, 2, 9, 1, 4)] == [""] * 6
    assert AGREEING == 3
    right, wrong = check.take("b", NOW, NOW, 0)
    assert (right, len(wrong)) == (["b"], 6)


def test_the_number_of_waiting_items_is_limited() -> None:
    check = StampCheck[str](0, 1)
    given_up = [item for n in range(1, MOST + 3) for item, _ in check.take(str(n), NOW + n * HOUR, NOW, 0)[1]]
    assert given_up == ["1", "2"]


def test_no_item_waits_while_the_venues_time_is_unknown() -> None:
    check = StampCheck[str](0, 1_000)
    assert taken(check, "a", HOUR, None) == "a"
