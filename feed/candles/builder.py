"""Builds candles from trades for venues that stream none; closes each candle once, if none of its trades is missing.

Pure: it reads no clock; times come from the trades and from the caller. A candle is identified by its open time,
Unix ms.
"""

from __future__ import annotations

from collections.abc import Collection

from exchanges.events import Candle, TradeEvent, copied
from feed.candles.missing import MAX_HOLES, MissingCandles
from feed.candles.stamp_check import AHEAD, StampCheck
from feed.settings.timeframes import between, candle_open, next_open, timeframe_ms


class CandleBuilder(MissingCandles):
    """Builds one coin's candles of one timeframe from trades. :class:`CandleTracker` tracks a venue's own candles.

    A candle is closed by the first trade of a later candle. If trades of a candle may be missing, it is delivered as
    updates but never as closed: it becomes a hole. This holds for the candle of the first trade, and after
    ``interrupted`` for the open candle, the candles that were skipped and the candle of the next trade. A candle
    without trades, between two candles with trades, is closed flat: at the last price, with volume 0, as venues do it.
    A trade of a candle that is already over is dropped.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        self._open: Candle | None = None
        self._ends = 0  # end of the open candle, Unix ms
        self._complete = False  # every trade of the open candle was seen
        self._flat = False  # no trade in the open candle yet: it has the last candle's price
        self._stamps: StampCheck[TradeEvent] = StampCheck(AHEAD, AHEAD)
        self._interrupted = False
        self._after: int | None = None  # open time of another venue's last closed candle; None after a later one began

    @property
    def begun(self) -> bool:
        """Whether any candle is being built."""
        return self._open is not None

    def add(self, trade: TradeEvent, now: float | None = None) -> list[Candle]:
        """The candles to deliver for one trade: the candles that the trade ends, then an update of the trade's candle.

        A trade that is stamped ahead of the venue's time waits for the next trade, which shows whether the stamp was
        wrong. A trade with a wrong stamp gets the time of that next trade. ``now`` is the venue's time in Unix ms, None
        while it is not known. The builder may keep ``trade`` and change its time.
        """
        taken, refuted = self._stamps.take(trade, trade.timestamp, now, trade.received_at)
        for each, time in refuted:
            each.timestamp = time
        interrupted, candles = self._interrupted, list[Candle]()
        for each in (*(each for each, _ in refuted), *taken):
            self._interrupted = interrupted  # trades may be missing before each of these trades
            candles += self._add(each)
        return candles

    def _add(self, trade: TradeEvent) -> list[Candle]:
        candle, after = self._open, self._after
        past = candle is not None and trade.timestamp < candle.timestamp
        if past or (after is not None and trade.timestamp < next_open(after, self.timeframe)):
            return []
        if candle is None or trade.timestamp >= self._ends:
            return self._turn(candle, trade)
        self._complete = self._complete and not self._interrupted
        self._interrupted = False
        price = trade.price
        if self._flat:
            candle.open = candle.high = candle.low = price
            self._flat, self._traded = False, candle.timestamp
        candle.high, candle.low, candle.close = max(candle.high, price), min(candle.low, price), price
        candle.volume += trade.quantity
        candle.received_at = trade.received_at
        return [copied(candle)]

    @property
    def due(self) -> int | None:
        """The end (Unix ms, venue's clock) of the open candle; None while no candle is open."""
        return None if self._open is None else self._ends

    def close_until(self, until: int, received_at: int = 0) -> list[Candle]:
        """Close the candles that ended by ``until`` (Unix ms) and return them, oldest first.

        Call this when all trades before that time have arrived.

        A candle becomes a hole if trades of it may be missing, and is flat if it has no trades. A trade that still
        waits because its stamp is ahead gets the time at which it arrived.
        """
        closed: list[Candle] = []
        interrupted = self._interrupted
        for trade, came in self._stamps.give_up(until):
            trade.timestamp = min(trade.timestamp, came)
            closed += self._add(trade)
            self._interrupted = interrupted
        while (candle := self._open) is not None and self._ends <= until:
            if self._interrupted:
                self._miss([candle.timestamp], candle.volume)
                self.go_on_after(candle.timestamp)
                break
            if self._complete:
                closed.append(copied(candle, True, received_at))
            else:
                self._miss([candle.timestamp], candle.volume)
            self._open = self._candle(self._ends, candle.close, 0.0, received_at)
            self._ends = next_open(self._ends, self.timeframe)
            self._complete = self._flat = True
        return closed

    def interrupted(self) -> None:
        """Call this when trades are missing and will not come, so that their candles become holes.

        Do not call it after a complete backfill.
        """
        self._interrupted = True

    def go_on_after(self, opened: int) -> None:
        """Do the same as :meth:`CandleTracker.go_on_after`.

        If a candle later than ``opened`` is open, nothing changes.
        """
        if self._open is None or self._open.timestamp <= opened:
            self._open, self._interrupted = None, True
            self._after = opened if self._after is None else max(self._after, opened)

    def note_unclosed(self, unclosed: Collection[int]) -> None:
        """Do the same as :meth:`CandleTracker.note_unclosed`."""
        newest = self._after if self._open is None else self._open.timestamp
        if newest is None:
            self.go_on_after(min(unclosed) - timeframe_ms(self.timeframe))
        else:
            self._miss(opened for opened in unclosed if opened < newest)

    def _turn(self, candle: Candle | None, trade: TradeEvent) -> list[Candle]:
        """End ``candle`` and begin the candle of ``trade``; returns the candles to deliver."""
        opened = candle_open(trade.timestamp, self.timeframe)
        ended: list[Candle] = []
        whole = candle is not None and not self._interrupted
        if self._after is not None:
            self._miss(between(self._after, opened, self.timeframe, MAX_HOLES))
            self._after = None
        if candle is not None:
            passed = between(candle.timestamp, opened, self.timeframe, MAX_HOLES)
            if self._complete and whole:
                ended.append(copied(candle, True, trade.received_at))
            else:
                self._miss([candle.timestamp], candle.volume)
            if whole:
                ended += [self._candle(moment, candle.close, 0.0, trade.received_at, closed=True) for moment in passed]
            else:
                self._miss(passed)
        self._complete, self._interrupted, self._flat, self._traded = whole, False, False, opened
        self._open = self._candle(opened, trade.price, trade.quantity, trade.received_at)
        self._ends = next_open(opened, self.timeframe)
        return [*ended, copied(self._open)]

    def _candle(self, opened: int, price: float, volume: float, received_at: int, closed: bool = False) -> Candle:
        return Candle(
            self.coin, self.timeframe, opened, price, price, price, price, volume, closed,
            self.exchange, received_at, self.market,
        )  # fmt: skip
