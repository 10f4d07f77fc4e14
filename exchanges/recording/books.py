"""Turns order books into rows and back: a snapshot every minute, and in between the changes since the last row."""

from __future__ import annotations

from collections.abc import Sequence

from exchanges.events import OrderBook
from exchanges.recording.rows import BookRow

SNAPSHOT_EVERY = 60 * 10**9  # ns: a replay that begins between two snapshots has its books at most this much later

Levels = Sequence[tuple[float, float]]
_Sides = tuple[list[tuple[float, float]], list[tuple[float, float]]]


class BookEncoder:
    """Turns each book into a row, a snapshot or its changes; ``BookDecoder`` makes the same book from that row."""

    def __init__(self) -> None:
        # (exchange, coin) -> the last book, and when its last snapshot was received
        self._last: dict[tuple[str, str], tuple[_Sides, int]] = {}

    def encode(self, book: OrderBook) -> BookRow:
        """The row of a book."""
        key = book.exchange, book.coin
        known = self._last.get(key)
        bids, asks = list(book.bids), list(book.asks)
        changes: _Sides | None = None
        if known is not None and 0 <= book.received_at - known[1] < SNAPSHOT_EVERY:
            (old_bids, old_asks), _ = known
            changes = _changes(old_bids, bids), _changes(old_asks, asks)
            whole = _applied(old_bids, changes[0], True), _applied(old_asks, changes[1], False)
            if whole != (bids, asks):  # the levels are not in order, or have a price twice
                changes = None
        self._last[key] = (bids, asks), (book.received_at if changes is None or known is None else known[1])
        rows = (bids, asks) if changes is None else changes
        return BookRow(
            book.coin, book.timestamp, book.exchange, book.received_at, book.sequence, book.market, changes is None,
            [price for price, _ in rows[0]], [size for _, size in rows[0]],
            [price for price, _ in rows[1]], [size for _, size in rows[1]],
        )  # fmt: skip


class BookDecoder:
    """Makes books from rows; rows before the first snapshot of a coin give no book."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, str], _Sides] = {}

    def decode(self, row: BookRow) -> OrderBook | None:
        """The book from which the row was made."""
        key = row.exchange, row.coin
        bids = list(zip(row.bid_prices, row.bid_sizes, strict=True))
        asks = list(zip(row.ask_prices, row.ask_sizes, strict=True))
        if not row.snapshot:
            known = self._last.get(key)
            if known is None:
                return None
            bids, asks = _applied(known[0], bids, True), _applied(known[1], asks, False)
        self._last[key] = bids, asks
        return OrderBook(
            row.coin, list(bids), list(asks), row.timestamp, row.exchange, row.received_at, row.sequence, row.market
        )


def _changes(old: Levels, new: Levels) -> list[tuple[float, float]]:
    before, after = dict(old), dict(new)
    changed = [(price, size) for price, size in after.items() if before.get(price) != size]
    return changed + [(price, 0.0) for price in before if price not in after]


def _applied(old: Levels, changes: Levels, best_is_highest: bool) -> list[tuple[float, float]]:
    levels = dict(old)
    for price, size in changes:
        if size:
            levels[price] = size
        else:
            levels.pop(price, None)
    return sorted(levels.items(), reverse=best_is_highest)
