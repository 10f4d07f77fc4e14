"""The open gaps and the last outage of one coin: decides when it is proven that no trade of a gap is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import merge
from itertools import pairwise, takewhile

from exchanges.events import TradeEvent
from feed.trades.gaps import Gap, number_of
from feed.trades.wrong_stamps import is_disproved

MAX_OPEN = 64  # the most open gaps per coin; if there is one more, the oldest is given up


@dataclass(slots=True, eq=False)
class Outage:
    """The last outage of a coin. It continues over connections that deliver no trade. Times are monotonic seconds."""

    lasts: bool = False  # True while no connection has replaced the lost connection
    seconds: float | None = None  # the outage's length, None if that is not known
    _began: float | None = None

    def begin(self, now: float, *, goes_on: bool) -> None:
        """Call this when the connection is lost. ``goes_on``: no trade has come since the last outage."""
        if self._began is None or not goes_on:
            self._began = now
        self.lasts = True

    def end(self, now: float) -> None:
        """Call this when a connection delivers again."""
        self.seconds = now - self._began if self.lasts and self._began is not None else None
        self.lasts = False

    def doubt(self, *, goes_on: bool) -> None:
        """Call this when the connection was silent: its next trade may show a gap; ``goes_on`` as in begin()."""
        if not goes_on:
            self._began = None
        self.seconds = 0.0


@dataclass(slots=True)
class OpenGap:
    """A gap, the trades found for it, and the trades that wait behind it.

    ``fill`` has the trades found by id, or in order of arrival where ids are not consecutive. ``before`` is the id of
    the last trade before the gap, "" if that is not known or was another venue's.
    """

    gap: Gap
    found_at: float | None
    held: list[TradeEvent]
    wait: float  # seconds after ``found_at`` for which the trades wait
    before: str = ""
    numbered: bool = True  # whether ids are consecutive
    fill: dict[int, TradeEvent] = field(default_factory=dict)
    absent: set[int] = field(default_factory=set)  # ids that belong to no trade
    elsewhere: set[int] = field(default_factory=set)  # ids of trades that were delivered with other ids
    in_conflict: bool = False  # REST gives the trade after the gap another id; not known which is right
    open: bool = True
    reached: bool = False  # only if ids are not consecutive: the answers reach from before the gap to after it
    _unshown: set[int] = field(default_factory=set)  # ids that an answer left out between their neighbours
    _tip: str = ""  # the newest id up to which the answers continue without a break from before the gap

    @property
    def full(self) -> bool:
        """Whether none of the gap's trades is missing any more."""
        if self.gap.missing is None:
            return self.reached
        return not self.in_conflict and len(self.fill) + len(self.absent) + len(self.elsewhere) == self.gap.missing

    def look_into(self, pages: Sequence[Sequence[TradeEvent]]) -> bool:
        """Take one answer of the venue as evidence; True if it shows that the missing ids belong to no trade.

        Each page is a list of trades without a break, oldest first. An id is absent if two answers, one after the
        other, have both neighbours and nothing between: a single answer may come from a replica that is behind.
        """
        if self.gap.from_id is not None and self.gap.to_id is not None:
            was_full = self.full
            passed = {number for page in pages for number in _passed_over(page, self.gap.from_id, self.gap.to_id)}
            self.absent |= (passed & self._unshown) - self.fill.keys() - self.elsewhere
            self._unshown |= passed
            return self.full and not was_full
        for page in pages:
            self._reach(page)
        if self.reached:
            self.open = False
        return False

    def _reach(self, page: Sequence[TradeEvent]) -> None:
        """Find how far the answers, with this page, continue from before the gap, and whether they reach its end."""
        if not page:
            return
        ids = {trade.trade_id for trade in page}
        begins = page[0].timestamp < self.gap.from_ts or not ids.isdisjoint({self.before, self._tip} - {""})
        if not begins:
            return
        self._tip = page[-1].trade_id
        first = self.held[0].trade_id
        if first in ids or (self.numbered and first.isdecimal() and _highest(page) >= int(first) - 1):
            self.reached = True

    def in_order(self) -> list[TradeEvent]:
        """The trades found for the gap and those that wait behind it, in the venue's order.

        A fetched trade of the millisecond in which the gap ends comes after the first waiting trade if its id is
        higher.
        """
        if self.numbered:
            return [self.fill[number] for number in sorted(self.fill)] + self.held
        found = sorted(self.fill.values(), key=lambda trade: trade.timestamp)
        first = self.held[0]
        at, number = first.timestamp, number_of(first)
        after = [] if number is None else [t for t in found if t.timestamp == at and (number_of(t) or 0) > number]
        if not after:
            return found + self.held
        same = list(takewhile(lambda trade: trade.timestamp == at and number_of(trade) is not None, self.held))
        before = [trade for trade in found if trade not in after]
        return [*before, *merge(same, after, key=lambda trade: number_of(trade) or 0), *self.held[len(same) :]]

    def not_found(self) -> list[tuple[int, int]]:
        """The ids without a found trade, as ranges with both ends included; ids that are proven absent are included.

        A venue's REST answers may lack a trade that its stream delivers afterwards.
        """
        if self.gap.from_id is None or self.gap.to_id is None or (self.full and not self.absent):
            return []
        found = [self.gap.from_id - 1, *sorted(self.fill.keys() | self.elsewhere), self.gap.to_id + 1]
        return [(before + 1, after - 1) for before, after in pairwise(found) if after - before > 1]

    def has_place_for(self, number: int, timestamp: int) -> bool:
        """Whether this trade belongs in the gap, even if the gap is filled."""
        if self.gap.from_id is not None and self.gap.to_id is not None:
            return self.gap.from_id <= number <= self.gap.to_id
        return number < int(self.held[0].trade_id) and self.gap.from_ts <= timestamp <= self.gap.to_ts

    def is_older_than(self, trade: TradeEvent, stamp: int, within: float) -> bool:
        """Whether the id of ``trade`` is in the gap but its time is after the gap: then the id is wrong.

        ``stamp``: the time of the newest trade, Unix ms. ``within``: seconds after the gap; a trade that is even later
        is not judged.
        """
        if not self.gap.from_ts <= self.gap.to_ts < trade.timestamp:
            return False
        return stamp <= trade.timestamp <= self.gap.to_ts + within * 1000


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
        """Give up all gaps, or only the gaps that are fetched."""
        for each in self:
            each.open = each.open and fetched_only and not each.gap.fetch

    def take_ended(self) -> OpenGap | None:
        """Remove and return the oldest gap if it is full or given up."""
        return self.pop(0) if self and (self[0].full or not self[0].open) else None

    def place_numbered(
        self, trade: TradeEvent, number: int | None, floor: int, is_known: Callable[[TradeEvent], bool | None]
    ) -> bool:
        """Put a trade from REST into the gap to which it belongs by its id; returns False if there is none.

        A trade whose id is not a number can't be compared with the delivered trades. ``is_known`` tells whether a trade
        was delivered with another id; while that is None, not known yet, the trade is not put into the gap.
        """
        if number is None or number < floor:
            return False
        for each in self:
            if not each.numbered or not each.has_place_for(number, trade.timestamp):
                continue
            if number in each.fill or number in each.elsewhere:
                return True
            known = is_known(trade)
            if known:
                each.elsewhere.add(number)
            elif known is False:
                trade.backfilled = True
                each.absent.discard(number)
                each.fill[number] = trade
            return True
        return False

    def place_named(self, trade: TradeEvent, is_new: Callable[[str], bool]) -> None:
        """Put a trade from REST into the gap to which it belongs by its time, unless its id is known.

        A trade without an id is only taken if its time is strictly between those of the trades before and after the
        gap.
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


@dataclass(slots=True, eq=False)
class GivenUpGaps:
    """The missing trades of the newest MAX_OPEN given-up gaps. If one comes later, it can't be delivered in order."""

    _ids: tuple[tuple[int, int], ...] = ()  # the first and the last id of each range
    _times: tuple[tuple[int, int], ...] = ()  # begin and end (Unix ms) of each gap without consecutive ids

    @property
    def has_times(self) -> bool:
        """Whether one of the gaps has times in place of ids."""
        return bool(self._times)

    def clear(self) -> None:
        """Forget all these gaps."""
        self._ids = self._times = ()

    def note(self, ended: OpenGap) -> None:
        """Remember the trades of a gap that were not found when it ended."""
        gap = ended.gap
        self._ids = (*self._ids, *ended.not_found())[-MAX_OPEN:]
        if not ended.numbered and not ended.full:
            until = min(gap.to_ts, ended.held[0].received_at // 1_000_000 or gap.to_ts)  # stamps may be ahead
            self._times = (*self._times, (gap.from_ts, until))[-MAX_OPEN:]

    def forget_ids(self, first: int, last: int) -> None:
        """Forget ranges that begin with one of these ids, because they were no gaps."""
        self._ids = tuple(each for each in self._ids if not first <= each[0] <= last)

    def has_id(self, number: int) -> bool:
        """Whether a trade with this id was missing."""
        return any(first <= number <= last for first, last in self._ids)

    def has_time(self, trade: TradeEvent) -> bool:
        """Whether a trade of this time was missing; forgets the gaps whose end is wrong, as ``trade`` shows."""
        self._times = tuple(each for each in self._times if not is_disproved(each[1], trade))
        return any(first <= trade.timestamp < last for first, last in self._times)


def _highest(page: Sequence[TradeEvent]) -> int:
    return max((number for trade in page if (number := number_of(trade)) is not None), default=-1)


def _passed_over(page: Sequence[TradeEvent], first: int, last: int) -> Iterator[int]:
    """The ids from ``first`` to ``last`` that a page does not have although it has trades before and after them."""
    ids = sorted({number for trade in page if (number := number_of(trade)) is not None})
    for before, after in pairwise(ids):
        if after - before > 1:
            yield from range(max(before + 1, first), min(after - 1, last) + 1)
