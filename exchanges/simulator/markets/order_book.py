"""One simulated market's order book: the lots at each price, numbered changes, and earlier states.

The lots at a price are a function of the seed until an order changes them. So a book is as deep as requested, a market
without a reader costs nothing, and the same seed gives the same book.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from math import log
from random import Random
from typing import Literal, NamedTuple

KEPT = 120_000  # ms for which an earlier state can be looked up
REACH = 6000  # steps of the grid; a larger jump of the price is not sent, because no snapshot is so deep
CHANGED = 4000  # prices whose lots may differ from the seed's; if there are more, the oldest get the seed's lots again

Side = Literal["bids", "asks"]


class Top(NamedTuple):
    """The best bid and ask in ticks, and the lots there. A bid of 0 ticks means that there are no bids."""

    bid: int
    ask: int
    bid_lots: int
    ask_lots: int


class Change(NamedTuple):
    """What a change replaced: the top, or the lots at ``tick`` (None: the lots of the seed)."""

    number: int
    ms: int
    top: Top | None
    tick: int
    lots: int | None


class Ground:
    """The seed's lots at each price; one price in five has none."""

    def __init__(self, seed: str, price: int, typical: int) -> None:
        """``price`` in ticks, ``typical`` quantity in lots."""
        self.typical = typical
        self.step = max(1, round(price * 3e-6))  # ticks between two prices that have orders
        self._salt = Random(f"{seed} book").getrandbits(32)

    def lots(self, tick: int) -> int:
        mixed = (tick * 2654435761 + self._salt) & 0xFFFFFFFF
        mixed = (mixed ^ mixed >> 15) * 2246822519 & 0xFFFFFFFF
        return 0 if not mixed % 5 else 1 + self.typical * (mixed >> 8 & 0xFF) // 32


class BookState:
    """One state of a book: its ``number``, and ``ms``, the Unix ms when it began. Read it before the book changes."""

    def __init__(self, number: int, ms: int, top: Top, ground: Ground, *changed: dict[int, int | None]) -> None:
        self.number, self.ms, self.top = number, ms, top
        self._ground = ground
        self._changed = changed

    def lots(self, tick: int) -> int:
        """The lots at a price that is not the best of a side."""
        for changed in self._changed:
            if tick in changed:
                lots = changed[tick]
                return self._ground.lots(tick) if lots is None else lots
        return self._ground.lots(tick)

    def size(self, side: Side, tick: int) -> int:
        """The lots of one side at a price, 0 if there are none."""
        top = self.top
        best, there = (top.bid, top.bid_lots) if side == "bids" else (top.ask, top.ask_lots)
        if tick == best:
            return there
        behind = 0 < tick < best if side == "bids" else tick > best
        return self.lots(tick) if behind and tick % self._ground.step == 0 else 0

    def levels(self, side: Side, depth: int) -> list[tuple[int, int]]:
        """The best ``depth`` levels of a side as (ticks, lots), best first."""
        step, top = self._ground.step, self.top
        if side == "bids":
            found = [(top.bid, top.bid_lots)] if top.bid > 0 else []
            ticks = iter(range((top.bid - 1) // step * step, 0, -step))
        else:
            found = [(top.ask, top.ask_lots)]
            ticks = iter(range(top.ask // step * step + step, 1 << 62, step))
        while len(found) < depth:
            tick = next(ticks, 0)
            if not tick:
                break
            lots = self.lots(tick)
            if lots:
                found.append((tick, lots))
        return found


@dataclass(slots=True)
class BookChanges:
    """The prices of each side that changed between two states, best first, with their lots at the later state."""

    bids: list[tuple[int, int]]
    asks: list[tuple[int, int]]
    first: int
    """The number of the first change; the book's own number if nothing has changed."""


class SimulatedBook:
    """The book of one market. ``number`` grows by one for each price that changes.

    With ``holes`` some numbers are left out, as at venues that also count other events.
    """

    def __init__(self, ground: Ground, seed: str, top: Top, number: int, ms: int, holes: bool = False) -> None:
        self.number, self.ms, self.top = number, ms, top
        self.ground = ground
        self._began = self._oldest_ms = ms
        self._random = Random(f"{seed} orders")
        self._holes = Random(f"{seed} holes") if holes else None
        self._lots: dict[int, int | None] = {}  # lots that differ from the lots of the seed
        self._past: deque[Change] = deque()

    # -- what changes the book ----------------------------------------------------------------------------------

    def trade(self, top: Top, lots: int, sold: bool, ms: int) -> None:
        """Take a trade of ``lots`` at the best bid (``sold``) or ask, after which the top of the book is ``top``.

        Before the trade, the quotes move to its price, so that the lots that it takes are there.
        """
        bids, asks = (top.bid_lots + lots, top.ask_lots) if sold else (top.bid_lots, top.ask_lots + lots)
        self._move(Top(top.bid, top.ask, bids, asks), ms)
        self._move(top, ms)

    def stir(self, count: int, ms: int) -> bool:
        """Place, change or withdraw ``count`` orders, most of them near the top; returns whether the top changed."""
        draw, typical, step, top = self._random.random, self.ground.typical, self.ground.step, self.top
        for _ in range(count):
            away = int(-8.0 * log(1.0 - draw())) if draw() < 0.9 else int(1500 * draw())
            lots = 1 + int(-typical * log(1.0 - draw()))
            if draw() < 0.5:
                tick = self.top.bid // step * step - away * step
                if not away:
                    self._move(self.top._replace(bid_lots=lots), ms)
            else:
                tick = -(-self.top.ask // step) * step + away * step
                if not away:
                    self._move(self.top._replace(ask_lots=lots), ms)
            if away and tick > 0:
                self._place(tick, 0 if draw() < 0.3 else lots, ms)
        return self.top != top

    def _move(self, top: Top, ms: int) -> None:
        if top != self.top:
            self._note(self.top, 0, None, ms)
            self.top = top

    def _place(self, tick: int, lots: int | None, ms: int) -> None:
        self._note(None, tick, self._lots.get(tick), ms)
        if lots is None:
            del self._lots[tick]
            return
        self._lots[tick] = lots
        if len(self._lots) > CHANGED:
            self._place(next(iter(self._lots)), None, ms)

    def _note(self, top: Top | None, tick: int, lots: int | None, ms: int) -> None:
        self.number += 1 if self._holes is None or self._holes.random() < 0.7 else self._holes.randint(2, 9)
        self.ms = ms
        past = self._past
        past.append(Change(self.number, ms, top, tick, lots))
        while past[0].ms < ms - KEPT:
            self._oldest_ms = past.popleft().ms

    # -- the current and the earlier states
    # -------------------------------------------------------------------------------------

    @property
    def oldest(self) -> int:
        """The first number whose state is still known."""
        return self._past[0].number - 1 if self._past else self.number

    def now(self) -> BookState:
        """The state now."""
        return BookState(self.number, self.ms, self.top, self.ground, self._lots)

    def at(self, number: int) -> BookState | None:
        """The state with that number; None if it is not known any more, or not reached yet."""
        if not self.oldest <= number <= self.number:
            return None
        top, ms, before = self.top, self._oldest_ms, dict[int, int | None]()
        for change in reversed(self._past):
            if change.number <= number:
                ms = change.ms
                break
            if change.top is not None:
                top = change.top
            else:
                before[change.tick] = change.lots
        return BookState(number, ms, top, self.ground, before, self._lots)

    def as_of(self, ms: int) -> BookState | None:
        """The last state at that time (Unix ms); None if it is not known any more."""
        number = self.number
        for change in reversed(self._past):
            if change.ms <= ms:
                return self.at(number)
            number = change.number - 1
        return self.at(number) if ms >= self._began else None

    def since(self, number: int) -> BookChanges:
        """Every price that changed after the state with that number, even if the price has its old lots again."""
        now = self.now()
        tops, touched, first = [self.top], set[int](), self.number
        for change in self._after(number):
            first = change.number
            if change.top is not None:
                tops.append(change.top)
            else:
                touched.add(change.tick)
        step = self.ground.step
        low, high = min(top.bid for top in tops), max(top.bid for top in tops)
        bids = {tick for tick in touched if tick < high}
        bids |= {tick for tick in _between(max(low, high - REACH * step), high, step) if now.lots(tick)}
        low_ask, high_ask = min(top.ask for top in tops), max(top.ask for top in tops)
        asks = {tick for tick in touched if tick > low_ask}
        asks |= {tick for tick in _between(low_ask, min(high_ask, low_ask + REACH * step), step) if now.lots(tick)}
        for before, after in zip(tops[1:], tops, strict=False):
            if before[::2] != after[::2]:
                bids |= {before.bid, after.bid}
            if before[1::2] != after[1::2]:
                asks |= {before.ask, after.ask}
        bids.discard(0)
        return BookChanges(
            [(tick, now.size("bids", tick)) for tick in sorted(bids, reverse=True)],
            [(tick, now.size("asks", tick)) for tick in sorted(asks)],
            first,
        )

    def changed_after(self, number: int) -> int | None:
        """The time (Unix ms) of the first change after the state with that number; None if there is none."""
        ms = None
        for change in self._after(number):
            ms = change.ms
        return ms

    def _after(self, number: int) -> Iterator[Change]:
        """The changes after the state with that number, newest first."""
        for change in reversed(self._past):
            if change.number <= number:
                return
            yield change


def _between(low: int, high: int, step: int) -> range:
    """The prices of the grid from low to high, both included; none if low is above high."""
    return range(-(-low // step) * step, high + 1, step) if low < high else range(0)
