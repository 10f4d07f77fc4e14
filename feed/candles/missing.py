"""Lists the candles that were missed, and decides which rows from REST fill them; no candle is guessed.

A venue's record is what it answers over REST. It may be behind the venue's stream, or not be updated any more. A row of
the record is final if a later row follows it. A row with as much volume as the stream's may still not be final: more
trades may have followed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from math import inf

from exchanges.events import Candle, copied
from feed.settings.timeframes import next_open, timeframe_ms

MAX_HOLES = 1_000  # the most holes that are kept: as many candles as one REST answer has
ROUNDED = 1e-9  # rounding may make a volume smaller by this share


DOUBT = 20.0  # seconds for which a venue's record is doubted after it was behind its stream


class CandleRecord:
    """What is known about a venue's record of candles from its REST answers about any market."""

    def __init__(self) -> None:
        self.lists_running = False
        """Whether the record lists the candle that is not over yet: then the record's newest row may not be final."""
        self._behind_at = -inf

    def answered(self, candles: Iterable[Candle], now: float) -> None:
        """Call this when the record answered with these candles at the venue's time ``now`` (Unix ms)."""
        if any(candle.timestamp <= now < next_open(candle.timestamp, candle.timeframe) for candle in candles):
            self.lists_running = True

    def was_behind(self, received_at: int) -> None:
        """Call this when an answer that arrived at this time (Unix ns) lacks something that the stream had shown."""
        self._behind_at = received_at / 1e9

    def is_doubtful(self, received_at: int) -> bool:
        """Whether an answer at this time (Unix ns) may be behind, because an answer was at most DOUBT seconds ago."""
        return 0 <= received_at / 1e9 - self._behind_at < DOUBT


@dataclass(eq=False, repr=False)
class MissingCandles:
    """The missed candles (holes) of one coin and timeframe that are to be fetched, at most the newest MAX_HOLES.

    ``record`` is what is known of the venue's record.
    """

    coin: str
    timeframe: str
    exchange: str = ""
    market: str = ""
    record: CandleRecord = field(default_factory=CandleRecord)
    lost: int = field(default=0, init=False)
    """How many candles were given up: there were too many holes, or ``forget`` was called."""

    def __post_init__(self) -> None:
        timeframe_ms(self.timeframe)  # an unknown timeframe raises here, not at the first row
        self._missed: dict[int, float] = {}  # open time -> the volume that was seen of the candle
        self._traded: int | None = None  # open time of the newest candle in which the stream has shown a trade

    def holes(self) -> list[int]:
        """The open times (ms) of the candles that were missed, oldest first: fetch them over REST and call ``fill``."""
        return sorted(self._missed)

    def forget(self, opened: Iterable[int] | None = None) -> list[int]:
        """Give up all missed candles, or those with these open times.

        Counts the candles that were given up in ``lost``, and returns their open times.
        """
        given_up = self.holes() if opened is None else sorted(self._missed.keys() & set(opened))
        self.lost += len(given_up)
        for each in given_up:
            del self._missed[each]
        return given_up

    def _miss(self, opened: Iterable[int], seen: float = 0.0) -> None:
        """Note these open times as missed; ``seen`` is the volume that was seen of each."""
        for each in opened:
            self._missed[each] = max(seen, self._missed.get(each, 0.0))
        self.forget(self.holes()[:-MAX_HOLES])

    def _note_traded(self, candle: Candle) -> None:
        """Note that the stream has shown this candle, or a trade of it."""
        if candle.volume > 0 and (self._traded is None or candle.timestamp > self._traded):
            self._traded = candle.timestamp

    def _is_behind(self, newest: int) -> bool:
        """Whether a record with this newest open time lacks a candle in which the stream has shown a trade."""
        return self._traded is not None and newest < self._traded

    def fill(
        self,
        candles: Sequence[Candle],
        received_at: int = 0,
        among: Collection[int] | None = None,
        *,
        settled: bool = True,
        final: bool = False,
    ) -> list[Candle]:
        """Fill holes with the ``candles`` of a REST answer; returns the candles of those holes as closed, oldest first.

        ``among``: the open times of the holes that may be filled; None: all holes. If the answer has candles before and
        after a hole, but none for it, nothing was traded in that time, and the hole is dropped.

        In two cases a candle of the answer may be incomplete, and its hole stays. First, it has less volume than was
        seen of it: then it is taken only if ``final``. Second, it is the newest candle of the answer. If the stream has
        shown later data that the answer lacks, the newest candle is taken only if ``final``, and never if the record
        also lists open candles. If the stream has shown no later data, the newest candle is taken if ``final``, or if
        ``settled`` and the record was not behind lately.
        """
        if not candles:
            return []
        asked = set(self._missed) if among is None else self._missed.keys() & set(among)
        found = {candle.timestamp: candle for candle in candles if candle.timestamp in asked}
        first, last = min(c.timestamp for c in candles), max(c.timestamp for c in candles)
        behind, running = self._is_behind(last), self.record.lists_running
        short = {opened for opened, candle in found.items() if candle.volume < self._missed[opened] * (1 - ROUNDED)}
        if (behind and running) or last in short:
            self.record.was_behind(received_at)
        if behind:
            doubtful = running or not final
        else:
            doubtful = not final and (not settled or self.record.is_doubtful(received_at))
        unproven = (set() if final else short) | ({last} if doubtful else set())
        for opened in asked - unproven:
            if first <= opened <= last:
                del self._missed[opened]
        return [copied(found[opened], True, received_at) for opened in sorted(found.keys() - unproven)]
