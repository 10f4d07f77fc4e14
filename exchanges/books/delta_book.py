"""Builds a book from snapshots and deltas of one stream, as Bybit sends them; keeps as many levels as the venue does.

Each delta's number is one higher than the number of the update before it. A snapshot may come at any time and replaces
the book (Bybit's documentation, "Orderbook"). The venue sends nothing about levels outside of its window of the best
levels, so the book is cut to the window. When a level comes back into the window, the venue sends it again.
"""

from __future__ import annotations

from exchanges.books.order_book import LocalBook
from exchanges.books.proof import FOLLOWS, JOINED, REPEATED, WAITING, BookSnapshot, BookUpdate, Verdict, lost


class DeltaBook:
    """One market's book; the venue keeps the best ``window`` levels of each side."""

    def __init__(self, window: int) -> None:
        self.levels = LocalBook()
        self.sequence: int | None = None
        self.timestamp = 0
        self.received_at = 0  # local Unix ns at which the last update was read
        self._window = window
        self._cross: int | None = None
        self.proven = False  # True when a snapshot and all deltas after it have come

    def forget(self) -> None:
        """Mark the book as not proven until the next snapshot."""
        self.proven = False
        self._cross = None

    def wants_snapshot(self) -> int:
        """Always 0: the snapshots come in the stream, not over REST."""
        return 0

    def join(self, snapshot: BookSnapshot) -> Verdict:
        """Never called: no snapshot is requested."""
        raise NotImplementedError("this book gets its snapshots from the stream")

    def apply(self, update: BookUpdate) -> Verdict:
        """Take a snapshot or a delta. Returns ``LOST`` if a delta before it is missing: the book needs a snapshot."""
        if update.snapshot:
            return self._begin(update)
        if not self.proven or self.sequence is None:
            return WAITING
        if update.last != self.sequence + 1:
            newer = update.cross is not None and self._cross is not None and update.cross > self._cross
            if update.last <= self.sequence and not newer:
                return REPEATED
            known = self.sequence
            self.forget()
            return lost(f"an update is missing: after {known} came {update.last}")
        self.levels.apply(update.bids, update.asks)
        self.levels.drop_beyond(self._window)
        self._take(update)
        return FOLLOWS

    def _begin(self, update: BookUpdate) -> Verdict:
        old = self.proven and self.sequence is not None and update.last < self.sequence
        newer = update.cross is None or self._cross is None or update.cross > self._cross
        if old and not newer:
            return REPEATED
        self.levels.replace(update.bids, update.asks, whole=(True, True))
        self.levels.drop_beyond(self._window)
        self._take(update)
        self.proven = True
        return JOINED

    def _take(self, update: BookUpdate) -> None:
        self.sequence, self.timestamp, self._cross = update.last, update.timestamp, update.cross
        self.received_at = update.received_at
