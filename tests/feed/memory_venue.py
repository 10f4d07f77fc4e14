"""A venue in memory, without ccxt and sockets, as any program can register it; the test makes its events."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from exchanges.errors import Disconnected, Rejected, VenueError
from exchanges.events import Candle, Listener, OrderBook, Ticker, TradeEvent
from exchanges.foreign_text import Cleaner
from exchanges.venue import Limits, Subscription

Levels = Iterable[tuple[float, float]]


class MemoryVenue:
    """A venue that lists ``coins`` in USDT and delivers what the test passes to ``trade`` and ``book``.

    While ``failure`` is set, each new connection ends with this error. ``channels`` are the channels that the venue
    streams.
    """

    loaded, aged, can_fetch_trades = True, False, True
    timeframes: tuple[str, ...] = ()
    clean = Cleaner(())
    proxies: Mapping[str, object] = {}

    def __init__(self, name: str, coins: Collection[str], limits: Limits | None = None) -> None:
        self.name = name
        self.limits = limits or Limits(consecutive_ids=True)
        self.coins = set(coins)
        self.channels = {"trades", "books"}
        self.quiet: set[str] = set()  # coins of which World.trade makes no trades
        self.late: set[str] = set()  # coins whose known books a new connection does not deliver at once
        self.books: dict[str, OrderBook] = {}  # proven books, which a new connection delivers at once
        self.trades: list[TradeEvent] = []
        self.candles: list[Candle] = []  # past candles
        self.connections: list[MemoryConnection] = []
        self.dials = 0
        self.failure: VenueError | None = None
        self.failures: dict[str, VenueError] = {}  # channel -> the error with which its connections end

    def trade(self, coin: str, price: float, *, told: bool = True, at: int | None = None) -> None:
        """Make a trade, now or ``at`` (Unix ms); if ``told`` is False, only REST has the trade, not the stream."""
        number = sum(trade.coin == coin for trade in self.trades) + 1
        now = time.time_ns()
        trade = TradeEvent(
            coin, price, 1.0, False, at or now // 1_000_000, self.name, str(number), now, market=self.market(coin)
        )
        self.trades.append(trade)
        for connection in self.of("trades") if told else ():
            connection.hear(trade, number)

    def candle(self, candle: Candle, *, flagged: bool) -> None:
        """Send a candle; if ``flagged``, the candle's ``closed`` is the venue's own flag."""
        for connection in self.of("candles"):
            connection.listener.on_candle(candle, flagged)

    def book(self, coin: str, bids: Levels, asks: Levels, sequence: int | None = None, *, told: bool = True) -> None:
        """Change an order book; if ``told`` is False, the connections do not deliver the change."""
        now = time.time_ns()
        market = self.market(coin)
        book = OrderBook(coin, list(bids), list(asks), now // 1_000_000, self.name, now, sequence, market)
        self.books[coin] = book
        for connection in self.of("books") if told else ():
            connection.hear_book(book)

    def unsync(self, coin: str, reason: str) -> None:
        """Report that the coin's order book is not proven any more."""
        self.books.pop(coin, None)
        for connection in self.of("books"):
            connection.listener.on_book_unsynced(coin, reason)

    def of(self, channel: str) -> list[MemoryConnection]:
        """The connections that deliver the channel."""
        return [connection for connection in self.connections if channel in connection.subscription.channels]

    @contextmanager
    def losing(self, channel: str, failure: VenueError) -> Iterator[None]:
        """While the context lasts, connections with the channel, and dials for it, end with ``failure``."""
        self.failures[channel] = failure
        for connection in self.of(channel):
            connection.ended.set()
        yield
        del self.failures[channel]

    @contextmanager
    def failing(self, failure: VenueError) -> Iterator[None]:
        """While the context lasts, all connections and dials end with ``failure``."""
        self.failure = failure
        for connection in list(self.connections):
            connection.ended.set()
        yield
        self.failure = None

    @contextmanager
    def unlisted(self, coin: str) -> Iterator[None]:
        """While the context lasts, the venue does not list the coin; present connections never deliver it again."""
        self.coins.discard(coin)
        for connection in self.connections:
            connection.markets.pop(coin, None)
        yield
        self.coins.add(coin)

    def streams(self, channel: str) -> bool:
        return channel in self.channels

    async def load(self, coins: Mapping[str, str | None] | None = None, *, anew: bool = False) -> None: ...

    async def refresh(self) -> Collection[str]:
        return ()

    def market(self, coin: str, override: str | None = None) -> str:
        if coin not in self.coins:
            raise Rejected(self.name, f"does not list {coin}")
        return f"{coin}/USDT"

    def market_id(self, symbol: str) -> str:
        return symbol

    def connect(
        self, subscription: Subscription, listener: Listener, on_going_down: Callable[[], None]
    ) -> MemoryConnection:
        self.dials += 1
        return MemoryConnection(self, subscription, listener)

    async def fetch_time(self) -> int | None:
        return None

    async def fetch_tickers(self, markets: Mapping[str, str]) -> list[Ticker]:
        return []

    async def fetch_trades(
        self, coin: str, symbol: str, from_id: int | None = None, limit: int | None = None
    ) -> list[TradeEvent]:
        return [trade for trade in self.trades if trade.coin == coin and int(trade.trade_id) >= (from_id or 0)]

    async def fetch_candles(self, coin: str, symbol: str, timeframe: str, since: int) -> list[Candle]:
        return [candle for candle in self.candles if candle.timestamp >= since]

    async def fetch_history(self, coin: str, symbol: str, timeframe: str, limit: int) -> list[Candle]:
        return []

    async def close(self) -> None: ...


class MemoryConnection:
    def __init__(self, venue: MemoryVenue, subscription: Subscription, listener: Listener) -> None:
        self.venue, self.subscription, self.listener = venue, subscription, listener
        self.markets = dict(subscription.markets)
        self.ended = asyncio.Event()

    def hear(self, trade: TradeEvent, number: int) -> None:
        if trade.coin in self.markets:
            self.listener.on_trade(trade, number)

    def hear_book(self, book: OrderBook) -> None:
        if book.coin in self.markets:
            self.listener.on_book(replace(book, bids=list(book.bids), asks=list(book.asks)))

    @property
    def failure(self) -> VenueError | None:
        failures = self.venue.failures
        return self.venue.failure or next((failures[c] for c in self.subscription.channels if c in failures), None)

    async def run(self) -> None:
        if self.failure is None:
            self.venue.connections.append(self)
            if "books" in self.subscription.channels:
                for book in self.venue.books.values():
                    if book.coin not in self.venue.late:
                        self.hear_book(book)
            await self.ended.wait()
            await self.close()
        raise self.failure or Disconnected(self.venue.name, "closed")

    def distrust_book(self, coin: str, reason: str) -> None:
        self.venue.books.pop(coin, None)
        self.listener.on_book_unsynced(coin, reason)

    def add(self, markets: Mapping[str, str]) -> None:
        self.markets |= markets

    async def close(self) -> None:
        if self in self.venue.connections:
            self.venue.connections.remove(self)
