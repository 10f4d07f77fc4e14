"""Remembers delivered candles, so that each is closed only once, by whichever venue; joins past candles to them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from exchanges.events import Candle, copied
from feed.candles.missing import ROUNDED

# Closed candles kept per coin and timeframe: more than an outage leaves open, and more than another venue sends again.
CLOSED_CANDLES = 32


@dataclass(slots=True)
class _Candles:
    begun: int  # open time (Unix ms) of the oldest candle that is known here
    closed: dict[int, Candle] = field(default_factory=dict)
    current: Candle | None = None  # the newest candle, while it is open
    unclosed: set[int] = field(default_factory=set)  # open times of older candles that are still to be closed

    def note_unclosed(self, opened: Iterable[int]) -> None:
        """Remember the newest CLOSED_CANDLES of these candles as still to be closed."""
        self.unclosed.update(each for each in opened if each >= self.begun and each not in self.closed)
        self.unclosed.difference_update(sorted(self.unclosed)[:-CLOSED_CANDLES])


class DeliveredCandles:
    """Keeps, per coin and timeframe, copies of the last CLOSED_CANDLES closed candles and of the open candle.

    Each candle is closed only once, whichever venue or connection closes it, and gets no update after that.
    """

    def __init__(self) -> None:
        self._candles: dict[tuple[str, str], _Candles] = {}

    def enter(self, candle: Candle) -> bool:
        """Remember a candle, open or closed. Returns False if it was closed before: then it must not be delivered."""
        opened = candle.timestamp
        candles = self._candles.get((candle.coin, candle.timeframe))
        if candles is None:
            candles = self._candles[candle.coin, candle.timeframe] = _Candles(opened)
        if opened in candles.closed:
            return False
        if candles.current is not None and candles.current.timestamp < opened:
            candles.note_unclosed([candles.current.timestamp])
        if candle.closed:
            candles.closed[opened] = copied(candle)
            candles.unclosed.discard(opened)
            if len(candles.closed) > CLOSED_CANDLES:
                del candles.closed[min(candles.closed)]
                candles.begun = max(candles.begun, min(candles.closed))
            if candles.current is not None and candles.current.timestamp <= opened:
                candles.current = None
        elif candles.current is None or candles.current.timestamp <= opened:
            candles.current = copied(candle)
        return True

    def newest(self, coin: str, timeframe: str) -> Candle | None:
        """The newest candle that was delivered; callers must not change it."""
        candles = self._candles.get((coin, timeframe))
        if candles is None or candles.current is not None:
            return None if candles is None else candles.current
        return candles.closed[max(candles.closed)] if candles.closed else None

    def newest_of(self, coin: str) -> list[Candle]:
        """The newest delivered candle of each timeframe; callers must not change the candles."""
        found = (self.newest(*key) for key in self._candles if key[0] == coin)
        return [candle for candle in found if candle is not None]

    def newest_closed(self) -> dict[tuple[str, str], int]:
        """The open time (Unix ms) of the newest closed candle of each (coin, timeframe)."""
        return {key: max(candles.closed) for key, candles in self._candles.items() if candles.closed}

    def note_unclosed(self, unclosed: Mapping[tuple[str, str], Iterable[int]]) -> None:
        """Remember candles (open times by coin and timeframe) that the feed has left unclosed on the previous venue."""
        for key, opened in unclosed.items():
            if key in self._candles:
                self._candles[key].note_unclosed(opened)

    def unclosed(self) -> dict[tuple[str, str], set[int]]:
        """The open times of the candles that are still to be closed, the open candle included, by (coin, timeframe)."""
        begun = {
            key: {candles.current.timestamp} if candles.current else set() for key, candles in self._candles.items()
        }
        return {
            key: candles.unclosed | begun[key]
            for key, candles in self._candles.items()
            if candles.unclosed or begun[key]
        }

    def forget(self, coin: str) -> None:
        """Drop a coin's candles."""
        for key in [key for key in self._candles if key[0] == coin]:
            del self._candles[key]

    def overdue(self, past: Iterable[Candle]) -> list[Candle]:
        """Copies of the closed candles of ``past`` that the feed has delivered only as open.

        A candle is left out if the feed has delivered more volume of it than ``past`` has: then the venue's record is
        behind its stream.
        """
        found = []
        for candle in past:
            candles = self._candles.get((candle.coin, candle.timeframe))
            if (
                candles is None
                or not candle.closed
                or candle.timestamp < candles.begun
                or candle.timestamp in candles.closed
            ):
                continue
            if not _is_less(candle, candles.current):
                found.append(copied(candle))
        return found

    def joined(self, coin: str, timeframe: str, past: Sequence[Candle]) -> list[Candle]:
        """Join ``past`` (oldest first) and the delivered candles, each once; a delivered state is preferred to a
        fetched one.

        Of two states of the open candle, the state with more volume is the later state.
        """
        candles = self._candles.get((coin, timeframe))
        if candles is None or not past:
            return list(past)
        first = past[0].timestamp
        whole = {candle.timestamp: candle for candle in past}
        whole |= {opened: copied(candle) for opened, candle in candles.closed.items() if opened >= first}
        current = candles.current
        if current is not None and current.timestamp >= first:
            fetched = whole.get(current.timestamp)
            same = fetched is not None and fetched.exchange == current.exchange
            if fetched is None or (same and not fetched.closed and fetched.volume <= current.volume):
                whole[current.timestamp] = copied(current)
        return [whole[opened] for opened in sorted(whole)]


def _is_less(candle: Candle, delivered: Candle | None) -> bool:
    """Whether a candle has less volume than ``delivered``, its state from the same venue."""
    if delivered is None or (delivered.timestamp, delivered.exchange) != (candle.timestamp, candle.exchange):
        return False
    return candle.volume < delivered.volume * (1 - ROUNDED)
