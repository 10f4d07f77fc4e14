"""Computes a coin's volatility, the standard deviation of its 1-minute returns, from its closed candles. Pure."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from itertools import pairwise

from feed.events import Candle

__all__ = ["LARGEST", "SMALLEST", "TIMEFRAME", "Volatility"]

TIMEFRAME = "1m"
SMALLEST = 3  # candles; fewer than three give fewer than two returns, which have no deviation
LARGEST = 1_500  # candles kept per coin: a day, and the hour before it

_MINUTE = 60_000
_WIDTH = 3  # numbers kept per candle: open time (ms), close, venue


class Volatility:
    """The last closes of each coin, and the standard deviation of their returns.

    At most LARGEST closes per coin are kept. ``add`` must be called in one thread, ``volatility`` in any: it copies
    what it reads in one step. A close takes 24 bytes here; a tuple of objects would take 120, which matters for a
    thousand coins.
    """

    def __init__(self) -> None:
        self._closes: dict[str, array[float]] = {}
        self._venues: dict[str, int] = {}  # the number that stands for each venue

    def add(self, candle: Candle) -> None:
        """Add a closed 1-minute candle; updates and other timeframes are ignored.

        Candles may come late and in any order, because some are fetched. If a candle comes again, it replaces the
        earlier one.
        """
        if not candle.closed or candle.timeframe != TIMEFRAME or not 0.0 < candle.close < math.inf:
            return
        venue = self._venues.setdefault(candle.exchange, len(self._venues))
        entry = array("d", (candle.timestamp, candle.close, venue))
        closes = self._closes.setdefault(candle.coin, array("d"))
        if not closes or closes[-_WIDTH] < candle.timestamp:
            closes.extend(entry)
        else:
            opened = closes[::_WIDTH]
            place = bisect_left(opened, candle.timestamp)
            known = opened[place] == candle.timestamp
            closes[place * _WIDTH : (place + known) * _WIDTH] = entry
        if len(closes) > LARGEST * _WIDTH:
            del closes[:_WIDTH]

    def count(self, coin: str) -> int:
        """How many closed candles of a coin are kept."""
        return len(self._closes.get(coin, ())) // _WIDTH

    def forget(self, coin: str) -> None:
        """Drop a coin's candles."""
        self._closes.pop(coin, None)

    def volatility(self, coin: str, window: int = 60) -> float | None:
        """The sample standard deviation (n - 1 in the denominator) of 1-minute log returns, in percent, not annualized.

        It is computed over the last ``window`` closed candles, so over ``window`` - 1 returns at most. A return over a
        missing minute or from one venue's close to another's is left out. None while there are fewer than ``window``
        candles, or if fewer than half of the ``window`` - 1 returns, or fewer than two, are left. Raises
        ValueError for a ``window`` that is no whole number from SMALLEST to LARGEST.
        """
        if type(window) is not int or not SMALLEST <= window <= LARGEST:
            raise ValueError(
                f"window is {window!r}; allowed is a whole number of 1-minute candles from {SMALLEST} to {LARGEST}"
            )
        last = self._closes.get(coin, array("d"))[-window * _WIDTH :]
        if len(last) < window * _WIDTH:
            return None
        closes = zip(last[::_WIDTH], last[1::_WIDTH], last[2::_WIDTH], strict=True)
        returns = [
            math.log(close) - math.log(before)
            for (then, before, venue), (now, close, exchange) in pairwise(closes)
            if now - then == _MINUTE and exchange == venue
        ]
        count = len(returns)
        if count < 2 or 2 * count < window - 1:
            return None
        mean = math.fsum(returns) / count
        return math.sqrt(math.fsum((each - mean) ** 2 for each in returns) / (count - 1)) * 100.0
