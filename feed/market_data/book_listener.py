"""Receives the order books of a connection that carries nothing else, and passes them on to the cache of books."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from math import nan

from exchanges.events import OrderBook
from feed.market_data.listener_base import ListenerBase, ListenerContext


class BookListener(ListenerBase):
    """The listener of a connection for order books.

    ``shows_life``: books end the feed's staleness. True only if the feed has no other channel: otherwise books would
    hide that the connection for trades is dead. After ``silence`` seconds (of the context) without any book, the books
    of this connection are not proven any more.
    """

    def __init__(self, context: ListenerContext, *, delivering: bool) -> None:
        super().__init__(context, delivering=delivering)
        self.shows_life = False
        self.distrust: Callable[[str, str], None] = self.on_book_unsynced  # requests that a book is synchronized again
        self._is_silent = False
        self._proven: set[str] = set()  # coins whose book is proven on this connection
        self._tried: dict[str, OrderBook] = {}  # on trial: the proven book of each coin

    def deliver(self, coins: Collection[str]) -> None:
        super().deliver(coins)
        tried, self._tried = self._tried, {}
        for book in tried.values():
            self._pass_on(book, self._now())

    def close(self, reason: str = "") -> None:
        self._tried.clear()
        self._hub.books.lose_all(self, reason)
        super().close(reason)

    def revoke(self, coin: str) -> None:
        if self.delivers(coin):
            super().revoke(coin)
            self._hub.books.lose(self, coin, "the coin comes from another market now")

    def forget(self, coins: Iterable[str]) -> None:
        coins = list(coins)
        for coin in coins:
            self._tried.pop(coin, None)
            self._admitted.discard(coin)
            self._hub.books.lose(self, coin, f"{self.exchange} has halted the coin, or does not list it any more")
        super().forget(coins)

    def has_all_of(self, other: ListenerBase) -> bool:
        return not isinstance(other, BookListener) or other._proven - other.gone <= self._proven | self.gone

    def look(self) -> None:
        """Report books as old if none came for ``silence`` seconds; distrust books that do not follow the trades."""
        for coin, fault in self._hub.books.faults(self, self._now()):
            self.distrust(coin, fault)
        last = self.last_data
        silent = 0.0 if last is None else self._now() - last
        if silent >= self._silence and not self._is_silent:
            self._is_silent = True
            self._hub.books.fall_silent(self, silent)

    def on_book(self, book: OrderBook) -> None:
        if book.coin in self.gone or not self._open:
            return
        now = self._now()
        self._proven.add(book.coin)
        self._heard(book.coin, now)
        if self.delivering:
            self._pass_on(book, now)
        else:
            self._tried[book.coin] = book

    def on_book_unsynced(self, coin: str, reason: str) -> None:
        self._tried.pop(coin, None)
        self._proven.discard(coin)
        if self._open:
            self._hub.books.lose(self, coin, reason)

    def on_unavailable(self, channel: str, coins: list[str], reason: str, timeframe: str = "") -> None:
        super().on_unavailable(channel, coins, reason, timeframe)
        for coin in coins:
            self.on_book_unsynced(coin, reason)

    def _pass_on(self, book: OrderBook, now: float) -> None:
        if book.coin not in self._admitted:
            price = next((price for price in (book.mid, book.best_bid, book.best_ask) if price is not None), nan)
            if not self._admits(book.coin, book.market, price):
                return
        self._hub.books.on_book(self, book, now)

    def _heard(self, coin: str, now: float) -> None:
        super()._heard(coin, now)
        if self._is_silent:
            self._is_silent = False
            self._hub.books.end_silence(self, now)
