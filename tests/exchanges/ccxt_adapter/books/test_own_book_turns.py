"""The order and the times of snapshot requests: a lost book never waits for the renewals of other books."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, cast

import pytest

from exchanges.books.diff_book import DiffBook
from exchanges.books.order_book import LocalBook
from exchanges.books.proof import FOLLOWS, WAITING, BookRules, BookSnapshot, BookUpdate, OwnBooks, Verdict, lost
from exchanges.ccxt_adapter.books import own_books
from exchanges.ccxt_adapter.books.delivery import BookDelivery
from exchanges.ccxt_adapter.books.own_books import OwnBookKeeper
from exchanges.ccxt_adapter.books.snapshots import VenueSnapshots
from exchanges.events import Listener, OrderBook
from tests.support import until


class Scripted:
    """A book that returns the verdicts that the test sets."""

    def __init__(self) -> None:
        self.levels = LocalBook()
        self.sequence: int | None = None
        self.timestamp = self.received_at = 0
        self.proven = False
        self.verdict = WAITING

    def apply(self, update: BookUpdate) -> Verdict:
        return self.verdict

    def wants_snapshot(self) -> int:
        return 1000

    def join(self, snapshot: BookSnapshot) -> Verdict:
        return FOLLOWS

    def forget(self) -> None:
        self.proven = False


class Turns:
    """A queue whose requests never get their turn; ``asked``: for each request, whether it is a renewal."""

    def __init__(self) -> None:
        self.asked: list[bool] = []

    def seconds_for(self, limit: int) -> float:
        return 0.0

    async def turn(self, limit: int, *, renewal: bool) -> None:
        self.asked.append(renewal)
        await asyncio.Event().wait()


class Heard:
    """A listener that ignores reports about books."""

    def on_book_unsynced(self, coin: str, reason: str) -> None: ...


async def nothing(request: Mapping[str, Any]) -> None: ...


async def test_a_book_that_is_lost_while_its_renewal_waits_is_requested_before_other_renewals() -> None:
    """The price left the range and returned before the snapshot's turn. Then an update was missing."""
    book, turns, tasks = Scripted(), Turns(), list[asyncio.Task[Any]]()

    def spawn(work: Any) -> asyncio.Task[Any]:
        tasks.append(asyncio.create_task(work))
        return tasks[-1]

    delivery = BookDelivery("binance", cast(Listener, Heard()), 20, lambda coin: None)
    delivery.add("BTC/USDT", "BTC", 1, 1.0)
    own = OwnBooks(lambda depth: book, lambda frame, received_at: None)
    snapshots = cast(VenueSnapshots, turns)
    keeper = OwnBookKeeper(BookRules(), own, delivery, snapshots, spawn, nothing, lambda symbol, reason: None)
    keeper.add({"BTCUSDT": "BTC/USDT"})
    update = BookUpdate("", "BTCUSDT", [], [], 1, 1, 1)
    keeper.on_update(update)  # the book is lost
    book.proven, book.verdict = True, FOLLOWS  # the book is proven again before a snapshot is requested
    await until(lambda: tasks[0].done() or bool(turns.asked))
    book.proven, book.verdict = False, lost("an update is missing")
    keeper.on_update(update)
    await until(lambda: False in turns.asked)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class Answers(Turns):
    """Requests that are answered at once. The first snapshot has few levels, the next one many; ``limits`` has the
    numbers of levels that were requested."""

    def __init__(self) -> None:
        super().__init__()
        self.limits: list[int] = []

    async def turn(self, limit: int, *, renewal: bool) -> None: ...

    async def fetch(self, market_id: str, limit: int) -> BookSnapshot:
        self.limits.append(limit)
        bids = [(10.0, 1.0), (7.0, 1.0)][: 1 if limit == 10 else 2]
        return BookSnapshot(bids, [(11.0 + n, 1.0) for n in range(2)], 5, len(bids))


async def test_a_larger_snapshot_is_requested_at_once_when_the_price_has_left_the_range_of_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only a snapshot that is too old is followed by a pause: the venue needs time to have a newer one."""
    monkeypatch.setattr(own_books, "FIRST_PAUSE", 1000.0)
    monkeypatch.setattr(own_books, "LONGEST_PAUSE", 1000.0)
    answers, tasks, reasons = Answers(), list[asyncio.Task[Any]](), list[str]()

    def spawn(work: Any) -> asyncio.Task[Any]:
        tasks.append(asyncio.create_task(work))
        return tasks[-1]

    class Reasons(Heard):
        def on_book(self, book: OrderBook) -> None: ...

        def on_book_unsynced(self, coin: str, reason: str) -> None:
            reasons.append(reason)

    delivery = BookDelivery("binance", cast(Listener, Reasons()), 1, lambda coin: None)
    delivery.add("BTC/USDT", "BTC", 1, 1.0)
    own = OwnBooks(lambda depth: DiffBook(depth, (10, 100)), lambda frame, received_at: None)
    snapshots = cast(VenueSnapshots, answers)
    keeper = OwnBookKeeper(BookRules(), own, delivery, snapshots, spawn, nothing, lambda symbol, reason: None)
    keeper.add({"BTCUSDT": "BTC/USDT"})
    keeper.on_update(BookUpdate("", "BTCUSDT", [], [], 5, 5, 0, 1))
    keeper.on_update(BookUpdate("", "BTCUSDT", [(10.0, 0.0)], [], 6, 6, 0, 6))  # the small snapshot's best bid is gone
    async with asyncio.timeout(10):
        await tasks[0]
    assert answers.limits == [10, 100]
    assert reasons[-1] == "the price has left the range of the snapshot at 5"
    assert delivery.proven("BTC/USDT")
