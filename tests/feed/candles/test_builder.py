"""Candles built from trades are closed exactly once, never with values that may be incomplete."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchanges.events import Candle
from feed.candles.builder import CandleBuilder
from feed.candles.tracker import CandleTracker
from feed.settings.timeframes import candle_open
from tests.feed.candles.support import MINUTE, T0, answer, at, build, closed, follow, row, trade, updates


def test_a_candle_is_built_from_trades() -> None:
    builder = CandleBuilder("BTC", "1m", "gemini")
    candles = build(
        builder, trade(-5, 9), trade(0, 10), trade(20, 12), trade(30, 8, 2.5), trade(59.999, 11), trade(60, 13)
    )
    assert [c for c in candles if c.closed] == [
        Candle("BTC", "1m", T0, 10.0, 12.0, 8.0, 11.0, 5.5, True, "gemini", at(1) * 1_000_000),
    ]
    assert updates(candles) == [(-1, 9.0), (0, 10.0), (0, 12.0), (0, 8.0), (0, 11.0), (1, 13.0)]


def test_the_candle_of_the_first_trade_is_a_hole_and_is_not_closed() -> None:
    builder = CandleBuilder("BTC", "1m")
    assert closed(build(builder, trade(30, 10), trade(61, 11))) == []
    assert builder.holes() == [at(0)]
    assert closed(builder.fill(answer(row(0, 12.0), row(1)))) == [(0, 12.0)]
    assert closed(build(builder, trade(121, 12))) == [(1, 11.0)]


def test_minutes_without_trades_have_flat_candles() -> None:
    builder = CandleBuilder("BTC", "1m")
    candles = build(builder, trade(-1, 9), trade(0, 10), trade(185, 11))
    assert [(c.timestamp, c.open, c.close, c.volume) for c in candles if c.closed] == [
        (at(0), 10, 10, 1.0),
        (at(1), 10, 10, 0.0),
        (at(2), 10, 10, 0.0),
    ]


def test_a_trade_of_a_candle_that_is_over_is_dropped() -> None:
    builder = CandleBuilder("BTC", "1m")
    build(builder, trade(0, 10), trade(60, 11))
    assert builder.add(trade(59, 99)) == []


@pytest.mark.parametrize("back", [70, 190])
def test_a_candle_with_lost_trades_is_not_closed(back: int) -> None:
    builder = CandleBuilder("BTC", "1m")
    build(builder, trade(-1, 9), trade(0, 10), trade(65, 10))
    builder.interrupted()
    candles = build(builder, trade(back, 11), trade(back + 60, 12))
    assert closed(candles) == []
    last = candle_open(T0 + back * 1000, "1m")
    assert builder.holes() == [at(-1), *range(at(1), last + 1, MINUTE)]
    assert closed(build(builder, trade(back + 120, 13))) == [((last - T0) // MINUTE + 1, 12.0)]


def test_updates_are_copies_of_the_candle() -> None:
    builder = CandleBuilder("BTC", "1m")
    [first] = builder.add(trade(0, 10))
    builder.add(trade(1, 12))
    assert first.close == 10


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 50), st.integers(1, 9)), min_size=1, max_size=80))
def test_built_candles_equal_those_computed_from_all_trades(moves: list[tuple[int, int, int]]) -> None:
    builder, second, trades = CandleBuilder("BTC", "1m"), 0, []
    for pause, price, quantity in moves:
        second += pause
        trades.append(trade(second, price, quantity))
    built = [c for c in build(builder, *trades) if c.closed and c.volume > 0]
    first, last = candle_open(trades[0].timestamp, "1m"), candle_open(trades[-1].timestamp, "1m")
    expected = []
    for opened in range(first + MINUTE, last, MINUTE):
        inside = [t for t in trades if opened <= t.timestamp < opened + MINUTE]
        if inside:
            prices = [t.price for t in inside]
            volume = sum(t.quantity for t in inside)
            expected.append((opened, prices[0], max(prices), min(prices), prices[-1], volume))
    assert [(c.timestamp, c.open, c.high, c.low, c.close, c.volume) for c in built] == expected


def test_candles_continue_after_the_last_candle_that_another_venue_has_closed() -> None:
    """This venue takes over after another venue has closed minute 0. Minutes 1 to 3 have no complete candle
    and are fetched; minute 0 is not fetched."""
    builder = CandleBuilder("BTC", "1m")
    builder.go_on_after(at(0))
    assert build(builder, trade(59, 9)) == []
    assert closed(build(builder, trade(200, 10), trade(241, 11))) == []
    assert builder.holes() == [at(1), at(2), at(3)]
    assert closed(build(builder, trade(300, 12))) == [(4, 11.0)]


def test_a_candle_that_another_venue_has_closed_is_not_closed_again_and_not_fetched() -> None:
    """The feed returns to this venue after an hour on another venue, which has closed the candle that this venue had
    left open."""
    builder = CandleBuilder("BTC", "1m")
    build(builder, trade(-1, 9), trade(0, 10))
    builder.interrupted()
    builder.go_on_after(at(60))
    assert closed(build(builder, trade(61 * 60 + 10, 11), trade(62 * 60, 12))) == []
    assert builder.holes() == [at(-1), at(61)]


def test_an_open_candle_after_the_last_closed_candle_continues() -> None:
    builder = CandleBuilder("BTC", "1m")
    build(builder, trade(-1, 9), trade(0, 10))
    builder.go_on_after(at(-1))
    assert closed(build(builder, trade(60, 11))) == [(0, 10.0)]


@pytest.mark.parametrize("kind", [CandleTracker, CandleBuilder])
def test_candles_that_another_venue_has_begun_are_holes_unless_this_venue_continues_them(
    kind: type[CandleTracker] | type[CandleBuilder],
) -> None:
    """The builder or tracker may know no candle yet, a candle that another venue has closed, or a candle of its own."""

    def begins(candles: CandleTracker | CandleBuilder, minute: int) -> None:
        if isinstance(candles, CandleTracker):
            follow(candles, row(minute))
        else:
            candles.add(trade(minute * 60, 10.0))

    candles = kind("BTC", "1m")
    candles.note_unclosed([at(1)])
    begins(candles, 3)
    assert candles.holes() == [at(1), at(2)]
    candles = kind("BTC", "1m")
    candles.go_on_after(at(4))
    candles.note_unclosed([at(2), at(5)])
    assert candles.holes() == [at(2)]
    begins(candles, 5)
    assert candles.holes() == [at(2)]
    candles.note_unclosed([at(3), at(5)])
    assert candles.holes() == [at(2), at(3)]


# --- trades with a wrong time -----------------------------------------------------------------------------------------


def told(builder: CandleBuilder, second: float, price: float, stamped: float | None = None) -> list[Candle]:
    """Return the candles for a trade that arrives at ``second``; its timestamp is ``stamped`` if that is given."""
    each = trade(second if stamped is None else stamped, price)
    each.received_at = (T0 + round(second * 1000)) * 1_000_000
    return builder.add(each, T0 + second * 1000)


@pytest.mark.parametrize("wrong", [3600, 86_000, 45], ids=["an hour ahead", "a day ahead", "in the next minute"])
def test_a_first_trade_with_a_future_time_opens_no_candle_in_the_future(wrong: float) -> None:
    builder = CandleBuilder("BTC", "1m")
    candles = told(builder, 30, 9.0, 30 + wrong)
    assert candles == []
    for second in (31, 59, 61, 119, 121):
        candles += told(builder, second, float(second))
    assert closed(candles) == [(1, 119.0)]
    assert builder.holes() == [at(0)]
    assert {c.volume for c in candles if c.timestamp == at(0)} == {1.0, 2.0, 3.0}


def test_a_trade_with_a_time_far_in_the_past_changes_no_candle() -> None:
    builder = CandleBuilder("BTC", "1m")
    candles = [c for second in (-5, 1, 20) for c in told(builder, second, 10.0)]
    assert told(builder, 30, 99.0, -3600) == []
    candles += [c for second in (40, 61) for c in told(builder, second, 11.0)]
    assert [(c.high, c.volume) for c in candles if c.closed] == [(11.0, 3.0)]


def test_a_trade_with_a_doubtful_time_is_part_of_the_candle_in_which_it_arrived() -> None:
    """This holds if the trade's timestamp is wrong, and also if the time of the timestamp has come meanwhile."""
    for stamped, volume in ((3600, 2.0), (55, 2.0)):
        builder = CandleBuilder("BTC", "1m")
        candles = [c for second in (-5, 1) for c in told(builder, second, 10.0)]
        assert told(builder, 50, 12.0, stamped) == []
        candles += builder.close_until(at(1))
        assert [(c.close, c.volume) for c in candles if c.closed] == [(12.0, volume)]


@given(
    st.lists(
        st.tuples(st.integers(1, 40), st.integers(1, 50), st.sampled_from(["", "", "", "ahead", "timer", "lost"])),
        max_size=80,
    )
)
def test_closed_candles_have_every_trade_that_came_in_their_time(moves: list[tuple[int, int, str]]) -> None:
    """Each closed candle is compared with all trades of its minute; some trades have a timestamp that is ahead.

    A minute in which trades were lost is a hole. Three successive trades that are ahead by the same time would count as
    right, so the test sends at most two.
    """
    builder, second, candles, waiting = CandleBuilder("BTC", "1m"), 0, list[Candle](), 0
    came: dict[int, list[float]] = {}  # minute -> prices
    torn: set[int] = set()
    for pause, price, event in moves:
        second += pause
        if event == "timer":
            candles += builder.close_until(T0 + (second - 3) * 1000)
            continue
        came.setdefault(second // 60, []).append(float(price))
        if event == "lost":
            builder.interrupted()
            torn.add(second // 60)
            continue
        waiting = waiting + 1 if event == "ahead" and waiting < 2 else 0
        candles += told(builder, second, float(price), second + 5000 if waiting else None)
    shut = {(c.timestamp - T0) // MINUTE: c for c in candles if c.closed}
    assert len(shut) == sum(c.closed for c in candles)
    assert not torn & shut.keys()
    assert not {(opened - T0) // MINUTE for opened in builder.holes()} & shut.keys()
    for minute, candle in shut.items():
        prices = came.get(minute, [])
        assert candle.volume == len(prices)
        if prices:
            assert (candle.open, candle.close) == (prices[0], prices[-1])
            assert (candle.high, candle.low) == (max(prices), min(prices))
