"""Decides whether ccxt's book is right, by the venue's proof and by plausibility; delivers the book while it is right.

The sides of ccxt's books grow without a bound if nobody calls their ``limit()``, and keep levels outside of the
snapshot's range although the venue has removed them. So only levels inside the range that the book had when it was
joined are used, and levels far outside are dropped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from math import inf
from typing import Any

from exchanges.books.order_book import KEPT_LEVELS, MOST_LEVELS, Level
from exchanges.books.plausibility import fault_in
from exchanges.books.proof import BookRules, FrameProof, ProofKind, Step, Verdict
from exchanges.ccxt_adapter.books.delivery import BookDelivery

HEALS_AFTER = 5.0  # seconds: if a book of whole messages was right for this long, its next message may correct it
AGREED_WITHIN = 2.0  # seconds in which ccxt's book must reach the number of the frames, if it has numbers


@dataclass(slots=True, eq=False)
class _Judged:
    """What is known about ccxt's book of one market."""

    joined: bool  # True after a frame that joins the book to its snapshot, or if no proof is needed
    verdict: Verdict | None = None  # the last good verdict
    lost: bool = False  # True until the book is subscribed to again
    low: float = 0.0  # the proven range's worst bid, set with the first state after a join
    high: float = inf  # the proven range's worst ask
    enough: int = 0  # levels of each side that must be left in the proven range
    fetched: tuple[float, float] | None = None  # the worst bid and ask of a snapshot from REST
    ready: bool = False
    apart: float | None = None  # when ccxt's book and the frames began to have different numbers, loop's time


class VerifiedBookKeeper:
    """Verifies the books that ccxt builds on one connection.

    ``renew`` subscribes to a symbol again, ``drop`` drops ccxt's book.
    """

    def __init__(
        self, rules: BookRules, delivery: BookDelivery, renew: Callable[[str], None], drop: Callable[[str], Any]
    ) -> None:
        self._rules = rules
        self._window = rules.window or rules.kind is ProofKind.SNAPSHOTS
        self._proofs: list[FrameProof] = []  # one proof for each socket
        self._delivery = delivery
        self._renew = renew
        self._drop = drop
        self._ids: dict[str, str] = {}  # each name that the venue or ccxt has for a market -> its symbol
        self._books: dict[str, _Judged] = {}
        self._lost_at: dict[str, float] = {}  # symbol -> when its book was found to be wrong, loop's time
        delivery.on_lost = self._on_lost

    def add(self, ids: Mapping[str, str]) -> None:
        """Carry these markets (market id or other name -> symbol) too."""
        self._ids |= ids
        for symbol in ids.values():
            self._books[symbol] = self._new()

    def new_socket(self) -> Callable[[Any, str], bool]:
        """Return the function that gets each frame of a new socket, decoded and as text, and says whether ccxt must
        read it.

        The function may raise any error on a frame that the venue's proof does not expect.
        """
        if self._rules.proof is None:
            return lambda frame, text: True
        self._proofs.append(proof := self._rules.proof())
        return partial(self._on_frame, proof, set())

    def _on_frame(self, proof: FrameProof, carried: set[str], frame: Any, text: str) -> bool:
        if self._delivery.ended:
            return True
        try:
            verdicts = list(proof.judge(frame, text))
        except Exception:
            self._judge(self._books, Verdict(Step.LOST, "a frame could not be read"))
            raise
        wanted = not verdicts
        for market_id, verdict in verdicts:
            if market_id:
                symbols = {self._ids[market_id]} if market_id in self._ids else set()
                carried |= symbols
            else:
                symbols = carried
            self._judge(symbols, verdict)
            # ccxt would apply a repeated change again, and each of its modules handles a missing change in another
            # way; some modules cannot read a change of a book that they do not have yet
            needless = verdict.step in (Step.REPEATED, Step.EARLY)
            wanted = wanted or (not needless and not all(self._books[symbol].lost for symbol in symbols))
            wanted = wanted or (bool(market_id) and not symbols)
        return wanted

    def on_snapshot(self, name: str, book: Any) -> None:
        """Note a book that ccxt has fetched over REST and will join with the frames."""
        judged = self._books.get(self._ids.get(name, name))
        if judged is not None:
            judged.fetched = self._worst(book["bids"], 0.0), self._worst(book["asks"], inf)

    def _worst(self, side: Any, whole: float) -> float:
        """The worst price to which a fetched side has all levels; ``whole`` if it has all levels of the venue."""
        return whole if len(side) < max(self._rules.fetched, 1) else float(side[-1][0])

    def on_book(self, name: str, book: Any, received_at: int) -> None:
        """Judge a book after ccxt has updated it."""
        symbol = self._ids.get(name, name)
        judged = self._books.get(symbol)
        if judged is None or judged.lost or not judged.joined or self._delivery.ended:
            return
        bids, asks, depth = book["bids"], book["asks"], self._delivery.depth
        if not self._agrees(symbol, judged, book) or not (bids or asks):
            return
        if not judged.ready:
            self._begin(judged, bids, asks, depth)
        judged.low = max(judged.low, _pruned(bids))
        judged.high = min(judged.high, _pruned(asks) or inf)
        own_bids = [level for level in _top(bids, depth) if level[0] >= judged.low]
        own_asks = [level for level in _top(asks, depth) if level[0] <= judged.high]
        fault = fault_in(own_bids, own_asks) or self._differs(judged, own_bids, own_asks)
        if not fault and min(len(own_bids), len(own_asks)) < judged.enough:
            fault = "the price is about to leave the range that the snapshot proves"
        if fault:
            self._delivery.doubt(symbol, fault)
            return
        sequence = judged.verdict.sequence if judged.verdict is not None else None
        number = book.get("nonce") if sequence is None or self._rules.nonce else sequence
        stamp, per_ms = int(book.get("timestamp") or 0), self._rules.numbers_per_ms
        if per_ms and type(number) is int:
            stamp = number // per_ms
        self._delivery.tell(
            symbol, own_bids, own_asks, stamp, received_at, number if type(number) is int else None
        )  # fmt: skip

    def restarted(self, symbol: str) -> None:
        """Call this when the symbol is subscribed to again: the next frames may begin a new book."""
        self._books[symbol] = self._new()
        for market_id in [each for each, known in self._ids.items() if known == symbol]:
            for proof in self._proofs:
                proof.forget(market_id)

    def lose(self, symbol: str, reason: str) -> None:
        """Mark the book as wrong: ccxt or the feed has found a fault in it."""
        judged = self._books.get(symbol)
        if judged is not None and not judged.lost:
            self._delivery.doubt(symbol, reason)

    def dropped(self, symbol: str, reason: str) -> None:
        """Call this when ccxt has dropped the book and subscribes to it again by itself."""
        if symbol in self._books:
            self._delivery.lose(symbol, reason)
            self.restarted(symbol)

    def _new(self) -> _Judged:
        return _Judged(joined=self._rules.proof is None)

    def _begin(self, judged: _Judged, bids: Any, asks: Any, depth: int) -> None:
        judged.ready = True
        if self._window:
            return
        if judged.fetched is not None:  # the snapshot's range, not the book's: changes may already lie outside of it
            judged.low, judged.high = judged.fetched
        else:
            judged.low = bids[-1][0] if bids else inf
            judged.high = asks[-1][0] if asks else 0.0
        if min(len(bids), len(asks)) >= depth:
            judged.enough = (depth + 1) // 2

    def _judge(self, symbols: Iterable[str], verdict: Verdict) -> None:
        for symbol in list(symbols):
            judged = self._books[symbol]
            if verdict.step is Step.JOINED:
                self._books[symbol] = _Judged(True, verdict)
                if self._rules.merges:
                    self._drop(symbol)
            elif verdict.step is Step.FOLLOWS:
                judged.verdict = verdict
            elif verdict.step is Step.LOST and not judged.lost:
                self._delivery.doubt(symbol, verdict.reason)

    def _on_lost(self, symbol: str) -> None:
        now = asyncio.get_running_loop().time()
        before, self._lost_at[symbol] = self._lost_at.get(symbol, -HEALS_AFTER), now
        if self._rules.kind is ProofKind.SNAPSHOTS and now - before >= HEALS_AFTER:
            self._books[symbol] = self._new()  # the next message is a whole book; other coins are not affected
            return
        self._books[symbol].lost = True
        self._renew(symbol)

    def _agrees(self, symbol: str, judged: _Judged, book: Any) -> bool:
        """Whether ccxt's book has reached the state of the frames, if its number shows that.

        A snapshot from REST may be ahead of the frames: ccxt skips the updates that the snapshot has already.
        """
        due = None if judged.verdict is None else judged.verdict.sequence
        number = book.get("nonce")
        ahead = judged.fetched is not None and due is not None and number is not None and number > due
        if not self._rules.nonce or due is None or number == due or ahead:
            judged.apart = None
            return True
        now = asyncio.get_running_loop().time()
        if judged.apart is None:
            judged.apart = now
        elif now - judged.apart > AGREED_WITHIN:
            self._delivery.doubt(symbol, f"it is at {number}, while the frames are at {due}")
        return False

    def _differs(self, judged: _Judged, bids: Sequence[Level], asks: Sequence[Level]) -> str:
        """The difference from the best bid or ask of a book that the proof itself keeps; "" if there is none."""
        best = None if judged.verdict is None else judged.verdict.best
        here = bids[0][0] if bids else None, asks[0][0] if asks else None
        if best is None or here == best:
            return ""
        return f"its best bid and ask are {here[0]} and {here[1]}, but the venue's are {best[0]} and {best[1]}"


def _top(side: Any, depth: int) -> list[Level]:
    """The best levels of a side of ccxt's book. Its rows begin with price and size; rows of one price are added up."""
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
    """Drop levels far outside of the range; returns the worst price that is left, 0.0 if nothing was dropped."""
    if len(side) <= MOST_LEVELS:
        return 0.0
    for _ in range(len(side) - KEPT_LEVELS):
        side.remove_index(side.pop())
        side._index.pop()
    return float(side[-1][0])
