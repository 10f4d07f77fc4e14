"""The types for missing trades: the verdict on a trade, a gap, how a gap ended; decisions are in ``open_gaps.py``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from exchanges.events import TradeEvent


class TradeVerdict(Enum):
    """What to do with a trade."""

    DELIVER = "deliver"  # now, as it is
    DUPLICATE = "duplicate"  # the trade was seen before: drop it
    LATE = "late"  # the trade was missing, but later trades are delivered already: count and drop it
    HELD = "held"  # waits until the gap before it is filled
    RELEASE = "release"  # deliver what the outcome's fields say


@dataclass(frozen=True, slots=True)
class Gap:
    """Missing trades, given by the first and the last id if ids are consecutive, else by the venue's time in Unix ms.

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


def number_of(trade: TradeEvent) -> int | None:
    """A trade's id as a number, None if it is not a number."""
    try:
        return int(trade.trade_id)
    except ValueError:
        return None
