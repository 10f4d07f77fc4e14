"""What becomes of a trade, and what is known of those that are missing: a gap, what was found for it, how it ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import pairwise

from exchanges.events import TradeEvent


class TradeVerdict(Enum):
    """What became of a trade."""

    DELIVER = "deliver"  # now, as it is
    DUPLICATE = "duplicate"  # seen before: drop
    LATE = "late"  # missed before, but its place in the order is past: count and drop
    HELD = "held"  # waits behind a gap
    RELEASE = "release"  # see the outcome's fields


@dataclass(frozen=True, slots=True)
class Gap:
    """Missing trades: by ids, both included, where the venue counts; else by the venue's time, Unix ms.

    The times are those of the trades around the hole. ``missing`` is None where nobody can know. ``fetch`` is False
    when nobody waits for it: the outage was too long, the hole too big, or fetching is off.
    """

    from_id: int | None
    to_id: int | None
    from_ts: int
    to_ts: int
    missing: int | None
    fetch: bool

    @property
    def details(self) -> dict[str, int | None]:
        """The status event's details without the coin, as the contract has them."""
        if self.from_id is None:
            return {"from_ts": self.from_ts, "to_ts": self.to_ts, "missing": self.missing}
        return {"from_id": self.from_id, "to_id": self.to_id, "missing": self.missing}


@dataclass(frozen=True, slots=True)
class Filled:
    """How a gap that was waited for ended: ``trades`` fetched for it, and whether it is proven that none is missing."""

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
class Segment:
    """A hole, what was found for it, and the trades that wait for it.

    ``fill`` has what was found by id, or by arrival where ids don't count. ``before`` is the id of the last trade
    before the hole where that is known, "" where it was another venue's.
    """

    gap: Gap
    found_at: float | None
    held: list[TradeEvent]
    wait: float  # seconds from then on
    before: str = ""
    numbered: bool = True  # whether ids count
    fill: dict[int, TradeEvent] = field(default_factory=dict)
    absent: set[int] = field(default_factory=set)  # ids that belong to no trade
    elsewhere: set[int] = field(default_factory=set)  # ids of trades that were delivered under other ones
    clash: bool = False  # what was found is the trade after the hole but for the number: one of the two is wrong
    open: bool = True
    reached: bool = False  # the answers reach over a hole that can't be counted, from its one side to the other
    _unshown: set[int] = field(default_factory=set)  # ids that an answer has passed over
    _tip: str = ""  # the newest id to which the answers reach in one piece from before the hole

    @property
    def full(self) -> bool:
        """Whether nothing is missing."""
        if self.gap.missing is None:
            return self.reached
        return not self.clash and len(self.fill) + len(self.absent) + len(self.elsewhere) == self.gap.missing

    def look_into(self, pages: Sequence[Sequence[TradeEvent]]) -> bool:
        """Take one answer of the venue as evidence of what is missing; True when it ends the hole by what is absent.

        Each page is what the venue has in one piece, oldest first. Ids are absent when two answers, one after the
        other, show both neighbours and nothing between: one alone may come from a copy that is still being written.
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
        """See how far a page goes on from before the hole, and whether to the first trade after it."""
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

    def still_missing(self) -> list[tuple[int, int]]:
        """The ids that the hole lacks, as ranges with both ends included."""
        if self.gap.from_id is None or self.gap.to_id is None or self.full:
            return []
        found = [self.gap.from_id - 1, *sorted(self.fill.keys() | self.absent | self.elsewhere), self.gap.to_id + 1]
        return [(before + 1, after - 1) for before, after in pairwise(found) if after - before > 1]

    def has_place_for(self, number: int, timestamp: int) -> bool:
        """Whether this trade belongs into the hole, be it filled or not."""
        if self.gap.from_id is not None and self.gap.to_id is not None:
            return self.gap.from_id <= number <= self.gap.to_id
        return number < int(self.held[0].trade_id) and self.gap.from_ts <= timestamp <= self.gap.to_ts


def number_of(trade: TradeEvent) -> int | None:
    """A trade's id as a number, None where it is none."""
    try:
        return int(trade.trade_id)
    except ValueError:
        return None


def _highest(page: Sequence[TradeEvent]) -> int:
    return max((number for trade in page if (number := number_of(trade)) is not None), default=-1)


def _passed_over(page: Sequence[TradeEvent], first: int, last: int) -> Iterator[int]:
    """The ids from ``first`` to ``last`` that lie between two neighbours of a page."""
    ids = sorted({number for trade in page if (number := number_of(trade)) is not None})
    for before, after in pairwise(ids):
        if after - before > 1:
            yield from range(max(before + 1, first), min(after - 1, last) + 1)
