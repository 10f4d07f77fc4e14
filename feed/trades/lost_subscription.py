"""What a connection's tickers tell of trades that it does not bring: a venue may drop a subscription without a word.

A ticker whose price is another one, and whose turnover of the day has risen where it says so, is a sign of a trade: a
price alone may be made of quotes. Signs count until a trade of the coin is accepted, from whatever connection. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import inf

from exchanges.events import Ticker
from feed.trades.sequence import TradeSequence

SIGNS = 3  # of trades that did not come, for each coin: one or two may be on their way
MOST_PATIENCE = 600.0  # seconds, at the latest, after which something is tried again that was in vain
BUSY = 20  # times its length for which patience must not have been needed to be short again


class GrowingWait:
    """How many seconds to wait before something is tried: twice as many each time it was tried, up to MOST_PATIENCE."""

    def __init__(self, first: float) -> None:
        self._first = self._length = first
        self._tried_at = -inf

    def at(self, now: float) -> float:
        """Its length at ``now``, monotonic seconds."""
        if now - self._tried_at > BUSY * self._length:
            self._length = self._first
        return self._length

    def spend(self, now: float) -> None:
        """It is tried."""
        self._tried_at, self._length = now, min(2 * self._length, MOST_PATIENCE)


@dataclass(slots=True)
class _Signs:
    """Of one coin since its ``newest`` trade."""

    continuity: TradeSequence
    newest: object
    price: float
    turnover: float | None
    seen: object  # the newest trade when it was looked at last
    count: int = 0
    first: float = 0.0  # when the first one came and the last one, monotonic seconds
    last: float = 0.0
    flowed: float = -inf  # since then one was accepted, monotonic seconds


class LostSubscriptions:
    """The signs on one connection."""

    def __init__(self) -> None:
        self._signs: dict[str, _Signs] = {}
        self._looked_at = -inf
        self._without: set[str] = set()  # coins of which the connection brings no trades, as the venue has said

    def note(self, ticker: Ticker, continuity: Callable[[str], TradeSequence], now: float) -> None:
        """A ticker came over the connection; ``continuity`` knows the trades of each coin."""
        coin, price = ticker.coin, ticker.last
        signs = self._signs.get(coin)
        if signs is None:
            if coin not in self._without:
                known = continuity(coin)
                newest = known.newest  # of a connection before, perhaps
                self._signs[coin] = _Signs(known, newest, price, ticker.volume_24h, newest)
            return
        if price == signs.price:
            return
        before, signs.price, signs.turnover = signs.turnover, price, ticker.volume_24h
        if signs.newest != (newest := signs.continuity.newest):
            signs.newest, signs.count = newest, 0
        elif before is None or signs.turnover is None or signs.turnover > before:
            signs.first, signs.last = signs.first if signs.count else now, now
            signs.count += 1

    def missing(self, patience: Callable[[str], float], now: float) -> dict[str, float]:
        """The coins whose trades don't come, if that is so for longer than ``patience``, with the time since when.

        To be called again and again: in between it is seen what flows.
        """
        found = {}
        for coin, signs in self._signs.items():
            newest = signs.continuity.newest
            if newest != signs.seen:
                signs.seen, signs.flowed = newest, self._looked_at
            if signs.count >= SIGNS and newest == signs.newest and signs.last - signs.first >= patience(coin):
                found[coin] = signs.first
        self._looked_at = now
        return found

    def flowed(self, coin: str, since: float) -> bool:
        """Whether a trade of the coin was surely accepted after ``since``."""
        signs = self._signs.get(coin)
        return signs is not None and signs.flowed >= since

    def forget(self, coins: Iterable[str]) -> None:
        """These are not wanted any more; if they are again, the venue is asked for their trades again."""
        for coin in coins:
            self._signs.pop(coin, None)
            self._without.discard(coin)

    def ignore(self, coins: Iterable[str]) -> None:
        """The venue has refused the trades of these."""
        for coin in coins:
            self._signs.pop(coin, None)
            self._without.add(coin)
