"""Decides when a coin's trade subscription is lost although its tickers continue: the venue dropped it silently.

A ticker is a sign of a trade if its price has changed and its turnover, if it has one, has grown: a changed price alone
may come from quotes. Signs are counted until a trade of the coin is accepted, on any connection. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import inf

from exchanges.events import Ticker
from feed.trades.sequence import TradeSequence

SIGNS = 3  # signs without a trade, per coin; one or two trades may still be on their way


@dataclass(slots=True)
class _Signs:
    """The signs of one coin since its ``newest`` trade."""

    sequence: TradeSequence
    newest: object
    price: float
    turnover: float | None
    seen: object  # the newest trade at the last check
    count: int = 0
    first: float = 0.0  # when the first and the last sign came, monotonic seconds
    last: float = 0.0
    flowed: float = -inf  # a trade was accepted after this time, monotonic seconds


class LostSubscriptions:
    """The signs of trades that did not come, on one connection."""

    def __init__(self) -> None:
        self._signs: dict[str, _Signs] = {}
        self._looked_at = -inf
        self._without: set[str] = set()  # coins whose trades the venue has rejected on this connection

    def note(self, ticker: Ticker, sequence: Callable[[str], TradeSequence], now: float) -> None:
        """Take a ticker of the connection; ``sequence`` returns the trade sequence of a coin."""
        coin, price = ticker.coin, ticker.last
        signs = self._signs.get(coin)
        if signs is None:
            if coin not in self._without:
                known = sequence(coin)
                newest = known.newest  # the trade may have come over an earlier connection
                self._signs[coin] = _Signs(known, newest, price, ticker.volume_24h, newest)
            return
        if price == signs.price:
            return
        before, signs.price, signs.turnover = signs.turnover, price, ticker.volume_24h
        if signs.newest != (newest := signs.sequence.newest):
            signs.newest, signs.count = newest, 0
        elif before is None or signs.turnover is None or signs.turnover > before:
            signs.first, signs.last = signs.first if signs.count else now, now
            signs.count += 1

    def missing(self, longest_silence: Callable[[str], float], now: float) -> dict[str, float]:
        """The coins whose trades have not come for longer than ``longest_silence``, with the time of the first sign.

        Call it regularly: it compares the current state with that of the last call.
        """
        found = {}
        for coin, signs in self._signs.items():
            newest = signs.sequence.newest
            if newest != signs.seen:
                signs.seen, signs.flowed = newest, self._looked_at
            if signs.count >= SIGNS and newest == signs.newest and signs.last - signs.first >= longest_silence(coin):
                found[coin] = signs.first
        self._looked_at = now
        return found

    def flowed(self, coin: str, since: float) -> bool:
        """Whether a trade of the coin was certainly accepted after ``since``."""
        signs = self._signs.get(coin)
        return signs is not None and signs.flowed >= since

    def forget(self, coins: Iterable[str]) -> None:
        """Drop these coins; if they are added again, their trades are subscribed to again."""
        for coin in coins:
            self._signs.pop(coin, None)
            self._without.discard(coin)

    def ignore(self, coins: Iterable[str]) -> None:
        """Expect no trades of these coins: the venue has rejected them."""
        for coin in coins:
            self._signs.pop(coin, None)
            self._without.add(coin)
