"""Passes each proven book to the listener, and reports at once when it is not proven any more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Protocol

from exchanges.books.order_book import Level
from exchanges.books.plausibility import CROSSED_FOR, CrossedBooks
from exchanges.events import OrderBook
from exchanges.venues.units import of_coin


class BookReceiver(Protocol):
    """The part of a Listener that is for books."""

    def on_book(self, book: OrderBook) -> None: ...

    def on_book_unsynced(self, coin: str, reason: str) -> None: ...


@dataclass(slots=True, eq=False)
class _Told:
    """What the listener was told about one market's book."""

    coin: str
    units: int
    scale: float
    inverse: bool
    proven: bool = False
    bids: list[Level] = field(default_factory=list)
    asks: list[Level] = field(default_factory=list)
    crossed: CrossedBooks = field(default_factory=CrossedBooks)
    timer: asyncio.TimerHandle | None = None


class BookDelivery:
    """Delivers the books of one connection to its listener. ``on_lost`` is called with the symbol of a book that was
    found to be wrong although its frames were in order.
    """

    def __init__(self, name: str, listener: BookReceiver, depth: int, heard: Callable[[str], None]) -> None:
        self._name = name
        self._listener = listener
        self._heard = heard
        self._told: dict[str, _Told] = {}
        self.depth = depth
        self.ended = False  # True once the connection has ended: nothing is delivered any more
        self.on_lost: Callable[[str], None] = lambda symbol: None

    def add(self, symbol: str, coin: str, units: int, scale: float, *, inverse: bool = False) -> None:
        """Carry this market: its sizes are in units of ``scale`` base currency; the base's unit is ``units`` coins.

        ``inverse``: its sizes are in units of ``scale`` quote currency, as for contracts that are margined in the coin.
        """
        self._told[symbol] = _Told(coin, units, scale, inverse)
        self._listener.on_book_unsynced(coin, "its snapshot is awaited")

    def proven(self, symbol: str) -> bool:
        """Whether the listener has a proven state of the book."""
        return self._told[symbol].proven

    def tell(
        self,
        symbol: str,
        bids: list[Level],
        asks: list[Level],
        timestamp: int,
        received_at: int,
        sequence: int | None,
    ) -> None:
        """Deliver a proven state: the best ``depth`` levels of each side, best first."""
        told = self._told[symbol]
        deliver, fault = told.crossed.on_book(bids[0][0] if bids else None, asks[0][0] if asks else None, monotonic())
        if not deliver:
            if fault:
                self.doubt(symbol, fault)
            else:
                told.timer = asyncio.get_running_loop().call_later(CROSSED_FOR, self._overdue, symbol)
            return
        if told.proven and bids == told.bids and asks == told.asks:
            return
        told.proven, told.bids, told.asks = True, bids, asks
        if told.inverse:
            own_bids, own_asks = _of_contracts(bids, told.scale), _of_contracts(asks, told.scale)
        elif told.scale == 1.0:
            own_bids, own_asks = bids[:], asks[:]  # the listener may change its lists
        else:
            own_bids, own_asks = _scaled(bids, told.scale), _scaled(asks, told.scale)
        book = OrderBook(told.coin, own_bids, own_asks, timestamp, self._name, received_at, sequence, symbol)
        self._heard(told.coin)
        self._listener.on_book(book if told.units == 1 else of_coin(book, told.units))

    def lose(self, symbol: str, reason: str) -> None:
        """Report that the book is not proven, and why."""
        told = self._told[symbol]
        told.proven, told.bids, told.asks, told.crossed = False, [], [], CrossedBooks()
        self._listener.on_book_unsynced(told.coin, reason)

    def doubt(self, symbol: str, reason: str) -> None:
        """Report a book that is wrong although its frames were in order, and synchronize it again."""
        self.lose(symbol, reason)
        self.on_lost(symbol)

    def end(self, reason: str) -> None:
        """Report all books as not proven: the connection has ended."""
        self.ended = True
        for symbol, told in self._told.items():
            if told.timer is not None:
                told.timer.cancel()
            if told.proven:
                self.lose(symbol, reason)

    def _overdue(self, symbol: str) -> None:
        told = self._told[symbol]
        if told.crossed.overdue(monotonic()):
            self.doubt(symbol, f"it has been crossed for {CROSSED_FOR:g} s")


def _scaled(levels: list[Level], scale: float) -> list[Any]:
    return [(price, size * scale) for price, size in levels]


def _of_contracts(levels: list[Level], worth: float) -> list[Any]:
    """Levels of contracts with sizes in base currency; ``worth``: the quote currency that one contract stands for."""
    return [(price, size * worth / price) for price, size in levels]
