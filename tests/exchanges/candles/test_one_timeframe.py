"""Candles are closed exactly once, never with values that may be incomplete, and what was missed is told."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchanges.candles.one_timeframe import (
    MAX_HOLES,
    TIMEFRAMES,
    CandleBuilder,
    CandleTracker,
    bar_open,
    next_open,
    timeframe_ms,
)
from exchanges.events import Candle, TradeEvent

MINUTE = 60_000
T0 = 1_723_075_200_000  # 2024-08-08 00:00 UTC
READ_AT = T0 * 1_000_000


def at(minute: int) -> int:
    return T0 + minute * MINUTE


def row(minute: int, price: float = 10.0, volume: float = 1.0) -> list[float]:
    return [at(minute), 10.0, max(10.0, price), min(10.0, price), price, volume]


def tracker() -> CandleTracker:
    return CandleTracker("BTC", "1m", "binance")


def closed(candles: list[Candle]) -> list[tuple[int, float]]:
    """(minute, close) of the closed ones."""
    return [((c.timestamp - T0) // MINUTE, c.close) for c in candles if c.closed]


def updates(candles: list[Candle]) -> list[tuple[int, float]]:
    return [((c.timestamp - T0) // MINUTE, c.close) for c in candles if not c.closed]


# --- timeframes -------------------------------------------------------------------------------------------------------


def ms(*date: int) -> int:
    return int(datetime(*date, tzinfo=UTC).timestamp()) * 1000  # type: ignore[arg-type,misc] # a date's parts as given


def test_timeframes_have_their_length() -> None:
    assert timeframe_ms("1s") == 1_000
    assert timeframe_ms("1m") == MINUTE
    assert timeframe_ms("12h") == 12 * 60 * MINUTE
    assert timeframe_ms("3d") == 3 * 24 * 60 * MINUTE
    assert timeframe_ms("1w") == 7 * 24 * 60 * MINUTE


@pytest.mark.parametrize("unknown", ["", "2m", "1min", "M", None, []])
def test_an_unknown_timeframe_is_answered_with_the_known_ones(unknown: Any) -> None:
    with pytest.raises(ValueError, match=r"known are 1s, 10s, 1m, 3m"):
        timeframe_ms(unknown)
    with pytest.raises(ValueError, match="unknown timeframe"):
        CandleTracker("BTC", unknown)
    with pytest.raises(ValueError, match="unknown timeframe"):
        CandleBuilder("BTC", unknown)


@given(st.integers(0, 4_000_000_000_000), st.sampled_from(sorted(TIMEFRAMES)))
def test_every_moment_lies_in_its_candle(moment: int, timeframe: str) -> None:
    opened = bar_open(moment, timeframe)
    assert opened <= moment < next_open(opened, timeframe)
    assert bar_open(opened, timeframe) == opened
    assert bar_open(next_open(opened, timeframe), timeframe) == next_open(opened, timeframe)


def test_weeks_start_on_monday_and_months_on_their_first() -> None:
    assert bar_open(ms(2024, 8, 8, 13), "1w") == ms(2024, 8, 5)
    assert bar_open(ms(2024, 8, 8, 13), "1M") == ms(2024, 8, 1)
    assert next_open(ms(2024, 2, 1), "1M") == ms(2024, 3, 1)
    assert next_open(ms(2024, 12, 1), "1M") == ms(2025, 1, 1)


# --- candles that a venue streams -------------------------------------------------------------------------------------


def test_the_venues_flag_closes_a_candle_once() -> None:
    bars = tracker()
    assert bars.update(row(0, 11.0), READ_AT, False) == [
        Candle("BTC", "1m", T0, 10.0, 11.0, 10.0, 11.0, 1.0, False, "binance", READ_AT)
    ]
    assert closed(bars.update(row(0, 12.0), READ_AT + 1, True)) == [(0, 12.0)]
    assert bars.update(row(0, 12.0), READ_AT + 2, True) == []
    assert bars.late == 1
    after = bars.update(row(1, 13.0), READ_AT + 3, False)
    assert closed(after) == []
    assert updates(after) == [(1, 13.0)]


def test_without_flags_the_next_candle_closes_the_one_before_with_its_last_row() -> None:
    bars = tracker()
    bars.update(row(0, 11.0))
    bars.update(row(0, 12.0))
    candles = bars.update(row(1, 13.0))
    assert [(c.timestamp, c.close, c.closed) for c in candles] == [(at(0), 12.0, True), (at(1), 13.0, False)]
    assert bars.update(row(0, 99.0)) == []
    assert bars.late == 1


def test_a_delivered_candle_belongs_to_its_receiver() -> None:
    bars = tracker()
    [update] = bars.update(row(0, 11.0))
    update.close = 99.0  # a user's doing
    [ended, _] = bars.update(row(1))
    assert (ended.close, ended.closed) == (11.0, True)
    assert update.closed is False


def test_rows_that_are_no_candle_are_counted_and_change_nothing() -> None:
    bars = tracker()
    rows: list[Any] = [None, [], {}, [at(0), "x", 1, 1, 1, 1], [None] * 6]
    for bad in rows:
        assert bars.update(bad) == []
    assert bars.bad == 5
    assert updates(bars.update(row(0))) == [(0, 10.0)]


def test_candles_skipped_while_connected_are_no_holes() -> None:
    bars = tracker()
    bars.update(row(0))
    assert closed(bars.update(row(5))) == [(0, 10.0)]
    assert bars.holes() == []


def test_an_open_candle_that_the_venue_continues_after_a_loss_is_whole() -> None:
    bars = tracker()
    bars.update(row(0, 11.0))
    bars.interrupted()
    bars.update(row(0, 12.0))
    assert closed(bars.update(row(1))) == [(0, 12.0)]
    assert bars.holes() == []


def test_an_open_candle_that_ended_while_nobody_listened_is_a_hole_and_not_closed() -> None:
    bars = tracker()
    bars.update(row(0, 11.0))
    bars.interrupted()
    candles = bars.update(row(3, 13.0))
    assert closed(candles) == []
    assert updates(candles) == [(3, 13.0)]
    assert bars.holes() == [at(0), at(1), at(2)]
    filled = bars.fill([row(2, 7.0), row(0, 5.0), row(1, 6.0), row(3, 99.0), "junk"], READ_AT)
    assert closed(filled) == [(0, 5.0), (1, 6.0), (2, 7.0)]
    assert {c.received_at for c in filled} == {READ_AT}
    assert bars.holes() == []
    assert bars.fill([row(0), row(1)]) == []


def test_after_a_loss_right_after_a_close_only_the_candles_between_are_missing() -> None:
    bars = tracker()
    bars.update(row(0), 0, True)
    bars.interrupted()
    bars.update(row(0), 0, True)  # a venue repeats its newest closed candle at subscription
    bars.update(row(2), 0, False)
    assert bars.holes() == [at(1)]


def test_a_hole_that_the_venue_has_no_candle_for_is_no_hole_any_more() -> None:
    bars = tracker()
    bars.update(row(0))
    bars.interrupted()
    bars.update(row(4))
    assert closed(bars.fill([row(1), row(3)])) == [(1, 10.0), (3, 10.0)]
    assert bars.holes() == [at(0)]  # before the first row: the answer did not reach back that far
    assert bars.forget() == [at(0)]
    assert (bars.holes(), bars.lost) == ([], 1)


def test_the_venue_itself_may_fill_a_hole() -> None:
    bars = tracker()
    bars.update(row(0))
    bars.interrupted()
    bars.update(row(2), 0, False)
    assert bars.update(row(0, 12.0), 0, None) == []  # nobody says that these values are final
    assert closed(bars.update(row(0, 12.0), 0, True)) == [(0, 12.0)]
    assert bars.holes() == [at(1)]


def test_holes_are_bounded() -> None:
    bars = tracker()
    bars.update(row(0))
    bars.interrupted()
    bars.update(row(100_000))
    holes = bars.holes()
    assert len(holes) == MAX_HOLES
    assert holes[-1] == at(99_999)
    bars.interrupted()
    bars.update(row(100_010))
    assert len(bars.holes()) == MAX_HOLES
    assert bars.lost > 0


steps = st.lists(
    st.tuples(st.sampled_from(["row", "next", "skip", "late", "lost", "bad"]), st.booleans(), st.integers(1, 20)),
    max_size=60,
)


@given(steps=steps, flags=st.booleans())
def test_every_candle_is_closed_once_or_a_hole_whatever_happens(
    steps: list[tuple[str, bool, int]], flags: bool
) -> None:
    """Against a venue that numbers its rows: the close price of a candle says how many of its rows were seen."""
    bars = tracker()
    minute, price = 0, 10.0
    delivered = bars.update(row(0, price), 0, False if flags else None)
    down, skipped = False, set()
    final: dict[int, float] = {}  # what the venue itself closed each candle with
    for step, ends, amount in steps:
        if step == "bad":
            delivered += bars.update([at(minute)])
        elif step == "late" and minute > 0:
            delivered += bars.update(row(minute - 1, 5.0), 0, None)
        elif step == "lost":
            bars.interrupted()
            down = True  # the candles from here to the next row pass unseen
        elif step in ("next", "skip"):
            passed = amount if step == "skip" else 1
            if flags and not down and minute not in final:
                delivered += bars.update(row(minute, price), 0, True)
            final[minute] = price
            if not down:
                skipped |= set(range(minute + 1, minute + passed))
            minute += passed
            price = 10.0 + amount
            delivered += bars.update(row(minute, price), 0, False if flags else None)
            down = False
        elif step == "row" and minute not in final:
            price += 1.0
            closing = flags and ends
            delivered += bars.update(row(minute, price), 0, closing if flags else None)
            down = False
            if closing:
                final[minute] = price
    shut = closed(delivered)
    assert shut == sorted(set(shut)), "closed twice or out of order"
    holes = {(opened - T0) // MINUTE for opened in bars.holes()}
    assert not holes & {bar for bar, _ in shut}
    for bar, close in shut:
        assert final[bar] == close
    settled = holes | {bar for bar, _ in shut}
    assert set(range(minute)) - skipped <= settled
    filled = bars.fill([row(bar, 3.0) for bar in range(minute + 1)])
    assert {bar for bar, _ in closed(filled)} == holes
    assert bars.holes() == []


# --- candles built from trades ----------------------------------------------------------------------------------------


def trade(second: float, price: float, quantity: float = 1.0) -> TradeEvent:
    return TradeEvent("BTC", price, quantity, False, T0 + round(second * 1000), "gemini", "", 7)


def build(builder: CandleBuilder, *trades: TradeEvent) -> list[Candle]:
    return [candle for each in trades for candle in builder.add(each)]


def test_a_candle_is_built_from_trades() -> None:
    builder = CandleBuilder("BTC", "1m", "gemini")
    candles = build(
        builder, trade(-5, 9), trade(0, 10), trade(20, 12), trade(30, 8, 2.5), trade(59.999, 11), trade(60, 13)
    )
    assert [c for c in candles if c.closed] == [
        Candle("BTC", "1m", T0, 10.0, 12.0, 8.0, 11.0, 5.5, True, "gemini", 7),
    ]
    assert updates(candles) == [(-1, 9.0), (0, 10.0), (0, 12.0), (0, 8.0), (0, 11.0), (1, 13.0)]


def test_the_candle_of_the_first_trade_seen_is_not_closed_but_a_hole() -> None:
    builder = CandleBuilder("BTC", "1m")
    assert closed(build(builder, trade(30, 10), trade(61, 11))) == []
    assert builder.holes() == [at(0)]
    assert closed(builder.fill([row(0, 12.0), row(1)])) == [(0, 12.0)]
    assert closed(build(builder, trade(121, 12))) == [(1, 11.0)]


def test_minutes_without_trades_are_flat() -> None:
    builder = CandleBuilder("BTC", "1m")
    candles = build(builder, trade(-1, 9), trade(0, 10), trade(185, 11))
    assert [(c.timestamp, c.open, c.close, c.volume) for c in candles if c.closed] == [
        (at(0), 10, 10, 1.0),
        (at(1), 10, 10, 0.0),
        (at(2), 10, 10, 0.0),
    ]


def test_trades_of_a_candle_that_is_over_are_dropped_and_counted() -> None:
    builder = CandleBuilder("BTC", "1m")
    build(builder, trade(0, 10), trade(60, 11))
    assert builder.add(trade(59, 99)) == []
    assert builder.late == 1


@pytest.mark.parametrize("back", [70, 190])
def test_no_candle_touched_by_a_loss_is_closed(back: int) -> None:
    builder = CandleBuilder("BTC", "1m")
    build(builder, trade(-1, 9), trade(0, 10), trade(65, 10))
    builder.interrupted()
    candles = build(builder, trade(back, 11), trade(back + 60, 12))
    assert closed(candles) == []
    last = bar_open(T0 + back * 1000, "1m")
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
    first, last = bar_open(trades[0].timestamp, "1m"), bar_open(trades[-1].timestamp, "1m")
    expected = []
    for opened in range(first + MINUTE, last, MINUTE):
        inside = [t for t in trades if opened <= t.timestamp < opened + MINUTE]
        if inside:
            prices = [t.price for t in inside]
            volume = sum(t.quantity for t in inside)
            expected.append((opened, prices[0], max(prices), min(prices), prices[-1], volume))
    assert [(c.timestamp, c.open, c.high, c.low, c.close, c.volume) for c in built] == expected


def test_candles_go_on_after_those_that_another_venue_has_closed() -> None:
    """A venue that takes over in the middle of a candle: what ended on the way is asked for, what was closed is not."""
    builder = CandleBuilder("BTC", "1m")
    builder.go_on_after(at(0))
    assert build(builder, trade(59, 9)) == []
    assert builder.late == 1
    assert closed(build(builder, trade(200, 10), trade(241, 11))) == []
    assert builder.holes() == [at(1), at(2), at(3)]
    assert closed(build(builder, trade(300, 12))) == [(4, 11.0)]


def test_a_candle_that_another_venue_has_closed_meanwhile_is_neither_closed_nor_asked_for_again() -> None:
    """The feed returns to the venue after an hour with another one: its old candle is closed, with all its trades."""
    builder = CandleBuilder("BTC", "1m")
    build(builder, trade(-1, 9), trade(0, 10))
    builder.interrupted()
    builder.go_on_after(at(60))
    assert closed(build(builder, trade(61 * 60 + 10, 11), trade(62 * 60, 12))) == []
    assert builder.holes() == [at(-1), at(61)]


def test_a_candle_that_is_open_beyond_those_closed_goes_on() -> None:
    builder = CandleBuilder("BTC", "1m")
    build(builder, trade(-1, 9), trade(0, 10))
    builder.go_on_after(at(-1))
    assert closed(build(builder, trade(60, 11))) == [(0, 10.0)]


@pytest.mark.parametrize("kind", [CandleTracker, CandleBuilder])
def test_candles_that_were_begun_elsewhere_are_holes_unless_they_go_on_here(
    kind: type[CandleTracker] | type[CandleBuilder],
) -> None:
    """Whether it knows no candle yet, one that another venue has closed, or one of its own."""

    def begins(bars: CandleTracker | CandleBuilder, minute: int) -> None:
        if isinstance(bars, CandleTracker):
            bars.update(row(minute))
        else:
            bars.add(trade(minute * 60, 10.0))

    bars = kind("BTC", "1m")
    bars.owe([at(1)])
    begins(bars, 3)
    assert bars.holes() == [at(1), at(2)]
    bars = kind("BTC", "1m")
    bars.go_on_after(at(4))
    bars.owe([at(2), at(5)])
    assert bars.holes() == [at(2)]
    begins(bars, 5)
    assert bars.holes() == [at(2)]
    bars.owe([at(3), at(5)])
    assert bars.holes() == [at(2), at(3)]


def test_a_candle_that_was_closed_undelivered_is_fetched_where_it_is_missing() -> None:
    bars = tracker()
    bars.update(row(1), closed=True)
    bars.owe([at(1)])
    assert bars.holes() == [at(1)]


def test_volumes_in_contracts_become_base_currency() -> None:
    """Also those of the candles that are fetched."""
    for bars in (CandleTracker("BTC", "1m", "gate", 0.001), CandleBuilder("BTC", "1m", "gate", 0.001)):
        bars.go_on_after(at(0))
        if isinstance(bars, CandleTracker):
            assert [bar.volume for bar in bars.update(row(2, volume=500.0))] == [0.5]
        else:
            bars.add(trade(120, 10))
        assert [bar.volume for bar in bars.fill([row(1, volume=2000.0)])] == [2.0]
