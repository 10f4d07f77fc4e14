"""Tracks and builds one coin's candles of one timeframe: each is closed exactly once, and only with proven values.

Pure: time is what the rows and trades say. A candle is named by its open time in Unix ms. Candles that were missed
while a connection was down are holes: they are asked for over REST and filled, never guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from exchanges import normalize
from exchanges.events import Candle, TradeEvent, copied
from exchanges.venues.units import of_coin, units_of

__all__ = ["TIMEFRAMES", "CandleBuilder", "CandleTracker", "bar_open", "next_open", "timeframe_ms"]

_SECOND, _MINUTE, _HOUR, _DAY = 1_000, 60_000, 3_600_000, 86_400_000
_MONDAY = 4 * _DAY  # the first Monday after the epoch, which was a Thursday

TIMEFRAMES: Mapping[str, int] = {
    **{f"{count}s": count * _SECOND for count in (1, 10)},
    **{f"{count}m": count * _MINUTE for count in (1, 3, 5, 10, 15, 30)},
    **{f"{count}h": count * _HOUR for count in (1, 2, 3, 4, 6, 8, 12)},
    **{"1d": _DAY, "3d": 3 * _DAY, "1w": 7 * _DAY, "1M": 30 * _DAY},
}
"""The known timeframes with their length in ms; "1M" is a calendar month and its length nominal."""

AHEAD = 2_000  # ms that a trade's stamp may be ahead of the time that has passed since the one before
MAX_HOLES = 1_000  # what one REST request brings; older candles are history, not a hole in the stream


def timeframe_ms(timeframe: str) -> int:
    """The length of a candle in ms; of "1M", a calendar month, the nominal 30 days. ValueError names the known ones."""
    try:
        return TIMEFRAMES[timeframe]
    except (KeyError, TypeError):
        raise ValueError(f"unknown timeframe {timeframe!r}; known are {', '.join(TIMEFRAMES)}") from None


def bar_open(timestamp: int, timeframe: str) -> int:
    """The open time (ms) of the candle that ``timestamp`` (ms) falls into.

    UTC throughout: weeks start on Monday, months on their first, "3d" counts from the epoch.
    """
    length = timeframe_ms(timeframe)
    if timeframe == "1M":
        return _month(_month_index(timestamp))
    origin = _MONDAY if timeframe == "1w" else 0
    return timestamp - (timestamp - origin) % length


def next_open(opened: int, timeframe: str) -> int:
    """The open time (ms) of the candle after the one that opened at ``opened``."""
    length = timeframe_ms(timeframe)
    return _month(_month_index(opened) + 1) if timeframe == "1M" else opened + length


def _month_index(timestamp: int) -> int:
    moment = datetime.fromtimestamp(timestamp / 1000, UTC)
    return moment.year * 12 + moment.month - 1


def _month(index: int) -> int:
    return int(datetime(index // 12, index % 12 + 1, 1, tzinfo=UTC).timestamp()) * 1000


def _between(earlier: int, later: int, timeframe: str) -> Iterator[int]:
    """The candles after ``earlier`` and before ``later``, at most the MAX_HOLES last of them."""
    if timeframe != "1M":
        length = timeframe_ms(timeframe)
        # counted from the known candle, not from the epoch: some venues' days and weeks start elsewhere
        behind = earlier + max(0, (later - earlier - 1) // length - MAX_HOLES) * length
    else:
        behind = earlier
    while (behind := next_open(behind, timeframe)) < later:
        yield behind


def _last_over(opened: int, until: int, timeframe: str) -> int:
    """The open time of the last candle that has ended by ``until``, at least ``opened``."""
    if timeframe != "1M":
        length = timeframe_ms(timeframe)
        return opened + max(0, (until - opened) // length - 1) * length
    while next_open(next_open(opened, timeframe), timeframe) <= until:
        opened = next_open(opened, timeframe)
    return opened


class _MissingCandles:
    """The missed candles (holes) that are to be fetched, at most the newest MAX_HOLES."""

    def __init__(self) -> None:
        self._missed: set[int] = set()
        self.lost = 0
        """Candles given up: too many at once, or forgotten."""

    def holes(self) -> list[int]:
        """The open times (ms) of the candles that were missed, oldest first: fetch them over REST and call ``fill``."""
        return sorted(self._missed)

    def forget(self) -> list[int]:
        """Give up the missed candles, for instance when the venue does not answer; returns and counts them."""
        given_up = self.holes()
        self.lost += len(given_up)
        self._missed.clear()
        return given_up

    def _miss(self, opened: Iterable[int]) -> None:
        self._missed.update(opened)
        excess = self.holes()[:-MAX_HOLES]
        self.lost += len(excess)
        self._missed.difference_update(excess)

    def _found(self, rows: Iterable[Any], read: Callable[[Any], Candle | None]) -> list[Candle]:
        candles = [candle for candle in map(read, rows) if candle is not None]
        if not candles:
            return []
        found = {candle.timestamp: candle for candle in candles if candle.timestamp in self._missed}
        first, last = min(c.timestamp for c in candles), max(c.timestamp for c in candles)
        self._missed = {opened for opened in self._missed if not first <= opened <= last}
        return [found[opened] for opened in sorted(found)]


class CandleTracker(_MissingCandles):
    """One coin's candles of one timeframe as a venue streams them: passes updates on and closes each candle exactly
    once.

    A candle is closed by the venue's own flag, or by the first row of a later candle where the venue sends no flags;
    then the last row seen stands. Where it sends them, a candle that ended without one is a hole. Rows of candles that
    are closed already are dropped and counted in ``late``, rows that are no candle in ``bad``. ``scale`` turns a row's
    volume into base currency, where the venue counts contracts. It outlives connections: tell it of each loss with
    ``interrupted``.
    """

    def __init__(self, coin: str, timeframe: str, exchange: str = "", scale: float = 1.0, market: str = "") -> None:
        super().__init__()
        timeframe_ms(timeframe)  # an unknown one fails here, not at the first row
        self.coin, self.timeframe, self.exchange, self.market = coin, timeframe, exchange, market
        self._scale = scale
        self._units = units_of(coin, market)
        self.late = 0
        self.bad = 0
        self._open: Candle | None = None  # the newest candle, while it is not closed
        self._newest: int | None = None  # its open time, or of the candle closed last
        self._empty = 0  # the last candle after that of which the venue's record has nothing
        self._by_time = False  # that one was closed by time: those that follow may be missing
        self._interrupted = False

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
        """When (Unix ms, venue's clock) the open candle is over, or else the next one; None before the first."""
        if self._newest is None or self._open is not None:
            return None if self._newest is None else next_open(self._newest, self.timeframe)
        return next_open(next_open(max(self._newest, self._empty), self.timeframe), self.timeframe)

    @property
    def unclosed(self) -> int:
        """The open time (ms) of the first candle that is not closed."""
        newest = self._newest or 0
        return newest if self._open is not None else next_open(newest, self.timeframe)

    def close_recorded(self, rows: Iterable[Any], until: int, received_at: int = 0) -> list[Candle]:
        """Close the candles that ended by ``until``, as the record ``rows`` has them; returns them, oldest first.

        A candle whose record has less volume than was seen of it is not closed by that: the record is behind. Candles
        of which the record has nothing are none: so are they at this venue.
        """
        over = {}
        for row in rows:
            candle = self._read(row, received_at, True)
            if candle is not None and next_open(candle.timestamp, self.timeframe) <= until:
                over[candle.timestamp] = candle
        closed: list[Candle] = []
        for opened in sorted(over):
            bar = self._open
            if self._newest is None or opened < self._newest or (opened == self._newest and bar is None):
                continue
            if bar is not None and (opened > bar.timestamp or over[opened].volume < bar.volume * (1 - 1e-9)):
                return closed
            closed.append(over[opened])
            self._newest, self._open, self._by_time = opened, None, True
        if self._open is None and self._newest is not None:
            self._empty = max(self._empty, _last_over(self._newest, until, self.timeframe))
        return closed

    def close_as_seen(self, received_at: int = 0) -> list[Candle]:
        """Close the open candle in the state that was seen last, if no update of it can be missing."""
        bar = self._open
        if bar is None or self._interrupted:
            return []
        self._open, self._by_time = None, True
        return [copied(bar, True, received_at)]

    def update(self, row: Any, received_at: int = 0, closed: bool | None = None) -> list[Candle]:
        """The candles to deliver for one ccxt OHLCV row: the candle before, when this row ends it, then the row itself.

        ``closed`` is the venue's own word on the row's candle, None where it has none. ``received_at`` in Unix ns.
        """
        candle = self._read(row, received_at, closed is True)
        if candle is None:
            self.bad += 1
            return []
        return self.follow(candle, said=closed is not None)

    def follow(self, candle: Candle, *, said: bool) -> list[Candle]:
        """The same as :meth:`update`, for a row that was read; ``said``: the venue says whether a candle is closed."""
        opened, newest, before = candle.timestamp, self._newest, self._open
        if newest is not None and (opened < newest or (opened == newest and before is None)):
            if candle.closed and opened in self._missed:  # the venue itself fills the hole
                self._missed.discard(opened)
                return [candle]
            self.late += 1
            return []
        ended: list[Candle] = []
        if newest is not None and opened > newest:
            unsaid = said and before is not None  # the venue says when a candle is over, and we missed it
            if self._interrupted or unsaid or self._by_time:
                self._miss([newest] if before is not None and (self._interrupted or unsaid) else [])
                self._miss(_between(max(newest, self._empty), opened, self.timeframe))
            if before is not None and not self._interrupted and not unsaid:
                ended.append(copied(before, True, candle.received_at))
        # a row of the same candle after an interruption is as good as before: venues send the whole candle each time
        self._interrupted = False
        if newest is None or opened > newest:
            self._by_time = False
        self._newest = opened
        self._open = None if candle.closed else copied(candle)
        return [*ended, candle]

    def interrupted(self) -> None:
        """The connection was lost: an open candle that the venue does not continue becomes a hole, and so do candles
        skipped.

        Candles that a venue skips while connected are no holes: it has none where nothing was traded.
        """
        self._interrupted = True

    def go_on_after(self, opened: int) -> None:
        """Another venue has closed the candles up to this one: those that follow are holes unless they come."""
        if self._newest is None or self._newest < opened:
            self._newest, self._open, self._interrupted = opened, None, True

    def owe(self, lacked: Collection[int]) -> None:
        """These candles (open times) were delivered and never closed: they are holes unless they continue here."""
        first, newest = min(lacked), self._newest
        if newest is None:
            self.go_on_after(first - timeframe_ms(self.timeframe))
        else:
            self._miss(opened for opened in lacked if opened < newest or (opened == newest and self._open is None))

    def fill(self, rows: Iterable[Any], received_at: int = 0) -> list[Candle]:
        """The closed candles, oldest first, for the holes that REST ``rows`` (ccxt OHLCV) answer.

        Rows of other candles are ignored. A hole between the first and the last row that has no row itself is a candle
        in which nothing was traded, and no hole any more.
        """
        return self._found(rows, lambda row: self._read(row, received_at, True))

    def _read(self, row: Any, received_at: int, closed: bool) -> Candle | None:
        candle = normalize.candle(
            row, self.coin, self.timeframe, self.exchange, received_at, closed, self._scale, self.market
        )
        return None if candle is None else of_coin(candle, self._units)


class CandleBuilder(_MissingCandles):
    """The same from trades, for venues that stream no candles.

    A candle is closed by the first trade of a later one. A candle of which trades may be missing is delivered as
    updates but never as closed: it becomes a hole. That is the candle of the first trade seen, and after
    ``interrupted`` the one that was open, those in between and the one of the next trade. Candles without trades
    between two that were seen are closed flat at the last price with volume 0, as venues do. Trades of candles that are
    over are dropped and counted in ``late``.
    """

    def __init__(self, coin: str, timeframe: str, exchange: str = "", scale: float = 1.0, market: str = "") -> None:
        super().__init__()
        timeframe_ms(timeframe)
        self.coin, self.timeframe, self.exchange, self.market = coin, timeframe, exchange, market
        self._scale = scale
        self._units = units_of(coin, market)
        self.late = 0
        self._open: Candle | None = None
        self._ends = 0  # when the open candle does
        self._complete = False  # every trade of the open candle was seen
        self._flat = False  # nothing was traded in the open candle yet: it has the last price
        self._last = (0, 0)  # the newest trade's time (ms) and arrival (ns)
        self._doubtful: TradeEvent | None = None  # one that is stamped further ahead than time has passed
        self._interrupted = False
        self._after: int | None = None  # the candle that another venue has closed last, until the first one after it

    @property
    def begun(self) -> bool:
        """Whether any candle is being built."""
        return self._open is not None

    def add(self, trade: TradeEvent) -> list[Candle]:
        """The candles to deliver for one trade: the candles that it ends, then an update of its own candle.

        One that would end a candle, and whose stamp is further ahead than time has passed, waits for the next trade,
        which shows whether the stamp was wrong. Then it counts as of that one's time. ``trade`` may be kept.
        """
        doubtful, self._doubtful = self._doubtful, None
        if doubtful is not None:
            if trade.timestamp < doubtful.timestamp - AHEAD:
                doubtful.timestamp = trade.timestamp
            return [*self._add(doubtful), *self.add(trade)]
        stamp, arrival = self._last
        passed = (trade.received_at - arrival) // 1_000_000
        ends = self._open is not None and trade.timestamp >= self._ends
        if ends and arrival and passed > 0 and trade.timestamp - stamp > passed + AHEAD:
            self._doubtful = trade
            return []
        return self._add(trade)

    def _add(self, trade: TradeEvent) -> list[Candle]:
        self._last = trade.timestamp, trade.received_at
        bar, after = self._open, self._after
        past = bar is not None and trade.timestamp < bar.timestamp
        if past or (after is not None and trade.timestamp < next_open(after, self.timeframe)):
            self.late += 1
            return []
        if bar is None or trade.timestamp >= self._ends:
            return self._turn(bar, trade)
        self._complete = self._complete and not self._interrupted
        self._interrupted = False
        price = trade.price
        if self._flat:
            bar.open = bar.high = bar.low = price
            self._flat = False
        bar.high, bar.low, bar.close = max(bar.high, price), min(bar.low, price), price
        bar.volume += trade.quantity
        bar.received_at = trade.received_at
        return [copied(bar)]

    @property
    def due(self) -> int | None:
        """As :attr:`CandleTracker.due`."""
        return None if self._open is None else self._ends

    def close_until(self, until: int, received_at: int = 0) -> list[Candle]:
        """Close the candles that ended by ``until``: every trade before that has come. Returns them, oldest first.

        A candle of which trades may be missing becomes a hole. One without trades is flat.
        """
        closed: list[Candle] = []
        while (bar := self._open) is not None and self._ends <= until:
            if self._interrupted:
                self._miss([bar.timestamp])
                self.go_on_after(bar.timestamp)
                break
            if self._complete:
                closed.append(copied(bar, True, received_at))
            else:
                self._miss([bar.timestamp])
            self._open = self._bar(self._ends, bar.close, 0.0, received_at)
            self._ends = next_open(self._ends, self.timeframe)
            self._complete = self._flat = True
        return closed

    def interrupted(self) -> None:
        """Trades are missing for good: their candles become holes. Not to be called after a complete backfill."""
        self._interrupted = True

    def go_on_after(self, opened: int) -> None:
        """As :meth:`CandleTracker.go_on_after`. A candle that is open beyond that one stays, as interrupted."""
        if self._open is None or self._open.timestamp <= opened:
            self._open, self._interrupted = None, True
            self._after = opened if self._after is None else max(self._after, opened)

    def owe(self, lacked: Collection[int]) -> None:
        """As :meth:`CandleTracker.owe`."""
        newest = self._after if self._open is None else self._open.timestamp
        if newest is None:
            self.go_on_after(min(lacked) - timeframe_ms(self.timeframe))
        else:
            self._miss(opened for opened in lacked if opened < newest)

    def fill(self, rows: Iterable[Any], received_at: int = 0) -> list[Candle]:
        """As :meth:`CandleTracker.fill`."""

        def read(row: Any) -> Candle | None:
            candle = normalize.candle(
                row, self.coin, self.timeframe, self.exchange, received_at, True, self._scale, self.market
            )
            return None if candle is None else of_coin(candle, self._units)

        return self._found(rows, read)

    def _turn(self, bar: Candle | None, trade: TradeEvent) -> list[Candle]:
        """Leave ``bar`` for the candle of ``trade``."""
        opened = bar_open(trade.timestamp, self.timeframe)
        ended: list[Candle] = []
        whole = bar is not None and not self._interrupted
        if self._after is not None:
            self._miss(_between(self._after, opened, self.timeframe))
            self._after = None
        if bar is not None:
            between = _between(bar.timestamp, opened, self.timeframe)
            if self._complete and whole:
                ended.append(copied(bar, True, trade.received_at))
            else:
                self._miss([bar.timestamp])
            if whole:
                ended += [self._bar(moment, bar.close, 0.0, trade.received_at, closed=True) for moment in between]
            else:
                self._miss(between)
        self._complete, self._interrupted, self._flat = whole, False, False
        self._open = self._bar(opened, trade.price, trade.quantity, trade.received_at)
        self._ends = next_open(opened, self.timeframe)
        return [*ended, copied(self._open)]

    def _bar(self, opened: int, price: float, volume: float, received_at: int, closed: bool = False) -> Candle:
        return Candle(
            self.coin, self.timeframe, opened, price, price, price, price, volume, closed,
            self.exchange, received_at, self.market,
        )  # fmt: skip
