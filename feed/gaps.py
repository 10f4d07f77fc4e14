"""What becomes of a trade, and what is known of those that are missing: a gap, what was found for it, how it ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import pairwise

from exchanges.events import TradeEvent


class Verdict(Enum):
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
    """How a gap that was waited for ended: ``trades`` fetched for it, and whether none is missing now."""

    gap: Gap
    trades: int
    complete: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """What to do, in this order: report (and fetch) ``gap``, deliver ``deliver``, report ``filled``."""

    verdict: Verdict
    deliver: Sequence[TradeEvent] = ()
    gap: Gap | None = None
    filled: Sequence[Filled] = ()


DELIVER = Outcome(Verdict.DELIVER)
DUPLICATE = Outcome(Verdict.DUPLICATE)
LATE = Outcome(Verdict.LATE)
HELD = Outcome(Verdict.HELD)


@dataclass(slots=True)
class Segment:
    """A hole, what was found for it (by id, or by arrival where ids don't count), and the trades that wait for it."""

    gap: Gap
    found_at: float | None
    held: list[TradeEvent]
    wait: float  # seconds from then on
    fill: dict[int, TradeEvent] = field(default_factory=dict)
    open: bool = True
    complete: bool = False  # the fetch's own word, for holes that can't be counted

    @property
    def full(self) -> bool:
        return len(self.fill) == self.gap.missing

    def still_missing(self) -> list[tuple[int, int]]:
        """The ids that the hole lacks, as ranges with both ends included."""
        if self.gap.from_id is None or self.gap.to_id is None or self.full:
            return []
        found = [self.gap.from_id - 1, *sorted(self.fill), self.gap.to_id + 1]
        return [(before + 1, after - 1) for before, after in pairwise(found) if after - before > 1]

    def has_place_for(self, number: int, timestamp: int) -> bool:
        """Whether this trade belongs into the hole, be it filled or not."""
        if self.gap.from_id is not None and self.gap.to_id is not None:
            return self.gap.from_id <= number <= self.gap.to_id
        return number < int(self.held[0].trade_id) and self.gap.from_ts <= timestamp <= self.gap.to_ts
