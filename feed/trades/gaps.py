"""The types for missing trades: the verdict on a trade, a gap, the trades found for a gap, and how a gap ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from heapq import merge
from itertools import pairwise, takewhile

from exchanges.events import TradeEvent


class TradeVerdict(Enum):
    """What to do with a trade."""

    DELIVER = "deliver"  # now, as it is
    DUPLICATE = "duplicate"  # drop: it was seen before
    LATE = "late"  # it was missing, but later trades are delivered already: count and drop
    HELD = "held"  # waits until the gap before it is filled
    RELEASE = "release"  # deliver what the outcome's fields say


@dataclass(frozen=True, slots=True)
class Gap:
    """Missing trades: by ids, both included, where ids are consecutive; else by the venue's time, Unix ms.

    The times are those of the trades before and after the gap. ``missing`` is None if the number can't be known.
    ``fetch`` is False if the trades are not fetched: the outage was too long, the gap too big, or fetching is off.
    """

    from_id: int | None
    to_id: int | None
    from_ts: int
    to_ts: int
    missing: int | None
    fetch: bool

    @property
    def details(self) -> dict[str, int | None]:
        """The details of the status event ``gap``, without the coin."""
        known: dict[str, int | None] = {"missing": self.missing, "fetched": self.fetch}
        if self.from_id is None:
            return {"from_ts": self.from_ts, "to_ts": self.to_ts, **known}
        return {"from_id": self.from_id, "to_id": self.to_id, **known}


@dataclass(frozen=True, slots=True)
class Filled:
    """How a gap ended: how many ``trades`` were fetched for it, and whether it is proven that none is missing."""

    gap: Gap
    trades: int
    complete: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """What to do, in this order: report (and fetch) ``gap``, deliver ``deliver``, report ``filled``."""

    verdict: TradeVerdict
    deliver: Sequence[TradeEvent] = ()
    gap: Gap | None = None
    filled: Sequence[Filled] = ()


DELIVER = Outcome(TradeVerdict.DELIVER)
DUPLICATE = Outcome(TradeVerdict.DUPLICATE)
LATE = Outcome(TradeVerdict.LATE)
HELD = Outcome(TradeVerdict.HELD)


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
    in_conflict: bool = False  # REST has the trade after the gap with an id in the gap: one id is wrong
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
        """Find how far a page continues from before the gap, and whether it reaches the trade after the gap."""
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
        """Whether this trade belongs in the gap, whether the gap is filled or not."""
        if self.gap.from_id is not None and self.gap.to_id is not None:
            return self.gap.from_id <= number <= self.gap.to_id
        return number < int(self.held[0].trade_id) and self.gap.from_ts <= timestamp <= self.gap.to_ts

    def is_older_than(self, trade: TradeEvent, stamp: int, within: float) -> bool:
        """Whether the id of ``trade`` lies in the gap but its time is newer than the gap: then the id is wrong.

        ``stamp``: the time of the newest trade, Unix ms. ``within``: seconds after the gap; a still newer trade is not
        judged.
        """
        if not self.gap.from_ts <= self.gap.to_ts < trade.timestamp:
            return False
        return stamp <= trade.timestamp <= self.gap.to_ts + within * 1000


def number_of(trade: TradeEvent) -> int | None:
    """A trade's id as a number, None if it is not a number."""
    try:
        return int(trade.trade_id)
    except ValueError:
        return None


def _highest(page: Sequence[TradeEvent]) -> int:
    return max((number for trade in page if (number := number_of(trade)) is not None), default=-1)


def _passed_over(page: Sequence[TradeEvent], first: int, last: int) -> Iterator[int]:
    """The ids from ``first`` to ``last`` that a page does not have although it has trades before and after them."""
    ids = sorted({number for trade in page if (number := number_of(trade)) is not None})
    for before, after in pairwise(ids):
        if after - before > 1:
            yield from range(max(before + 1, first), min(after - 1, last) + 1)
