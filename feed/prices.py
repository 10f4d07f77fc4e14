"""The price cache: each coin's latest tick, made of trades and tickers of one venue at a time."""

from __future__ import annotations

from math import nan

from exchanges.events import Ticker, TradeEvent
from feed.events import PriceTick

IMPLAUSIBLE = 60_000  # ms by which a stamp is further ahead of its arrival than the next one's: it was wrong


class Prices:
    """Makes PriceTicks and keeps each coin's newest.

    The 24 h figures are the venue's own, from its last ticker; NaN until that venue has told them, so that a tick never
    mixes one venue's price with another's turnover.
    """

    def __init__(self) -> None:
        self.ticks: dict[str, PriceTick] = {}
        self.priced_at: dict[str, float] = {}  # coin -> when its tick was made, monotonic seconds
        self._day: dict[str, tuple[str, float, float]] = {}  # coin -> (exchange, volume_24h, change_24h)

    def on_trade(self, trade: TradeEvent, now: float) -> PriceTick:
        """The tick of a trade; every trade makes one."""
        exchange, volume, change = self._day.get(trade.coin, _UNKNOWN)
        if exchange != trade.exchange:
            volume = change = nan
        tick = PriceTick(trade.coin, trade.price, trade.timestamp, volume, change, trade.exchange, trade.received_at)
        self.ticks[trade.coin] = tick
        self.priced_at[trade.coin] = now
        return tick

    def on_ticker(self, ticker: Ticker, now: float) -> PriceTick | None:
        """The tick of a ticker that is newer than the coin's last tick; None for one that is not, or has no time.

        Its 24 h figures are taken over either way.
        """
        coin = ticker.coin
        volume, change = self.learn(ticker)
        last = self.ticks.get(coin)
        if not ticker.timestamp or (last is not None and last.exchange == ticker.exchange and not _newer(ticker, last)):
            return None
        tick = PriceTick(coin, ticker.last, ticker.timestamp, volume, change, ticker.exchange, ticker.received_at)
        self.ticks[coin] = tick
        self.priced_at[coin] = now
        return tick

    def learn(self, ticker: Ticker) -> tuple[float, float]:
        """Take over a ticker's 24 h figures, without its price; returns turnover and change as they are known now."""
        exchange, volume, change = self._day.get(ticker.coin, _UNKNOWN)
        if exchange != ticker.exchange:
            volume = change = nan
        volume = volume if ticker.volume_24h is None else ticker.volume_24h
        change = change if ticker.change_24h is None else ticker.change_24h
        self._day[ticker.coin] = (ticker.exchange, volume, change)
        return volume, change

    def forget(self, coin: str) -> None:
        """Drop a coin that is watched no more."""
        self.ticks.pop(coin, None)
        self.priced_at.pop(coin, None)
        self._day.pop(coin, None)


def _newer(ticker: Ticker, last: PriceTick) -> bool:
    """Whether ``ticker`` came after ``last``: by the venue's time, unless ``last`` was stamped as no clock runs.

    One stamp from the future must not keep out every ticker until then.
    """
    ahead = (last.timestamp - ticker.timestamp) - (last.received_at - ticker.received_at) // 1_000_000
    return ticker.timestamp > last.timestamp or ahead > IMPLAUSIBLE


_UNKNOWN = ("", nan, nan)
