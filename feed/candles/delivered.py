"""Remembers which candles were delivered; decides that each is closed once, by any venue; joins past ones to them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from exchanges.events import Candle, copied
from feed.candles.missing import ROUNDED

CLOSED_BARS = 32  # per coin and timeframe: enough for the candles that an outage leaves open and another venue repeats


@dataclass(slots=True)
class _Bars:
    begun: int  # open time (Unix ms) of the oldest candle that is known here
    closed: dict[int, Candle] = field(default_factory=dict)
    current: Candle | None = None  # the newest candle, while it is open
    unclosed: set[int] = field(default_factory=set)  # open times of older candles that are still to be closed

    def note_unclosed(self, opened: Iterable[int]) -> None:
        """Remember the newest CLOSED_BARS of these candles as still to be closed."""
        self.unclosed.update(each for each in opened if each >= self.begun and each not in self.closed)
        self.unclosed.difference_update(sorted(self.unclosed)[:-CLOSED_BARS])


class DeliveredCandles:
    """Per coin and timeframe the last CLOSED_BARS closed candles and the open one, as copies.

    A candle is closed once, whichever venue or connection closes it, and not updated after that.
    """

    def __init__(self) -> None:
        self._bars: dict[tuple[str, str], _Bars] = {}

    def enter(self, candle: Candle) -> bool:
        """Remember a candle or its state so far; False if it is closed already and must not be delivered."""
        opened = candle.timestamp
        bars = self._bars.get((candle.coin, candle.timeframe))
        if bars is None:
            bars = self._bars[candle.coin, candle.timeframe] = _Bars(opened)
        if opened in bars.closed:
            return False
        if bars.current is not None and bars.current.timestamp < opened:
            bars.note_unclosed([bars.current.timestamp])
        if candle.closed:
            bars.closed[opened] = copied(candle)
            bars.unclosed.discard(opened)
            if len(bars.closed) > CLOSED_BARS:
                del bars.closed[min(bars.closed)]
                bars.begun = max(bars.begun, min(bars.closed))
            if bars.current is not None and bars.current.timestamp <= opened:
                bars.current = None
        elif bars.current is None or bars.current.timestamp <= opened:
            bars.current = copied(candle)
        return True

    def newest(self, coin: str, timeframe: str) -> Candle | None:
        """The newest candle that was delivered, not to be changed."""
        bars = self._bars.get((coin, timeframe))
        if bars is None or bars.current is not None:
            return None if bars is None else bars.current
        return bars.closed[max(bars.closed)] if bars.closed else None

    def newest_of(self, coin: str) -> list[Candle]:
        """The newest delivered candle of each timeframe, not to be changed."""
        found = (self.newest(*key) for key in self._bars if key[0] == coin)
        return [candle for candle in found if candle is not None]

    def newest_closed(self) -> dict[tuple[str, str], int]:
        """The open time (Unix ms) of the newest closed candle of each (coin, timeframe)."""
        return {key: max(bars.closed) for key, bars in self._bars.items() if bars.closed}

    def note_unclosed(self, unclosed: Mapping[tuple[str, str], Iterable[int]]) -> None:
        """Remember candles (open times by coin and timeframe) that the feed leaves unclosed on the venue before."""
        for key, opened in unclosed.items():
            if key in self._bars:
                self._bars[key].note_unclosed(opened)

    def unclosed(self) -> dict[tuple[str, str], set[int]]:
        """The open times of the candles that are still to be closed, the open one included, by (coin, timeframe)."""
        begun = {key: {bars.current.timestamp} if bars.current else set() for key, bars in self._bars.items()}
        return {key: bars.unclosed | begun[key] for key, bars in self._bars.items() if bars.unclosed or begun[key]}

    def forget(self, coin: str) -> None:
        """Drop a coin's candles."""
        for key in [key for key in self._bars if key[0] == coin]:
            del self._bars[key]

    def overdue(self, past: Iterable[Candle]) -> list[Candle]:
        """Copies of the closed candles of ``past`` that the feed has delivered only as open.

        A candle is left out if more volume of it was delivered than ``past`` has: the venue's record is behind its
        stream.
        """
        found = []
        for candle in past:
            bars = self._bars.get((candle.coin, candle.timeframe))
            if bars is None or not candle.closed or candle.timestamp < bars.begun or candle.timestamp in bars.closed:
                continue
            if not _is_less(candle, bars.current):
                found.append(copied(candle))
        return found

    def joined(self, coin: str, timeframe: str, past: Sequence[Candle]) -> list[Candle]:
        """Join ``past`` (oldest first) and the delivered candles, each once; a delivered state wins over a fetched one.

        Of two states of the open candle, the one with more volume is the later one.
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


def _is_less(candle: Candle, delivered: Candle | None) -> bool:
    """Whether a candle has less volume than the state of it that was delivered from the same venue."""
    if delivered is None or (delivered.timestamp, delivered.exchange) != (candle.timestamp, candle.exchange):
        return False
    return candle.volume < delivered.volume * (1 - ROUNDED)
