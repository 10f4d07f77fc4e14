"""The price cache: each coin's latest tick, made of trades and tickers of one venue at a time."""

from __future__ import annotations

from math import nan
from typing import NamedTuple

from exchanges.events import Ticker, TradeEvent
from feed.events import PriceTick

IMPLAUSIBLE = 60_000  # ms by which a stamp is further ahead of its arrival than the next one's: it was wrong

_new = object.__new__
_Raw = tuple[float, int, str, int, str]  # a trade's price, timestamp, exchange, received_at, market


class Streamed(NamedTuple):
    """When a price came (monotonic seconds), the venue's time of it (Unix ms), and whether a ticker brought it."""

    at: float
    stamp: int
    by_ticker: bool


class Price:
    """One coin's latest price. Written by the loop's thread, read by any.

    The tick of a trade that nobody receives is made when somebody asks for it. What is read from another thread is
    replaced in one step, never changed. ``priced_at``: when the latest price came, monotonic seconds.
    """

    __slots__ = ("_coin", "_day", "_last", "_made", "_of_rest", "_of_ticker", "_timeless", "priced_at")

    def __init__(self, coin: str) -> None:
        self.priced_at: float | None = None
        self._coin = coin
        self._day: tuple[str, float, float] = ("", nan, nan)  # exchange, volume_24h, change_24h
        self._last: PriceTick | _Raw | None = None
        self._timeless: PriceTick | None = None  # the newest one whose time is that of its arrival
        self._of_ticker: PriceTick | None = None  # the newest one of a ticker
        self._of_rest: PriceTick | None = None  # the newest one that came over REST
        self._made: tuple[_Raw, PriceTick] | None = None  # what was made of a trade when somebody asked

    @property
    def tick(self) -> PriceTick | None:
        """The latest tick; the same object until there is another price."""
        last = self._last
        if type(last) is not tuple:
            return last  # type: ignore[return-value] # mypy does not narrow by type() of a union with tuples
        made = self._made
        if made is None or made[0] is not last:
            made = self._made = last, self._tick(*last)
        return made[1]

    def note(self, trade: TradeEvent, now: float) -> None:
        """A trade that nobody wants as a tick."""
        self._last = trade.price, trade.timestamp, trade.exchange, trade.received_at, trade.market
        self.priced_at = now

    def on_trade(self, trade: TradeEvent, now: float) -> PriceTick:
        """The tick of a trade; every trade makes one."""
        exchange, volume, change = self._day
        if exchange != trade.exchange:
            volume = change = nan
        tick = _new(PriceTick)  # as PriceTick(...) does it, in half of the time
        tick.coin = self._coin
        tick.price = trade.price
        tick.timestamp = trade.timestamp
        tick.volume_24h = volume
        tick.change_24h = change
        tick.exchange = trade.exchange
        tick.received_at = trade.received_at
        tick.market = trade.market
        self._last = tick
        self.priced_at = now
        return tick

    def on_ticker(self, ticker: Ticker, now: float, *, over_rest: bool = False) -> PriceTick | None:
        """The tick of a ticker that is newer than the coin's last tick; None for one that is not.

        A ticker without a time can't claim to be newer than what has one: it prices a coin only while nothing else of
        its venue has, and its tick has the time at which it was read. The 24 h figures are taken over either way.
        ``over_rest``: it says nothing of how far the stream lags.
        """
        self.learn(ticker)
        last = self.tick
        timed = last is not None and last.exchange == ticker.exchange and last is not self._timeless
        if ticker.timestamp:
            if timed and last is not None and not _newer(ticker, last):
                return None
            tick = self._tick(ticker.last, ticker.timestamp, ticker.exchange, ticker.received_at, ticker.market)
        else:
            if timed or not ticker.received_at:
                return None
            read_at = ticker.received_at // 1_000_000
            tick = self._tick(ticker.last, read_at, ticker.exchange, ticker.received_at, ticker.market)
            self._timeless = tick
        self._last = self._of_ticker = tick
        if over_rest:
            self._of_rest = tick
        self.priced_at = now
        return tick

    def stamp(self) -> int | None:
        """The venue's time (Unix ms) of the latest price; None where that has none of its own."""
        last = self._last
        if isinstance(last, tuple):
            return last[1]
        return None if last is None or last is self._timeless else last.timestamp

    def streamed(self, exchange: str, after: float) -> Streamed | None:
        """How the latest price came over a connection to ``exchange``; None unless it did, with a stamp, ``after``."""
        last, at = self._last, self.priced_at
        if last is None or at is None or at <= after or last is self._of_rest or last is self._timeless:
            return None
        if isinstance(last, tuple):
            return Streamed(at, last[1], False) if last[2] == exchange else None
        return Streamed(at, last.timestamp, last is self._of_ticker) if last.exchange == exchange else None

    def learn(self, ticker: Ticker) -> None:
        """Take over a ticker's 24 h figures, without its price."""
        if self._last is not None:
            self._last = self.tick  # with the figures of its own time
        exchange, volume, change = self._day
        if exchange != ticker.exchange:
            volume = change = nan
        volume = volume if ticker.volume_24h is None else ticker.volume_24h
        change = change if ticker.change_24h is None else ticker.change_24h
        self._day = (ticker.exchange, volume, change)

    def _tick(self, price: float, timestamp: int, exchange: str, received_at: int, market: str) -> PriceTick:
        source, volume, change = self._day
        if source != exchange:
            volume = change = nan
        return PriceTick(self._coin, price, timestamp, volume, change, exchange, received_at, market)


class Prices(dict[str, Price]):
    """Every coin's price; asking for one that is not there yet makes it.

    The 24 h figures are the venue's own, from its last ticker; NaN until that venue has told them, so that a tick never
    mixes one venue's price with another's turnover.
    """

    def __missing__(self, coin: str) -> Price:
        return self.setdefault(coin, Price(coin))

    @property
    def ticks(self) -> dict[str, PriceTick]:
        """The latest tick of each coin that has one."""
        return {coin: tick for coin, price in self.copy().items() if (tick := price.tick) is not None}

    def tick(self, coin: str) -> PriceTick | None:
        """The coin's latest tick, None before the first."""
        price = self.get(coin)
        return None if price is None else price.tick


def _newer(ticker: Ticker, last: PriceTick) -> bool:
    """Whether ``ticker`` came after ``last``: by the venue's time, unless ``last`` was stamped as no clock runs.

    One stamp from the future must not keep out every ticker until then, and one from the past is no news: of two times
    that can't both be right, the one closer to its arrival is believed.
    """
    lead, last_lead = (each.timestamp - each.received_at // 1_000_000 for each in (ticker, last))
    return ticker.timestamp > last.timestamp or (last_lead - lead > IMPLAUSIBLE and last_lead > abs(lead))
