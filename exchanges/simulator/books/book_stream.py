"""Computes the levels in a book stream's next message from what its readers have received so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from exchanges.simulator.connections.topics import Topic
from exchanges.simulator.markets.market import Market
from exchanges.simulator.markets.order_book import Side, SimulatedBook

Levels = Sequence[tuple[int, int]]  # (ticks, lots), best first
SIDES: tuple[Side, Side] = ("bids", "asks")


@dataclass(slots=True)
class Told:
    """The levels of both sides in one message, and the number of the book's state to which they belong.

    ``first`` is the number of the first change in a difference.
    """

    number: int
    bids: Levels
    asks: Levels
    first: int = 0

    def __bool__(self) -> bool:
        return bool(self.bids or self.asks)


@dataclass(slots=True, eq=False)
class BookStream:
    """What has been sent on a book's topic. Times are in monotonic seconds.

    ``number`` is the number of the last state that was sent. ``told`` is this number for each side; it does not change
    while the side is frozen. ``window`` has the levels that a reader of a limited stream has. ``update`` is the venue's
    own count of the messages. ``wrong`` is a false bid that was sent, above the best ask. ``highest_ask`` is the
    highest best ask since the asks were frozen: a REST snapshot may have shown a reader any ask since then.
    """

    topic: Topic
    market: Market
    number: int
    due: float
    update: int = 0
    told: dict[Side, int] = field(default_factory=dict)
    window: dict[Side, dict[int, int]] = field(default_factory=lambda: {"bids": {}, "asks": {}})
    wrong: tuple[int, int] | None = None
    highest_ask: int = 0
    sent_at: float = 0.0

    def is_current(self, book: SimulatedBook) -> bool:
        """Whether there is nothing new to send."""
        return all(self.told[side] == book.number for side in SIDES)

    def changes(self, book: SimulatedBook, frozen: str | None, crossed: bool) -> Told:
        """The prices that changed since the last message, each with its number of lots now, which may be 0."""
        number = book.number
        self._note_ask(book, frozen)
        changed = {side: book.since(self.told[side]) for side in SIDES if side != frozen}
        bids = list(changed["bids"].bids) if "bids" in changed else []
        asks = list(changed["asks"].asks) if "asks" in changed else []
        if self.wrong is not None and not any(tick == self.wrong[0] for tick, _ in bids):
            bids.append((self.wrong[0], book.now().size("bids", self.wrong[0])))
        self.wrong = self._wrong(book) if crossed else None
        if self.wrong is not None:
            bids = [self.wrong, *(level for level in bids if level[0] != self.wrong[0])]
        self.number = number
        self.told |= dict.fromkeys(changed, number)
        first = min((each.first for each in changed.values()), default=number)
        return Told(number, sorted(bids, reverse=True), asks, first)

    def top_levels(self, book: SimulatedBook, depth: int, frozen: str | None, crossed: bool) -> Told:
        """The best ``depth`` levels of each side."""
        sides: dict[Side, Levels] = {}
        self._note_ask(book, frozen)
        for side in SIDES:
            state = book.now() if side != frozen else book.at(self.told[side]) or book.now()
            sides[side] = state.levels(side, depth)
            self.told[side] = self.told[side] if side == frozen else book.number
        self.wrong = self._wrong(book) if crossed else None
        if self.wrong is not None:
            sides["bids"] = [self.wrong, *sides["bids"][: depth - 1]]
        self.number = book.number
        return Told(book.number, sides["bids"], sides["asks"])

    def window_changes(self, book: SimulatedBook, depth: int, frozen: str | None, crossed: bool) -> Told:
        """The changes among the best ``depth`` levels, without levels that were only pushed out of them."""
        levels = self.top_levels(book, depth, frozen, crossed)
        now, found = book.now(), dict[Side, list[tuple[int, int]]]()
        for side in SIDES:
            shown = levels.bids if side == "bids" else levels.asks
            before, after = self.window[side], dict(shown)
            changed = [level for level in shown if before.get(level[0]) != level[1]]
            changed += [(tick, 0) for tick in before if tick not in after and not now.size(side, tick)]
            self.window[side] = after
            found[side] = changed
        return Told(levels.number, sorted(found["bids"], reverse=True), sorted(found["asks"]))

    def _note_ask(self, book: SimulatedBook, frozen: str | None) -> None:
        if frozen != "asks":
            self.highest_ask = 0
            return
        if not self.highest_ask:
            told = book.at(self.told["asks"])
            self.highest_ask = 0 if told is None else told.top.ask
        self.highest_ask = max(self.highest_ask, book.top.ask)

    def _wrong(self, book: SimulatedBook) -> tuple[int, int]:
        """A bid above the best ask, also above the ask that readers have while the asks are frozen. The bid stays the
        same as long as it is above these asks.
        """
        ask = max(self.highest_ask * 101 // 100, book.top.ask)  # between two messages the ask may have been higher
        if self.wrong is not None and self.wrong[0] > ask:
            return self.wrong
        return ask + 2 * book.ground.step, book.ground.typical
