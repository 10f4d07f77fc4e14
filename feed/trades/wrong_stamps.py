"""Decides which trades' time stamps are wrong, so that one wrong stamp does not affect all trades after it."""

from __future__ import annotations

from exchanges.events import TradeEvent

IMPLAUSIBLE = 60_000  # ms; a stamp is wrong if the next trade's stamp is this much lower: it was in the future
PROVEN_AFTER = 2.0  # seconds; if lower stamps keep coming for longer than this, the highest stamp is wrong
SLACK = 1000  # ms by which the lower stamps may advance less than the clock in this time


class StampDoubt:
    """Judges whether the highest stamp of a coin's trades is wrong, because later trades have lower stamps."""

    __slots__ = ("_began",)

    def __init__(self) -> None:
        self._began: tuple[float, int] | None = None  # the first lower stamp: its arrival (monotonic s), and the stamp

    def clear(self) -> None:
        """Begin again: a trade has a new highest stamp."""
        self._began = None

    def is_wrong(self, stamp: int, trade: TradeEvent, now: float | None) -> bool:
        """Whether ``trade``, which came later, shows that ``stamp`` is wrong."""
        if now is not None:
            came, first = self._began = self._began or (now, trade.timestamp)
            if now - came > PROVEN_AFTER and trade.timestamp - first >= (now - came) * 1000 - SLACK:
                return True  # the lower stamps grow as fast as the clock
        return is_disproved(stamp, trade)


def is_disproved(stamp: int, trade: TradeEvent) -> bool:
    """Whether a later ``trade`` alone shows that ``stamp`` (Unix ms) was wrong.

    If two times can't both be right, the time that is closer to the trade's arrival is believed.
    """
    arrival = trade.received_at // 1_000_000
    return stamp - trade.timestamp > IMPLAUSIBLE and abs(trade.timestamp - arrival) < stamp - arrival
