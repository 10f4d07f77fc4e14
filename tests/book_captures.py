"""Replays captured frames of Binance's depth into our own books, and compares these with the captured book tickers.

    python -m tests.book_captures FILE ...

A line of a capture is ``<local Unix ns> <frame as received>``; one frame is a REST snapshot. The frames go through the
same code as the frames of a live stream: the fast decoder, and the book that joins the snapshot and the diffs.
A book ticker has an update id, so its best bid and ask must be equal to those of the book at the same update id.
"""

from __future__ import annotations

import gzip
import sys
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from msgspec import json

from exchanges.books.diff_book import DiffBook
from exchanges.books.plausibility import fault_in
from exchanges.books.proof import BookUpdate, Step
from exchanges.venues.binance_books import SPOT
from exchanges.venues.binance_frames import BINANCE

DEPTH = 20

Best = tuple[tuple[float, float], tuple[float, float]]
"""(price, size) of the best bid and of the best ask."""


@dataclass
class Report:
    """The result of a replay; the lists are empty if no fault was found."""

    updates: int = 0
    proven_after: int | None = None  # number of the update (the first is 1) after which the book was proven
    states: dict[int, Best] = field(default_factory=dict)  # update id -> best levels of the proven book
    tickers: dict[int, Best] = field(default_factory=dict)  # update id -> best levels of the book ticker
    lost: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    @property
    def compared(self) -> list[int]:
        """The update ids for which there are both a proven state and a book ticker."""
        return sorted(self.states.keys() & self.tickers.keys())

    @property
    def different(self) -> list[int]:
        """The compared update ids with different prices or sizes."""
        return [number for number in self.compared if self.states[number] != self.tickers[number]]

    @property
    def behind(self) -> list[int]:
        """The update ids at which the book differs from the newest book ticker that has the same or a lower id.

        There should be none, because Binance sends a book ticker at each change of the best levels.
        """
        ids = sorted(self.tickers)
        found = []
        for number, best in self.states.items():
            place = bisect_right(ids, number)
            if 0 < place < len(ids) and self.tickers[ids[place - 1]] != best:
                found.append(number)
        return found

    def __str__(self) -> str:
        return (
            f"{self.updates} updates, proven from the {self.proven_after}. on; compared at the same update id: "
            f"{len(self.compared)}, different: {len(self.different)}; proven states compared with the newest book "
            f"ticker: {len(self.states)}, different: {len(self.behind)}; lost: {len(self.lost)}, "
            f"implausible: {len(self.faults)}"
        )


def lines_of(path: Path) -> Iterator[str]:
    """Yield the frames of a capture file, which is plain text or compressed with gzip."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt") as lines:
        for line in lines:
            if frame := line.partition(" ")[2].strip():
                yield frame


def replayed(frames: Iterable[str]) -> Report:
    """Replay the frames of one market, and report how the books compare with the book tickers."""
    assert SPOT.own is not None
    assert SPOT.own.snapshots is not None
    report, book, snapshot = Report(), DiffBook(DEPTH, tuple(SPOT.own.snapshots.weights)), None
    for text in frames:
        frame = json.decode(text)
        if "lastUpdateId" in frame:
            snapshot = SPOT.own.snapshots.read(frame, len(frame["bids"]))
        elif "stream" not in frame:
            continue
        elif (data := frame["data"]).get("e") == "depthUpdate":
            report.updates += 1
            verdict = book.apply(_decoded(text))
            if verdict.step is Step.LOST:
                report.lost.append(verdict.reason)
        elif "u" in data and "b" in data and "e" not in data:
            report.tickers[data["u"]] = _best(data)
            continue
        else:
            continue
        if snapshot is not None and not book.proven and book.join(snapshot).step is Step.JOINED:
            report.proven_after, snapshot = report.updates, None
        if book.proven and book.sequence is not None:
            bids, asks = book.levels.bids.top(DEPTH), book.levels.asks.top(DEPTH)
            if fault := fault_in(bids, asks) or ("crossed" if bids[0][0] >= asks[0][0] else ""):
                report.faults.append(fault)
            report.states[book.sequence] = bids[0], asks[0]
    return report


def _decoded(text: str) -> BookUpdate:
    """Return the update of the book that the fast decoder reads from a frame."""
    kinds = [kind for kind in BINANCE.kinds[text[BINANCE.at]] if kind.makes is BookUpdate]
    frame: Any = kinds[0].decode(text)
    update: BookUpdate = frame.event(None, 0)
    return update


def _best(data: dict[str, str]) -> Best:
    return (float(data["b"]), float(data["B"])), (float(data["a"]), float(data["A"]))


def main() -> int:
    wrong = False
    for name in sys.argv[1:]:
        report = replayed(lines_of(Path(name)))
        print(f"{Path(name).name}: {report}")
        wrong = wrong or bool(report.different or report.behind or report.lost or report.faults or not report.compared)
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
