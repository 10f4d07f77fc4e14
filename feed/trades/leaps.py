"""Decides whether the id of a leap is right: a leap is a trade whose id is higher than the next expected id.

An id far ahead is right if the next trade continues from it, and wrong if a trade with a lower id happened after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from exchanges.events import TradeEvent
from feed.trades.gaps import Gap, number_of

REORDER_LIMIT = 100  # the most missing trades that may be only out of order
SLACK = 2_000  # ms by which two stamps may be further apart than the arrivals of their trades

Content = tuple[int, float, float, bool]
"""A trade's time, price, quantity and side: they identify it when its id may be wrong."""


def content(trade: TradeEvent) -> Content:
    """A trade's time, price, quantity and side."""
    return trade.timestamp, trade.price, trade.quantity, trade.is_buyer_maker


@dataclass(frozen=True, slots=True)
class Leap:
    """A trade with the id ``number`` where ``expected`` was the next id (None: any id), and the gap that it opened.

    ``before`` is the time (Unix ms) of the trade before it, None if there was none.
    """

    expected: int | None
    number: int
    gap: Gap | None
    content: Content
    received_at: int
    before: int | None

    def is_shown_by(self, pages: Iterable[Sequence[TradeEvent]]) -> bool | None:
        """Whether the venue's REST answers have the trade under this id; None if the pages do not reach the id.

        False if they have another trade under the id, or trades before and after it only.
        """
        for page in pages:
            numbers = {number: trade for trade in page if (number := number_of(trade)) is not None}
            if self.number in numbers:
                return content(numbers[self.number]) == self.content
            if numbers and min(numbers) < self.number < max(numbers):
                return False
        return None

    @property
    def is_far(self) -> bool:
        """Whether the id is too far ahead to be only out of order."""
        return self.expected is None or self.number - self.expected > REORDER_LIMIT

    def is_contradicted_by(self, trade: TradeEvent, number: int) -> bool:
        """Whether ``trade``, with a ``number`` lower than the next expected id, shows that this leap's id is wrong.

        The time of ``trade`` must be plausible: stamps must not grow faster than our clock. A trade of the same
        millisecond is enough if the leap is too far ahead to be only out of order, or is the very first trade.
        """
        stamp = self.content[0]
        if number == self.number:
            return content(trade) != self.content  # with equal content, this is the same trade again
        if self.before is not None and stamp < self.before:
            return False  # this trade's time is wrong, or the times of both trades
        if number > self.number or (self.expected is not None and number < self.expected):
            return False
        near = self.before is not None and (not self.is_far or self.number - number <= REORDER_LIMIT)
        if trade.timestamp < stamp + near:
            return False
        passed = (trade.received_at - self.received_at) // 1_000_000 if self.received_at and trade.received_at else 0
        return trade.timestamp - stamp <= passed + SLACK or not (self.received_at and trade.received_at)
