"""Builds a book from REST snapshots and diffs, as on Binance; decides when it needs a snapshot, and of how many levels.

The rules are those of Binance's documentation ("How to manage a local order book"). ``number`` is the number of the
snapshot's state.

Spot: each diff's ``first`` is the ``last`` of the diff before it, plus 1; the first diff after a snapshot has
first <= number + 1 <= last. Perpetuals: each diff's ``previous`` is the ``last`` of the diff before it; the first diff
after a snapshot has first <= number <= last.

A snapshot has only the best levels, and the venue sends no diff for a level that does not change. So the book keeps
the levels inside the snapshot's range, and needs a new snapshot before too little of the range is left. The old book
continues until the new snapshot has joined; then the two are compared. If the price leaves the range before that, the
book is unproven until the price is back or a new snapshot has come. A proven book is also compared with a snapshot from
time to time, and at once when its diffs have changed only one side for a while: the venue may have stopped sending the
other side.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from math import inf

from exchanges.books.order_book import LocalBook
from exchanges.books.proof import FOLLOWS, JOINED, REPEATED, WAITING, BookSnapshot, BookUpdate, Verdict, lost

AWAITING = 15_000_000_000  # ns for which diffs are kept while a snapshot is awaited
MOST_AWAITING = 20_000  # the most diffs that are kept meanwhile: with a wrong local clock, AWAITING may never pass
KEPT = 32  # the number of a proven book's last diffs that are kept, because a snapshot may be some seconds old
BACKWARDS = 1_000  # ms: if a diff with an old number is this much newer by its time, the numbers have restarted
FIRST = 4.0  # a first snapshot has at least so many times the wanted number of levels
WIDE = 50  # a snapshot that renews the first one has at least so many times the wanted number of levels
SPARE = 2  # if a side has fewer levels than this many times the wanted depth, a new snapshot is requested
CHECKED_EVERY = 60_000  # ms after which a book is compared with a snapshot again
ONE_SIDED = 5  # diffs in a row that changed only the same side, after which the book is compared with a snapshot
SOON = 60_000  # ms: if too few levels of a snapshot are left sooner than this, the next snapshot has more levels


class DiffBook:
    """One market's book; ``depth`` levels are wanted, ``limits`` are the allowed sizes of a snapshot.

    A first snapshot has at least ``first`` times as many levels as are wanted.
    """

    def __init__(self, depth: int, limits: Sequence[int], first: float = FIRST) -> None:
        self.levels = LocalBook()
        self._depth = depth
        self.sequence: int | None = None
        self.timestamp = 0
        self.received_at = 0  # local Unix ns at which the last diff was read
        self._limits = sorted(limits)
        self._small = self._enough(first * depth)  # levels of a small snapshot, so that many books are proven soon
        self._first = self._small  # levels of an unproven book's next snapshot; grows if the price leaves a range
        self._wide = self._enough(WIDE * depth)
        self._limit = 0  # levels of the last snapshot that joined
        self._diffs: deque[BookUpdate] = deque(maxlen=MOST_AWAITING)
        self._snapshot: BookSnapshot | None = None  # a snapshot that is newer than all diffs so far
        self._joined = False
        self._outside = False  # the price is outside of the proven range; the levels inside the range are still known
        self._joined_at = 0  # the venue's time at which the last snapshot joined
        self._checked_at = 0  # the venue's time at which a snapshot was last compared with the book, or joined
        self._only_bids = self._only_asks = 0  # diffs in a row that changed only this side
        self._one_sided = ONE_SIDED  # after this many in a row the book is compared; rises if the book was correct

    @property
    def proven(self) -> bool:
        """Whether snapshot and diffs prove the book."""
        return self._joined and not self._outside

    def forget(self) -> None:
        """Mark the book as not proven, and drop the diffs so far."""
        self._joined = False
        self._snapshot = None
        self._diffs.clear()
        self._only_bids = self._only_asks = 0

    def wants_snapshot(self) -> int:
        """How many levels the next snapshot must have; 0 if none is needed now.

        No snapshot is requested before the first diff has come: there would be no diff to join it to.
        """
        if not self._diffs or self._snapshot is not None:
            return 0
        if self._outside or not self._joined:
            return self._first
        if max(self._only_bids, self._only_asks) >= self._one_sided:
            return self._first
        left = self.levels.levels_left()
        if self._limit < self._wide and left < inf:
            return self._wide
        if left >= min(SPARE * self._depth, self._limit // 2):
            return self._first if self.timestamp - self._checked_at >= CHECKED_EVERY else 0
        return self._enough(self._limit + 1 if self.timestamp - self._joined_at < SOON else self._limit)

    def apply(self, update: BookUpdate) -> Verdict:
        """Take a diff. Returns ``LOST`` if a diff before it is missing, or the price has left the proven range."""
        before = self._diffs[-1] if self._diffs else None
        if before is not None and not _follows(before, update):
            if update.last <= before.last and update.timestamp < before.timestamp + BACKWARDS:
                return REPEATED
            self.forget()
            self._diffs.append(update)
            return lost(f"an update is missing: after {before.last} came {_numbers(update)}")
        self._diffs.append(update)
        if self._joined:
            self.levels.apply(update.bids, update.asks)
            self.sequence, self.timestamp, self.received_at = update.last, update.timestamp, update.received_at
            self._only_bids = 0 if update.asks else self._only_bids + 1
            self._only_asks = 0 if update.bids else self._only_asks + 1
            while len(self._diffs) > KEPT:
                self._diffs.popleft()
        else:
            while update.received_at - self._diffs[0].received_at > AWAITING:
                self._diffs.popleft()
        if self._snapshot is not None and (verdict := self._join(self._snapshot)) is not None:
            return verdict
        return self._followed() if self._joined else WAITING

    def join(self, snapshot: BookSnapshot) -> Verdict:
        """Take a snapshot. Returns ``WAITING`` if only a later diff can join it, or if another snapshot is needed."""
        verdict = self._join(snapshot)
        if verdict is not None:
            return verdict
        return FOLLOWS if self.proven else WAITING

    def _join(self, snapshot: BookSnapshot) -> Verdict | None:
        """The verdict after a snapshot; None if the snapshot does not join now."""
        self._snapshot = None
        number = snapshot.number
        after = [diff for diff in self._diffs if not _is_before(diff, number)]
        if not after and (not self._diffs or self._diffs[-1].last < number):
            self._snapshot = snapshot  # the snapshot is newer than all diffs so far
            return None
        if after and not _joins(after[0], number):
            return None  # the snapshot is too old
        book = LocalBook()
        limit = snapshot.limit
        known = min(len(snapshot.bids), len(snapshot.asks))
        book.replace(snapshot.bids, snapshot.asks, whole=(len(snapshot.bids) < limit, len(snapshot.asks) < limit))
        for diff in after:
            book.apply(diff.bids, diff.asks)
        if self._joined and (difference := self.levels.difference(book)):
            self.forget()
            return lost(f"it differs from a new snapshot at {number}: {difference}")
        newest = self._diffs[-1]
        self._checked_at = newest.timestamp
        self._one_sided = max(self._one_sided, 2 * self._only_bids, 2 * self._only_asks)
        if self.proven and limit < self._limit:
            return None  # the snapshot was requested only for a comparison
        if limit >= self._wide:
            self._first = self._small
        self.levels = book
        self.sequence, self.timestamp, self._joined_at = newest.last, newest.timestamp, newest.timestamp
        self._limit, self.received_at = max(limit, known), newest.received_at
        self._joined, self._outside = True, book.is_outside
        if self._outside:
            self._enlarge_first()
            return WAITING
        return JOINED

    def _followed(self) -> Verdict:
        """The verdict on a diff that follows the last one; the price may have left the range, or come back into it."""
        levels, was = self.levels, self._outside
        if not was and len(levels.bids) and len(levels.asks):
            return FOLLOWS
        self._outside = levels.is_outside
        if self._outside and not was:
            self._enlarge_first()
            return lost("the price left the range that the snapshot proves")
        if self._outside:
            return WAITING
        return JOINED if was else FOLLOWS

    def _enlarge_first(self) -> None:
        """Make later snapshots of the unproven book larger: the price has left the range of the last one."""
        self._first = min(self._enough(self._first + 1), self._wide)

    def _enough(self, levels: float) -> int:
        return next((limit for limit in self._limits if limit >= levels), self._limits[-1])


def _numbers(update: BookUpdate) -> str:
    follows = "" if update.previous is None else f", which follows {update.previous}"
    return f"{update.first} to {update.last}{follows}"


def _follows(before: BookUpdate, update: BookUpdate) -> bool:
    if update.previous is not None:
        return update.previous == before.last
    return update.first == before.last + 1


def _is_before(diff: BookUpdate, number: int) -> bool:
    """Whether a snapshot with this number makes a diff needless: it has all changes of the diff."""
    return diff.last < number if diff.previous is not None else diff.last <= number


def _joins(diff: BookUpdate, number: int) -> bool:
    first = inf if diff.first is None else diff.first
    if diff.previous is not None:
        return first <= number <= diff.last or diff.previous == number
    return first <= number + 1 <= diff.last
