"""Measures how late a venue's data is; without I/O, on a clock that the test sets."""

from __future__ import annotations

import pytest

from feed.policies.lag import WINDOW, ConnectionLag, LagKind, LagWatch, LeastDelay

HOUR = 3600.0


class Line:
    """A connection of one venue that is checked every half second; the clocks differ by ``skew``."""

    def __init__(self, least: LeastDelay | None = None, *, at: float = 1000.0, skew: float = 0.0) -> None:
        self.least = LeastDelay() if least is None else least
        self.lag = ConnectionLag(self.least)
        self.now = at
        self.skew = skew  # seconds by which the local clock is ahead of the venue's

    def look(self, late: float | None = 0.0, **coins: float) -> float | None:
        """Check half a second later; ``late`` is the age of BTC's newest trade, ``coins`` has the ages for others."""
        self.now += 0.5
        delays = {coin: late + self.skew + 0.05 for coin, late in coins.items()}
        if late is not None:
            delays["BTC"] = late + self.skew + 0.05
        self.lag.look(self.now, 0.0, delays)
        return self.lag.seconds

    def looks(self, count: int, late: float = 0.0) -> float | None:
        return [self.look(late) for _ in range(count)][-1]


@pytest.mark.parametrize("skew", [0.0, -3 * HOUR, 3 * HOUR, 1.2, -1.2])
def test_a_skewed_clock_does_not_count_as_lag(skew: float) -> None:
    line = Line(skew=skew)
    lags = [line.look() for _ in range(100)]
    assert set(lags[2:]) == {0.0}
    assert set(lags[:2]) == ({None} if skew < -1 else {0.0})  # the local clock is behind, which three stamps prove
    assert line.looks(5, late=7) == pytest.approx(7)


def test_a_stream_that_falls_behind_lags() -> None:
    line = Line()
    line.looks(10)
    lags = [line.look(late=0.05 * n) for n in range(1200)]
    assert max(lag for lag in lags if lag is not None) == pytest.approx(60, abs=1)


def test_the_lag_of_a_new_connection_to_a_late_stream_is_measured_by_the_earlier_connection() -> None:
    before = Line()
    before.looks(10)
    after = Line(before.least, at=before.now + 60)
    assert after.looks(2, late=30) == pytest.approx(30)


def test_a_stream_that_is_late_from_the_beginning_is_measured_by_the_venues_time() -> None:
    line = Line(skew=HOUR)
    line.least.trust(HOUR + 0.1, line.now)
    assert line.looks(2, late=30) == pytest.approx(30, abs=0.2)


def test_the_normal_delay_is_the_delay_of_the_last_ten_minutes() -> None:
    line = Line()
    line.looks(4)
    assert line.looks(int(WINDOW), late=1) == pytest.approx(1)  # half of the window
    assert line.looks(int(WINDOW) + 60, late=1) == pytest.approx(0)


def test_one_stamp_from_the_future_does_not_change_the_normal_delay() -> None:
    """This holds even for the first stamp; then the lag is unknown until the next stamp."""
    for ahead_at in (0, 7):
        line = Line()
        for n in range(20):
            lag = line.look(late=-23 * HOUR if n == ahead_at else 0.0)
            assert lag == (None if n == ahead_at == 0 else pytest.approx(0))
            assert line.least.seconds == (None if lag is None else pytest.approx(0.05))


@pytest.mark.parametrize("told", [True, False], ids=["the venue told its time", "it did not"])
def test_one_future_stamp_for_each_coin_does_not_change_the_normal_delay(told: bool) -> None:
    """The wrong stamps agree, and come alone or among right stamps. The next stamp of each coin is right."""
    line = Line()
    if told:
        line.least.trust(0.1, line.now)
    line.looks(4)
    coins = [f"C{n}" for n in range(6)]
    for coin in coins:
        assert line.look(late=None, **{coin: -HOUR}) == pytest.approx(0, abs=0.01)
        assert line.least.seconds == pytest.approx(0.05)
    for coin in coins:
        line.look(late=0.0, **{coin: -HOUR})
        line.look(late=0.0, **dict.fromkeys(coins, 0.0))
        assert line.least.seconds == pytest.approx(0.05)
    assert line.look(late=None, **dict.fromkeys(coins, -HOUR)) == pytest.approx(0, abs=0.01)
    assert line.looks(2) == pytest.approx(0)
    assert line.least.seconds == pytest.approx(0.05)


def test_a_stamp_from_the_future_does_not_hide_a_lag() -> None:
    line = Line()
    line.looks(10)
    line.looks(10, late=9)
    assert line.look(late=-HOUR) == pytest.approx(9)
    assert line.look(late=9, ETH=-HOUR) == pytest.approx(9)


def test_a_stamp_ahead_of_the_venues_time_is_ignored_even_if_the_local_clock_agrees_with_it() -> None:
    """The local clock is an hour ahead of the venue's time, and so is one stamp."""
    line = Line(skew=HOUR)
    line.least.trust(HOUR + 0.1, line.now)
    line.looks(4)
    assert line.look(late=-HOUR) == pytest.approx(0)
    assert line.least.seconds == pytest.approx(HOUR + 0.05)


def test_stamps_that_agree_correct_the_known_time_of_a_venue_that_answered_late() -> None:
    """The venue took five seconds to answer with its time."""
    line = Line()
    line.least.trust(5.0, line.now)
    line.looks(3)
    assert line.least.seconds == pytest.approx(0.05)


def test_one_coin_among_many_with_stamps_that_are_ahead_does_not_change_the_normal_delay() -> None:
    line = Line()
    for _ in range(50):
        assert line.look(ETH=0.0, SOL=-HOUR) == pytest.approx(0)


def test_after_a_venues_clock_is_set_forward_stamps_that_agree_change_the_normal_delay() -> None:
    line = Line()
    line.looks(10)
    line.looks(4, late=-HOUR)
    assert line.looks(4, late=-HOUR) == pytest.approx(0)
    assert line.looks(6, late=-HOUR + 8) == pytest.approx(8)


def test_one_late_row_does_not_count_as_lag() -> None:
    line = Line()
    line.looks(4)
    assert line.look(late=300) == pytest.approx(0)
    assert line.look(late=None, DOGE=900) == pytest.approx(0)  # the first trade of a coin may be old
    assert line.look() == pytest.approx(0)


def test_the_old_trade_of_a_quiet_coin_does_not_count_as_lag() -> None:
    line = Line()
    for n in range(100):
        assert line.look(DOGE=5.0 * n) == pytest.approx(0)


def test_a_quiet_connection_keeps_its_last_lag() -> None:
    line = Line()
    line.looks(10)
    line.looks(10, late=9)
    assert line.look(late=None) == pytest.approx(9)


def test_tickers_set_the_normal_delay_only_until_the_first_trade() -> None:
    least = LeastDelay()
    least.note(-60.0, 1.0, 0.0, by_ticker=True)  # the ticker is stamped with the end of the minute
    assert least.seconds == -60.0
    least.note(0.1, 2.0, 0.0)
    least.note(-60.0, 3.0, 0.0, by_ticker=True)
    assert least.seconds == 0.1


def test_a_ticker_that_is_ahead_of_the_trades_does_not_hide_a_lag() -> None:
    lag = ConnectionLag(LeastDelay())
    for now in range(10):
        lag.look(float(now), 0.0, {"BTC": 0.1})
    for now in range(10, 20):
        lag.look(float(now), 0.0, {"BTC": 20.1}, {"ETH": -40.0})
    assert lag.seconds == pytest.approx(20)


def test_lagging_and_its_end_are_each_reported_once() -> None:
    watch = LagWatch(5.0)
    told = [(at, watch.check(lag, float(at))) for at, lag in enumerate([0.1, None, 4.9, 5.1, 9.0, 4.0, 2.6, 2.4, 0.1])]
    findings = [(at, finding.kind, finding.seconds) for at, finding in told if finding is not None]
    assert findings == [(3, LagKind.LAGGING, 5.1), (7, LagKind.CAUGHT_UP, 4.0)]


def test_a_lag_that_outlasts_its_connection_is_reported_again_and_its_end_is_reported_once() -> None:
    watch = LagWatch(5.0)
    watch.check(9.0, 10.0)
    assert watch.since == 10.0
    watch.restart()
    assert watch.since is None
    assert watch.check(None, 11.0) is None
    again = watch.check(8.0, 12.0)
    assert again is not None
    assert again.kind is LagKind.LAGGING
    over = watch.check(0.0, 20.0)
    assert over is not None
    assert (over.kind, over.seconds) == (LagKind.CAUGHT_UP, 10.0)
    assert watch.check(0.0, 21.0) is None


def test_after_late_data_the_lag_is_unknown_until_more_data_comes() -> None:
    line = Line()
    line.least.trust(0.05, line.now)
    assert line.look(late=30) is None
    assert line.lag.is_doubtful
    assert line.look(late=30) == pytest.approx(30, abs=0.2)
    assert not line.lag.is_doubtful


def test_the_lag_of_another_venue_is_reported_too() -> None:
    watch = LagWatch(5.0)
    assert watch.check(30.0, 1.0, "binance") is not None
    assert watch.check(30.0, 2.0, "binance") is None
    found = watch.check(30.0, 3.0, "bybit")
    assert found is not None
    assert found.kind is LagKind.LAGGING
    assert watch.since == 3.0


def test_late_trades_are_a_lag_even_if_tickers_are_new() -> None:
    line = Line()
    line.looks(10)
    for _ in range(10):
        line.now += 0.5
        line.lag.look(line.now, 0.0, {"BTC": 60.0}, {"BTC": 0.05, "ETH": 0.05})
    assert line.lag.seconds == pytest.approx(60, abs=0.2)


def test_a_late_trade_of_a_quiet_market_does_not_count_as_lag() -> None:
    line = Line()
    line.looks(10)
    for n in range(20):
        line.now += 0.5
        line.lag.look(line.now, 0.0, {"BTC": 30.0} if n % 5 == 0 else {}, {"ETH": 0.05})
        assert line.lag.seconds == pytest.approx(0, abs=0.2)


@pytest.mark.parametrize("wrong", [-HOUR, -30.0, 30.0, HOUR])
def test_a_venue_time_that_the_stream_and_the_local_clock_contradict_is_ignored(wrong: float) -> None:
    line = Line()
    line.least.trust(wrong, line.now)
    assert {line.look() for _ in range(100)} <= {0.0, None}
    assert line.looks(5, late=7) == pytest.approx(7)
