"""What a collector publishes first when it takes over from another collector."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from exchanges.events import Candle, Ticker, TradeEvent
from feed.sinks.bus.backlog import KEEP, Backlog


def trade(number: int, name: str | None = None, stamp: int | None = None) -> TradeEvent:
    return TradeEvent(
        "BTC", 1.0, 1.0, False, number if stamp is None else stamp, "x", str(number) if name is None else name
    )


def backlog(numbers: range, *, consecutive: bool = True, named: bool = False) -> Backlog:
    made = Backlog(consecutive)
    for number in numbers:
        made.add_trade(trade(number, f"u{number}" if named else None), 100.0)
    return made


def ids(found: list[TradeEvent]) -> list[str]:
    return [each.trade_id for each in found]


def test_trades_after_the_last_trade_on_the_bus_are_published() -> None:
    for named in (False, True):
        last = trade(5, "u5" if named else None)
        found = backlog(range(1, 9), consecutive=not named, named=named).after({"BTC": last}, {}, {})
        assert [each.timestamp for each in found.trades] == [6, 7, 8]
        assert found.missed == []


def test_if_the_bus_is_ahead_no_trade_is_published_again() -> None:
    found = backlog(range(1, 6)).after({"BTC": trade(9)}, {}, {})
    assert (found.trades, found.missed) == ([], [])
    found = backlog(range(1, 6), consecutive=False, named=True).after({"BTC": trade(9, "u9")}, {}, {})
    assert (found.trades, found.missed) == ([], [])


def test_a_hole_before_the_backlog_is_reported() -> None:
    found = backlog(range(7, 10)).after({"BTC": trade(5)}, {}, {})
    assert (ids(found.trades), found.missed) == (["7", "8", "9"], ["BTC"])
    found = backlog(range(7, 10), consecutive=False, named=True).after({"BTC": trade(5, "u5")}, {}, {})
    assert (ids(found.trades), found.missed) == (["u7", "u8", "u9"], ["BTC"])


def test_the_collectors_own_gap_is_reported_unless_it_is_before_the_last_trade_on_the_bus() -> None:
    made = backlog(range(1, 6), consecutive=False, named=True)
    made.add_gap("BTC")  # the gap is after the trade u5
    for number in range(7, 10):
        made.add_trade(trade(number, f"u{number}"), 100.0)
    for last, missed in ((3, ["BTC"]), (5, ["BTC"]), (7, [])):
        found = made.after({"BTC": trade(last, f"u{last}")}, {}, {})
        assert found.missed == missed
        assert ids(found.trades) == [f"u{number}" for number in (4, 5, 7, 8, 9) if number > last]


def test_a_coin_that_is_not_on_the_bus_begins_with_the_backlog() -> None:
    found = backlog(range(3, 5)).after({}, {}, {})
    assert (ids(found.trades), found.missed) == (["3", "4"], [])


def test_old_trades_are_dropped() -> None:
    made = backlog(range(1, 3))
    made.add_trade(trade(3), 100.0 + KEEP + 1)
    assert ids(made.after({}, {}, {}).trades) == ["3"]


def candle(opened: int, closed: bool) -> Candle:
    return Candle("BTC", "1m", opened, 1.0, 1.0, 1.0, 1.0, 1.0, closed)


def test_a_candle_that_the_other_collector_did_not_close_is_closed() -> None:
    made = Backlog(True)
    for opened in (0, 60_000, 120_000):
        made.add_candle(candle(opened, True))
    made.add_candle(candle(180_000, False))
    found = made.after({}, {("BTC", "1m"): candle(60_000, False)}, {})
    assert [each.timestamp for each in found.candles] == [60_000, 120_000]
    found = made.after({}, {("BTC", "1m"): candle(60_000, True)}, {})
    assert [each.timestamp for each in found.candles] == [120_000]


def test_the_latest_state_is_published_if_it_is_newer_than_the_state_on_the_bus() -> None:
    made = Backlog(True)
    made.set_latest("ticker", Ticker("BTC", 1.0, 50))
    assert made.after({}, {}, {("ticker", "BTC"): 50}).latest == []
    assert [event.timestamp for _, event in made.after({}, {}, {("ticker", "BTC"): 49}).latest] == [50]


@given(st.integers(0, 30), st.integers(0, 30), st.integers(1, 30))
def test_bus_and_backlog_together_have_no_gap_and_no_duplicate(on_bus: int, begin: int, length: int) -> None:
    """For any last trade on the bus and any first trade in the backlog, the joined ids count up by one, or a gap is
    reported."""
    made = backlog(range(begin, begin + length))
    found = made.after({"BTC": trade(on_bus)}, {}, {})
    joined = [on_bus, *map(int, ids(found.trades))]
    whole = all(after == before + 1 for before, after in pairwise(joined))
    assert whole or found.missed == ["BTC"]
    assert joined == sorted(set(joined))
