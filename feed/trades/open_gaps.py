"""The outage that causes gaps of one coin, the open gaps, and those that were given up."""

from __future__ import annotations

from collections.abc import Callable

from exchanges.events import TradeEvent
from feed.trades.gaps import Gap, OpenGap
from feed.trades.wrong_stamps import is_disproved

MAX_OPEN = 64  # open gaps per coin; with one more the oldest is given up


class Outage:
    """The last outage of a coin. It continues over connections that deliver no trade. Times are monotonic seconds."""

    __slots__ = ("_began", "lasts", "seconds")

    def __init__(self) -> None:
        self.lasts = False  # True while no connection has replaced the lost one
        self.seconds: float | None = None  # its length, None if that is not known
        self._began: float | None = None

    def begin(self, now: float, *, goes_on: bool) -> None:
        """Note that the connection is lost. ``goes_on``: no trade has come since the last outage."""
        if self._began is None or not goes_on:
            self._began = now
        self.lasts = True

    def end(self, now: float) -> None:
        """Note that a connection delivers again."""
        self.seconds = now - self._began if self.lasts and self._began is not None else None
        self.lasts = False

    def doubt(self, *, goes_on: bool) -> None:
        """Note that the connection was silent: its next trade may show a gap; ``goes_on`` as in begin()."""
        if not goes_on:
            self._began = None
        self.seconds = 0.0


class OpenGaps(list[OpenGap]):
    """The open gaps, the oldest first.

    The class is a list, so that the check of each trade whether there are gaps is fast.
    """

    @property
    def deadline(self) -> float | None:
        """When the first gap must be given up, monotonic seconds; None while there is none."""
        return min((at + each.wait for each in self if each.open and (at := each.found_at) is not None), default=None)

    @property
    def sought(self) -> Gap | None:
        """The oldest gap whose trades must be fetched."""
        return next((each.gap for each in self if each.open and each.gap.fetch), None)

    @property
    def held(self) -> int:
        """How many trades wait behind the gaps."""
        return sum(len(each.held) for each in self)

    @property
    def missing(self) -> int:
        """How many trades are missing in the gaps, as far as the number is known."""
        return sum(each.gap.missing or 0 for each in self)

    def give_up(self, *, fetched_only: bool = False) -> None:
        """Give up all gaps, or only those that are fetched."""
        for each in self:
            each.open = each.open and fetched_only and not each.gap.fetch

    def take_ended(self) -> OpenGap | None:
        """Remove and return the oldest gap if it is full or given up."""
        return self.pop(0) if self and (self[0].full or not self[0].open) else None

    def place_numbered(
        self, trade: TradeEvent, number: int | None, floor: int, is_known: Callable[[TradeEvent], bool]
    ) -> bool:
        """Put a trade from REST into the gap by ids to which it belongs; False if there is none.

        A trade whose id is not a number can't be compared with the delivered ones. ``is_known`` tells whether a trade
        was delivered with another id.
        """
        if number is None or number < floor:
            return False
        for each in self:
            if not each.numbered or not each.has_place_for(number, trade.timestamp):
                continue
            if number in each.fill or number in each.elsewhere:
                return True
            if is_known(trade):
                each.elsewhere.add(number)
            else:
                trade.backfilled = True
                each.absent.discard(number)
                each.fill[number] = trade
            return True
        return False

    def place_named(self, trade: TradeEvent, is_new: Callable[[str], bool]) -> None:
        """Put a trade from REST into the gap by time to which it belongs, unless its id is known.

        A trade without an id is only taken if its time lies strictly between the trades before and after the gap.
        """
        edge = 0 if trade.trade_id else 1
        for each in self:
            if each.numbered or not each.open:
                continue
            if each.gap.from_ts + edge <= trade.timestamp <= each.gap.to_ts - edge:
                if is_new(trade.trade_id):
                    trade.backfilled = True
                    each.fill[len(each.fill)] = trade
                return


class GivenUpGaps:
    """The missing trades of the newest MAX_OPEN given-up gaps: if one comes later, it can't be delivered in order."""

    __slots__ = ("_ids", "_times")

    def __init__(self) -> None:
        self._ids: tuple[tuple[int, int], ...] = ()  # the first and the last id of each range
        self._times: tuple[tuple[int, int], ...] = ()  # the same if ids don't count: from and to, Unix ms

    @property
    def has_times(self) -> bool:
        """Whether one of the gaps has times in place of ids."""
        return bool(self._times)

    def clear(self) -> None:
        """Forget them all."""
        self._ids = self._times = ()

    def note(self, ended: OpenGap) -> None:
        """Remember the trades of a gap that were not found when it ended."""
        gap = ended.gap
        self._ids = (*self._ids, *ended.not_found())[-MAX_OPEN:]
        if not ended.numbered and not ended.full:
            until = min(gap.to_ts, ended.held[0].received_at // 1_000_000 or gap.to_ts)  # stamps may be ahead
            self._times = (*self._times, (gap.from_ts, until))[-MAX_OPEN:]

    def forget_ids(self, first: int, last: int) -> None:
        """Forget ranges that begin with one of these ids: they were no gaps."""
        self._ids = tuple(each for each in self._ids if not first <= each[0] <= last)

    def has_id(self, number: int) -> bool:
        """Whether a trade with this id was missing."""
        return any(first <= number <= last for first, last in self._ids)

    def has_time(self, trade: TradeEvent) -> bool:
        """Whether a trade of this time was missing; a gap whose end ``trade`` shows to be wrong is forgotten."""
        self._times = tuple(each for each in self._times if not is_disproved(each[1], trade))
        return any(first <= trade.timestamp < last for first, last in self._times)
