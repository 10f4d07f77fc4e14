"""Holds back rows and trades that are stamped ahead of the venue's time: a wrong stamp must not close a candle.

Pure: the caller passes the venue's time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

AHEAD = 2_000  # ms by which a stamp may be ahead of the venue's time, because that time is not known exactly
AGREEING = 3  # this many items in succession that are ahead by about the same time show that the known time is wrong
MOST = 64  # the most items that may wait

_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class _Waiting(Generic[_Item]):
    item: _Item
    stamp: int
    came: float  # the time at its arrival, Unix ms
    known: bool  # True: ``came`` is the venue's time; False: it is the local clock's

    def time(self, stamp: int) -> int:
        """The time of the item if its stamp is wrong and the next stamp is ``stamp``."""
        return min(int(self.came), stamp) if self.known else stamp


class StampCheck(Generic[_Item]):
    """Decides for each item whether it can be taken now, given its stamp and the venue's time, both Unix ms.

    An item that is stamped ahead waits for the next items. An item that is not stamped ahead refutes the waiting items
    whose stamps are more than ``slack`` ms later than its own. AGREEING items in succession confirm each other if the
    times by which they are ahead differ by at most ``spread`` ms. They also confirm the waiting items whose stamps are
    not later than theirs.
    """

    def __init__(self, slack: int, spread: int) -> None:
        self._slack = slack
        self._spread = spread
        self._waiting: list[_Waiting[_Item]] = []
        self._confirmed = {True: 0.0, False: 0.0}  # known -> ms beyond AHEAD by which stamps may be ahead

    def take(
        self, item: _Item, stamp: int, now: float | None, received_at: int
    ) -> tuple[list[_Item], list[tuple[_Item, int]]]:
        """Return what can be taken now, in order, with ``item`` last, and the refuted items with their corrected times.

        ``now`` is the venue's time. While it is None (not known), ``received_at`` is used: the local time (Unix ns) at
        which ``item`` was received. If ``received_at`` is 0 (not known either), ``item`` does not wait.
        """
        time = received_at / 1e6 if now is None else now
        if not time or stamp - time <= AHEAD + self._confirmed[now is not None]:
            right, wrong = self._part(stamp + self._slack)
            return [*right, item], [(each.item, each.time(stamp)) for each in wrong]
        waiting = self._waiting
        waiting.append(_Waiting(item, stamp, time, now is not None))
        ahead = [each.stamp - each.came for each in waiting[-AGREEING:]]
        if len(ahead) == AGREEING and max(ahead) - min(ahead) <= self._spread:
            self._confirmed[now is not None] = max(ahead)
            right, wrong = self._part(max(each.stamp for each in waiting[-AGREEING:]))
            return right, [(each.item, each.time(stamp)) for each in wrong]
        if len(waiting) > MOST:
            oldest = waiting.pop(0)
            return [], [(oldest.item, int(oldest.came))]
        return [], []

    def _part(self, until: int) -> tuple[list[_Item], list[_Waiting[_Item]]]:
        """End all waiting; returns the items whose stamps are not after this time, and the other items."""
        waiting, self._waiting = self._waiting, []
        return [each.item for each in waiting if each.stamp <= until], [each for each in waiting if each.stamp > until]

    def give_up(self, until: int) -> list[tuple[_Item, int]]:
        """End the waiting of the items that came by ``until``; returns each of them with the time at which it came.

        All times are the venue's, in Unix ms.
        """
        came = [each for each in self._waiting if each.came <= until]
        self._waiting = [each for each in self._waiting if each.came > until]
        return [(each.item, int(each.came)) for each in came]

    def distrust(self) -> None:
        """Call this when stamps that confirmed each other were wrong: then no stamp may be ahead by more than AHEAD."""
        self._confirmed = {True: 0.0, False: 0.0}
