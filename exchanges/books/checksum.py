"""Verifies the checksums that some venues send for order books; keeps the levels' numbers as the venue wrote them.

A checksum is computed from texts: 0.10 and 0.1 give different checksums. So these books keep the frames' texts. ccxt's
books have floats; only their best prices are compared with these books.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Any
from zlib import crc32

from exchanges.books.proof import EARLY, REPEATED, Step, Verdict, lost
from exchanges.books.sorted_levels import SortedLevels

Texts = tuple[str, str]
"""Price and size of a level; a size of 0 removes the price."""


class TextSide(SortedLevels[Texts]):
    """The bids (``sign`` 1) or the asks (``sign`` -1), with numbers as the venue wrote them."""

    __slots__ = ()

    def apply(self, levels: Iterable[Texts]) -> None:
        """Set or remove levels."""
        keys, known = self._keys, self._levels
        for level in levels:
            key = float(level[0]) * self._sign
            place = bisect_left(keys, key)
            if place < len(keys) and keys[place] == key:
                del keys[place], known[place]
            if float(level[1]):
                keys.insert(place, key)
                known.insert(place, level)


class TextBook:
    """Both sides of one market's book, with numbers as the venue wrote them."""

    __slots__ = ("asks", "bids")

    def __init__(self) -> None:
        self.bids = TextSide(1)
        self.asks = TextSide(-1)

    @property
    def best(self) -> tuple[float | None, float | None]:
        """The best bid and ask; None for an empty side."""
        return self.bids.best, self.asks.best

    def apply(self, bids: Iterable[Texts], asks: Iterable[Texts], most: int | None = None) -> None:
        """Set or remove levels, and keep the best ``most`` of each side."""
        self.bids.apply(bids)
        self.asks.apply(asks)
        if most is not None:
            self.bids.drop_beyond(most)
            self.asks.drop_beyond(most)


def alternating(bids: Sequence[Texts], asks: Sequence[Texts]) -> str:
    """Price and size of the best bid, the best ask, the second bid, ..., with colons between (Bitget, Bitfinex)."""
    pairs = chain.from_iterable(zip_longest(bids, asks))
    return ":".join(text for level in pairs if level is not None for text in level)


def is_checksum(value: int, payload: str) -> bool:
    """Whether ``value`` is the CRC32 of ``payload``; some venues send it as a signed number."""
    return value & 0xFFFFFFFF == crc32(payload.encode())


@dataclass(frozen=True, slots=True)
class TextUpdate:
    """One frame's update of a market's book; ``snapshot``: the frame has the whole book. ``checksum`` is None if the
    frame has none.

    ``most``: the book keeps only this many levels of each side, because the venue sends nothing about the others; None
    if the book keeps all levels.
    """

    market_id: str
    bids: Sequence[Texts] = ()
    asks: Sequence[Texts] = ()
    snapshot: bool = False
    checksum: int | None = None
    most: int | None = None


@dataclass(eq=False, repr=False)
class ChecksummedBooks:
    """The proof of venues that send a checksum of the best ``levels`` of each side.

    ``read`` gets a frame, decoded and as text, and returns its updates. ``payload`` makes the text for the checksum
    from the best bids and asks.
    """

    read: Callable[[Any, str], Iterable[TextUpdate]]
    payload: Callable[[Sequence[Texts], Sequence[Texts]], str]
    levels: int

    def __post_init__(self) -> None:
        self._books: dict[str, TextBook] = {}  # market id -> its book, while it is proven

    def judge(self, frame: Any, text: str) -> Iterable[tuple[str, Verdict]]:
        """See FrameProof.judge."""
        return [(update.market_id, self._verdict(update)) for update in self.read(frame, text)]

    def forget(self, market_id: str) -> None:
        """See FrameProof.forget."""
        self._books.pop(market_id, None)

    def _verdict(self, update: TextUpdate) -> Verdict:
        book = TextBook() if update.snapshot else self._books.get(update.market_id)
        if book is None:
            return EARLY
        self._books[update.market_id] = book
        book.apply(update.bids, update.asks, update.most)
        if update.checksum is not None:
            payload = self.payload(book.bids.top(self.levels), book.asks.top(self.levels))
            if not is_checksum(update.checksum, payload):
                del self._books[update.market_id]
                return lost("the checksum of the best levels differs from the venue's")
        if update.snapshot:
            return Verdict(Step.JOINED, best=book.best)
        # the frame had a checksum and no changes
        return Verdict(Step.FOLLOWS, best=book.best) if update.bids or update.asks else REPEATED
