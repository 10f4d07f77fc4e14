"""The price cache: each coin's latest tick, from one venue at a time; decides which trades and tickers give a tick."""

from __future__ import annotations

from math import nan
from typing import NamedTuple

from exchanges.events import Ticker, TradeEvent
from feed.events import PriceTick

IMPLAUSIBLE = 60_000  # ms; a stamp is wrong if its lead over its arrival exceeds the next stamp's by more than this

_new = object.__new__
_Raw = tuple[float, int, str, int, str, tuple[str, float, float]]
"""A tick's price, timestamp, exchange, received_at and market, and the 24 h statistics that were known then."""


class Streamed(NamedTuple):
    """When a price came (monotonic seconds), its time at the venue (Unix ms), and whether it came from a ticker."""

    at: float
    stamp: int
    by_ticker: bool


class Price:
    """One coin's latest price. Written by the event loop's thread, read by any thread.

    It keeps the fields of the latest tick, not the tick itself: the delivered tick belongs to its receivers, and
    ``tick`` makes a new tick for each caller. So no program can change what the feed knows. Values that another thread
    may read are replaced in one step. ``priced_at``: when the latest price came, monotonic seconds.
    """

    __slots__ = ("_coin", "_day", "_last", "_of_rest", "_of_ticker", "_of_trade", "_timeless", "priced_at")

    def __init__(self, coin: str) -> None:
        self.priced_at: float | None = None
        self._coin = coin
        self._day: tuple[str, float, float] = ("", nan, nan)  # exchange, volume_24h, change_24h
        self._last: _Raw | None = None
        self._timeless: _Raw | None = None  # the newest price without a venue's stamp
        self._of_ticker: _Raw | None = None  # the newest price from a ticker
        self._of_rest: _Raw | None = None  # the newest price from REST
        self._of_trade: tuple[_Raw | None, float | None] = None, None  # the newest price from a trade, and when it came

    @property
    def known(self) -> bool:
        """Whether there is a tick."""
        return self._last is not None

    @property
    def tick(self) -> PriceTick | None:
        """A new copy of the latest tick, None before the first."""
        last = self._last
        return None if last is None else self._tick(last)

    def note(self, trade: TradeEvent, now: float) -> None:
        """Store a trade's price without making a tick, because nobody subscribes to ticks."""
        self._last = trade.price, trade.timestamp, trade.exchange, trade.received_at, trade.market, self._day
        self.priced_at = now

    def on_trade(self, trade: TradeEvent, now: float) -> PriceTick:
        """Take a trade and return its tick."""
        source, volume, change = day = self._day
        self._last = raw = trade.price, trade.timestamp, trade.exchange, trade.received_at, trade.market, day
        tick = _new(PriceTick)  # the same as PriceTick(...), in half the time
        tick.coin = self._coin
        tick.price, tick.timestamp, tick.exchange, tick.received_at, tick.market, _ = raw
        if source != tick.exchange:
            volume = change = nan
        tick.volume_24h = volume
        tick.change_24h = change
        self.priced_at = now
        return tick

    def on_ticker(self, ticker: Ticker, now: float, *, over_rest: bool = False) -> PriceTick | None:
        """Take a ticker and return its tick if it is newer than the coin's last tick; else None.

        A ticker without the venue's time gives a price only while no other event of its venue has given a price. Its
        tick has the time at which the ticker was read. The 24 h statistics are taken in any case. ``over_rest``: the
        ticker came over REST and does not show how far the stream lags.
        """
        self.learn(ticker)
        last = self._last
        timed = last is not None and last[2] == ticker.exchange and last is not self._timeless
        if ticker.timestamp:
            if timed and last is not None and not _newer(ticker, last):
                return None
            raw = ticker.last, ticker.timestamp, ticker.exchange, ticker.received_at, ticker.market, self._day
        else:
            if timed or not ticker.received_at:
                return None
            read_at = ticker.received_at // 1_000_000
            raw = self._timeless = ticker.last, read_at, ticker.exchange, ticker.received_at, ticker.market, self._day
        if last is not self._of_ticker:
            self._of_trade = last, self.priced_at
        self._last = self._of_ticker = raw
        if over_rest:
            self._of_rest = raw
        self.priced_at = now
        return self._tick(raw)

    def repeat(self, ticker: Ticker, now: float) -> PriceTick:
        """Take a recorded ticker from which the recorded feed made a tick; returns the same tick."""
        self.learn(ticker)
        at = ticker.timestamp or ticker.received_at // 1_000_000
        raw = ticker.last, at, ticker.exchange, ticker.received_at, ticker.market, self._day
        self._last = self._of_ticker = raw
        if not ticker.timestamp:
            self._timeless = raw
        self.priced_at = now
        return self._tick(raw)

    def restore(self, tick: PriceTick, now: float) -> None:
        """Take a tick of a recording as it is, with its 24 h statistics."""
        self._day = tick.exchange, tick.volume_24h, tick.change_24h
        self._last = tick.price, tick.timestamp, tick.exchange, tick.received_at, tick.market, self._day
        self.priced_at = now

    def stamp(self) -> int | None:
        """The venue's time (Unix ms) of the latest price; None if the venue gave none."""
        last = self._last
        return None if last is None or last is self._timeless else last[1]

    def streamed(self, exchange: str, after: float) -> list[Streamed]:
        """When the prices of the latest trade and the latest ticker came over a connection to ``exchange``.

        Prices that came before ``after`` or have no stamp are left out. So is a ticker's price if a trade came after
        it.
        """
        return [
            Streamed(at, raw[1], raw is self._of_ticker)
            for raw, at in (self._of_trade, (self._last, self.priced_at))
            if raw is not None and at is not None and at > after and raw[2] == exchange
            if raw is not self._of_rest and raw is not self._timeless
        ]

    def learn(self, ticker: Ticker) -> None:
        """Take a ticker's 24 h statistics, without its price."""
        exchange, volume, change = self._day
        if exchange != ticker.exchange:
            volume = change = nan
        volume = volume if ticker.volume_24h is None else ticker.volume_24h
        change = change if ticker.change_24h is None else ticker.change_24h
        self._day = (ticker.exchange, volume, change)

    def forget_day(self) -> None:
        """Drop the 24 h statistics: the coin comes from another market of the same venue now."""
        self._day = ("", nan, nan)

    def _tick(self, raw: _Raw) -> PriceTick:
        price, timestamp, exchange, received_at, market, (source, volume, change) = raw
        if source != exchange:
            volume = change = nan
        return PriceTick(self._coin, price, timestamp, volume, change, exchange, received_at, market)


class PriceCache(dict[str, Price]):
    """Every coin's price; looking up a new coin adds it.

    The 24 h statistics are the venue's own, from its last ticker. They are NaN until that venue has sent one, so that a
    tick never mixes one venue's price with another's turnover.
    """

    def __missing__(self, coin: str) -> Price:
        return self.setdefault(coin, Price(coin))

    @property
    def cached(self) -> int:
        """How many coins have a tick."""
        return sum(price.known for price in self.copy().values())

    @property
    def ticks(self) -> dict[str, PriceTick]:
        """New copies of the latest tick of each coin that has one."""
        return {coin: tick for coin, price in self.copy().items() if (tick := price.tick) is not None}

    def tick(self, coin: str) -> PriceTick | None:
        """The coin's latest tick, None before the first."""
        price = self.get(coin)
        return None if price is None else price.tick


def _newer(ticker: Ticker, last: _Raw) -> bool:
    """Whether ``ticker`` is newer than ``last``: by the venue's time, unless the stamp of ``last`` was wrong.

    Otherwise one stamp in the future would make every ticker until that time look old. If two stamps can't both be
    right, the stamp that is closer to its arrival is believed.
    """
    lead = ticker.timestamp - ticker.received_at // 1_000_000
    last_lead = last[1] - last[3] // 1_000_000
    return ticker.timestamp > last[1] or (last_lead - lead > IMPLAUSIBLE and last_lead > abs(lead))
