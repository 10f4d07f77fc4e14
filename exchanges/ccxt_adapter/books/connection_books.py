"""The order books of one connection: our own or ccxt's; decides when one of ccxt's books is subscribed to again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any

from exchanges.books.proof import BookUpdate, ProofKind
from exchanges.ccxt_adapter.books.delivery import BookDelivery, BookReceiver
from exchanges.ccxt_adapter.books.own_books import OwnBookKeeper
from exchanges.ccxt_adapter.books.pauses import PausesOfBooks
from exchanges.ccxt_adapter.books.snapshots import VenueSnapshots
from exchanges.ccxt_adapter.books.verified_books import VerifiedBookKeeper
from exchanges.ccxt_adapter.ccxt_import import errors
from exchanges.errors import Disconnected, VenueError
from exchanges.venues.profile import Profile
from exchanges.venues.units import units_of

ANEW_WITHIN = 5.0  # seconds in which a venue must confirm the end of a subscription
FIRST_PAUSE = 1.0  # seconds between two new subscriptions of one book; doubled each time, up to LONGEST_PAUSE
LONGEST_PAUSE = 30.0
STEADY = 120.0  # seconds without a new subscription after which the pause is FIRST_PAUSE again


@dataclass(eq=False, repr=False)
class ConnectionBooks:
    """The books of one connection over the ccxt instance ``exchange``.

    ``heard`` is called with the coin of each delivered book. ``spawn`` makes a task that ends with the connection.
    ``unavailable`` is called with the symbol of a book that the venue refuses, and the reason.
    """

    exchange: Any
    depth: int
    listener: BookReceiver
    snapshots: VenueSnapshots | None
    _: KW_ONLY
    heard: Callable[[str], None]
    spawn: Callable[[Any], asyncio.Task[Any]]
    unavailable: Callable[[str, str], None]
    translate: Callable[[Exception], VenueError]

    def __post_init__(self) -> None:
        self._profile: Profile = self.exchange.profile
        self._symbols: dict[str, str] = {}  # coin -> symbol
        self._pauses = PausesOfBooks(FIRST_PAUSE, LONGEST_PAUSE, STEADY)
        self._delivery = BookDelivery(self._profile.name, self.listener, self.depth, self.heard)
        rules = self._profile.books
        self._own: OwnBookKeeper | None = None
        self._verified: VerifiedBookKeeper | None = None
        if rules.own is None:
            self._verified = VerifiedBookKeeper(
                rules, self._delivery, self._have_anew, lambda symbol: self.exchange.orderbooks.pop(symbol, None)
            )
            self.exchange.on_snapshot = self._verified.on_snapshot
        else:
            self._own = OwnBookKeeper(
                rules, rules.own, self._delivery, self.snapshots, self._spawn, self._send, self.unavailable
            )
            self._take_from(self.exchange, self._own)

    def add(self, coins: Mapping[str, str], scales: Mapping[str, float]) -> None:
        """Carry these markets (symbol -> coin) too; ``scales``: base currency in one unit of each market's sizes."""
        for symbol, coin in coins.items():
            self._symbols[coin] = symbol
            inverse = self.exchange.markets[symbol].get("inverse") is True
            self._delivery.add(symbol, coin, units_of(coin, symbol), scales[symbol], inverse=inverse)
        if self._verified is not None:
            self._verified.add({name: symbol for symbol in coins for name in self._names(symbol)})
        if self._own is not None:
            self._own.add({self.exchange.markets[symbol]["id"]: symbol for symbol in coins})

    def _names(self, symbol: str) -> Iterator[str]:
        """The names of a market (ccxt's and the venue's), and of another market under whose name the data comes."""
        markets = self.exchange.markets
        for each in (symbol, self._profile.arrives_as(symbol)):
            if each in markets:
                yield from (each, markets[each]["id"])

    @property
    def on_update(self) -> Callable[[BookUpdate], None] | None:
        """The receiver of the fast decoder's updates; None if ccxt builds the books."""
        return None if self._own is None else self._own.on_update

    def new_socket(self) -> Callable[[Any, str], bool]:
        """Return the function that gets each frame of a new socket and returns whether ccxt must read it. The function
        may raise any error on an unexpected frame.
        """
        return (lambda frame, text: True) if self._verified is None else self._verified.new_socket()

    def on_book(self, book: Any, received_at: int) -> None:
        """Take one of ccxt's books after ccxt has updated it."""
        if self._verified is not None:
            self._verified.on_book(book["symbol"], book, received_at)

    def on_bad_frame(self, text: str) -> None:
        """Note an unreadable frame. Our own books find missing updates by their numbers; ccxt's may miss an update."""
        if self._delivery.ended:
            return
        if self._own is not None:
            self._own.on_bad_frame(text)
        if self._verified is not None and self._profile.books.kind is not ProofKind.SNAPSHOTS:
            for symbol in self._symbols.values():
                self._verified.lose(symbol, "a frame could not be read")

    def distrust(self, coin: str, reason: str) -> None:
        """Synchronize a coin's book again: the feed has found that it is wrong."""
        symbol = self._symbols.get(coin)
        if symbol is not None and self._delivery.proven(symbol):
            self._delivery.doubt(symbol, reason)

    def survives(self, error: Exception, symbols: Iterable[str]) -> bool:
        """Whether the watch call continues after ccxt's ``error``, because only some books are subscribed to again."""
        if self._verified is None:
            return False
        if isinstance(error, errors.UnsubscribeError):  # we have unsubscribed ourselves
            return True
        if not isinstance(error, errors.InvalidNonce):  # a ChecksumError is an InvalidNonce too
            return False
        for symbol in symbols:
            if symbol not in self.exchange.orderbooks:
                self._verified.dropped(symbol, f"ccxt has dropped it: {self.translate(error).reason}")
        return True

    def end(self, reason: str) -> None:
        """Mark all books as not proven: the connection has ended."""
        self._delivery.end(reason)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None] | None:
        """A task that ends with the connection; None when the connection is already ending."""
        try:
            return self.spawn(work)
        except RuntimeError:  # the connection's group of tasks has ended
            work.close()
            return None

    def _take_from(self, exchange: Any, own: OwnBookKeeper) -> None:
        """Stop ccxt from building these books and from fetching snapshots for them."""
        handle = exchange.handle_order_book

        def handle_order_book(client: Any, message: Any) -> None:
            if not own.convert(message):
                handle(client, message)

        exchange.handle_order_book = handle_order_book
        exchange.handle_order_book_subscription = lambda client, message, subscription: None

    async def _send(self, request: Mapping[str, Any]) -> None:
        client = next(iter(self.exchange.clients.values()), None)
        if client is None:
            return
        try:
            await client.throttle(1)
            await client.send(dict(request))
        except Exception as error:  # ccxt's client and transport may raise any error; the connection ends with it
            raise self.translate(error) from error

    def _have_anew(self, symbol: str) -> None:
        self._spawn(self._subscribe_anew(symbol))

    async def _subscribe_anew(self, symbol: str) -> None:
        """Unsubscribe one market's book; the running watch call subscribes to it again. Raises VenueError."""
        exchange, name = self.exchange, self._profile.name
        await asyncio.sleep(self._pauses.wait(symbol, asyncio.get_running_loop().time()))
        asked = self._profile.books.depth(self._delivery.depth)
        if self._verified is not None and (anew := self._profile.books.anew) is not None:
            self._verified.restarted(symbol)
            for request in anew(exchange.markets[symbol]["id"], symbol, asked):
                await self._send(request)
            return
        many, one = (_has(exchange, f"un_watch_order_book{each}") for each in ("_for_symbols", ""))
        if not many and not one:
            raise Disconnected(name, f"the book of {symbol} is not proven, and cannot be requested again alone")
        params = dict(self._profile.books.params)
        if asked is not None:
            params["limit"] = asked
        try:
            async with asyncio.timeout(ANEW_WITHIN):
                if many:
                    await exchange.un_watch_order_book_for_symbols([symbol], params)
                else:
                    await exchange.un_watch_order_book(symbol, params)
        except TimeoutError:
            raise Disconnected(name, f"the book of {symbol} could not be unsubscribed in time") from None
        except errors.UnsubscribeError:
            pass
        except Exception as error:  # ccxt's parsers may raise anything
            raise Disconnected(name, f"the book of {symbol} could not be unsubscribed: {error}") from error
        if self._verified is not None:
            self._verified.restarted(symbol)


def _has(exchange: Any, method: str) -> bool:
    """Whether the exchange's own module has the method: ccxt's ``has`` lists few methods that unsubscribe."""
    return any(method in vars(base) for base in type(exchange).__mro__ if base.__module__.startswith("ccxt.pro."))
