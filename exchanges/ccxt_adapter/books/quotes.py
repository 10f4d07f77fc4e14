"""Makes quotes from the best bid and ask of proven books, for venues that have no other source of quotes."""

from __future__ import annotations

from collections.abc import Callable

from exchanges.ccxt_adapter.books.delivery import BookReceiver
from exchanges.events import OrderBook, Quote


class QuotesOfBooks:
    """Delivers a quote whenever the best level of a proven book changes; ``books``, if given, receives the books.

    A book gives no quote while it is not proven.
    """

    def __init__(self, on_quote: Callable[[Quote], None], books: BookReceiver | None) -> None:
        self._on_quote = on_quote
        self._books = books
        self._tops: dict[str, tuple[object, object]] = {}  # coin -> the best level of each side that was delivered last

    def on_book(self, book: OrderBook) -> None:
        """See Listener.on_book."""
        if book.bids and book.asks:
            (bid, bid_size), (ask, ask_size) = top = book.bids[0], book.asks[0]
            if top != self._tops.get(book.coin):
                self._tops[book.coin] = top
                self._on_quote(
                    Quote(
                        book.coin, bid, bid_size, ask, ask_size, book.timestamp, book.exchange, book.received_at,
                        book.market,
                    )
                )  # fmt: skip
        if self._books is not None:
            self._books.on_book(book)

    def on_book_unsynced(self, coin: str, reason: str) -> None:
        """See Listener.on_book_unsynced."""
        self._tops.pop(coin, None)
        if self._books is not None:
            self._books.on_book_unsynced(coin, reason)
