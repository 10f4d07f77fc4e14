"""Which candles were delivered, and how past candles are joined to them; without I/O."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from exchanges.events import Candle
from feed.candles.delivered import CLOSED_CANDLES, DeliveredCandles

MINUTE = 60_000


def minute_candle(
    minute: int, closed: bool = True, price: float = 10.0, volume: float = 1.0, exchange: str = "one"
) -> Candle:
    return Candle("BTC", "1m", minute * MINUTE, price, price, price, price, volume, closed, exchange)


def minutes(candles: list[Candle]) -> list[int]:
    return [candle.timestamp // MINUTE for candle in candles]


def delivered(*candles: Candle) -> DeliveredCandles:
    delivered_candles = DeliveredCandles()
    for candle in candles:
        assert delivered_candles.enter(candle)
    return delivered_candles


def test_no_state_of_a_candle_is_delivered_after_the_candle_was_closed() -> None:
    """No venue can close or update the candle again."""
    delivered_candles = delivered(minute_candle(1, closed=False), minute_candle(1))
    assert not delivered_candles.enter(minute_candle(1, exchange="two"))
    assert not delivered_candles.enter(minute_candle(1, closed=False))
    assert delivered_candles.enter(minute_candle(2, closed=False))
    assert delivered_candles.newest_closed() == {("BTC", "1m"): MINUTE}


def unclosed(delivered_candles: DeliveredCandles) -> list[int]:
    return [opened // MINUTE for opened in sorted(delivered_candles.unclosed().get(("BTC", "1m"), ()))]


def test_an_open_candle_is_remembered_until_it_is_closed() -> None:
    delivered_candles = delivered(minute_candle(1, closed=False))
    assert unclosed(delivered_candles) == [1]
    delivered_candles.enter(minute_candle(2, closed=False))
    assert unclosed(delivered_candles) == [1, 2]
    delivered_candles.enter(minute_candle(2))
    assert unclosed(delivered_candles) == [1]
    delivered_candles.enter(minute_candle(1, exchange="two"))
    assert unclosed(delivered_candles) == []
    delivered_candles.enter(minute_candle(3, closed=False))
    delivered_candles.enter(minute_candle(4))
    assert unclosed(delivered_candles) == [3]


def test_candles_that_the_earlier_venue_did_not_close_must_still_be_closed() -> None:
    delivered_candles = delivered(minute_candle(3), minute_candle(6))
    delivered_candles.note_unclosed({("BTC", "1m"): [2 * MINUTE, 4 * MINUTE, 6 * MINUTE], ("ETH", "1m"): [4 * MINUTE]})
    assert unclosed(delivered_candles) == [4]
    assert set(delivered_candles.unclosed()) == {("BTC", "1m")}


def test_a_candle_closed_at_the_venue_but_not_in_the_stream_is_overdue() -> None:
    """Candles from before the feed's first candle are history, so they are never overdue."""
    delivered_candles = delivered(minute_candle(3, closed=False), minute_candle(3), minute_candle(4, closed=False))
    past = [minute_candle(minute) for minute in range(1, 7)] + [minute_candle(7, closed=False)]
    assert minutes(delivered_candles.overdue(past)) == [4, 5, 6]
    assert DeliveredCandles().overdue(past) == []


def test_history_has_the_candles_as_they_were_delivered() -> None:
    """This holds even if the venue's record differs, or if another venue had delivered the candle."""
    mine = minute_candle(2, price=11.0, exchange="two")
    delivered_candles = delivered(mine, minute_candle(3, closed=False))
    joined = delivered_candles.joined("BTC", "1m", [minute_candle(1), minute_candle(2), minute_candle(3, closed=False)])
    assert minutes(joined) == [1, 2, 3]
    assert joined[1] == mine
    joined[1].close = 0.0  # the receiver may change its candle
    assert delivered_candles.joined("BTC", "1m", [minute_candle(2)])[0] == mine


def test_the_later_of_two_states_of_the_open_candle_is_taken() -> None:
    """Of two states from one venue, the state with more volume is later; volumes of two venues are not compared."""
    for delivered_volume, exchange, stands in ((5.0, "one", 5.0), (1.0, "one", 2.0), (5.0, "two", 2.0)):
        delivered_candles = delivered(minute_candle(1, closed=False, volume=delivered_volume, exchange=exchange))
        (joined,) = delivered_candles.joined("BTC", "1m", [minute_candle(1, closed=False, volume=2.0)])
        assert joined.volume == stands


def test_candles_that_were_streamed_during_the_request_for_history_are_included() -> None:
    delivered_candles = delivered(minute_candle(2), minute_candle(3), minute_candle(4, closed=False))
    assert minutes(delivered_candles.joined("BTC", "1m", [minute_candle(1), minute_candle(2, closed=False)])) == [
        1,
        2,
        3,
        4,
    ]


@given(
    closed=st.lists(st.integers(10, 60), unique=True),
    first=st.integers(0, 20),
    count=st.integers(1, 60),
)
def test_joined_candles_are_in_order_without_a_hole_or_an_overlap(closed: list[int], first: int, count: int) -> None:
    """After the overdue candles are closed, each candle exists once, for any deliveries in any order."""
    delivered_candles = delivered(*(minute_candle(minute) for minute in closed))
    past = [minute_candle(minute) for minute in range(first, first + count)] + [
        minute_candle(first + count, closed=False)
    ]
    for candle in delivered_candles.overdue(past):
        assert delivered_candles.enter(candle)
    assert delivered_candles.overdue(past) == []
    joined = minutes(delivered_candles.joined("BTC", "1m", past))
    assert joined == sorted(set(joined))
    assert set(range(first, first + count + 1)) <= set(joined)
    assert delivered_candles.newest_closed().get(("BTC", "1m"), 0) >= max(closed, default=0) * MINUTE


def test_the_number_of_unclosed_candles_that_are_remembered_is_limited() -> None:
    delivered_candles = delivered(*(minute_candle(minute, closed=False) for minute in range(3 * CLOSED_CANDLES)))
    assert unclosed(delivered_candles) == list(range(2 * CLOSED_CANDLES - 1, 3 * CLOSED_CANDLES))


def test_the_number_of_closed_candles_that_are_kept_is_limited() -> None:
    delivered_candles = delivered(*(minute_candle(minute) for minute in range(10 * CLOSED_CANDLES)))
    past = [minute_candle(minute) for minute in range(10 * CLOSED_CANDLES)]
    assert delivered_candles.overdue(past) == []
    assert len(delivered_candles._candles["BTC", "1m"].closed) == CLOSED_CANDLES
    delivered_candles.forget("BTC")
    assert delivered_candles.newest_closed() == {}
