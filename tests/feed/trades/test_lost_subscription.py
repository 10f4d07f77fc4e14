"""A subscription to trades was lost if tickers show trades that do not come; the test sets the times."""

from __future__ import annotations

from exchanges.events import Ticker, TradeEvent
from feed.trades.lost_subscription import SIGNS, LostSubscriptions
from feed.trades.sequence import TradeSequence

LONGEST_SILENCE = 10.0


class Connection:
    """A connection with BTC's tickers, each with another price and, if there is a turnover, a higher turnover."""

    def __init__(self, *, told: bool = True) -> None:
        self.lost_subscriptions = LostSubscriptions()
        self.sequence = TradeSequence(True, 300.0)
        self.price = 100.0
        self.turnover: float | None = 1e6 if told else None
        self.ids = iter(range(1, 1000))
        self.now = 0.0

    def ticker(self, now: float, *, price: float = 1.0, turnover: float = 100.0) -> None:
        self.now = now
        self.price += price
        if self.turnover is not None:
            self.turnover += turnover
        ticker = Ticker("BTC", self.price, int(now * 1000), self.turnover)
        self.lost_subscriptions.note(ticker, lambda coin: self.sequence, now)

    def tickers(self, since: float, until: float, **change: float) -> None:
        for now in range(int(since), int(until) + 1):
            self.ticker(now, **change)

    def trade(self) -> None:
        number = next(self.ids)
        self.sequence.accept(TradeEvent("BTC", self.price, 1.0, False, number, trade_id=str(number)), 0.0, number)

    def missing(self, longest_silence: float = LONGEST_SILENCE) -> dict[str, float]:
        return self.lost_subscriptions.missing(lambda coin: longest_silence, self.now)


def test_prices_that_change_without_trades_are_signs_of_missing_trades() -> None:
    it = Connection()
    it.trade()
    it.tickers(0, 10)
    assert it.missing() == {}  # the first ticker is the reference; the change at 1 s is the first sign
    it.ticker(11)
    assert it.missing() == {"BTC": 1.0}


def test_signs_before_the_last_trade_do_not_count() -> None:
    it = Connection()
    it.tickers(0, 9)
    it.trade()
    it.tickers(10, 20)
    assert it.missing() == {}
    it.tickers(21, 22)
    assert it.missing() == {"BTC": 11.0}  # the trade itself caused the change at 10 s


def test_a_late_trade_cancels_the_signs_of_earlier_tickers() -> None:
    it = Connection()
    it.tickers(0, 15)
    it.trade()
    assert it.missing() == {}


def test_the_tickers_of_a_quiet_coin_are_no_signs_of_a_lost_subscription() -> None:
    """The coin's tickers have the same price. When the coin trades again, tickers may come earlier than trades."""
    it = Connection()
    it.trade()
    it.tickers(0, 3600, price=0.0, turnover=0.0)
    for now in (3600.1, 3600.2, 3600.3, 3600.4):
        it.ticker(now)
    assert it.missing() == {}


def test_one_or_two_signs_do_not_show_a_lost_subscription() -> None:
    it = Connection()
    for now in range(0, 60 * SIGNS, 60):
        it.ticker(now)
        assert it.missing() == {}
    it.ticker(60 * SIGNS)
    assert it.missing() == {"BTC": 60.0}


def test_a_changed_price_without_more_turnover_is_no_sign_of_a_trade() -> None:
    """Quotes may change the price. The turnover falls when trades are older than 24 hours; this shows no new trade
    either."""
    it = Connection()
    it.tickers(0, 60, turnover=0.0)
    it.tickers(61, 120, turnover=-5.0)
    assert it.missing() == {}


def test_without_a_turnover_a_changed_price_is_a_sign_of_a_trade() -> None:
    it = Connection(told=False)
    it.tickers(0, 11)
    assert it.missing() == {"BTC": 1.0}


def test_a_trade_counts_only_if_it_was_accepted_after_the_given_moment() -> None:
    """If the moment is between two checks, a trade between these checks may have come before the moment."""
    it = Connection()
    for now in (0.0, 5.0, 10.0):
        it.ticker(now)
        it.trade()
        it.missing()
    assert it.lost_subscriptions.flowed("BTC", 5.0)
    assert not it.lost_subscriptions.flowed("BTC", 6.0)
    assert not it.lost_subscriptions.flowed("ETH", 0.0)


def test_trades_before_a_connection_do_not_show_that_the_connection_delivers_trades() -> None:
    """The coin's first ticker comes late, and the newest trade came over the earlier connection."""
    it = Connection()
    it.trade()
    it.now = 5.0
    it.missing()
    it.ticker(6.0)
    it.now = 7.0
    it.missing()
    assert not it.lost_subscriptions.flowed("BTC", 5.0)
    it.trade()
    it.now = 9.0
    it.missing()
    assert it.lost_subscriptions.flowed("BTC", 7.0)


def test_trades_do_not_count_as_missing_if_the_venue_has_refused_the_subscription() -> None:
    it = Connection()
    it.tickers(0, 5)
    it.lost_subscriptions.ignore(["BTC"])
    it.tickers(6, 60)
    assert it.missing() == {}


def test_the_signs_of_a_coin_are_forgotten_when_the_coin_is_removed() -> None:
    it = Connection()
    it.tickers(0, 60)
    it.lost_subscriptions.forget(["BTC"])
    assert it.missing() == {}
    it.tickers(61, 65)
    assert it.missing() == {}


def test_without_consecutive_ids_a_trade_is_new_if_its_id_is_unknown() -> None:
    """This holds even for a trade of the same millisecond."""
    sequence = TradeSequence(False, 300.0)
    seen = []
    for name in ("a", "b", "c"):
        sequence.accept(TradeEvent("BTC", 1.0, 1.0, False, 5, trade_id=name), 0.0)
        seen.append(sequence.newest)
    assert len(set(seen)) == 3
    sequence.accept(TradeEvent("BTC", 1.0, 1.0, False, 5, trade_id="c"), 0.0)
    assert sequence.newest == seen[-1]
