"""Holds back rows and trades that are stamped ahead of the venue's time: a wrong stamp must not close a candle.

Pure: the time is what the caller knows of the venue's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

AHEAD = 2_000  # ms by which a stamp may be ahead of the venue's time, which is only known so well
AGREEING = 3  # in succession that are ahead by about as much, which show that the time known is wrong
MOST = 64  # that wait

_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class _Waiting(Generic[_Item]):
    item: _Item
    stamp: int
    came: float  # the time then
    known: bool  # as the venue's; else it is the local clock's

    def time(self, stamp: int) -> int:
        """What time it is of, if its stamp is wrong and the next one is ``stamp``."""
        return min(int(self.came), stamp) if self.known else stamp


class StampCheck(Generic[_Item]):
    """Says of each item whether it can be taken now, given its stamp and the venue's time, both Unix ms.

    What is stamped ahead waits for the next ones. One that is not refutes those with later stamps, by more than
    ``slack`` ms. AGREEING ones in succession confirm each other if they are ahead by the same, up to ``spread`` ms, and
    with them those before that are stamped no later.
    """

    def __init__(self, slack: int, spread: int) -> None:
        self._slack = slack
        self._spread = spread
        self._waiting: list[_Waiting[_Item]] = []
        self._confirmed = {True: 0.0, False: 0.0}  # ms that stamps may be ahead, by whether the venue's time is known

    def take(
        self, item: _Item, stamp: int, now: float | None, received_at: int
    ) -> tuple[list[_Item], list[tuple[_Item, int]]]:
        """Return what can be taken now, in order and ``item`` last, and what is refuted, with the time that it is of.

        ``now`` is the venue's time, None while it is not known: then that of the local clock stands in for it, at which
        ``item`` was received (Unix ns, 0 if that is not known either: nothing waits).
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
        """End the waiting: what is stamped until then, and what is stamped later."""
        waiting, self._waiting = self._waiting, []
        return [each.item for each in waiting if each.stamp <= until], [each for each in waiting if each.stamp > until]

    def give_up(self, until: int) -> list[tuple[_Item, int]]:
        """Wait no longer for what came by ``until``; returns it with the venue's time at its arrival (both Unix ms)."""
        came = [each for each in self._waiting if each.came <= until]
        self._waiting = [each for each in self._waiting if each.came > until]
        return [(each.item, int(each.came)) for each in came]

    def distrust(self) -> None:
        """The stamps that confirmed each other were wrong."""
        self._confirmed = {True: 0.0, False: 0.0}
