"""The order book cache: keeps each coin's proven book; decides which connection gives it, and reports its loss."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from exchanges.events import OrderBook, Quote, TradeEvent
from feed.channels import BOOKS, QUOTES, TRADES
from feed.clock import Clock
from feed.policies.standing_sides import StandingSides
from feed.subscriptions.dispatcher import Dispatcher, Subscriber
from feed.subscriptions.routes import Route


class BookConnection(Protocol):
    """What this cache needs to know about a connection that delivers books."""

    turn: int  # a connection with a higher number began to deliver later
    last_data: float | None  # monotonic seconds

    def tell(self, event: str, **details: Any) -> None: ...


class ProvenBook(NamedTuple):
    """A book that nobody changes any more, the connection that delivered it, and when it came (monotonic seconds)."""

    book: OrderBook
    source: BookConnection
    at: float


@dataclass(slots=True)
class _Coin:
    """What is known of one coin's book; ``proven`` is replaced as a whole, so that any thread may read it."""

    since: float  # monotonic seconds: when the book became unproven, or was subscribed to
    reason: str = "no book has come yet"
    told: bool = False  # whether the book was reported as not proven
    sides: StandingSides = field(default_factory=StandingSides)
    routes: list[tuple[int, Route]] = field(default_factory=list)  # depth, and the route to its subscribers
    proven: ProvenBook | None = None
    silent: ProvenBook | None = None  # the proven book of a connection that sends nothing at the moment
    last_mid: tuple[float | None, float] = None, 0.0  # the last lost book's mid price and time, see last_mid()


TOLD_AFTER = 5.0  # seconds after which a book that has never been proven is reported as unproven


class OrderBooks:
    """Keeps the books, and publishes them for each of ``depths`` when something within that depth changes.

    ``depths`` may grow. A book is proven from the moment at which its venue delivers it, until the venue says that it
    is not synchronized any more, or its connection ends, falls silent or may not deliver the coin any more. Each
    change is reported once: ``book_synced`` with the seconds since the book was lost or first wanted, ``book_unsynced``
    with the reason. A book that has not come within TOLD_AFTER seconds is reported as unsynced too.
    """

    def __init__(self, dispatcher: Dispatcher, clock: Clock, depths: Sequence[int]) -> None:
        self._dispatcher = dispatcher
        self._clock = clock
        self._depths = depths
        self._coins: dict[str, _Coin] = {}
        self._watched: tuple[Subscriber, ...] = ()  # subscribers to the trades and quotes with which books are compared

    def expect(self, coins: Iterable[str], now: float) -> None:
        """Call this when the books of these coins are subscribed to from ``now`` (monotonic seconds) on."""
        for coin in coins:
            self._coins.setdefault(coin, _Coin(now))
        if not self._watched:
            subscribe = self._dispatcher.subscribe
            self._watched = subscribe(TRADES.name, self._on_trade), subscribe(QUOTES.name, self._on_quote)

    def on_book(self, source: BookConnection, book: OrderBook, now: float) -> None:
        """Take a proven book from a connection that may deliver the coin; nobody changes the book from now on.

        If two connections deliver the book, the connection that began later is used as soon as its book is as new as
        the book of the earlier connection.
        """
        coin = self._coins.get(book.coin)
        if coin is None:  # this runs at each change: a new object is made only if it is needed
            coin = self._coins[book.coin] = _Coin(now)
        held, before = coin.proven or coin.silent, coin.proven
        if held is not None and held.source is not source and not _may_replace(source, book, held):
            return
        coin.proven, coin.silent, coin.told = ProvenBook(book, source, now), None, False
        coin.sides.on_book(book.bids, book.asks, now)
        if before is None:
            source.tell("book_synced", coin=book.coin, seconds=round(now - coin.since, 3))
        if len(coin.routes) != len(self._depths):
            coin.routes = [(depth, self._dispatcher.route(BOOKS.key(depth), book.coin)) for depth in self._depths]
        for depth, route in coin.routes:
            if not route.wanted():
                continue
            bids, asks = book.bids[:depth], book.asks[:depth]
            if before is None or bids != before.book.bids[:depth] or asks != before.book.asks[:depth]:
                now = route.publish(_book(book, bids, asks), now)

    def _on_trade(self, trade: TradeEvent) -> None:
        known = self._coins.get(trade.coin)
        held = None if known is None else known.proven
        if known is None or held is None:
            return
        book = held.book
        taken = book.bids if trade.is_buyer_maker else book.asks
        if taken and trade.price == taken[0][0]:  # most trades are at the best price, and this runs for every trade
            return
        of_book = trade.exchange == book.exchange and trade.market == book.market and not trade.backfilled
        if of_book and trade.timestamp > book.timestamp:
            stamped = book.timestamp > 0
            known.sides.on_trade(trade.price, trade.is_buyer_maker, self._clock.monotonic(), stamped=stamped)

    def faults(self, source: BookConnection, now: float) -> list[tuple[str, str]]:
        """The coins whose book from ``source`` does not follow the trades, and why not. Call this twice a second."""
        held = ((coin, known) for coin, known in self._coins.items() if known.proven is not None)
        ours = [(coin, known) for coin, known in held if known.proven is not None and known.proven.source is source]
        return [(coin, fault) for coin, known in ours if (fault := known.sides.fault(now))]

    def replay(self, source: BookConnection, book: OrderBook, now: float, depth: int) -> None:
        """Take a book from a recording. Recordings have a book for each change within ``depth``."""
        coin = self._coins.setdefault(book.coin, _Coin(now))
        before, coin.proven = coin.proven, ProvenBook(book, source, now)
        for each in self._depths:
            bids, asks = book.bids[:each], book.asks[:each]
            if each >= depth or before is None or bids != before.book.bids[:each] or asks != before.book.asks[:each]:
                now = self._dispatcher.route(BOOKS.key(each), book.coin).publish(_book(book, bids, asks), now)

    def lose(self, source: BookConnection, coin: str, reason: str) -> None:
        """Mark the book from ``source`` as not proven; ``reason`` is "" if this must not be reported."""
        known = self._coins.get(coin)
        if known is None:
            return
        held = known.proven or known.silent
        if held is not None and held.source is source:
            self._lose(known, coin, reason)
            known.silent = None
        elif held is None and reason:
            known.reason = reason

    def _on_quote(self, quote: Quote) -> None:
        known = self._coins.get(quote.coin)
        held = None if known is None else known.proven
        if known is None or held is None:
            return
        book = held.book
        # a quote without a stamp may be older than the book, or from a slower source
        newer = quote.timestamp > book.timestamp > 0
        if newer and quote.exchange == book.exchange and quote.market == book.market:
            known.sides.on_quote(quote.bid, quote.ask, self._clock.monotonic())

    def overdue(self, coins: Iterable[str], now: float) -> list[tuple[str, str]]:
        """Each of ``coins`` that has had no book for TOLD_AFTER seconds, with the reason; each is returned once."""
        found = []
        for coin in coins:
            known = self._coins.get(coin)
            if known is None or known.told or known.proven is not None or now - known.since < TOLD_AFTER:
                continue
            known.told = True
            found.append((coin, known.reason))
        return found

    def has_none(self, coins: Iterable[str], reason: str, now: float) -> None:
        """Call this when the active exchange has no books of these coins; ``reason`` says why."""
        for coin in coins:
            known = self._coins.setdefault(coin, _Coin(now))
            known.reason = reason

    def lose_all(self, source: BookConnection, reason: str) -> None:
        """Call this when the connection has stopped delivering; ``reason`` as in ``lose``."""
        for coin in list(self._coins):
            self.lose(source, coin, reason)

    def fall_silent(self, source: BookConnection, seconds: float) -> None:
        """Call this when the connection has delivered nothing for this many seconds: its books may be old."""
        for coin, known in list(self._coins.items()):
            held = known.proven
            if held is not None and held.source is source:
                self._lose(known, coin, f"no order book has come over its connection for {seconds:.1f} s")
                known.silent = held

    def end_silence(self, source: BookConnection, now: float) -> None:
        """Call this when the connection delivers data again: its books that no update has replaced are proven again."""
        for coin, known in list(self._coins.items()):
            if known.silent is not None and known.silent.source is source:
                known.proven, known.silent, known.told = known.silent, None, False
                source.tell("book_synced", coin=coin, seconds=round(now - known.since, 3))

    def _lose(self, known: _Coin, coin: str, reason: str) -> None:
        held, known.proven = known.proven, None
        if held is None:
            return
        known.last_mid = held.book.mid, held.at
        known.since = self._clock.monotonic()
        known.reason, known.told = reason or "the connection has ended", bool(reason)
        if reason:
            held.source.tell("book_unsynced", coin=coin, reason=reason)

    def forget(self, coins: Iterable[str]) -> None:
        """Drop coins that were removed from the feed."""
        for coin in coins:
            self._coins.pop(coin, None)

    def proven(self, coin: str, silence: float) -> ProvenBook | None:
        """The coin's book if it is proven, and its connection had data within ``silence`` s. Safe from any thread."""
        known = self._coins.get(coin)
        held = None if known is None else known.proven
        heard = None if held is None else held.source.last_data
        return held if heard is not None and self._clock.since(heard) <= silence else None

    def get(self, coin: str, depth: int, silence: float) -> OrderBook | None:
        """A copy of the best ``depth`` levels of the book that ``proven`` returns; None without a book. Safe from
        any thread.
        """
        held = self.proven(coin, silence)
        return None if held is None else best_levels(held.book, depth)

    def last_mid(self, coin: str) -> tuple[float | None, float]:
        """The price halfway between the best bid and ask of the coin's book, or of its last proven book; and when it
        came, monotonic seconds. The price is None if there was no book, or a side of it was empty.
        """
        known = self._coins.get(coin)
        if known is None:
            return None, 0.0
        return known.last_mid if known.proven is None else (known.proven.book.mid, known.proven.at)

    def why_unproven(self, coin: str) -> str:
        """Why there is no book of the coin now. Safe from any thread."""
        known = self._coins.get(coin)
        if known is None:
            return "its order book is not subscribed to"
        return known.reason if known.proven is None else "no order book has come over its connection for a while"


def _may_replace(source: BookConnection, book: OrderBook, held: ProvenBook) -> bool:
    """Whether a book from another connection may replace the book that is held."""
    if source.turn < held.source.turn:
        return False
    last = held.book
    comparable = book.exchange == last.exchange and book.market == last.market
    return not comparable or book.sequence is None or last.sequence is None or book.sequence >= last.sequence


def best_levels(book: OrderBook, depth: int) -> OrderBook:
    """A copy of the book's best ``depth`` levels."""
    return _book(book, book.bids[:depth], book.asks[:depth])


def _book(book: OrderBook, bids: list[tuple[float, float]], asks: list[tuple[float, float]]) -> OrderBook:
    """The same book with these levels; this runs at each change, and dataclasses.replace takes longer."""
    return OrderBook(book.coin, bids, asks, book.timestamp, book.exchange, book.received_at, book.sequence, book.market)
