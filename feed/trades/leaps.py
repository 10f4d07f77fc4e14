"""Detects wrong trade ids: an id far ahead is right if the next trade continues from it, wrong if a lower id follows.

A leap is a trade whose id is higher than the next one expected. One wrong id must not keep out the good trades that
come next. If a trade with a lower id happened after a leap, the leap's id is wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from exchanges.events import TradeEvent
from feed.trades.gaps import Gap, number_of

REORDER_LIMIT = 100  # missing trades at most that may be only out of order
MANY = 8  # leaps, and trades with wrong ids, that are remembered
SLACK = 2_000  # ms by which two stamps may be further apart than the arrivals of their trades

Content = tuple[int, float, float, bool]
"""A trade's time, price, quantity and side: they identify it when its id may be wrong."""


def content(trade: TradeEvent) -> Content:
    """A trade's time, price, quantity and side."""
    return trade.timestamp, trade.price, trade.quantity, trade.is_buyer_maker


@dataclass(frozen=True, slots=True)
class Leap:
    """A trade that came with the id ``number`` when ``expected`` was next (None: any), and the gap that it opened.

    ``before`` is the time (Unix ms) of the trade before it, None where there was none.
    """

    expected: int | None
    number: int
    gap: Gap | None
    content: Content
    received_at: int
    before: int | None

    def is_shown_by(self, pages: Iterable[Sequence[TradeEvent]]) -> bool | None:
        """Whether the venue has the trade under this id over REST; None if the pages do not show it."""
        for page in pages:
            numbers = {number: trade for trade in page if (number := number_of(trade)) is not None}
            if self.number in numbers:
                return content(numbers[self.number]) == self.content
            if numbers and min(numbers) < self.number < max(numbers):
                return False
        return False if self.is_far else None

    @property
    def is_far(self) -> bool:
        """Whether the id is too far ahead to be only out of order."""
        return self.expected is None or self.number - self.expected > REORDER_LIMIT

    def is_contradicted_by(self, trade: TradeEvent, number: int) -> bool:
        """Whether ``trade``, with a ``number`` lower than the next one expected, shows that this leap's id is wrong.

        That needs a plausible time of ``trade``: its stamp must not grow faster than our clock. If the leap is too far
        ahead of it to be only out of order, or is the very first trade, a trade of the same millisecond is enough.
        """
        stamp = self.content[0]
        if number == self.number:
            return content(trade) != self.content  # else it is the same trade again
        if self.before is not None and stamp < self.before:
            return False  # its time is wrong, or both are
        if number > self.number or (self.expected is not None and number < self.expected):
            return False
        near = self.before is not None and (not self.is_far or self.number - number <= REORDER_LIMIT)
        if trade.timestamp < stamp + near:
            return False
        passed = (trade.received_at - self.received_at) // 1_000_000 if self.received_at and trade.received_at else 0
        return trade.timestamp - stamp <= passed + SLACK or not (self.received_at and trade.received_at)


@dataclass(slots=True)
class Doubts:
    """A coin's trades whose ids may be wrong. A coin has none of this as long as its venue's ids are right."""

    leaps: list[Leap] = field(default_factory=list)  # the newest ones; no trade has continued from any of them
    stray: int | None = None  # the id that would follow the last one that fitted nowhere
    misnumbered: list[Content] = field(default_factory=list)  # trades that were delivered under a wrong id
    proofs: list[float] = field(default_factory=list)  # when gaps were shown to be none, monotonic seconds

    def note(self, leap: Leap, expected: int | None) -> None:
        """Remember a leap, when ``expected`` was the next id. Earlier leaps are right if a trade came after them."""
        if self.leaps and self.leaps[-1].number + 1 != expected:
            self.leaps.clear()
        self.leaps = [*self.leaps, leap][-MANY:]

    def confirm(self, pages: Iterable[Sequence[TradeEvent]]) -> None:
        """Forget the leaps whose trades the venue has over REST under the same ids: these ids are right."""
        if self.leaps:
            shown = {trade.trade_id: content(trade) for page in pages for trade in page}
            self.leaps = [leap for leap in self.leaps if shown.get(str(leap.number)) != leap.content]

    def contradicted(self, trade: TradeEvent, number: int, next_id: int | None) -> int:
        """The place of the first leap that ``trade`` shows to be wrong; -1 if there is none."""
        leaps = self.standing(next_id)
        return next((place for place, leap in enumerate(leaps) if leap.is_contradicted_by(trade, number)), -1)

    def standing(self, next_id: int | None) -> list[Leap]:
        """The leaps from which no trade has continued."""
        return self.leaps if self.leaps and self.leaps[-1].number + 1 == next_id else []

    def ended(self, gap: Gap, found: Iterable[int]) -> None:
        """The gap before a leap has ended, and the trades ``found`` for it (their ids) were delivered."""
        place = next((place for place, leap in enumerate(self.leaps) if leap.gap is gap), -1)
        if place >= 0 and (expected := max(found, default=-1) + 1):
            self.leaps[place] = replace(self.leaps[place], expected=max(expected, self.leaps[place].expected or 0))

    def misnumber(self, contents: Iterable[Content]) -> None:
        """Remember trades that were delivered under wrong ids."""
        self.misnumbered = [*self.misnumbered, *contents][-MANY:]

    def knows(self, trade: TradeEvent) -> bool:
        """Whether the trade was delivered under a wrong id; answers True only once for each trade."""
        known = content(trade)
        if known not in self.misnumbered:
            return False
        self.misnumbered.remove(known)
        return True
