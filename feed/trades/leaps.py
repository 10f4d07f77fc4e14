"""Trades whose id is ahead of the sequence: believed when the next one goes on from it, convicted by a later low one.

One id that a venue got wrong must not keep out the good trades whose turn it is. A trade whose number lies before a
leap's, and which happened after it, can only be there if the leap's number is wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from exchanges.events import TradeEvent
from feed.trades.gaps import Gap, number_of

REORDER_LIMIT = 100  # missing trades at most that may be only out of order
MANY = 8  # leaps, or trades whose number was wrong, that are remembered
SLACK = 2_000  # ms by which a stamp may be ahead of what has passed since another trade came

Content = tuple[int, float, float, bool]
"""A trade's time, price, quantity and side: what it is, whatever its number says."""


def content(trade: TradeEvent) -> Content:
    """What a trade is, without its number."""
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
        """Whether the venue itself has the trade under this number over REST; None where that is not to be seen."""
        for page in pages:
            numbers = {number: trade for trade in page if (number := number_of(trade)) is not None}
            if self.number in numbers:
                return content(numbers[self.number]) == self.content
            if numbers and min(numbers) < self.number < max(numbers):
                return False
        return False if self.is_far else None

    @property
    def is_far(self) -> bool:
        """Whether it can't be out of order only."""
        return self.expected is None or self.number - self.expected > REORDER_LIMIT

    def is_contradicted_by(self, trade: TradeEvent, number: int) -> bool:
        """Whether ``trade``, whose ``number`` is lower than the next one, shows that this one's is wrong.

        Only trades of which the time is plausible can testify: it must not run faster than our clock. Where so many
        trades lie between that they can't just be out of order, and where none came before, the same millisecond is
        evidence too.
        """
        stamp = self.content[0]
        if number == self.number:
            return content(trade) != self.content  # else it is itself once more
        if self.before is not None and stamp < self.before:
            return False  # its time is wrong, or both are
        if number > self.number or (self.expected is not None and number < self.expected):
            return False
        if trade.timestamp < stamp + (not self.is_far):
            return False
        passed = (trade.received_at - self.received_at) // 1_000_000 if self.received_at and trade.received_at else 0
        return trade.timestamp - stamp <= passed + SLACK or not (self.received_at and trade.received_at)


@dataclass(slots=True)
class Doubts:
    """What is known of numbers that may be wrong. A coin has none as long as its venue counts well."""

    leaps: list[Leap] = field(default_factory=list)  # the newest ones, none of which another trade has gone on from
    stray: int | None = None  # the id after one that fitted nowhere
    misnumbered: list[Content] = field(default_factory=list)  # what was delivered under a wrong number
    proofs: list[float] = field(default_factory=list)  # when holes were shown to be none, monotonic seconds

    def note(self, leap: Leap, expected: int | None) -> None:
        """A trade leapt when ``expected`` was next: if another came since the leap before, that one is believed."""
        if self.leaps and self.leaps[-1].number + 1 != expected:
            self.leaps.clear()
        self.leaps = [*self.leaps, leap][-MANY:]

    def contradicted(self, trade: TradeEvent, number: int, next_id: int | None) -> int:
        """Where the leaps begin whose numbers a lower one shows to be wrong; -1 if none is."""
        leaps = self.standing(next_id)
        return next((place for place, leap in enumerate(leaps) if leap.is_contradicted_by(trade, number)), -1)

    def standing(self, next_id: int | None) -> list[Leap]:
        """The leaps that no other trade has gone on from."""
        return self.leaps if self.leaps and self.leaps[-1].number + 1 == next_id else []

    def ended(self, gap: Gap, found: Iterable[int]) -> None:
        """The gap before a leap has ended: those ``found`` for it were delivered."""
        place = next((place for place, leap in enumerate(self.leaps) if leap.gap is gap), -1)
        if place >= 0 and self.leaps[place].expected is not None:
            expected = max(found, default=-1) + 1
            self.leaps[place] = replace(self.leaps[place], expected=max(expected, self.leaps[place].expected or 0))

    def misnumber(self, contents: Iterable[Content]) -> None:
        """These were delivered under wrong numbers."""
        self.misnumbered = [*self.misnumbered, *contents][-MANY:]

    def knows(self, trade: TradeEvent) -> bool:
        """Whether the trade was delivered under a wrong number; only once for each."""
        known = content(trade)
        if known not in self.misnumbered:
            return False
        self.misnumbered.remove(known)
        return True
