"""Compares a feed's books with the venue's true books, and times without books with the feed's status events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from statistics import median
from typing import Any

from exchanges.simulator import SimulatedVenue

BREACHES_KEPT = 12  # breaches of each kind whose text is kept
LONGEST = 3.0  # seconds that a book may be unproven while the venue answers REST within 1 s
QUIET = 2.0  # seconds without a book of a working venue, after which the feed must have reported why
UNSEEN = 3.0  # seconds for which a frozen side may go unnoticed after a trade that shows it
HELD_UP = 1.0  # a process that did nothing for so many seconds was held up by the machine
LATE_BY = 0.25  # seconds by which a fresh book may be older than max_age, because the machine may be busy
HINDRANCES = (  # while one of these faults is in force, books may be unproven
    "book-lost", "book-late", "book-reordered", "book-frozen", "book-crossed", "book-stale", "book-refused",
    "malformed", "stall", "mute", "partition", "blocked", "refuse", "accept-then-drop", "rest-down", "behind",
    "falling-behind", "split", "rest-behind", "rest-frozen", "halted", "slow-rest-2",
)  # fmt: skip
LATE = ("stall", "mute", "partition", "behind", "falling-behind", "split")  # with these faults trades come late
SENDS_NOTHING = ("stall", "partition", "book-lost-1.0", "behind")  # with these faults the stream is silent on purpose

Levels = Sequence[Sequence[float]]


@dataclass(slots=True)
class Frozen:
    """A frozen side with a wrong best price.

    ``since``: when the price became wrong. ``shown``: when a trade first showed that it is wrong (monotonic seconds).
    """

    since: float
    last_trade: int  # id of the last trade that was checked
    shown: float | None = None


@dataclass(slots=True)
class Coin:
    """One coin's book in the feed.

    ``unproven`` is the time (monotonic seconds) since which the book has been unproven, or None if the book is proven.
    """

    unproven: float | None
    last_book: float | None = None
    frozen_wrong: dict[str, Frozen] = field(default_factory=dict)  # by side
    quiet_told: bool = False


@dataclass(slots=True)
class Figures:
    """The result for one venue."""

    delivered: int = 0
    wrong: int = 0
    frozen_unseen: int = 0
    not_judged: int = 0
    short: int = 0
    while_unproven: int = 0
    unproven_told: int = 0
    proven_told: int = 0
    quiet_untold: int = 0
    fresh: int = 0
    fresh_old: int = 0
    refused: int = 0
    # lengths of unproven periods in seconds, including times with faults
    periods: list[float] = field(default_factory=list)
    hindered: list[float] = field(default_factory=list)  # the seconds of each period since the end of the last fault
    frozen_seen_after: list[float] = field(default_factory=list)


class Judge:
    """Call ``take`` for every line of a venue's subject, and ``look`` several times a second."""

    def __init__(self, venue: SimulatedVenue, coins: Iterable[str], began: float) -> None:
        self.figures = Figures()
        self.breaches: list[str] = []
        self.breach_counts: Counter[str] = Counter()
        self.events: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.defects: list[str] = []
        self.waits: list[float] = []  # seconds from a frame's receipt to the callback
        self._venue = venue
        self._coins = {coin: Coin(began) for coin in coins}
        self._hindered = dict.fromkeys(self._coins, began)  # when one of HINDRANCES was last in force
        self._sent = dict.fromkeys(self._coins, began)  # when a fault last kept the stream silent
        self._frozen = dict[str, float]()  # side -> when its fault was last in force
        self._late = began  # when a fault last made trades late
        self._looked = began
        self._asked: float | None = None  # when the subject last called for a fresh book
        self.held_up = 0

    @property
    def violations(self) -> list[str]:
        """The venue's rules that the feed broke."""
        return self._venue.violations

    def breach(self, kind: str, text: str) -> None:
        self.breach_counts[kind] += 1
        if self.breach_counts[kind] <= BREACHES_KEPT:
            self.breaches.append(f"{kind}: {self._venue.name} {text}")

    def _resumed(self, now: float) -> None:
        """Call this after a process did not run for a while, so that nothing was sent or read."""
        self.held_up += 1
        self.strike(now)
        for coin in self._coins.values():
            for frozen in coin.frozen_wrong.values():
                frozen.since, frozen.shown = now, None if frozen.shown is None else now

    # -- the venue ------------------------------------------------------------------------------------

    def strike(self, now: float) -> None:
        """Note an event at the venue that ends a connection or all books."""
        self._hindered = dict.fromkeys(self._coins, now)
        self._sent = dict.fromkeys(self._coins, now)
        self._late = now

    def look(self, now: float) -> None:
        """Note the current faults, and report books that are missing at the feed."""
        if now - self._looked > HELD_UP:
            self._resumed(now)
        self._looked = now
        faults = self._venue.faults
        for fault in faults:
            if fault.startswith("book-frozen-"):
                self._frozen[fault.removeprefix("book-frozen-")] = now
            if fault.startswith(LATE):
                self._late = now
            for name in self._coins:
                mine = fault == f"silent-{name}"
                if mine or fault.startswith(HINDRANCES):
                    self._hindered[name] = now
                if mine or fault.startswith(SENDS_NOTHING):
                    self._sent[name] = now
        if not self.events["connected"]:
            self.strike(now)
        if self._asked is not None and now - self._asked > HELD_UP:
            return  # the subject's process is not running: silences are checked when it continues
        for name, coin in self._coins.items():
            if coin.unproven is not None:
                self._judge_period(name, coin, coin.unproven, now, over=False)
            elif coin.last_book is not None and not coin.quiet_told:
                quiet = now - max(coin.last_book, self._sent[name])
                if quiet > QUIET:
                    coin.quiet_told = True
                    self.figures.quiet_untold += 1
                    self.breach("silence that was not told", f"{name}: no book for {quiet:.1f} s, faults {faults}")

    def _judge_period(self, name: str, coin: Coin, since: float, now: float, *, over: bool) -> None:
        well = now - max(since, self._hindered[name])
        if over:
            self.figures.periods.append(now - since)
            self.figures.hindered.append(max(0.0, well))
        if well > LONGEST and (over or not coin.quiet_told):
            coin.quiet_told = True
            self.breach("unproven for too long", f"{name}: {well:.2f} s although the venue is well")

    # -- the feed ------------------------------------------------------------------------------------

    def take(self, line: Sequence[Any]) -> None:
        """Take one line of the subject."""
        tag, at = line[0], line[1]
        if tag == "book":
            self._book(at, *line[2:])
        elif tag == "status":
            self._status(at, line[2], line[3])
        elif tag in ("fresh", "refused"):
            if self._asked is not None and at - self._asked > HELD_UP:
                self._resumed(at)
            self._asked = at
            if tag == "fresh":
                self._fresh(at, *line[2:])
            else:
                self.figures.refused += 1
        elif tag == "defect":
            self.defects.append(f"{line[2]}: {line[3]}"[:2000])
            self.breach("defect", self.defects[-1])

    def _status(self, at: float, event: str, details: dict[str, Any]) -> None:
        self.events[event] += 1
        coin = self._coins.get(str(details.get("coin", "")))
        if coin is None:
            return
        if event == "book_unsynced":
            self.figures.unproven_told += 1
            reason = "".join(letter for letter in str(details["reason"]) if not letter.isdigit())
            self.reasons[reason[:60]] += 1
            if coin.unproven is None:
                coin.unproven, coin.quiet_told = at, False
            if coin.frozen_wrong:
                self.figures.frozen_seen_after += [at - frozen.since for frozen in coin.frozen_wrong.values()]
                coin.frozen_wrong.clear()
        elif event == "book_synced":
            self.figures.proven_told += 1
            if coin.unproven is not None:
                self._judge_period(str(details["coin"]), coin, coin.unproven, at, over=True)
            coin.unproven, coin.quiet_told, coin.last_book = None, False, at

    def _book(
        self, at: float, waited: float, name: str, exchange: str, sequence: int | None, market: str, bids: Levels,
        asks: Levels,
    ) -> None:  # fmt: skip
        coin, figures = self._coins[name], self.figures
        figures.delivered += 1
        if len(self.waits) < 1_000_000:
            self.waits.append(waited)
        if coin.unproven is not None:
            figures.while_unproven += 1
            self.breach("delivered although it is not proven", f"{name} {sequence}")
        coin.last_book, coin.quiet_told = at, False
        depth = max(len(bids), len(asks))
        true = None if sequence is None else self._venue.book_at(name, sequence, depth)
        if true is None:
            figures.not_judged += 1
            self.breach("of an unknown number", f"{name} {sequence}")
            return
        if len(bids) < depth or len(asks) < depth:
            figures.short += 1
        wrong = [side for side, told, right in (("bids", bids, true.bids), ("asks", asks, true.asks))
                 if [tuple(level) for level in told] != right[: len(told)] or not told]  # fmt: skip
        for side in ("bids", "asks"):
            if side not in wrong:
                coin.frozen_wrong.pop(side, None)
        for side in wrong:
            self._wrong(at, name, coin, side, sequence, (bids, asks), (true.bids, true.asks))

    def _wrong(self, at: float, name: str, coin: Coin, side: str, sequence: int | None, told: Any, right: Any) -> None:
        place = 0 if side == "bids" else 1
        if f"book-frozen-{side}" in self._venue.faults:  # the fault may have begun since the last check
            self._frozen[side] = at
        if at - self._frozen.get(side, 0.0) < UNSEEN:
            self.figures.frozen_unseen += 1
            if told[place] and told[place][0][0] == right[place][0][0]:
                coin.frozen_wrong.pop(side, None)  # trades at the best price do not show the levels behind it
                return
            if not self._is_overdue(at, name, coin, side, told[place]):
                return
        self.figures.wrong += 1
        pairs = zip(told[place], right[place], strict=False)
        first = next(((i, tuple(a), b) for i, (a, b) in enumerate(pairs) if tuple(a) != b), None)
        self.breach("wrong book", f"{name} {side} at {sequence}: {first}, faults {self._venue.faults}")

    def _is_overdue(self, at: float, name: str, coin: Coin, side: str, told: Levels) -> bool:
        """Whether a trade has shown for UNSEEN seconds that the ``told`` levels of a frozen side are wrong."""
        trades = self._venue.trades[name]
        newest = trades[-1].id if trades else -1
        frozen = coin.frozen_wrong.setdefault(side, Frozen(at, newest))
        if frozen.shown is None and told:
            best, sign = told[0][0], 1 if side == "asks" else -1
            for trade in takewhile(lambda trade: trade.id > frozen.last_trade, reversed(trades)):
                beyond = (trade.price - best) * sign
                if beyond > 0 or (beyond < 0 and trade.buyer_maker is (side == "bids")):
                    frozen.shown = at
        frozen.last_trade = newest
        return frozen.shown is not None and at - max(frozen.shown, self._late) > UNSEEN

    def _fresh(self, at: float, unix_ms: int, name: str, sequence: int) -> None:
        self.figures.fresh += 1
        if self._coins[name].unproven is not None:
            self.breach("called fresh although it is not proven", f"{name} {sequence}")
        changed = self._venue.book_changed_after(name, sequence)
        if changed is not None and (age := (unix_ms - changed) / 1000) > 2.0 + LATE_BY:
            self.figures.fresh_old += 1
            self.breach("called fresh although it is old", f"{name} {sequence}: {age:.2f} s, {self._venue.faults}")

    # -- the result ---------------------------------------------------------------------------------------------

    def table(self) -> list[str]:
        """The results as lines of text."""
        figures = self.figures
        waits = sorted(self.waits)
        p99 = 1000 * waits[int(len(waits) * 0.99)] if waits else 0.0
        return [
            f"{self._venue.name}",
            f"  books delivered         {figures.delivered:,}, wrong {figures.wrong}, of an unknown number "
            f"{figures.not_judged}, with fewer levels {figures.short:,}",
            f"  of a frozen side, unseen {figures.frozen_unseen:,}; seen {_spread(figures.frozen_seen_after)}",
            f"  unproven                told {figures.unproven_told} times, over {figures.proven_told} times, "
            f"delivered meanwhile {figures.while_unproven}",
            f"  unproven periods        {_spread(figures.periods)}",
            f"  with the venue well     {_spread(figures.hindered)}",
            f"  silences not told       {figures.quiet_untold}",
            f"  require_fresh_book      let {figures.fresh:,} pass, {figures.fresh_old} of them too old; refused "
            f"{figures.refused:,} times",
            f"  frame to callback       p99 {p99:.1f} ms",
            f"  unhandled, ERROR or up  {len(self.defects)}; held up by the machine {self.held_up} times",
            "  reasons                 " + "; ".join(f"{text} {count}" for text, count in self.reasons.most_common(12)),
            "  events                  " + ", ".join(f"{name} {count}" for name, count in self.events.most_common()),
        ]


def _spread(times: list[float]) -> str:
    if not times:
        return "(none)"
    return f"{median(times):.2f} s (median), {max(times):.2f} s (most)"
