"""Compares the feed's events with the venues' true events, one by one; its memory does not grow with time.

A trade is *lost* if the feed delivered the coin's trades before and after this trade, but not the trade itself, and did
not report an incomplete gap there. With such a report, the trade counts as *told*. A venue's trades are compared only
for the periods in which the venue was active, and no trade may come again in a later period.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.soak.prices import Prices
from tests.soak.silence import Silences
from tests.soak.tally import FAR_AHEAD, Tally
from tests.soak.truth import MINUTE, Truth

BREACHES_KEPT = 12  # breaches of each kind whose text is kept
STALE_FROM, STALE_TO = 5.0, 5.5  # the fewest and the most seconds of silence at which feed_stale may be reported
UP_TO_DATE = 5.0  # seconds: older data does not count as data; this is the settings' max_lag
SIGN_OF_LIFE = 0.9  # seconds; a trade that is older at its arrival does not show that the stream works


@dataclass(slots=True)
class Gap:
    """A gap that the feed reported; ``complete`` is None until its end is reported, and False if the gap is not
    fetched."""

    details: Mapping[str, Any]
    complete: bool | None = None

    def holds(self, number: int, timestamp: int) -> bool:
        if self.details.get("from_id") is not None:
            return bool(self.details["from_id"] <= number <= self.details["to_id"])
        return bool(self.details["from_ts"] <= timestamp <= self.details["to_ts"])


@dataclass(slots=True)
class Hole:
    """Trades from ``first`` to ``last`` that were left out, in a gap whose end the feed has not reported yet."""

    first: int
    last: int
    seen_at: float


@dataclass(slots=True)
class Book:
    """The delivered trades of one coin on one venue."""

    first: int | None = None  # ``first`` and ``last``: lowest and highest delivered id of this period
    last: int | None = None
    highest: int = -1  # the highest delivered id of all periods
    holes: list[Hole] = field(default_factory=list)
    # reported or lost trades, which may come late
    passed: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=200))


def _same(told: Sequence[float], true: Sequence[float]) -> bool:
    return all(abs(one - other) <= 1e-9 * max(1.0, abs(other)) for one, other in zip(told, true, strict=True))


class Referee:
    """Call ``take`` for every line of the subject and ``look`` at intervals; then read the results."""

    def __init__(self, truths: Mapping[str, Truth], began: float) -> None:
        self.tallies = {name: Tally() for name in truths}
        self.breaches: list[str] = []
        self.breach_counts: Counter[str] = Counter()
        self.events: Counter[str] = Counter()
        self.stale_delays: list[float] = []
        self.silences = Silences(truths, began, self.breach)
        self.refused = 0  # calls of require_fresh that raised
        self.close_delays: list[float] = []  # seconds from a candle's end until it was delivered as closed
        self.switch_times: list[
            float
        ] = []  # seconds from a failover to the first tick of the new venue, if that venue worked
        self.unclosed_candles: list[str] = []
        self.defects: list[str] = []
        self.active = ""
        self.priced: set[str] = set()  # coins that had a price
        self._truths = truths
        self._began = began
        self._unix = time.time() - time.monotonic()  # Unix seconds minus monotonic seconds
        self.prices = Prices(truths, self.tallies, self._unix, self.breach)
        self._books: dict[tuple[str, str, str], Book] = {}
        self._gaps: dict[tuple[str, str], deque[Gap]] = {}  # venue and coin -> open gaps, and gaps that ended last
        self._carrier: dict[str, tuple[str, str, int]] = {}  # coin -> venue, market and time of its last trade
        self._heard = began  # when the last data came, even if it was old
        self._read_at = began  # when the newest trade was received; this trade may have waited for a gap since then
        self._stale_told = False
        self._switched: tuple[float, str, bool] | None = None
        self._closed: dict[str, deque[int]] = {}

    def breach(self, kind: str, at: float, what: str) -> None:
        self.breach_counts[kind] += 1
        if self.breach_counts[kind] <= BREACHES_KEPT:
            self.breaches.append(f"{at - self._began:8.1f} s  {kind}: {what}")

    def take(self, line: list[Any]) -> None:
        """Take one line of the subject."""
        kind, at, *fields = line
        if kind in ("trade", "filled"):
            self._trade(at, kind == "filled", *fields)
        elif kind == "price":
            self._price(at, *fields)
        elif kind == "candle":
            self._candle(at, *fields)
        elif kind == "fresh":
            self.prices.fresh(at, *fields)
        elif kind == "refused":
            self.refused += fields[0]
        elif kind == "stall":
            self.silences.stall(fields[0], at)
        elif kind == "status":
            self._status(at, *fields)
        elif kind == "defect":
            self.defects.append(": ".join(fields))
            self.breach("defect", at, ": ".join(fields))

    # -- trades -------------------------------------------------------------------------------------------------

    def _trade(
        self, at: float, filled: bool, waited: float, coin: str, venue: str, trade_id: str, price: float,
        quantity: float, maker: bool, timestamp: int, market: str,
    ) -> None:  # fmt: skip
        if not filled and self._is_the_feeds(venue):
            self._data(at, timestamp)
            if self._now_ms(at - waited) - timestamp < SIGN_OF_LIFE * 1000:
                self._read_at = max(self._read_at, at - waited)
        tally, number = self.tallies[venue], int(trade_id)
        tally.trades += 1
        tally.filled += filled
        truth = self._truths[venue]
        true = truth.trade(coin, number)
        altered = None if filled else truth.sent_as(coin, number)
        if altered is not None and (true is None or timestamp == altered.timestamp):
            if altered.id != number or true is None:
                return  # the id in the stream was wrong: the trade is good, but its place in the order is unknown
            true = altered
        if true is None:
            what = truth.mistaken(coin, number)
            self.breach("unknown trade", at, f"{coin} {number} on {venue}{f': {what}' if what else ''}")
        elif true.block:
            self.breach("off-book trade", at, f"{coin} {number} on {venue}")
        elif not _same((true.price, true.quantity), (price, quantity)) or (true.buyer_maker, true.timestamp) != (
            maker, timestamp
        ):  # fmt: skip
            tally.changed += 1
            self.breach("changed trade", at, f"{coin} {number} on {venue}: {true} but {price, quantity, maker}")
        book = self._books.setdefault((venue, coin, market), Book())
        before = self._carrier.get(coin)
        if before is None or before[:2] != (venue, market):
            self._settle(at, venue, coin, book, leaving=True)
            book.first, book.last = number, None
            if before is not None:
                self._taken_over(at, venue, coin, book, before[2])
        if timestamp < self._now_ms(at) + FAR_AHEAD:
            self._carrier[coin] = (venue, market, timestamp)
        expected = None if book.last is None else book.last + 1
        if number <= (book.highest if expected is None else expected - 1):
            self._again(at, venue, coin, book, number)
            return
        if expected is not None and number > expected:
            self._passed_over(at, venue, coin, book, expected, number - 1)
        book.last = book.highest = number

    def _again(self, at: float, venue: str, coin: str, book: Book, number: int) -> None:
        if self._truths[venue].leapt(coin, number):
            return
        for hole in book.holes:
            if hole.first <= number <= hole.last:
                book.holes.remove(hole)
                parts = (Hole(hole.first, number - 1, hole.seen_at), Hole(number + 1, hole.last, hole.seen_at))
                book.holes += [part for part in parts if part.first <= part.last]
                break
        else:
            if not any(first <= number <= last for first, last in book.passed):
                self.tallies[venue].doubled += 1
                self.breach("doubled", at, f"{coin} {number} on {venue}, the last was {book.last or book.highest}")
                return
        self.tallies[venue].disordered += 1
        self.breach("out of order", at, f"{coin} {number} on {venue}, the last was {book.last}")

    def _taken_over(self, at: float, venue: str, coin: str, book: Book, since: int) -> None:
        """Check that this venue's trades since the previous venue's last trade were delivered or reported as
        missing."""
        missing = self._before_first(venue, coin, book, since)
        gaps = self._gaps_of(venue, coin)
        told = bool(gaps) and gaps[-1].details.get("fetched") is False and "from_ts" in gaps[-1].details
        known = told or any(gap.complete is None and "from_ts" in gap.details for gap in gaps)
        if missing and told:
            self.tallies[venue].told += missing
        if missing and not known:
            self.tallies[venue].lost += missing
            self.breach(
                "lost", at, f"{missing} of {coin} on {venue} before {book.first}: no gap told when it took over"
            )

    def _before_first(self, venue: str, coin: str, book: Book, since: int) -> int:
        """How many trades were made on the market after ``since`` (Unix ms) and before this period's first trade."""
        assert book.first is not None
        return self._truths[venue].before(coin, book.first, since)

    def _passed_over(self, at: float, venue: str, coin: str, book: Book, first: int, last: int) -> None:
        """Handle trades from ``first`` to ``last`` that were left out: in a reported gap, or lost."""
        hole = Hole(first, last, at)
        timestamps = [trade.timestamp for trade in self._truths[venue].between(coin, first, last)]
        if not timestamps:
            return  # no trade has these ids
        stamps = (timestamps[0], timestamps[-1])
        reported = [
            gap for gap in self._gaps_of(venue, coin)
            if gap.complete is not True and gap.holds(first, stamps[0]) and gap.holds(last, stamps[1])
        ]  # fmt: skip
        if any(gap.details.get("fetched") is False for gap in reported):
            self.tallies[venue].told += len(timestamps)
            book.passed.append((first, last))
        elif reported:
            book.holes.append(hole)
        else:
            gaps = list(self._gaps_of(venue, coin))[-5:]
            self._lost(at, venue, coin, book, hole, f"no gap was reported; the last ones are {gaps}")

    def _lost(self, at: float, venue: str, coin: str, book: Book, hole: Hole, why: str) -> None:
        count = len(list(self._truths[venue].between(coin, hole.first, hole.last)))
        self.tallies[venue].lost += count
        book.passed.append((hole.first, hole.last))
        self.breach("lost", at, f"{count} of {coin} on {venue}, {hole.first} to {hole.last}: {why}")

    def _book(self, venue: str, coin: str) -> Book:
        """The coin's trades on the venue; if there are several markets, the trades of the market with the newest
        trade."""
        carrier = self._carrier.get(coin)
        if carrier is not None and carrier[0] == venue:
            return self._books[venue, coin, carrier[1]]
        books = [book for (where, what, _), book in self._books.items() if (where, what) == (venue, coin)]
        return books[-1] if books else self._books.setdefault((venue, coin, f"{coin}/USDT"), Book())

    def _gaps_of(self, venue: str, coin: str) -> deque[Gap]:
        return self._gaps.setdefault((venue, coin), deque())

    def _gap(self, at: float, venue: str, details: Mapping[str, Any]) -> None:
        gaps = self._gaps_of(venue, details["coin"])
        gaps.append(Gap(details, None if details.get("fetched", True) else False))
        if len(gaps) > 500:
            gaps.popleft()

    def _gap_filled(self, at: float, venue: str, details: Mapping[str, Any]) -> None:
        coin, complete = details["coin"], details["complete"]
        book, gaps = self._book(venue, coin), self._gaps_of(venue, coin)
        gap = next((gap for gap in gaps if gap.complete is None), None)
        if gap is None:
            self.breach("lie", at, f"a gap of {coin} on {venue} ended that had not begun: {details}")
            return
        gap.complete = complete
        if gap.details.get("from_id") is None and book.first is not None:
            missing = self._before_first(venue, coin, book, gap.details["from_ts"])
            if complete:
                self.tallies[venue].lost += missing
                if missing:
                    self.breach("lost", at, f"{missing} of {coin} on {venue} before {book.first}: told to be complete")
            else:
                self.tallies[venue].told += missing
        truth = self._truths[venue]
        for hole in list(book.holes):
            trades = list(truth.between(coin, hole.first, hole.last))
            inside = [trade for trade in trades if gap.holds(trade.id, trade.timestamp)]
            if not inside:
                continue
            book.holes.remove(hole)
            if complete:
                self._lost(at, venue, coin, book, hole, f"the gap was told to be complete: {gap.details}")
            else:
                self.tallies[venue].told += len(trades)
                book.passed.append((hole.first, hole.last))
        while len(gaps) > 50 and gaps[0].complete is not None:
            gaps.popleft()

    def _settle(self, at: float, venue: str, coin: str, book: Book, *, leaving: bool) -> None:
        """Count trades as lost if their gap was never reported to be incomplete."""
        for hole in list(book.holes):
            if leaving or at - hole.seen_at > 5:
                book.holes.remove(hole)
                self._lost(at, venue, coin, book, hole, "its gap was never ended")

    # -- candles ----------------------------------------------------------------------------------------

    def _price(self, at: float, coin: str, venue: str, price: float, timestamp: int, *rest: Any) -> None:
        self.priced.add(coin)
        if self._is_the_feeds(venue):
            self._data(at, timestamp)
        if self._switched is not None and venue == self._switched[1]:
            since, _, well = self._switched
            self._switched = None
            if well and self._truths[venue].well_since is not None:
                self.switch_times.append(at - since)
        self.prices.price(at, coin, venue, price, timestamp, *rest, active=self.active)

    def _candle(self, at: float, coin: str, venue: str, opened: int, *values: float) -> None:
        tally = self.tallies[venue]
        tally.candles += 1
        self.close_delays.append(self._now_ms(at) / 1000 - (opened + MINUTE) / 1000)
        closed = self._closed.setdefault(coin, deque(maxlen=600))
        if opened in closed:
            self.breach("candle closed twice", at, f"{coin} {opened} on {venue}")
        closed.append(opened)
        true = self._truths[venue].candles(coin, opened)
        if not any(_same(values, each) for each in true):
            tally.wrong_candles += 1
            self.breach("wrong candle", at, f"{coin} {opened} on {venue}: {values}, true is {true}")

    # -- time ---------------------------------------------------------------------------------------------------

    def _now_ms(self, at: float) -> float:
        return (at + self._unix) * 1000

    def _is_the_feeds(self, venue: str) -> bool:
        """Whether data of this venue counts as data of the feed; data of fallback coins from other venues does not."""
        return self.active in (venue, "")

    def _data(self, at: float, timestamp: int) -> None:
        """Take data with the venue's ``timestamp`` (Unix ms); it ends a silence if it is up to date."""
        self._heard = at
        self._stale_told = False
        if self._now_ms(at) - timestamp <= UP_TO_DATE * 1000:
            self.silences.data(at)

    def look(self, now: float) -> None:
        """Judge holes that have been open for 5 s, and silences that are over; ``now`` in monotonic seconds."""
        for (venue, coin, _), book in self._books.items():
            if book.holes:
                self._settle(now, venue, coin, book, leaving=False)
        self.silences.look(now)

    def _status(self, at: float, event: str, details: dict[str, Any]) -> None:
        self.events[event] += 1
        venue = details["exchange"]
        carries = event == "connected" and "coins" not in details  # with ``coins`` the event concerns single coins
        if (event in ("failover", "failback") or carries or not self.active) and venue != self.active:
            self.prices.switched(self.active)
            self.active = venue
        if event == "connecting":
            self.silences.connecting(at)
        if event == "failover":
            self._switched = (at, venue, self._truths[venue].well_since is not None)
            self.silences.left()
        elif event == "failback":
            self.silences.failback(details["from"], venue)
        elif event == "price_mismatch":
            self.prices.mismatch(at, details)
        elif event == "gap":
            self._gap(at, venue, details)
        elif event == "gap_filled":
            self._gap_filled(at, venue, details)
        elif event == "feed_stale":
            seconds = details["seconds"]
            self.stale_delays.append(seconds)
            if not STALE_FROM <= seconds <= STALE_TO:
                self.breach("feed_stale", at, f"after {seconds:.3f} s")
            if at - self._heard > STALE_TO + 1.5 and not self._stale_told:
                self.breach("feed_stale", at, f"came {at - self._heard:.3f} s after the last data")
            if at - self._read_at < STALE_FROM - 0.1:
                self.breach("feed_stale", at, f"came {at - self._read_at:.3f} s after a trade")
            self._stale_told = True

    def unclosed(self, began_ms: int, ended_ms: int) -> list[str]:
        """The candles between the two times (Unix ms) that were never closed, as far back as candles are remembered."""
        missing = []
        for coin, closed in self._closed.items():
            known = set(closed)
            first = min(known) if len(known) == closed.maxlen else began_ms - began_ms % MINUTE + MINUTE
            missing += [f"{coin} {each}" for each in range(first, ended_ms - MINUTE, MINUTE) if each not in known]
        return missing
