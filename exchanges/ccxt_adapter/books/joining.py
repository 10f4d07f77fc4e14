"""Joins snapshots and updates of ccxt's books: replaces methods of ccxt's classes that fail for quiet coins."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from exchanges.books.proof import place_of_join
from exchanges.venues.profile import Profile

GATHERED = 5  # updates that a book waits for before its snapshot is fetched, because REST may be behind the stream
GATHERED_FOR = 1.0  # seconds after which the snapshot is fetched in any case: quiet coins have few updates
LOOK_EVERY = 0.05  # seconds
PAUSES = (0.5, 1.0, 2.0)  # seconds to wait after each snapshot that is older than the first update


class JoiningBooks:
    """Methods added to a ccxt.pro class. ``on_snapshot`` is called with each book that ccxt fetches to join updates."""

    profile: Profile
    closed_by_user: bool
    on_snapshot: Callable[[Any, Any], None] | None = None

    async def fetch_rest_order_book_safe(self, symbol: Any, *args: Any, **kwargs: Any) -> Any:
        """Like ccxt's method: fetches the snapshot to which updates are joined."""
        book = await super().fetch_rest_order_book_safe(symbol, *args, **kwargs)  # type: ignore[misc] # ccxt's own
        if self.on_snapshot is not None and book is not None:
            self.on_snapshot(symbol, book)
        return book

    async def load_order_book(self, client: Any, message_hash: Any, symbol: Any, limit: Any, params: Any) -> None:
        """Like ccxt's method: fetches a snapshot and joins the waiting updates to it.

        ccxt closes the connection after three snapshots in a row that are too old. So this method first fetches some
        snapshots itself, with pauses, and calls ccxt's method only if none of them has joined.
        """
        books: Any = self.orderbooks  # type: ignore[attr-defined] # ccxt's own
        book = books.get(symbol)
        if book is not None:
            await _gather(book)
        for pause in PAUSES:
            if self.closed_by_user or books.get(symbol) is not book or (book is not None and book["nonce"] is not None):
                return  # the book was subscribed to again, or is joined
            try:
                snapshot = await self.fetch_rest_order_book_safe(symbol, limit, params)
            except Exception:  # noqa: BLE001 - ccxt's parsers may raise anything; ccxt's own method reports it
                break
            if books.get(symbol) is not book or book is None:
                return
            place = self.get_cache_index(snapshot, book.cache)
            if place >= 0:
                book.reset(snapshot)
                self.handle_book_deltas(book, book.cache[place:])  # type: ignore[attr-defined] # ccxt's own
                book.cache.clear()
                client.resolve(book, message_hash)
                return
            await asyncio.sleep(pause)
        await super().load_order_book(client, message_hash, symbol, limit, params)  # type: ignore[misc] # ccxt's own

    def get_cache_index(self, orderbook: Any, cache: Any) -> Any:
        """Like ccxt's method: finds the first of the waiting updates that follows a snapshot; -1 if none does."""
        span, number = self.profile.books.span, orderbook["nonce"]
        if span is None or number is None:
            return super().get_cache_index(orderbook, cache)  # type: ignore[misc] # ccxt's own
        return place_of_join(number, map(span, cache))

    def handle_book_delta(self, orderbook: Any, delta: Any) -> None:
        span = self.profile.books.span
        if span is None:
            super().handle_book_delta(orderbook, delta)  # type: ignore[misc] # ccxt's own
        elif (last := span(delta)[1]) > (orderbook["nonce"] or 0):
            orderbook["nonce"] = None  # ccxt would compare the nonce with the first number
            super().handle_book_delta(orderbook, delta)  # type: ignore[misc] # ccxt's own
            orderbook["nonce"] = last

    def handle_order_book_snapshot(self, client: Any, message: Any, *args: Any) -> None:
        """Like ccxt's method: takes a snapshot that comes as an answer over the socket.

        ccxt joins the snapshot only to an update that came before it. If the profile can make an update without
        changes, this method adds one, so that no update is awaited.
        """
        unchanged = self.profile.books.unchanged
        if unchanged is not None:
            book = self.orderbooks.get(args[0].get("symbol"))  # type: ignore[attr-defined] # ccxt's own
            if book is not None and not book.cache:
                book.cache.append(unchanged(message))
        super().handle_order_book_snapshot(client, message, *args)  # type: ignore[misc] # ccxt's own

    def handle_bids_asks_for_multidata(self, client: Any, changes: Any, *args: Any) -> None:
        """Like ccxt's method: takes best bids and asks. Gemini's module also calls it for a new book of two levels."""
        if "top_of_book" in client.url:
            super().handle_bids_asks_for_multidata(client, changes, *args)  # type: ignore[misc] # ccxt's own
        else:
            self.handle_order_book_for_multidata(client, changes, *args)  # type: ignore[attr-defined] # ccxt's own

    def delay(self, timeout: Any, method: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        """Like ccxt's method: calls ``method`` later, unless the instance is closed by then."""
        return super().delay(timeout, self._unless_closed, method, *args)  # type: ignore[misc] # ccxt's own

    async def _unless_closed(self, method: Callable[..., Awaitable[Any]], *args: Any) -> None:
        if not self.closed_by_user:
            await method(*args)


async def _gather(book: Any) -> None:
    """Wait until the book has more than GATHERED updates, at most GATHERED_FOR seconds."""
    clock = asyncio.get_running_loop().time
    end = clock() + GATHERED_FOR
    while len(book.cache) <= GATHERED and clock() < end:  # noqa: ASYNC110 - the list is ccxt's, which sets no event
        await asyncio.sleep(LOOK_EVERY)
