"""Runs the order books that clients read: decides how often their orders change, and when each message is due.

A market whose book nobody reads costs nothing here. ``book_at`` returns the true book at a sequence, for tests.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from time import monotonic
from typing import Any, ClassVar
from zlib import crc32

from exchanges.simulator.books.book_stream import SIDES, BookStream
from exchanges.simulator.connections.topics import Topic
from exchanges.simulator.markets.market import Market
from exchanges.simulator.markets.order_book import BookState, SimulatedBook
from exchanges.simulator.publishing import Publishing

ORDERS = 50.0  # orders placed, changed or withdrawn per second in a book with readers, if the venue trades by itself
LINGER = 60.0  # seconds for which a book continues after its last reader has left
UPDATES_KEPT = 20_000  # the most messages of one market whose book state can be looked up


@dataclass(frozen=True, slots=True)
class TrueBook:
    """A past state of a book: ``bids`` and ``asks`` as (price, size), best first; ``sequence`` is the state's number.

    ``timestamp`` is the time in Unix ms at which this state began.
    """

    sequence: int
    timestamp: int
    bids: list[tuple[float, float]]
    asks: list[tuple[float, float]]


def bad_book(good: str, number: int) -> str:
    """A bad message made of a good one; in turn: truncated JSON, null in place of levels, a level without numbers."""
    side = next((name for name in ('"bids":[', '"b":[') if name in good), "")
    head, _, rest = good.partition(side) if side else (good, "", "")
    if number % 3 == 0 or not side:
        return good[: len(good) // 2]
    return (
        f"{head}{side[:-1]}null{rest[rest.find(']]') + 2 :]}" if number % 3 == 1 else f'{head}{side}["x",null],{rest}'
    )


class BookStreams(Publishing):
    """The books that are read, and the messages about them."""

    BOOK_HOLES: ClassVar[bool] = False  # whether some numbers of a book's changes are left out
    rate: float
    paused: bool

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.book_streams: dict[str, BookStream] = {}
        self._readers: dict[Market, float] = {}  # markets with a book -> when it was read last, monotonic seconds
        self._stirred: float | None = None
        self._orders_due = 0.0
        self._numbers: dict[Market, dict[int, int]] = {}  # market -> a stream's message count -> the book's number

    # -- what a venue's protocol says ---------------------------------------------------------------------------

    @abstractmethod
    def market(self, name: str) -> Market: ...

    @abstractmethod
    def begin_book(self, stream: BookStream, book: SimulatedBook) -> None:
        """Begin a stream, or begin it again with another market."""

    @abstractmethod
    def book_message(self, stream: BookStream, book: SimulatedBook, clock: float, now: int) -> str | None:
        """The next message of a stream; None if there is nothing to send."""

    @abstractmethod
    def send_quote(self, market: Market) -> None:
        """Send the best prices and sizes, which have changed without a trade."""

    # -- streams ------------------------------------------------------------------------------------------------

    def open_book(self, topic: Topic, clock: float, now: int) -> None:
        """Open a book's topic, because it has its first subscriber now."""
        if topic.market is None:
            return
        book = topic.market.open_book(now, self.BOOK_HOLES)
        self._readers[topic.market] = clock
        phase = crc32(topic.stream.encode()) % 1000 / 1000  # so that streams do not all send at once
        stream = BookStream(topic, topic.market, book.number, clock + (1.0 + phase) * topic.interval / 1000)
        stream.told = dict.fromkeys(SIDES, book.number)
        self.book_streams[topic.stream] = stream
        self.begin_book(stream, book)

    def send_books(self, clock: float, now: int) -> None:
        """Change the books that have readers, and send the messages that are due."""
        if not self._readers:
            self._stirred = None
            return
        self._stir(clock, now)
        for name, stream in list(self.book_streams.items()):
            if self.topics.get(name) is not stream.topic:
                del self.book_streams[name]
            elif clock >= stream.due:
                stream.due = max(stream.due, clock - 1.0) + stream.topic.interval / 1000
                self._tell(name, stream, clock, now)
        self._forget_unread(clock)

    def _tell(self, name: str, stream: BookStream, clock: float, now: int) -> None:
        market = stream.topic.market
        if market is None:
            return
        book = market.open_book(now, self.BOOK_HOLES)
        self._readers[market] = clock
        if market is not stream.market:  # another market under the same name
            stream.market, stream.number = market, book.number
            stream.told = dict.fromkeys(SIDES, book.number)
            self.begin_book(stream, book)
        payload = self.book_message(stream, book, clock, now)
        if payload is not None and not self.dumb and not self.withheld(market):
            for each in self.mix(self.disturbed_book(name, market, payload), bad_book):
                self.send(name, each)

    def _stir(self, clock: float, now: int) -> None:
        elapsed = 0.0 if self._stirred is None else min(1.0, clock - self._stirred)
        self._stirred = clock
        if self.rate <= 0 or self.paused:
            return
        self._orders_due += elapsed * ORDERS
        count, self._orders_due = int(self._orders_due), self._orders_due % 1.0
        if not count:
            return
        for market in self._readers:
            if market.book is not None and self.trades_now(market) and market.book.stir(count, now):
                self.send_quote(market)

    @abstractmethod
    def trades_now(self, market: Market) -> bool:
        """Whether the market is listed and not halted."""

    async def move_book(self, coin: str, orders: int = 1) -> None:
        """Place, withdraw or change ``orders`` orders in the book of ``coin``; its streams send them when they are
        due.
        """
        market, now = self.market(coin), self.now()
        self._readers.setdefault(market, monotonic())  # the book continues for LINGER seconds even if nobody reads it
        if market.open_book(now, self.BOOK_HOLES).stir(orders, now):
            self.send_quote(market)
        self.flush()

    def _forget_unread(self, clock: float) -> None:
        if any(clock - read > LINGER for read in self._readers.values()):
            for market in [market for market, read in self._readers.items() if clock - read > LINGER]:
                del self._readers[market]
                self._numbers.pop(market, None)
                market.close_book()

    # -- which state a number stands for ------------------------------------------------------------------------

    def remember_update(self, market: Market, update: int, number: int) -> None:
        """Remember that the message with the count ``update`` has the book's state ``number``."""
        numbers = self._numbers.setdefault(market, {})
        numbers[update] = number
        if len(numbers) > UPDATES_KEPT:
            for old in list(numbers)[: UPDATES_KEPT // 2]:
                del numbers[old]

    def number_of(self, market: Market, sequence: int) -> int:
        """The book's number of a sequence that a client has: the number itself, or a stream's own count."""
        return self._numbers.get(market, {}).get(sequence, sequence)

    def book_at(self, coin: str, sequence: int | None = None, depth: int = 20) -> TrueBook | None:
        """The true book of ``coin`` now, or at a sequence that a client received.

        A sequence is Binance's ``u`` or ``lastUpdateId``, or Bybit's ``u`` or ``seq``. Returns None if the state is not
        kept any more (after two minutes, or a minute after the last reader has left), or is not reached yet.
        """
        market = self.market(coin)
        if sequence is None:
            return self._true(market, market.book_state(), depth)
        state = None if market.book is None else market.book.at(self.number_of(market, sequence))
        if state is None and market.book is None and sequence == market.update_id:
            state = market.book_state()
        return None if state is None else self._true(market, state, depth)

    def book_changed_after(self, coin: str, sequence: int) -> int | None:
        """When (Unix ms) the book of ``coin`` first changed after a sequence.

        None if it did not change, or if that is not known.
        """
        market = self.market(coin)
        return None if market.book is None else market.book.changed_after(self.number_of(market, sequence))

    def _true(self, market: Market, state: BookState, depth: int) -> TrueBook:
        scale, lot_scale = market.scale, market.lot_scale
        bids, asks = (
            [(ticks / scale, lots / lot_scale) for ticks, lots in state.levels(side, depth)] for side in SIDES
        )
        return TrueBook(state.number, state.ms, bids, asks)

    # -- what REST shows ----------------------------------------------------------------------------------------

    def rest_book(self, market: Market) -> BookState:
        """The book in the answer to a REST request; the venue's caches and the faults decide how old it is."""
        stale, book = self.book_fault("book-stale", market), market.book
        if stale is not None:
            return market.book_state(self.now() - round(float(stale.argument or 0.0) * 1000))
        if book is None or not self.laws.snapshot_age:
            return market.book_state()
        age = self.dice.uniform(0.0, self.laws.snapshot_age)
        return book.as_of(self.now() - round(age * 1000)) or book.at(book.oldest) or book.now()
