"""The books that ccxt builds, delivered while the venue's proof and what holds of every book say that they are right.

ccxt's sides grow without a bound where nobody calls their ``limit()``, and levels that left the range of ccxt's
snapshot would stay as ghosts. So only the levels inside the range that the book had when it was joined are taken, and
what is far beyond is dropped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from math import inf
from typing import Any

from exchanges.books.order_book import KEPT_LEVELS, MOST_LEVELS, Level
from exchanges.books.plausibility import fault_in
from exchanges.books.proof import BookRules, ProofKind, Step, Verdict
from exchanges.ccxt_adapter.books.delivery import BookDelivery

AGREED_WITHIN = 2.0  # seconds for ccxt's book to have the number of the frames, where it has numbers


class _Judged:
    """What is known of one market's book at ccxt."""

    __slots__ = ("apart", "high", "joined", "lost", "low", "ready", "verdict")

    def __init__(self) -> None:
        self.joined = False  # a frame has joined it, or no proof is needed
        self.lost = False  # until it is subscribed to anew
        self.verdict: Verdict | None = None  # the last one that was good
        self.low, self.high = 0.0, inf  # the proven range; set with the first state after a join
        self.ready = False
        self.apart: float | None = None  # since when ccxt's book has another number than the frames, loop's time


class VerifiedBookKeeper:
    """One connection's books of ccxt's. ``renew`` has a symbol subscribed to anew."""

    def __init__(self, rules: BookRules, delivery: BookDelivery, renew: Callable[[str], None]) -> None:
        self._rules = rules
        self._window = rules.window or rules.kind is ProofKind.SNAPSHOTS
        self._proof = None if rules.proof is None else rules.proof()
        self._delivery = delivery
        self._renew = renew
        self._ids: dict[str, str] = {}
        self._books: dict[str, _Judged] = {}
        self._ended = False
        delivery.on_lost = self._on_lost

    def add(self, ids: Mapping[str, str]) -> None:
        """Carry these (market id -> symbol) too."""
        self._ids |= ids
        for symbol in ids.values():
            self._books[symbol] = self._new()

    def end(self, reason: str) -> None:
        """The connection is over."""
        self._ended = True
        self._delivery.end(reason)

    def on_frame(self, frame: Any, text: str) -> None:
        """Judge a frame that ccxt is about to read. Raises whatever a strange one has the venue's proof raise."""
        if self._proof is None or self._ended:
            return
        try:
            verdicts = list(self._proof.judge(frame, text))
        except Exception:
            self._judge("", Verdict(Step.LOST, "a frame could not be read"))
            raise
        for market_id, verdict in verdicts:
            self._judge(market_id, verdict)

    def on_book(self, symbol: str, book: Any, received_at: int) -> None:
        """ccxt has brought a book up to date."""
        judged = self._books.get(symbol)
        if judged is None or judged.lost or not judged.joined or self._ended or not self._agrees(symbol, judged, book):
            return
        bids, asks = book["bids"], book["asks"]
        if not bids and not asks:
            return
        if not judged.ready:
            self._begin(judged, bids, asks)
        judged.low = max(judged.low, _pruned(bids))
        judged.high = min(judged.high, _pruned(asks) or inf)
        depth = self._delivery.depth
        own_bids = [level for level in _top(bids, depth) if level[0] >= judged.low]
        own_asks = [level for level in _top(asks, depth) if level[0] <= judged.high]
        fault = fault_in(own_bids, own_asks) or self._differs(judged, own_bids, own_asks)
        if not fault and not self._rules.window and (not own_bids or not own_asks) and (bids and asks):
            fault = "the price left the range that its snapshot proves"
        if fault:
            self._delivery.doubt(symbol, fault)
            return
        sequence = judged.verdict.sequence if judged.verdict is not None else None
        number = sequence if sequence is not None else book.get("nonce")
        self._delivery.tell(
            symbol, own_bids, own_asks, int(book.get("timestamp") or 0), received_at,
            number if type(number) is int else None,
        )  # fmt: skip

    def restarted(self, symbol: str) -> None:
        """The symbol is being subscribed to anew: the frames from now on may begin a new book."""
        self._books[symbol] = self._new()
        if self._proof is not None:
            for market_id in [each for each, known in self._ids.items() if known == symbol]:
                self._proof.forget(market_id)

    def lose(self, symbol: str, reason: str) -> None:
        """ccxt, or somebody else, has found the book to be wrong."""
        judged = self._books.get(symbol)
        if judged is not None and not judged.lost:
            self._delivery.doubt(symbol, reason)

    def dropped(self, symbol: str, reason: str) -> None:
        """ccxt has dropped the book, and subscribes to it anew by itself."""
        if symbol in self._books:
            self._delivery.lose(symbol, reason)
            self.restarted(symbol)

    def _new(self) -> _Judged:
        judged = _Judged()
        judged.joined = self._proof is None
        return judged

    def _begin(self, judged: _Judged, bids: Any, asks: Any) -> None:
        judged.ready = True
        if not self._window:
            judged.low = bids[-1][0] if bids else inf
            judged.high = asks[-1][0] if asks else 0.0

    def _judge(self, market_id: str, verdict: Verdict) -> None:
        symbols = list(self._books) if not market_id else [self._ids[market_id]] if market_id in self._ids else []
        for symbol in symbols:
            judged = self._books[symbol]
            if verdict.step is Step.JOINED:
                fresh = self._books[symbol] = self._new()
                fresh.joined, fresh.verdict = True, verdict
                fresh.lost = judged.lost and market_id == ""
            elif verdict.step is Step.FOLLOWS:
                judged.verdict = verdict
            elif verdict.step is Step.LOST and not judged.lost:
                self._delivery.doubt(symbol, verdict.reason)

    def _on_lost(self, symbol: str) -> None:
        self._books[symbol].lost = True
        self._renew(symbol)

    def _agrees(self, symbol: str, judged: _Judged, book: Any) -> bool:
        """Whether ccxt's book is in the state that the frames have reached, where its number says that."""
        due = None if judged.verdict is None else judged.verdict.sequence
        if not self._rules.nonce or due is None or book.get("nonce") == due:
            judged.apart = None
            return True
        now = asyncio.get_running_loop().time()
        if judged.apart is None:
            judged.apart = now
        elif now - judged.apart > AGREED_WITHIN:
            self._delivery.doubt(symbol, f"it is at {book.get('nonce')}, while the frames are at {due}")
        return False

    def _differs(self, judged: _Judged, bids: Sequence[Level], asks: Sequence[Level]) -> str:
        """Where a book that the proof keeps itself has another best bid or ask."""
        best = None if judged.verdict is None else judged.verdict.best
        here = bids[0][0] if bids else None, asks[0][0] if asks else None
        if best is None or here == best:
            return ""
        return (
            f"its best bid and ask are {here[0]} and {here[1]}, those of the venue's checksum {best[0]} and {best[1]}"
        )


def _top(side: Any, depth: int) -> list[Level]:
    """The best levels of one of ccxt's sides, whose rows begin with price and size; orders of one price are added."""
    rows = side[:depth]
    levels = [(row[0], row[1]) for row in rows]
    if all(one[0] != other[0] for one, other in pairwise(levels)):
        return levels
    sizes: dict[float, float] = {}
    for row in side:
        if row[0] not in sizes and len(sizes) == depth:
            break
        sizes[row[0]] = sizes.get(row[0], 0.0) + row[1]
    return list(sizes.items())


def _pruned(side: Any) -> float:
    """Drop what is far beyond; the price of the worst level that is left then, 0.0 when nothing was dropped."""
    if len(side) <= MOST_LEVELS:
        return 0.0
    for _ in range(len(side) - KEPT_LEVELS):
        side.remove_index(side.pop())
        side._index.pop()
    return float(side[-1][0])
