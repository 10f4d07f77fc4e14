"""Passes one connection's frames to its books; decides when each book's snapshot is requested again, and how soon."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from exchanges.books.proof import BookRules, BookSnapshot, BookUpdate, OwnBook, OwnBooks, Step, Verdict
from exchanges.ccxt_adapter.books.delivery import BookDelivery
from exchanges.ccxt_adapter.books.pauses import PausesOfBooks, doubling
from exchanges.ccxt_adapter.books.snapshots import VenueSnapshots
from exchanges.errors import Disconnected, Rejected, VenueError

FIRST_PAUSE = 0.25  # seconds until the next request, if a snapshot could not be fetched or was too old
LONGEST_PAUSE = 2.0  # seconds: the pause doubles up to here, so that a book is proven soon once the venue works
LOST_AGAIN = 1.0  # seconds: the longest pause of a book that is lost again and again
STEADY = 5.0  # seconds: if a lost book was not lost before for this long, its snapshot is requested at once
LOOK_EVERY = 500  # ms of the venue's time between two checks whether a proven book needs a new snapshot
RENEW_EVERY = 5.0  # seconds: one book is not renewed more often with the same number of levels
SUSPECT = 1.0  # seconds in which an update should follow an unreadable message
IN_STREAM = 1.5  # seconds in which a snapshot should come in the stream after a subscription

Send = Callable[[Mapping[str, Any]], Awaitable[object]]


@dataclass(eq=False, repr=False)
class OwnBookKeeper:
    """The books that we build ourselves, of one connection. ``send`` sends a request over the connection.

    ``spawn`` makes a task that ends with the connection. ``unavailable`` is called with the symbol of a book whose
    snapshot the venue refuses, and the reason.
    """

    rules: BookRules
    own: OwnBooks
    delivery: BookDelivery
    snapshots: VenueSnapshots | None
    spawn: Callable[[Any], asyncio.Task[Any] | None]
    send: Send
    unavailable: Callable[[str, str], None]

    def __post_init__(self) -> None:
        self._asked_depth = self.rules.depth(self.delivery.depth) or self.delivery.depth
        self._books: dict[str, OwnBook] = {}  # market id -> book
        self._symbols: dict[str, str] = {}
        self._joining: dict[str, asyncio.Task[Any]] = {}  # market id -> the task that gets its snapshot
        self._renewing: dict[str, asyncio.Task[Any]] = {}  # market id -> the task that renews its proven book
        self._look_at: dict[str, int] = {}
        # market id -> levels -> when a snapshot of so many levels was last requested to renew the book (loop's time)
        self._renewed: dict[str, dict[int, float]] = {}
        # without pauses, a venue that loses every third message would use up all the weight
        self._pauses = PausesOfBooks(FIRST_PAUSE, LOST_AGAIN, STEADY)
        self._news = asyncio.Event()  # set when a book has joined
        self.delivery.on_lost = self._on_lost

    def add(self, ids: Mapping[str, str]) -> None:
        """Carry these markets (market id -> symbol) too."""
        for market_id, symbol in ids.items():
            self._symbols[market_id] = symbol
            self._books[market_id] = self.own.make(self._asked_depth)

    def convert(self, frame: Any) -> bool:
        """Take a decoded frame if it is for one of these books.

        Raises msgspec's ValidationError for an unexpected frame.
        """
        update = self.own.convert(frame, time.time_ns())
        if update is not None:
            self.on_update(update)
        return update is not None

    def on_bad_frame(self, text: str) -> None:
        """Note an unreadable frame. If it was an update, the next update's numbers show that it is missing. If no
        update comes within SUSPECT seconds, the book counts as lost.
        """
        loop = asyncio.get_running_loop()
        for market_id, book in self._books.items():
            if book.proven and (market_id in text or market_id.lower() in text):
                loop.call_later(SUSPECT, self._suspect, market_id, book.sequence)

    def _suspect(self, market_id: str, sequence: int | None) -> None:
        book = self._books[market_id]
        if book.proven and book.sequence == sequence and not self.delivery.ended:
            self.delivery.doubt(self._symbols[market_id], "a message about it could not be read")

    def on_update(self, update: BookUpdate) -> None:
        """Take an update of a book."""
        market_id = update.market_id
        book = self._books.get(market_id)
        if book is None or self.delivery.ended:
            return
        verdict = book.apply(update)
        step = verdict.step
        if step is Step.FOLLOWS or step is Step.JOINED:
            self._tell(market_id, book)
            if step is Step.JOINED:
                self._news.set()
            elif update.timestamp >= self._look_at.get(market_id, 0):
                self._look_at[market_id] = update.timestamp + LOOK_EVERY
                if limit := book.wants_snapshot():
                    self._renew(market_id, limit)
        elif step is Step.LOST:
            self._lost(market_id, verdict)
        elif step is Step.WAITING:
            self._begin(market_id)

    def _tell(self, market_id: str, book: OwnBook) -> None:
        levels, depth = book.levels, self.delivery.depth
        self.delivery.tell(
            self._symbols[market_id],
            levels.bids.top(depth),
            levels.asks.top(depth),
            book.timestamp,
            book.received_at,
            book.sequence,
        )

    def _lost(self, market_id: str, verdict: Verdict) -> None:
        if (renewing := self._renewing.pop(market_id, None)) is not None:
            renewing.cancel()  # a renewal waits until all lost books have their snapshots
        self.delivery.lose(self._symbols[market_id], verdict.reason)
        self._begin(market_id)

    def _on_lost(self, symbol: str) -> None:
        for market_id in [each for each, known in self._symbols.items() if known == symbol]:
            self._books[market_id].forget()
            self._begin(market_id)

    def _begin(self, market_id: str) -> None:
        if market_id not in self._joining:
            pause = self._pauses.wait(market_id, asyncio.get_running_loop().time())
            if self.snapshots is None:
                work = self._resubscribe(market_id, pause)
            else:
                work = self._fetch(market_id, self.snapshots, pause, renewal=False)
            self._do(market_id, work, self._joining)

    def _renew(self, market_id: str, limit: int) -> None:
        now = asyncio.get_running_loop().time()
        renewed = self._renewed.setdefault(market_id, {})
        due = now - renewed.get(limit, -RENEW_EVERY) >= RENEW_EVERY
        if self.snapshots is not None and due and market_id not in self._renewing and market_id not in self._joining:
            renewed[limit] = now
            self._do(market_id, self._fetch(market_id, self.snapshots, 0.0, renewal=True), self._renewing)

    def _do(self, market_id: str, work: Any, tasks: dict[str, asyncio.Task[Any]]) -> None:
        def done(task: asyncio.Task[Any]) -> None:
            if tasks.get(market_id) is task:
                del tasks[market_id]

        if (task := self.spawn(work)) is not None:
            tasks[market_id] = task
            task.add_done_callback(done)

    # --- snapshots over REST ------------------------------------------------------------------------------------------

    async def _fetch(self, market_id: str, snapshots: VenueSnapshots, first_pause: float, *, renewal: bool) -> None:
        """Fetch snapshots until one has joined, or can be joined as soon as a later diff comes.

        Unless this is a ``renewal``, it also ends when the price is back in the book's range, so that the book is
        proven again: other lost books must not wait for a fetch that only renews a proven book.
        """
        book, symbol = self._books[market_id], self._symbols[market_id]
        await asyncio.sleep(first_pause)
        pauses = doubling(FIRST_PAUSE, LONGEST_PAUSE)
        while limit := book.wants_snapshot():
            if book.proven and not renewal:
                return
            if not renewal and (wait := snapshots.seconds_for(limit)) > 1.0:
                self._why(symbol, f"its snapshot is requested in {wait:.0f} s, as the limit of REST requests allows")
            await snapshots.turn(limit, renewal=renewal)
            try:
                snapshot = await snapshots.fetch(market_id, limit)
            except Rejected as error:
                self._why(symbol, f"the venue refused its snapshot: {error.reason}")
                self.unavailable(symbol, error.reason)
                return
            except VenueError as error:
                self._why(symbol, f"its snapshot could not be fetched: {error.reason}")
                asked = error.retry_after if isinstance(error, Disconnected) else None
                await asyncio.sleep(max(next(pauses), asked or 0.0))
                continue
            if self._join(market_id, book, snapshot) or not (wanted := book.wants_snapshot()):
                return
            if wanted > limit:
                self._why(symbol, f"the price has left the range of the snapshot at {snapshot.number}")
                continue
            self._why(symbol, f"its snapshot at {snapshot.number} was older than the updates so far")
            await asyncio.sleep(next(pauses))

    def _join(self, market_id: str, book: OwnBook, snapshot: BookSnapshot) -> bool:
        """Whether the book is proven with the snapshot."""
        verdict = book.join(snapshot)
        if verdict.step is Step.JOINED:
            self._tell(market_id, book)
        elif verdict.step is Step.LOST:  # the stream has omitted changes: the next renewal need not wait
            self._renewed.pop(market_id, None)
            self.delivery.lose(self._symbols[market_id], verdict.reason)
        return verdict.step is Step.JOINED

    def _why(self, symbol: str, reason: str) -> None:
        """Report why the book is not proven yet."""
        if not self.delivery.proven(symbol):
            self.delivery.lose(symbol, reason)

    # --- snapshots in the stream --------------------------------------------------------------------------------------

    async def _resubscribe(self, market_id: str, first_pause: float) -> None:
        """Subscribe again until a snapshot comes."""
        await asyncio.sleep(first_pause)
        book = self._books[market_id]
        assert self.own.resubscribe is not None
        for pause in doubling(IN_STREAM, LONGEST_PAUSE):
            if book.proven:
                return
            for request in self.own.resubscribe(market_id, self._asked_depth):
                await self.send(request)
            try:
                async with asyncio.timeout(pause):
                    while not book.proven:
                        self._news.clear()
                        await self._news.wait()
            except TimeoutError:
                self._why(self._symbols[market_id], f"no snapshot came within {pause:g} s of a subscription")
