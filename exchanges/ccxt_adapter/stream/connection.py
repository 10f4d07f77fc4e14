"""One connection to a venue over ccxt: what it subscribes to, and the ccxt calls that run until it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from functools import partial
from typing import Any

from exchanges.ccxt_adapter.books.connection_books import ConnectionBooks
from exchanges.ccxt_adapter.books.quotes import QuotesOfBooks
from exchanges.ccxt_adapter.books.snapshots import VenueSnapshots
from exchanges.ccxt_adapter.stream.channels import (
    Asked,
    Watch,
    calls,
    has_calls,
    quotes_in_tickers,
    source_of_quotes,
    streamed,
)
from exchanges.ccxt_adapter.stream.client_guard import FrameReading, arm
from exchanges.ccxt_adapter.stream.rejections import RejectionTracker, asking, names
from exchanges.ccxt_adapter.stream.request_batching import gather
from exchanges.ccxt_adapter.stream.row_handler import RowHandler
from exchanges.errors import Rejected, VenueError
from exchanges.events import Listener, OrderBook
from exchanges.foreign_text import Cleaner
from exchanges.venue import Subscription
from exchanges.venues.frame_markets import check
from exchanges.venues.profile import Profile, Rejection


@dataclass(frozen=True, slots=True)
class _Call:
    """One watch call that is repeated as long as the connection is open."""

    channel: str
    symbols: tuple[str, ...]
    watch: Watch
    timeframe: str = ""  # the candles' timeframe; "" for other channels


@dataclass(eq=False, repr=False)
class CcxtConnection:
    """One connection's life, from the dial to the error that ends it, over a ccxt.pro instance of its own.

    A fresh instance has no dial backoff, subscription or future of an earlier connection, and an old instance can be
    closed while the new one runs. ``translate`` turns any error of ccxt into a VenueError. ``clean`` makes a venue's
    text printable and safe. ``release`` closes the instance within a limited time. ``renew`` gives the instance the
    venue's current markets. ``snapshots`` fetches the venue's REST snapshots of books.
    """

    exchange: Any
    wanted: Subscription
    listener: Listener
    _: KW_ONLY
    on_going_down: Callable[[], None]
    translate: Callable[[Exception], VenueError]
    clean: Cleaner
    release: Callable[[], Awaitable[None]]
    renew: Callable[[], None]
    snapshots: VenueSnapshots | None

    def __post_init__(self) -> None:
        self.name = self.exchange.profile.name
        self._profile: Profile = self.exchange.profile
        self._reading = FrameReading()
        self._tracker = RejectionTracker()
        self._keepers: dict[_Call, asyncio.Task[Any]] = {}
        self._confirmed: set[tuple[str, str]] = set()  # (channel, market id) of each confirmed subscription
        self._rejections: dict[_Call, Rejected] = {}  # calls that end because of a rejection
        self._coins = {symbol: coin for coin, symbol in self.wanted.markets.items()}
        own = streamed(self.exchange)
        self._streamed = own
        self._delivery = RowHandler(self.exchange, self.wanted.timeframes, self.listener, self._reading)
        self._delivery.add(self._coins)
        self._group = asyncio.TaskGroup()
        self._standing: set[asyncio.Task[None]] = set()  # a task for each call that may deliver data
        self._subscribing = False  # whether added coins are subscribed to at once: only while the connection is open
        self._delivery.clean = self.clean
        quotes = "quotes" in self.wanted.channels
        self._delivery.tickers_wanted = "ticker" in self.wanted.channels
        self._delivery.quotes_in_tickers = quotes and quotes_in_tickers(self.exchange)
        self._delivery.on_no_quote = self._look_into_book
        # whether the books of all coins are carried, to be delivered or for quotes; otherwise only the books of coins
        # whose tickers have no bid and ask
        self._books_of_all = "books" in own and (
            "books" in self.wanted.channels or (quotes and source_of_quotes(self.exchange) == "books")
        )
        self._book_depth = self.wanted.book_depth if "books" in self.wanted.channels else 1  # one level for quotes
        self._books: ConnectionBooks | None = None
        self._sockets: dict[Any, Callable[[Any, str], bool]] = {}  # client -> the function that judges its frames
        if self._books_of_all:
            self._carry_books(self._coins)
        self._install()

    def __repr__(self) -> str:
        dialled = ", ".join(self.exchange.clients or ()) or "not dialled"
        return f"<Stream {self.name}, {len(self._coins)} coins, {dialled}>"

    async def run(self) -> None:
        """Dial, subscribe and deliver to the listener until the connection ends. Raises Disconnected or Blocked then.

        If the venue refuses a channel or coin, the listener is told and the others continue; Rejected is raised when
        no subscription is left.
        """
        try:
            self.exchange.open()  # some of ccxt's modules fetch an address in a task before they dial
        except (OSError, ValueError) as error:  # certificates that cannot be read (OSError) or parsed
            raise self.translate(error) from error
        try:
            async with self._group:
                self._subscribe(self._coins)
                for call in self._beside():
                    self._begin(call)
                self._subscribing = True
                while self._standing:  # tasks can be added to the group only while calls are running
                    await asyncio.wait(self._standing)
                self._subscribing = False
                raise Rejected(self.name, "refused every subscription")
        except* VenueError as errors:
            raise errors.exceptions[0] from None
        finally:
            if self._books is not None:
                self._books.end("the connection has ended")

    async def close(self) -> None:
        """Close the ccxt instance within a limited time, and remove its large parts."""
        await self.release()
        self._tracker.clear()
        self._keepers.clear()

    def add(self, markets: Mapping[str, str]) -> None:
        """Carry these coins (coin -> market symbol) too, on the same connection."""
        coins = {symbol: coin for coin, symbol in markets.items()}
        if not coins.keys() <= self.exchange.markets.keys():  # the coins were listed after this connection was made
            self.renew()
        self._coins |= coins
        self._delivery.add(coins)
        if self._books_of_all:
            self._carry_books(coins)
        if self._subscribing:
            self._subscribe(coins)

    def distrust_book(self, coin: str, reason: str) -> None:
        """Synchronize a coin's book again: its receiver has found that it is wrong.

        The listener is called at once.
        """
        if self._books is not None:
            self._books.distrust(coin, reason)

    def _carry_books(self, coins: Mapping[str, str]) -> None:
        """Prove and deliver the books of these markets (symbol -> coin)."""
        if self._books is None:
            delivery, channels = self._delivery, self.wanted.channels
            listener = self.listener if "books" in channels else None
            quotes = "quotes" in channels and source_of_quotes(self.exchange) != "quotes"
            self._books = delivery.books = ConnectionBooks(
                self.exchange,
                self._book_depth,
                QuotesOfBooks(delivery.on_quote_of_book, listener) if quotes or listener is None else listener,
                self.snapshots,
                heard=partial(delivery.heard, OrderBook),
                spawn=self._group.create_task,
                unavailable=lambda symbol, reason: self._unavailable("books", [symbol], reason),
                translate=self.translate,
            )
        self._books.add(coins, self._delivery.scales(coins))

    def _look_at_frame(self, client: Any, frame: Any, text: str) -> bool:
        """Judge a frame for the books, if there are any; True if ccxt must read it."""
        if self._books is None:
            return True
        if client not in self._sockets:
            self._sockets[client] = self._books.new_socket()
        return self._sockets[client](frame, text)

    def _subscribe(self, symbols: Iterable[str]) -> None:
        for channel in self.wanted.channels:
            for call in self._calls(channel, list(symbols)):
                self._begin(call)

    def _begin(self, call: _Call) -> None:
        task = self._group.create_task(self._keep(call))
        if call.symbols:
            self._standing.add(task)
            task.add_done_callback(self._standing.discard)

    def _install(self) -> None:
        """Put our own caches into ccxt's tables, and guard the client with which ccxt will dial."""
        exchange, reading, listener, delivery = self.exchange, self._reading, self.listener, self._delivery
        latest = (delivery.tickers, delivery.bidsasks)
        profile = self._profile
        unnamed, named = self._tracker.unnamed, profile.markets_named

        def on_bad_frame(sample: str) -> None:
            listener.on_bad_frame(sample)
            if self._books is not None:
                self._books.on_bad_frame(reading.text)

        def on_frame(frame: Any) -> None:
            if reading.delivered:
                delivery.on_frame()
            elif profile.announces_cut(frame):
                self.on_going_down()
            elif (rejection := profile.rejection(frame)) is not None:
                self._on_rejection(frame, rejection)
            elif (confirmed := profile.confirmation(frame)) is not None:
                self._confirmed.add(confirmed)
            if unnamed:
                self._on_unnamed()

        def on_new_client(client: Any) -> None:
            self._tracker.keep(client)
            if profile.joined is not None:
                gather(client, profile.joined)
            arm(
                client,
                reading,
                latest,
                on_bad_frame,
                on_frame,
                exchange.access.timeout,
                delivery.taker,
                delivery.on_book,
                self.clean,
                (lambda frame: None) if named is None else partial(check, named),
                partial(self._look_at_frame, client),
            )

        exchange.on_new_client = on_new_client

    def _calls(self, channel: str, symbols: Sequence[str]) -> Iterator[_Call]:
        """The watch calls of one channel."""
        exchange, way = self.exchange, channel
        if (
            channel == "candles" not in self._streamed
            and "trades" in self._streamed
            and "trades" in self.wanted.channels
        ):
            return  # the candles are built from the trades
        if channel == "quotes":
            way = source_of_quotes(exchange)
            if way in self.wanted.channels and way != "quotes":
                return  # the quotes come with that channel
        elif channel not in self._streamed:
            if channel == "ticker" and (exchange.has.get("fetchTickers") or exchange.has.get("fetchTicker")):
                return  # day stats come over REST, prices with the trades
            way = ""
        if not way:
            self._unavailable(channel, symbols, f"{self.name} has no {channel} channel")
            return
        chunk = 1 if channel in self._profile.singly else self._profile.chunk
        book = self._book_asked() if way == "books" else Asked()
        for timeframe in self.wanted.timeframes if channel == "candles" else ("",):
            for some, watch in calls(exchange, way, symbols, chunk, Asked(timeframe) if timeframe else book):
                yield _Call(channel, some, watch, timeframe)

    def _look_into_book(self, symbol: str) -> None:
        """Take the symbol's quotes from its book: its tickers have no bid and ask."""
        if not has_calls(self.exchange, "books"):
            self._unavailable("quotes", [symbol], f"{self.name} has no quotes channel")
            return
        if not self._books_of_all:
            self._carry_books({symbol: self._coins[symbol]})
            for some, watch in calls(self.exchange, "books", [symbol], 1, self._book_asked()):
                self._begin(_Call("quotes", some, watch))

    def _book_asked(self) -> Asked:
        rules = self._profile.books
        return Asked("", rules.depth(self._book_depth), rules.params)

    def _beside(self) -> Iterator[_Call]:
        """The requests that the venue wants in addition to those of the channels."""
        for name, request in self._profile.extra_requests().items():
            yield _Call(name, (), partial(self._ask, name, dict(request)))

    def _ask(self, name: str, request: dict[str, Any], symbols: Sequence[str]) -> Awaitable[Any]:
        exchange = self.exchange
        address = exchange.urls["api"]["ws"]
        url = address if isinstance(address, str) else address["public"]
        answered: Awaitable[Any] = exchange.watch(url, name, request, name)
        return answered

    async def _keep(self, call: _Call) -> None:
        """Repeat one watch call. The call subscribes and raises errors; the data comes through the caches."""
        task = asyncio.current_task()
        assert task is not None
        asking.set(call)
        self._keepers[call] = task
        while True:
            try:
                await call.watch(call.symbols)
                await asyncio.sleep(0)  # let other tasks run if a venue's futures return at once
            except asyncio.CancelledError:
                refused = self._rejections.pop(call, None)
                if refused is None or task.uncancel():
                    self._keepers.pop(call, None)
                    raise
                failure: VenueError = refused
                break
            except Exception as error:  # noqa: BLE001 - ccxt's modules may raise any error
                if (
                    call.channel in ("books", "quotes")
                    and self._books is not None
                    and self._books.survives(error, call.symbols)
                ):
                    continue
                failure = self.translate(error)
                frame = getattr(error, "frame", None)
                if frame is None or self._minds(call, frame):
                    break
        self._keepers.pop(call, None)
        if not isinstance(failure, Rejected):
            self._subscribing = False  # the connection ends
            raise failure
        self._tracker.forget(call)
        if len(call.symbols) == 1:
            self._unavailable(call.channel, call.symbols, failure.reason, call.timeframe)
            return
        for symbol in call.symbols:  # one wrong market makes the venue refuse the whole request
            self._begin(replace(call, symbols=(symbol,)))

    def _minds(self, call: _Call, frame: Any) -> bool:
        """Whether a rejection may be about this call: its text allows that, and the call has brought no data."""
        if (asker := self._tracker.asker(frame)) is not None:
            return call == asker
        if not call.symbols:
            return False  # an extra request without data of its own
        named = self._named(frame)
        about = not named or any(symbol in named for symbol in call.symbols)
        return about and not self._delivery.has_brought(call.channel, call.symbols)

    def _named(self, frame: Any) -> set[str]:
        markets = self.exchange.markets
        return {symbol for symbol in self._coins if names(frame, (symbol, markets[symbol]["id"]))}

    def _on_rejection(self, frame: Any, rejection: Rejection) -> None:
        """End the calls that a frame refuses; a call for several markets is split, so that the good markets go on."""
        if rejection.unnamed:
            self._tracker.unnamed.append(rejection.reason)
            return
        named = self._named(frame)
        for call, keeper in list(self._keepers.items()):
            if rejection.channel not in ("", call.channel) or not self._minds(call, frame):
                continue
            if rejection.alone:
                refused = [symbol for symbol in call.symbols if symbol in named]
                self._unavailable(call.channel, refused, rejection.reason, call.timeframe)
            else:
                self._refuse(call, keeper, rejection.reason)

    def _refuse(self, call: _Call, keeper: asyncio.Task[Any], reason: str) -> None:
        if call not in self._rejections:
            self._rejections[call] = Rejected(self.name, self.clean(reason))
            keeper.cancel()

    def _on_unnamed(self) -> None:
        """End the calls whose rejections did not name them, as soon as all other calls are accepted."""
        for call, reason in self._tracker.blamed(self._is_accepted).items():
            if (keeper := self._keepers.get(call)) is not None:
                self._refuse(call, keeper, reason)

    def _is_accepted(self, call: _Call) -> bool:
        ids = (self.exchange.markets[symbol]["id"] for symbol in call.symbols)
        confirmed = all((call.channel, market_id) in self._confirmed for market_id in ids)
        return confirmed or self._delivery.has_brought(call.channel, call.symbols)

    def _unavailable(self, channel: str, symbols: Iterable[str], reason: str, timeframe: str = "") -> None:
        coins = [self._coins[symbol] for symbol in symbols]
        self.listener.on_unavailable(channel, coins, self.clean(reason), timeframe)
