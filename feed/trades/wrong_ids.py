"""Remembers which of a coin's trade ids may be wrong, and corrects the sequence when they are wrong.

One wrong id must not cause the loss of the good trades that come next.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from exchanges.events import TradeEvent
from feed.trades.gaps import Filled, Gap, number_of
from feed.trades.leaps import Content, Leap, content
from feed.trades.open_gaps import OpenGap, OpenGaps

MANY = 8  # so many leaps, and so many trades with wrong ids, are remembered at most


@dataclass(slots=True)
class DoubtfulIds:
    """A coin's trades whose ids may be wrong. It exists only for coins with such trades."""

    leaps: list[Leap] = field(default_factory=list)  # the newest leaps; no trade has continued from any of them
    after_outlier: int | None = None  # the last outlier's id plus 1; the id of an outlier continues no other id
    misnumbered: list[Content] = field(default_factory=list)  # trades that were delivered with a wrong id
    suspects: list[Leap] = field(default_factory=list)  # delivered or waiting leaps before a newer leap, not judged yet
    proofs: list[float] = field(default_factory=list)  # when gaps were shown to be no gaps, monotonic seconds

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

    def has_leap_after(self, gap: Gap) -> bool:
        """Whether the id of the trade after this gap may still be wrong."""
        return any(leap.gap is gap for leap in self.leaps)

    def contradicted(self, trade: TradeEvent, number: int, next_id: int | None) -> int:
        """The place of the first leap that ``trade`` shows to be wrong; -1 if there is none."""
        leaps = self.standing(next_id)
        return next((place for place, leap in enumerate(leaps) if leap.is_contradicted_by(trade, number)), -1)

    def standing(self, next_id: int | None) -> list[Leap]:
        """All leaps while the newest leap is the last trade of the sequence; none if a trade has come after it."""
        return self.leaps if self.leaps and self.leaps[-1].number + 1 == next_id else []

    def ended(self, gap: Gap, found: Iterable[int]) -> None:
        """Call this when the gap before a leap has ended; trades with the ids ``found`` were delivered for it."""
        place = next((place for place, leap in enumerate(self.leaps) if leap.gap is gap), -1)
        if place >= 0 and (expected := max(found, default=-1) + 1):
            self.leaps[place] = replace(self.leaps[place], expected=max(expected, self.leaps[place].expected or 0))

    def misnumber(self, contents: Iterable[Content]) -> None:
        """Remember trades that were delivered with wrong ids."""
        self.misnumbered = [*self.misnumbered, *contents][-MANY:]

    def suspect(self, leaps: Iterable[Leap]) -> None:
        """Remember leaps whose trades REST may have with other ids: a newer leap has opened another gap."""
        new = [leap for leap in leaps if leap not in self.suspects]
        self.suspects = [*self.suspects, *new][-MANY:]

    def judge(self, page: Sequence[TradeEvent], gaps: OpenGaps) -> None:
        """Decide about the suspects by a page of REST: which trade has the suspect's id there?

        A waiting trade with a wrong id is replaced by the trade that REST has under this id. A page that leaves the id
        out decides nothing: it may come from a replica that is behind.
        """
        for leap in self.suspects[:]:
            right = next((trade for trade in page if number_of(trade) == leap.number), None)
            if right is None:
                continue
            self.suspects.remove(leap)
            if content(right) == leap.content:
                continue
            if self._put_right(leap, right, page, gaps):
                self.leaps = [each for each in self.leaps if each.gap is not leap.gap]  # its id is another trade's
            else:
                self.misnumber((leap.content,))

    def _put_right(self, leap: Leap, right: TradeEvent, page: Sequence[TradeEvent], gaps: OpenGaps) -> bool:
        """Replace the leap's trade by ``right``, if it waits and REST has it under another id; returns whether it was
        replaced.
        """
        gap = next((each for each in gaps if each.gap is leap.gap), None)
        if gap is None or not gap.held or content(gap.held[0]) != leap.content:
            return False
        if all(content(trade) != leap.content for trade in (*page, *gap.fill.values())):
            return False
        if content(right) in self.misnumbered:
            return False  # it came with a wrong id too
        right.backfilled = True
        gap.held[0] = right
        return True

    def knows(self, trade: TradeEvent) -> bool | None:
        """Whether the trade was delivered with a wrong id; True only once for each trade.

        None if that is not known yet: a suspect is equal to this trade, and no page has reached the suspect's id.
        """
        known = content(trade)
        if known in self.misnumbered:
            self.misnumbered.remove(known)
            return True
        return None if any(leap.content == known for leap in self.suspects) else False


@dataclass(frozen=True, slots=True)
class Correction:
    """How a coin's sequence continues when leaps with wrong ids are taken out of it.

    ``deliver``: the leaps' trades, oldest first, each once; ``misnumbered``: the leaps' trades that a fetch may still
    return under the right ids. ``stamp``: the time of the newest trade before the leaps, Unix ms.
    """

    next_id: int | None
    stamp: int | None
    deliver: list[TradeEvent]
    misnumbered: list[Content]
    filled: list[Filled]


def correction(leaps: Sequence[Leap], gaps: Sequence[OpenGap], number: int) -> Correction:
    """Undo ``leaps`` and the ``gaps`` that they opened; a trade with the id ``number`` has shown that they are wrong.

    If as many trades are missing as there are leaps, the leaps are those trades. Otherwise a trade from REST that
    differs only in its id is not delivered again.
    """
    expected = leaps[0].expected
    found = [gap.fill[each] for gap in gaps for each in sorted(gap.fill)]
    numbers = [each for gap in gaps for each in gap.fill]
    repeated = {content(trade) for trade in found}
    deliver = found + [trade for gap in gaps for trade in gap.held if content(trade) not in repeated]
    deliver.sort(key=lambda trade: trade.timestamp)
    unnamed = [leap.content for leap in leaps if leap.content not in repeated]
    if expected is None:
        next_id = max(numbers) + 1 if numbers else None
    else:
        are_the_missing = min([number, *numbers]) == expected + len(unnamed)
        next_id = max([expected + len(unnamed) * are_the_missing - 1, *numbers]) + 1
        if are_the_missing:
            unnamed = []
    stamp = max((trade.timestamp for trade in found), default=leaps[0].before)
    whole = next_id is not None and number <= next_id
    filled = [Filled(gap.gap, sum(t.backfilled for t in gap.fill.values()), whole) for gap in gaps if gap.wait]
    return Correction(next_id, stamp, deliver, unnamed, filled)
