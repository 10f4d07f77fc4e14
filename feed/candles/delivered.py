"""The bars that the feed has delivered lately: which are closed, which is being built, and how history joins them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from exchanges.events import Candle, copied

CLOSED_BARS = 32  # per coin and timeframe: enough for what an outage leaves and another venue repeats


@dataclass(slots=True)
class _Bars:
    begun: int  # open time (Unix ms) of the oldest bar that is known here
    closed: dict[int, Candle] = field(default_factory=dict)
    current: Candle | None = None  # the newest bar, while nothing has closed it
    owed: set[int] = field(default_factory=set)  # older ones that nothing has closed

    def owe(self, opened: Iterable[int]) -> None:
        """The newest CLOSED_BARS of them are remembered."""
        self.owed.update(each for each in opened if each >= self.begun and each not in self.closed)
        self.owed.difference_update(sorted(self.owed)[:-CLOSED_BARS])


class DeliveredCandles:
    """Per coin and timeframe the last CLOSED_BARS closed bars and the one being built, as copies.

    A bar is closed once, whichever venue or connection says so, and not updated after that.
    """

    def __init__(self) -> None:
        self._bars: dict[tuple[str, str], _Bars] = {}

    def enter(self, candle: Candle) -> bool:
        """Note a bar or its state so far; False when it is closed already, so that it must not be delivered."""
        opened = candle.timestamp
        bars = self._bars.get((candle.coin, candle.timeframe))
        if bars is None:
            bars = self._bars[candle.coin, candle.timeframe] = _Bars(opened)
        if opened in bars.closed:
            return False
        if bars.current is not None and bars.current.timestamp < opened:
            bars.owe([bars.current.timestamp])
        if candle.closed:
            bars.closed[opened] = copied(candle)
            bars.owed.discard(opened)
            if len(bars.closed) > CLOSED_BARS:
                del bars.closed[min(bars.closed)]
                bars.begun = max(bars.begun, min(bars.closed))
            if bars.current is not None and bars.current.timestamp <= opened:
                bars.current = None
        elif bars.current is None or bars.current.timestamp <= opened:
            bars.current = copied(candle)
        return True

    def newest_closed(self) -> dict[tuple[str, str], int]:
        """The newest closed bar of each (coin, timeframe): its open time, Unix ms."""
        return {key: max(bars.closed) for key, bars in self._bars.items() if bars.closed}

    def owe(self, lacked: Mapping[tuple[str, str], Iterable[int]]) -> None:
        """The venue that is left has missed these bars of each (coin, timeframe)."""
        for key, opened in lacked.items():
            if key in self._bars:
                self._bars[key].owe(opened)

    def owed(self) -> dict[tuple[str, str], set[int]]:
        """The bars of each (coin, timeframe) that were begun, or missed, and not closed; also the one being built."""
        begun = {key: {bars.current.timestamp} if bars.current else set() for key, bars in self._bars.items()}
        return {key: bars.owed | begun[key] for key, bars in self._bars.items() if bars.owed or begun[key]}

    def forget(self, coin: str) -> None:
        """Drop a coin's bars."""
        for key in [key for key in self._bars if key[0] == coin]:
            del self._bars[key]

    def overdue(self, past: Iterable[Candle]) -> list[Candle]:
        """Those closed bars of ``past`` (one coin, one timeframe) that the feed has begun and not closed, as copies."""
        found = []
        for candle in past:
            bars = self._bars.get((candle.coin, candle.timeframe))
            if bars is not None and candle.closed and candle.timestamp >= bars.begun:
                found += [] if candle.timestamp in bars.closed else [copied(candle)]
        return found

    def joined(self, coin: str, timeframe: str, past: Sequence[Candle]) -> list[Candle]:
        """``past`` (oldest first) as the feed delivered it where it did, and what it delivered since, each bar once.

        Of two states of the bar being built, the one with more volume is the later one.
        """
        bars = self._bars.get((coin, timeframe))
        if bars is None or not past:
            return list(past)
        first = past[0].timestamp
        whole = {candle.timestamp: candle for candle in past}
        whole |= {opened: copied(candle) for opened, candle in bars.closed.items() if opened >= first}
        current = bars.current
        if current is not None and current.timestamp >= first:
            fetched = whole.get(current.timestamp)
            same = fetched is not None and fetched.exchange == current.exchange
            if fetched is None or (same and not fetched.closed and fetched.volume <= current.volume):
                whole[current.timestamp] = copied(current)
        return [whole[opened] for opened in sorted(whole)]
