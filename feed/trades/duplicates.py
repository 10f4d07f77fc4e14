"""Remembers a coin's trade ids of the last ten minutes, to find repeated trades where ids are not consecutive."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from exchanges.events import TradeEvent

REACH = 600.0  # seconds for which an id is remembered
LIMIT = 20_000  # the most ids that are remembered, per coin
STEP = 20.0  # seconds between two removals of ids that are older than REACH


class RecentIds:
    """Ids in the order in which they came, for REACH seconds and at most LIMIT of them; times are monotonic seconds.

    If the caller gives no time, only LIMIT bounds them. ``whole``: trades before the one that is added
    first are not wanted.
    """

    __slots__ = ("_gone", "_known", "_look_at", "_marks", "_order", "_whole")

    def __init__(self, *, whole: bool = False) -> None:
        self._whole = whole
        self._order: deque[str] = deque()
        self._known: set[str] = set()
        self._gone = 0  # number of ids that were forgotten
        self._marks: deque[tuple[float, int]] = deque()  # times, each with the number of ids that were added before it
        self._look_at = 0.0

    def __len__(self) -> int:
        return len(self._order)

    def __contains__(self, trade_id: str) -> bool:
        return trade_id in self._known

    @property
    def newest(self) -> str:
        """The id that was added last, "" before the first."""
        return self._order[-1] if self._order else ""

    def after_first(self, trades: Sequence[TradeEvent]) -> Sequence[TradeEvent]:
        """The part of ``trades`` (oldest first) after the trade whose id was added first; all if that trade is not
        among them.

        The trades before it may have the same millisecond, so their time alone does not show that they are unwanted.
        """
        if not self._whole or not self._order or self._gone:
            return trades
        first = self._order[0]
        place = next((place for place, trade in enumerate(trades) if trade.trade_id == first), -1)
        return trades[place + 1 :]

    def add(self, trade_id: str, now: float | None, *, keep: bool) -> bool:
        """Remember the id; True if it is new. ``keep``: remove no old ids this time."""
        known = self._known
        if trade_id in known:
            return False
        known.add(trade_id)
        order = self._order
        order.append(trade_id)
        if (len(order) > LIMIT or (now is not None and now >= self._look_at)) and not keep:
            self._forget(now)
        return True

    def _forget(self, now: float | None) -> None:
        order, marks = self._order, self._marks
        added = self._gone + len(order)
        until = added - LIMIT
        if now is not None and now >= self._look_at:
            self._look_at = now + STEP
            marks.append((now, added))
            while marks[0][0] <= now - REACH:
                until = max(until, marks.popleft()[1])
        while self._gone < until:
            self._known.remove(order.popleft())
            self._gone += 1
