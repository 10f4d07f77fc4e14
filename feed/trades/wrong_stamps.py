"""Detects wrong time stamps: one wrong stamp of a venue must not affect all trades after it."""

from __future__ import annotations

from exchanges.events import TradeEvent

IMPLAUSIBLE = 60_000  # ms by which the next trade is older than one that was stamped with a time yet to come
PROVEN_AFTER = 2.0  # seconds in which the earlier stamps of later trades show that the newest one is wrong
SLACK = 1000  # ms by which those may grow more slowly than the time


class StampDoubt:
    """Whether the stamp of a coin's newest trade is wrong, as the earlier stamps of the trades after it show."""

    __slots__ = ("_began",)

    def __init__(self) -> None:
        self._began: tuple[float, int] | None = None  # when the first of them came, monotonic seconds, and its stamp

    def clear(self) -> None:
        """A trade with a new stamp is the newest one."""
        self._began = None

    def is_wrong(self, stamp: int, trade: TradeEvent, now: float | None) -> bool:
        """Whether ``trade``, which came later, shows that ``stamp`` is wrong."""
        if now is not None:
            came, first = self._began = self._began or (now, trade.timestamp)
            if now - came > PROVEN_AFTER and trade.timestamp - first >= (now - came) * 1000 - SLACK:
                return True  # their stamps grow as fast as time passes
        return is_disproved(stamp, trade)


def is_disproved(stamp: int, trade: TradeEvent) -> bool:
    """Whether a later ``trade`` alone shows that ``stamp`` (Unix ms) was wrong.

    Of two times that can't both be right, the one closer to the trade's arrival is believed.
    """
    arrival = trade.received_at // 1_000_000
    return stamp - trade.timestamp > IMPLAUSIBLE and abs(trade.timestamp - arrival) < stamp - arrival
