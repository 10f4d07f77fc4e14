"""The connections that carry a venue: spreads its coins over as many as are needed; order books have their own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from exchanges.venue import Subscription
from feed.candles.venue_candles import VenueCandles
from feed.channels import BOOKS, CANDLES, TRADES
from feed.market_data.book_listener import BookListener
from feed.market_data.connection_listener import BuildingListener, ConnectionListener
from feed.market_data.listener_base import ListenerBase, ListenerContext
from feed.policies.lag import LagFinding
from feed.sessions.connections.connection import Carries, CoinConnection, OpenConnection, wait
from feed.sessions.connections.sharding import allot
from feed.sessions.day_stats import DayStats
from feed.sessions.feed_context import FeedContext
from feed.sessions.shared_venue import SharedVenue
from feed.trades.backfiller import TradeBackfiller

NAMED = 5  # the most coins that an error names


class PoolOwner(Protocol):
    """What the connections need to know about their session."""

    connected: bool
    delivering: bool

    def note(self, event: str, exchange: str, **details: Any) -> None: ...

    def on_first_data(self) -> None:
        """Called when a connection delivers for the first time."""


@dataclass(eq=False, repr=False)
class ConnectionPool:
    """Carries ``markets`` (coin -> symbol) in parts, each over a CoinConnection.

    Order books have connections of their own: a book may need a new connection to be synchronized again, and ccxt
    closes a connection whose book it cannot join.
    """

    owner: PoolOwner
    shared: SharedVenue
    feed: FeedContext
    backfiller: TradeBackfiller
    candles: VenueCandles
    day_stats: DayStats

    def __post_init__(self) -> None:
        self.venue = self.shared.venue
        self.name = self.shared.venue.name
        self.markets: dict[str, str] = {}
        self._listening = ListenerContext(
            self.feed.hub,
            self.feed.silence_watch,
            self.name,
            self.owner.note,
            self.feed.wake,
            self.feed.main,
            self.feed.settings.staleness.feed_stale_after,
        )
        self._is_awaited = False
        self._without_books: set[str] = set()  # coins that were reported to have no books here
        self._connections: dict[CoinConnection, asyncio.Task[None]] = {}

    def __bool__(self) -> bool:
        return bool(self._connections)

    def clear(self) -> None:
        """Call this when all connections have ended."""
        self._connections.clear()
        self.markets = {}

    def forget(self, coins: Collection[str]) -> None:
        """Stop delivering these removed coins; their streams end with their connections, or with ``spread``."""
        for opened in self.opened:
            opened.listener.forget(coins)
        for connection in self._connections:
            connection.markets = {coin: symbol for coin, symbol in connection.markets.items() if coin not in coins}
        self.markets = {coin: symbol for coin, symbol in self.markets.items() if coin not in coins}

    def leave(self, coins: Collection[str]) -> None:
        """Deliver nothing of these coins until they are listed again: they are halted or not listed any more."""
        for opened in self.opened:
            opened.listener.forget(coins)
            opened.left.update(coins)

    def readmit(self, coins: Mapping[str, str]) -> None:
        """Call this when these coins are listed again."""
        for opened in self.opened:
            if not opened.left.isdisjoint(coins):  # the venue may have ended the subscriptions to these coins
                opened.outdated.set()

    def listener_of(self, coin: str) -> ListenerBase | None:
        """The listener that receives the coin's candles and trades."""
        carrying = (each for each in self._connections if coin in each.markets and not each.asks.is_for_books)
        connection = next(carrying, None)
        return None if connection is None or connection.opened is None else connection.opened.listener

    @property
    def last_data(self) -> float | None:
        """When an essential connection last had data, monotonic seconds; None before the first data."""
        return max((at for opened in self.essential if (at := opened.listener.last_data) is not None), default=None)

    @property
    def lags_in_part(self) -> bool:
        """Whether one of the connections lags while others do not."""
        return any(connection.is_lagging for connection in self._connections)

    def expect_data(self, is_awaited: bool) -> None:
        """Set whether the next data of a trial may lead to a decision, so that this data must wake the supervisor."""
        self._is_awaited = is_awaited
        for opened in self.opened:
            opened.listener.is_awaited = is_awaited

    def flowing_for(self, now: float) -> float:
        """Seconds since the first data of the pool's connections; 0.0 before."""
        firsts = [at for opened in self.essential if (at := opened.listener.first_data) is not None]
        return now - min(firsts) if firsts else 0.0

    def spread(self, group: asyncio.TaskGroup, *, allowed: int = 0) -> None:
        """Give each connection its part of the markets, and open missing ones.

        ``allowed``: how many dials the venue's limit has already allowed.
        """
        for asks in self._asked():
            connections, parts = self._connections_like(asks), self._parts(asks)
            for connection, part in zip(connections, parts, strict=False):
                connection.markets, connection.asks = part, asks
                connection.wake()
            self._open(group, asks, parts[len(connections) :], allowed)
            allowed = 0
        self._tell_without_books()
        for opened in self.opened:
            opened.listener.shows_life = opened in self.essential

    async def make_room(self, group: asyncio.TaskGroup) -> None:
        """Open the connections to which coins are to move, and wait until data flows over them."""
        asks = self._asked()[0]
        connections = self._connections_like(asks)
        carried = {coin for connection in connections for coin in connection.markets}
        behind = self._parts(asks)[len(connections) :]
        if any(coin in carried for part in behind for coin in part):
            await asyncio.wait(
                [asyncio.ensure_future(each.flowing.wait()) for each in self._open(group, asks, behind, 0)]
            )
            self.markets = {coin: symbol for coin, symbol in self.markets.items() if coin in self.feed.wanted.symbols}

    @property
    def wants_books(self) -> bool:
        """Whether order books are among what the feed wants."""
        return BOOKS.name in self.feed.wanted.channels

    def _tell_without_books(self) -> None:
        """If books are wanted and the venue has none, report each coin once."""
        if self.wants_books and not any(asks.is_for_books for asks in self._asked()):
            reason = f"{self.name} has no {BOOKS.name} channel"
            if self.owner.delivering:
                hub = self.feed.hub
                hub.books.has_none(self.markets, reason, hub.clock.monotonic())
            for coin in self.markets.keys() - self._without_books:
                self.owner.note("coin_unavailable", self.name, coin=coin, channel=BOOKS.name, reason=reason)
            self._without_books = set(self.markets)

    def _open(
        self, group: asyncio.TaskGroup, asks: Carries, parts: Iterable[dict[str, str]], allowed: int
    ) -> list[CoinConnection]:
        made: list[CoinConnection] = []
        settings, clock, session_limit = self.feed.settings, self.feed.hub.clock, self.venue.limits.session_limit
        for part in parts:
            connection = CoinConnection(self, part, asks, settings, clock, session_limit)
            task = group.create_task(connection.carry(may_dial=len(made) < allowed), name=f"connection to {self.name}")
            self._connections[connection] = task
            task.add_done_callback(lambda task, connection=connection: self._connections.pop(connection, None))  # type: ignore[misc] # mypy: no lambda with a default
            made.append(connection)
        return made

    def _parts(self, asks: Carries) -> list[dict[str, str]]:
        """Divide the markets among connections with the same subscriptions, by what one connection may carry."""
        markets, capacity = self.markets, self.venue.limits.capacity
        weights = {coin: self._weight(asks, {coin: symbol}) for coin, symbol in markets.items()}
        limit = None if capacity is None else capacity.limit
        parts = allot(weights, [list(connection.markets) for connection in self._connections_like(asks)], limit)
        return [{coin: markets[coin] for coin in part} for part in parts]

    def _weight(self, asks: Carries, markets: Mapping[str, str]) -> int:
        capacity = self.venue.limits.capacity
        if capacity is None:
            return 0
        return sum(capacity.weight(self.venue.market_id(symbol), asks.subscriptions) for symbol in markets.values())

    @property
    def opened(self) -> list[OpenConnection]:
        return [opened for connection in self._connections for opened in connection.all_opened]

    @property
    def essential(self) -> list[OpenConnection]:
        """The connections whose data shows that the venue works."""
        return [
            opened
            for connection in self._connections
            if self.is_essential(connection)
            for opened in connection.all_opened
        ]

    def _connections_like(self, asks: Carries) -> list[CoinConnection]:
        return [connection for connection in self._connections if connection.asks.is_for_books == asks.is_for_books]

    def _asked(self) -> list[Carries]:
        """What each kind of connection must subscribe to now."""
        wanted = self.feed.wanted
        others = tuple(name for name in wanted.channels if name != BOOKS.name)
        asked = [Carries(others, tuple(wanted.timeframes))] if others else []
        if BOOKS.name in wanted.channels and (not others or self.venue.streams(BOOKS.name)):
            asked.append(Carries((BOOKS.name,), book_depth=max(wanted.depths)))
        return asked

    def dial(self, connection: CoinConnection) -> OpenConnection:
        """See Host."""
        outdated, markets, for_books = asyncio.Event(), dict(connection.markets), connection.asks.is_for_books
        if connection.broke and self.owner.delivering and not for_books:
            self.backfiller.resumed(markets)

        def on_going_down() -> None:
            outdated.set()
            connection.wake()

        listener = self._listener(connection)
        listener.is_awaited = self._is_awaited
        asks, number = connection.asks, 0
        if for_books:
            self.feed.hub.books.expect(markets, self.feed.hub.clock.monotonic())
        else:
            self.day_stats.give(listener, markets)
            number = self._begin_candles(markets, asks, None)
        if isinstance(listener, BuildingListener):
            listener.build(number, asks.timeframes)
        subscription = Subscription(markets, asks.channels, asks.timeframes, asks.book_depth)
        stream = self.venue.connect(subscription, listener, on_going_down)
        if isinstance(listener, BookListener):
            listener.distrust = stream.distrust_book
        if self.owner.delivering and not for_books:
            self.candles.note_unclosed(self.feed.hub.delivered_candles.unclosed())
        running = asyncio.create_task(stream.run(), name=f"stream {self.name}")
        now = self.feed.hub.clock.monotonic()
        opened = OpenConnection(stream, listener, running, dict(markets), asks, now, number, outdated)
        running.add_done_callback(lambda running: self._on_end(opened))
        return opened

    def _on_end(self, opened: OpenConnection) -> None:
        """Note that a connection which delivered has ended by itself.

        If another connection is open for the same coins, that one may not have subscribed to all of them yet.
        """
        if opened.listener.delivering and opened.listener.last_data is not None and not opened.carries.is_for_books:
            for coin in opened.markets:
                self.backfiller.doubt(coin)

    def _begin_candles(self, markets: Mapping[str, str], asks: Carries, number: int | None) -> int:
        """Continue these markets' candles on connection ``number``, or on a new one if None; returns the number."""
        coins = {symbol: coin for coin, symbol in markets.items()}
        closed, native = self.feed.hub.delivered_candles.newest_closed(), not self._builds_candles(asks)
        return self.candles.begin(coins, asks.timeframes, closed, native=native, connection=number)

    def _builds_candles(self, asks: Carries) -> bool:
        """Whether candles are built from the trades of a connection that carries ``asks``."""
        streams = self.venue.streams
        return {CANDLES.name, TRADES.name} <= set(asks.channels) and streams(TRADES.name) and not streams(CANDLES.name)

    def _listener(self, connection: CoinConnection) -> ListenerBase:
        context, delivering = self._listening, self.owner.delivering
        if connection.asks.is_for_books:
            listener = BookListener(context, delivering=delivering)
            listener.shows_life = self.is_essential(connection)
            return listener
        kind = BuildingListener if self._builds_candles(connection.asks) else ConnectionListener
        subscriptions = len(connection.markets) * connection.asks.subscriptions
        return kind(context, self.backfiller, self.candles, delivering=delivering, subscriptions=subscriptions)

    async def may_dial(self, old: OpenConnection | None = None) -> None:
        """See Host."""
        clock = self.feed.hub.clock
        sleep = clock.sleep if old is None else lambda seconds: wait(old, asyncio.Event(), seconds)
        await self.shared.dials.take(clock, sleep)

    def hang_up(self, opened: OpenConnection, reason: str) -> None:
        """See Host."""
        opened.listener.close(reason)
        opened.running.cancel()
        self.feed.closings.add(_ended(opened.running, opened.stream.close()))
        known = self.feed.wanted.symbols
        carried = {symbol for other in self.opened if other is not opened for symbol in other.markets.values()}
        carried |= set(self.markets.values())  # a market may belong to another coin now
        self.candles.forget({symbol for coin, symbol in opened.markets.items() if coin not in known} - carried)

    def is_essential(self, connection: CoinConnection) -> bool:
        """See Host."""
        return not connection.asks.is_for_books or self.feed.wanted.channels == [BOOKS.name]

    def fits(self, connection: CoinConnection, markets: Mapping[str, str]) -> bool:
        """See Host."""
        capacity = self.venue.limits.capacity
        return capacity is None or self._weight(connection.asks, markets) <= capacity.limit

    def extend(self, opened: OpenConnection, markets: Mapping[str, str]) -> None:
        """See Host."""
        unasked = (coin for coin in markets if coin not in opened.markets or coin in opened.listener.refused)
        new = {coin: markets[coin] for coin in unasked}
        opened.listener.readmit(markets)
        if new:
            if not opened.carries.is_for_books:
                self._begin_candles(new, opened.carries, opened.number)
            opened.stream.add(new)
            opened.markets |= new
        if not opened.carries.is_for_books:
            self.day_stats.give(opened.listener, markets)

    def has_company(self, connection: CoinConnection, within: float) -> bool:
        """See Host."""
        now, any_will_do = self.feed.hub.clock.monotonic(), not self.is_essential(connection)
        others = [each for each in self._connections if each is not connection]
        return any(other.has_data(within, now) for other in others if any_will_do or self.is_essential(other))

    def is_outpaced(self, connection: CoinConnection) -> bool:
        """See Host."""
        others = [each.opened for each in self._connections if each is not connection and each.opened is not None]
        lags = [other.listener.lag.seconds for other in others if not other.running.done()]
        return any(lag is not None and lag <= self.feed.settings.staleness.max_lag for lag in lags)

    def on_lag(self, connection: CoinConnection, finding: LagFinding) -> None:
        """See Host."""
        self._tell_part(str(finding.kind), connection, seconds=round(finding.seconds, 3))

    def on_flow(self, connection: CoinConnection) -> None:
        """See Host."""
        if not self.owner.connected and self.is_essential(connection):
            self.owner.on_first_data()
        elif connection.broke:
            self._tell_part("connected", connection)
        connection.broke = False
        opened = connection.opened
        if self.owner.delivering and opened is not None and not opened.listener.delivering:
            opened.listener.deliver(opened.markets)  # it may have been dialled while the session was still on trial

    def on_break(self, connection: CoinConnection, reason: str) -> None:
        """See Host."""
        connection.broke = True
        self._tell_part("disconnected", connection, reason=reason)
        if self.owner.delivering and not connection.asks.is_for_books:
            self.backfiller.lost(connection.markets)

    def on_silence(self, connection: CoinConnection) -> None:
        """See Host."""
        if self.owner.delivering and not connection.asks.is_for_books:
            for coin in connection.markets:
                self.backfiller.doubt(coin)

    def on_missing(self, coins: Sequence[str], seconds: float, doubted: Sequence[str]) -> None:
        """See Host."""
        some = ", ".join(coins[:NAMED]) + (f" and {len(coins) - NAMED} more" if len(coins) > NAMED else "")
        told = f"no trades of {some} for {seconds:.1f} s, although tickers show trades: the connection is replaced"
        self.owner.note("error", self.name, error=told, coins=coins)
        for coin in doubted:
            self.backfiller.doubt(coin)

    def on_replaced(self, connection: CoinConnection, reason: str) -> None:
        """See Host."""
        self._tell_part("disconnected", connection, reason=reason)
        self._tell_part("connected", connection)

    def on_retry(self, connection: CoinConnection, attempt: int, delay: float) -> None:
        """See Host."""
        self._tell_part("reconnecting", connection, attempt=attempt, delay=round(delay, 3))

    def _tell_part(self, event: str, connection: CoinConnection, **details: Any) -> None:
        """Report an event of one of several connections, with its coins; the state of the feed does not change."""
        if self.owner.delivering:
            self.feed.aside(event, self.name, coins=list(connection.markets), **details)


async def _ended(running: asyncio.Future[Any], closing: Awaitable[None]) -> None:
    """Wait until a stream has ended, and ignore its errors."""
    await asyncio.gather(running, closing, return_exceptions=True)
