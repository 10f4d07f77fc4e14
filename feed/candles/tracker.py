"""Tracks the candles that a venue streams, closes each complete candle once, and invents none that the venue left out.

Pure: it reads no clock; times come from the rows and from the caller. A candle is identified by its open time, Unix ms.
Candles that were missed while a connection was down are holes: they are requested over REST and filled, never guessed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from math import inf

from exchanges.events import Candle, copied
from feed.candles.missing import MAX_HOLES, ROUNDED, MissingCandles
from feed.candles.stamp_check import AHEAD, StampCheck
from feed.settings.timeframes import between, is_on_grid, last_over, next_open, timeframe_ms

SETTLED = 15_000  # ms after a candle's end; after that, the record's newest row is taken though it may be incomplete
OVER = 3_000  # ms after a candle's end; a candle whose first row comes later than that is a past candle
BELIEVED = 3  # if this many rows in succession contradict the newest candle, that candle was wrong
REMEMBERED = 8  # how many of the last closed candles are remembered


class CandleTracker(MissingCandles):
    """One coin's candles of one timeframe as a venue streams them: passes updates on and closes each candle exactly
    once.

    A candle is closed by the venue's own flag. If the venue sends no flags, the first row of a later candle closes it
    in the state of its last row. If the venue sends flags, a candle that ended without a flag is a hole. Rows of
    candles that are closed already, earlier states of the open candle and rows with a wrong time are dropped. The
    tracker continues over later connections: call ``interrupted`` when a connection is lost.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        self._open: Candle | None = None  # the newest candle, while it is not closed
        self._newest: int | None = None  # open time of the open candle, or of the last closed candle
        self._empty = 0  # open time of the newest candle that the venue's record lacks because nothing was traded
        self._by_time = False  # the last candle was closed by time: the following candles may be missing
        self._interrupted = False
        self._stamps: StampCheck[tuple[Candle, bool]] = StampCheck(0, timeframe_ms(self.timeframe) + AHEAD)
        self._closed: deque[int] = deque(maxlen=REMEMBERED)  # open times of the last candles that were closed by rows
        self._contradicted = 0  # rows in succession that are older than the newest candle or state
        self._begun_late = False  # the first row of the open candle arrived after its end: its time may be wrong

    @property
    def begun(self) -> bool:
        """Whether any candle is known yet."""
        return self._newest is not None

    @property
    def is_open(self) -> bool:
        """Whether a candle has begun and is not closed."""
        return self._open is not None

    @property
    def due(self) -> int | None:
        """The end (Unix ms, venue's clock) of the open candle, or of the next candle if none is open; None before
        the first.
        """
        if self._newest is None or self._open is not None:
            return None if self._newest is None else next_open(self._newest, self.timeframe)
        return next_open(next_open(max(self._newest, self._empty), self.timeframe), self.timeframe)

    @property
    def unclosed(self) -> int:
        """The open time (ms) of the first candle that is not closed."""
        newest = self._newest or 0
        return newest if self._open is not None else next_open(newest, self.timeframe)

    def close_recorded(
        self, candles: Sequence[Candle], until: int, received_at: int = 0, *, heard: float = inf, streamed: float = inf
    ) -> list[Candle]:
        """Close those of the record's ``candles`` that ended by ``until``; returns them as closed, oldest first.

        ``heard`` is when the last data of the market came, ``streamed`` when the last data of any market came. Both and
        ``until`` are the venue's time in Unix ms.

        A candle is not closed if it has less volume in the record than was seen of it: then the record is behind. The
        record's newest candle may be incomplete without this sign. It is closed if no update from the stream can be
        missing and the market's data continues after the candle's end. Otherwise the stream may have lost the market:
        then it is closed only SETTLED after its end, and not while the record is doubted because it was behind.
        A candle that the record lacks does not exist at this venue.
        """
        over = {c.timestamp: c for c in candles if next_open(c.timestamp, self.timeframe) <= until}
        last = max((c.timestamp for c in candles), default=0)
        if candles and self._is_behind(last):
            self.record.was_behind(received_at)
        settled = streamed - SETTLED
        closed: list[Candle] = []
        for opened in sorted(over):
            current, end = self._open, next_open(opened, self.timeframe)
            if self._newest is None or opened < self._newest or (opened == self._newest and current is None):
                continue
            if current is not None and (
                opened > current.timestamp or over[opened].volume < current.volume * (1 - ROUNDED)
            ):
                if opened == last == current.timestamp:
                    self.record.was_behind(received_at)
                return closed
            if opened == last:
                proven = current is not None and not self._interrupted and end <= heard
                if not proven and (self.record.is_doubtful(received_at) or end > settled):
                    self._interrupted = True  # the last trades may be missing even if the market's data continues
                    return closed
            closed.append(copied(over[opened], True, received_at))
            self._closed.append(opened)
            self._newest, self._open, self._by_time = opened, None, True
        if self._open is None and self._newest is not None and not self.record.is_doubtful(received_at):
            empty_until = int(max(0, min(until, settled))) if self._interrupted else until
            self._empty = max(self._empty, last_over(self._newest, empty_until, self.timeframe))
        return closed

    def close_as_seen(self, received_at: int = 0) -> list[Candle]:
        """Close the open candle in the state that was seen last, if no update of it can be missing."""
        candle = self._open
        if candle is None or self._interrupted:
            return []
        self._open, self._by_time = None, True
        self._closed.append(candle.timestamp)
        return [copied(candle, True, received_at)]

    def follow(self, candle: Candle, *, said: bool, now: float | None = None) -> list[Candle]:
        """The candles to deliver for one row of the venue: first the candle that the row ends, if any, then its own.

        ``said``: the venue flags closed candles. ``now`` is the venue's time in Unix ms, None while it is not known.
        """
        if not is_on_grid(candle.timestamp, self.timeframe):
            return []
        begun_or_over = next_open(candle.timestamp, self.timeframe) if candle.closed else candle.timestamp
        taken, _ = self._stamps.take((candle, said), begun_or_over, now, candle.received_at)
        if self._newest is not None and taken and candle.timestamp < self._newest:
            self._contradict(candle, now)
        told = [told for each, its_word in taken for told in self._follow(each, its_word, now)]
        self._closed += [each.timestamp for each in told if each.closed]
        return told

    def _contradict(self, candle: Candle, now: float | None) -> None:
        """Return to an earlier candle if several rows in succession show that the newest candle is in the future."""
        self._contradicted += 1
        time = candle.received_at / 1e6 if now is None else now
        if self._contradicted >= BELIEVED and self._newest is not None and 0 < time < self._newest - AHEAD:
            self._stamps.distrust()
            closed = max((opened for opened in self._closed if opened < time), default=0)  # no candle is closed twice
            self._newest, self._open, self._interrupted = max(candle.timestamp - 1, closed), None, True
            self._traded = None
            for opened in [opened for opened in self._missed if opened >= candle.timestamp]:
                del self._missed[opened]

    def _follow(self, candle: Candle, said: bool, now: float | None) -> list[Candle]:
        self._note_traded(candle)
        opened, newest, before = candle.timestamp, self._newest, self._open
        end = next_open(opened, self.timeframe)
        if newest is None and now is not None and next_open(end, self.timeframe) + OVER <= now:
            self._newest = opened  # the row is from long before the subscription, or has a wrong time
            return []
        if newest is not None and (opened < newest or (opened == newest and before is None)):
            if candle.closed and opened in self._missed:  # the venue itself fills the hole
                del self._missed[opened]
                return [candle]
            return []
        if before is not None and opened == newest and not candle.closed and self._is_earlier(candle, before):
            return []
        self._contradicted = 0
        ended: list[Candle] = []
        if newest is not None and opened > newest:
            unsaid = said and before is not None  # the venue flags the end of each candle, and this flag was missed
            unproven = self._interrupted or unsaid or self._begun_late
            if before is not None and unproven:
                self._miss([newest], before.volume)
            if self._interrupted or unsaid or self._by_time:
                self._miss(between(max(newest, self._empty), opened, self.timeframe, MAX_HOLES))
            if before is not None and not unproven:
                ended.append(copied(before, True, candle.received_at))
        # after an interruption a row of the same candle is complete: venues send the whole candle each time
        self._interrupted = False
        if newest is None or opened > newest:
            self._by_time = False
            self._begun_late = newest is not None and now is not None and end + OVER <= now
        self._newest = opened
        self._open = None if candle.closed else copied(candle)
        return [*ended, candle]

    def _is_earlier(self, candle: Candle, before: Candle) -> bool:
        """Whether a row is an earlier state of the open candle, from another connection: it has less volume.

        If BELIEVED rows in succession have less volume, the larger volume was wrong, and the last row is not earlier.
        """
        if candle.volume >= before.volume * (1 - ROUNDED):
            return False
        self._contradicted += 1
        return self._contradicted < BELIEVED

    def interrupted(self) -> None:
        """Call this when the connection was lost.

        The open candle becomes a hole if the venue does not continue it, and so does each candle that is skipped.

        A candle that a venue skips while connected is no hole: the venue has no candle where nothing was traded.
        """
        self._interrupted = True

    def go_on_after(self, opened: int) -> None:
        """Continue after this candle (open time, Unix ms): another venue has closed the candles up to it.

        Each later candle is a hole until it arrives.
        """
        if self._newest is None or self._newest < opened:
            self._newest, self._open, self._interrupted = opened, None, True

    def note_unclosed(self, unclosed: Collection[int]) -> None:
        """Take these candles (open times, Unix ms) as holes unless the stream continues them.

        They were delivered but never closed.
        """
        first, newest = min(unclosed), self._newest
        if newest is None:
            self.go_on_after(first - timeframe_ms(self.timeframe))
        else:
            self._miss(opened for opened in unclosed if opened < newest or (opened == newest and self._open is None))
