"""One venue until it fails: its markets, its 24 h figures, and the connections over which its coins are spread."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from functools import partial
from math import inf
from typing import Any, NoReturn

from loguru import logger

from exchanges import venue_time
from exchanges.candles.venue_candles import VenueCandles
from exchanges.errors import Disconnected, VenueError
from exchanges.events import Candle
from exchanges.venue import Subscription
from feed.channels import BOOKS, TICKER
from feed.events import CoinConfig
from feed.market_data.book_listener import BookListener
from feed.market_data.connection_listener import ConnectionListener
from feed.market_data.hub import MarketDataHub
from feed.market_data.listener_base import ListenerBase
from feed.policies.backoff import Backoff
from feed.policies.lag import LagFinding
from feed.policies.staleness import SilenceWatch
from feed.sessions import day_stats
from feed.sessions.coin_listing import CoinListing
from feed.sessions.connection import Carries, CoinConnection, OpenConnection, wait
from feed.sessions.day_stats import DayStats
from feed.sessions.sharding import allot
from feed.sessions.shared_venue import SharedVenue
from feed.settings.schema import Settings
from feed.subscriptions.status import Report
from feed.subscriptions.wanted_data import WantedData
from feed.trades.backfiller import TradeBackfiller

TRUST_WAIT = 0.5  # seconds of data on trial in which a venue may tell its time, for what its data lags
NAMED = 5  # coins that are named in an error


class Session:
    """Carries one venue: ``carry`` runs until it has failed and raises why.

    Its coins are spread over as many connections as the venue's capacity asks for, each a CoinConnection. On trial
    it delivers nothing until ``promote``. ``dismiss`` takes over the closing of a connection: a dead peer may hold it
    up, and the next dial must not wait for it.
    """

    def __init__(
        self,
        shared: SharedVenue,
        wanted: WantedData,
        hub: MarketDataHub,
        silence_watch: SilenceWatch,
        settings: Settings,
        report: Report,
        aside: Report,
        *,
        main: bool,
        wake: Callable[[], None],
        dismiss: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        venue = self.venue = shared.venue
        self.name = venue.name
        self.backoff = _backoff(settings)
        self.bars = VenueCandles(venue.name, partial(shared.fetch_candles, hub.clock), self._on_mended, self)
        self.backfiller = TradeBackfiller(
            venue, settings.backfill, hub.on_trade, self._report_gap, hub.clock, shared.requests, shared.sequences
        )
        self.connected = False  # a connection has delivered; only ``carry`` sets it
        self.broke = False  # what ``carry`` raised last ended such a connection
        self.delivering = False  # False while on trial
        self.lag: float | None = None  # seconds, of its most up-to-date connection at the last check; None: not known
        self.listing = CoinListing(venue, self._note)
        self.asked_for: Sequence[CoinConfig] = ()  # what was wanted when the venue was last asked for it
        self._settings = settings
        self._wanted = wanted
        self._hub = hub
        self._silence_watch = silence_watch
        self._shared = shared
        self._report = report
        self._aside = aside
        self._main = main
        self._wake = wake
        self._dismiss = dismiss
        self._dropped: asyncio.Future[NoReturn] | None = None
        self._since: Mapping[str, int] = {}  # see ``carry``
        self._is_awaited = False
        self._without_books: set[str] = set()  # coins that were told to have no books here
        self._refused = False  # the venue lists none of the wanted coins
        self._list_due = asyncio.Event()  # its list of markets is to be asked for now
        self._changed = asyncio.Event()  # the wanted coins, channels or timeframes have changed
        self._day_stats = DayStats(venue, self._known)
        self._markets: dict[str, str] = {}  # coin -> symbol, of what is carried
        self._connections: dict[CoinConnection, asyncio.Task[None]] = {}

    @property
    def last_data(self) -> float | None:
        """When one of its connections last delivered, monotonic seconds; None while none has."""
        return max((at for opened in self._essential() if (at := opened.listener.last_data) is not None), default=None)

    @property
    def lost_bars(self) -> int:
        """Candles whose end was missed, and that the venue's record did not give in time."""
        return self.bars.lost

    def look_at_lag(self) -> None:
        """Measure the lag of its connections, and report a wrong local clock once."""
        if self._shared.clock_complaint is None and (complaint := venue_time.complaint(self.name)) is not None:
            self._shared.clock_complaint = complaint
            self._note("error", self.name, error=complaint)
        for opened in self._all_opened():
            opened.listener.look()
        lags = (opened.listener.lag.seconds for opened in self._all_opened())
        self.lag = min((lag for lag in lags if lag is not None), default=None)

    @property
    def lags_in_part(self) -> bool:
        """Whether one of its connections lags while others do not."""
        return any(connection.is_lagging for connection in self._connections)

    def is_up_to_date(self, now: float) -> bool:
        """Whether data comes at this moment and, as far as its stamps show, does not lag."""
        last, lag = self.last_data, self.lag
        silence = self._settings.staleness.feed_stale_after
        return last is not None and now - last < silence and (lag is None or lag <= self._settings.staleness.max_lag)

    def venue_time(self) -> float | None:
        """See exchanges.candles.overdue.Timing."""
        delay = self._hub.delays[self.name].seconds
        return None if delay is None else (self._hub.clock.running() - delay) * 1000

    def stream_time(self) -> float | None:
        """See exchanges.candles.overdue.Timing."""
        at, last, silence = self.venue_time(), self.last_data, self._settings.staleness.reconnect_after
        if at is None or last is None or not self.connected or self._hub.clock.monotonic() - last > silence:
            return None
        return at - (self.lag or 0.0) * 1000

    def has_room(self) -> bool:
        """See exchanges.candles.overdue.Timing."""
        now, shared = self._hub.clock.monotonic(), self._shared
        return bool(self.venue.timeframes) and shared.bars.plenty(now) and shared.requests.plenty(now)

    def is_proven_up_to_date(self, now: float) -> bool:
        """The same of a connection that is new: its lag may be unknown until the venue has told its time, and until a
        late stream has shown itself to be one by more than one stamp of a coin."""
        if not self.is_up_to_date(now) or any(opened.listener.lag.is_doubtful for opened in self._all_opened()):
            return False
        unknown = self.lag is None or self._hub.delays[self.name].wants_trust(self._hub.clock.running())
        return not unknown or self.flowing_for(now) >= TRUST_WAIT

    @property
    def is_awaited(self) -> bool:
        """Whether the next data of a trial may lead to a decision, so that it wakes the supervisor."""
        return self._is_awaited

    @is_awaited.setter
    def is_awaited(self, is_awaited: bool) -> None:
        self._is_awaited = is_awaited
        for opened in self._all_opened():
            opened.listener.is_awaited = is_awaited

    def flowing_for(self, now: float) -> float:
        """Seconds since the first data of its connections; 0.0 before."""
        firsts = [at for opened in self._essential() if (at := opened.listener.first_data) is not None]
        return now - min(firsts) if firsts else 0.0

    @property
    def withheld(self) -> list[CoinConfig]:
        """The coins that are withheld here because their prices are too far from the last ones known."""
        markets, withholds = self._markets, self._hub.markets.withholds
        return [
            coin
            for coin in self._wanted.coins
            if coin.symbol in markets and withholds(self.name, coin.symbol, markets[coin.symbol])
        ]

    def renew(self) -> None:
        """Have the connections carry exactly what is wanted now."""
        self._changed.set()

    def forget(self, coins: Iterable[str]) -> None:
        """These coins were removed; their streams end with the connections that carry them, or with ``renew``."""
        gone = set(coins)
        for opened in self._all_opened():
            opened.listener.forget(gone)
        for connection in self._connections:
            connection.markets = {coin: symbol for coin, symbol in connection.markets.items() if coin not in gone}
        self._markets = {coin: symbol for coin, symbol in self._markets.items() if coin not in gone}
        self.backfiller.forget(gone)
        self._day_stats.forget(gone)
        self.listing.forget(gone)

    def drop(self, reason: str) -> None:
        """End the connections, if there are any: ``carry`` raises Disconnected."""
        if self._dropped is not None and not self._dropped.done():
            self._dropped.set_exception(Disconnected(self.name, reason))

    async def refresh(self) -> None:
        """Ask the venue for its markets again; the connections are made again if the markets have changed."""
        changed = await self.listing.refresh(self._wanted.coins)
        carried = self._markets
        if not set(carried.values()).isdisjoint(changed):
            self.drop("the venue has changed markets that were wanted")
        elif carried and self.listing.differs(self._wanted.coins, carried, self._flowing()):
            self.renew()

    def doubt(self, coin: str) -> None:
        """A coin is silent: trades of it may be missing, or it may have been halted."""
        self.backfiller.doubt(coin)
        if coin:
            self.listing.doubt(self._hub.clock.monotonic())
            self._list_due.set()

    def promote(self, since: Mapping[str, int]) -> None:
        """The trial is over, the connections deliver from now on. ``since``: see ``carry``."""
        self.delivering = True
        self._since = since
        self._list_due.set()
        if self._connections:
            self.backfiller.resumed(self._markets, since)
            self._silence_watch.start(self._markets, self._hub.clock.monotonic())
            for opened in self._all_opened():
                opened.listener.deliver()
            self.bars.owe(self._hub.ledger.owed())

    def demote(self) -> None:
        """Another venue is active from now on."""
        self._leave_it("another exchange is active now")

    def _leave_it(self, reason: str) -> None:
        self.delivering = False
        self._day_stats.outdate()
        for opened in self._all_opened():
            opened.listener.close(reason)

    def close(self) -> Awaitable[Any]:
        """The feed ends: deliver the trades that wait, and fetch nothing more."""
        if self.delivering:
            self.backfiller.flush()
        self._leave_it("")  # what a connection still brings while it ends starts no fetch
        self.backfiller.close()
        return self.bars.end()

    async def carry(self, since: Mapping[str, int], *, trial: bool = False) -> NoReturn:
        """Connect, deliver, and raise VenueError when it is over.

        ``since``: the time (Unix ms) of each coin's last trade on the venue that was left; what came later is fetched.
        """
        clock, delay = self._hub.clock, self._hub.delays[self.name]
        asking = asyncio.create_task(self._shared.ask_time(clock, delay), name=f"time of {self.name}")
        try:
            await self._carry(since, trial)
        finally:
            asking.cancel()
            await asyncio.wait({asking})
        raise AssertionError("a venue is carried until an error ends it")

    async def _carry(self, since: Mapping[str, int], trial: bool) -> NoReturn:
        self.broke = False
        self._since = since
        self.delivering = not trial
        self._tell("connecting")
        self.asked_for = self._wanted.coins
        await self.listing.load(self._wanted.coins, anew=self._refused or not self._main)
        markets = self._listed()
        await self._shared.dials.take(self._hub.clock)
        await self._fetch_day_stats(markets)
        self.asked_for = self._wanted.coins
        markets = self._listed()  # coins may have come and gone meanwhile
        self._dropped = asyncio.get_running_loop().create_future()
        self._dropped.add_done_callback(lambda dropped: dropped.cancelled() or dropped.exception())  # awaited or not
        self._changed.clear()
        self._markets = markets
        if self.delivering:
            self.backfiller.resumed(markets, self._since)
        try:
            async with asyncio.TaskGroup() as group:
                self._spread(group, allowed=1)
                group.create_task(_raised(self._dropped))
                if not self.venue.streams(TICKER.name):
                    group.create_task(self._keep_day_stats())
                group.create_task(self._keep_listing())
                while True:
                    await self._changed.wait()
                    self._changed.clear()
                    await self._rearrange(group)
        except* VenueError as failures:
            raise failures.exceptions[0] from None
        finally:
            self._dropped.cancel()
            self._connections.clear()
            self._markets = {}
            self._day_stats.drop()
            self.broke, self.connected = self.connected, False
            self.lag = None
            if not self.delivering:
                self._day_stats.outdate()  # a trial's went with it
                self.bars.drop()
            if self.delivering:
                self.backfiller.lost()
                self._silence_watch.lost()
        raise AssertionError("a group that waits for ever ends by an error")

    # The connections

    def _spread(self, group: asyncio.TaskGroup, *, allowed: int = 0) -> None:
        """Give each connection its part of the markets, and open what is missing; ``allowed`` dials were granted."""
        for asks in self._asked():
            connections, parts = self._connections_like(asks), self._parts(asks)
            for connection, part in zip(connections, parts, strict=False):
                connection.markets, connection.asks = part, asks
                connection.wake()
            self._open(group, asks, parts[len(connections) :], allowed)
            allowed = 0
        self._tell_without_books()
        for opened in self._all_opened():
            opened.listener.shows_life = opened in self._essential()

    def _tell_without_books(self) -> None:
        """Tell the coins whose books are wanted, once each, if the venue has none."""
        if BOOKS.name in self._wanted.channels and not any(asks.is_for_books for asks in self._asked()):
            for coin in self._markets.keys() - self._without_books:
                reason = f"{self.name} has no {BOOKS.name} channel"
                self._note("coin_unavailable", self.name, coin=coin, channel=BOOKS.name, reason=reason)
            self._without_books = set(self._markets)

    def _open(
        self, group: asyncio.TaskGroup, asks: Carries, parts: Iterable[dict[str, str]], allowed: int
    ) -> list[CoinConnection]:
        made: list[CoinConnection] = []
        limits, clock = self._settings.connection, self._hub.clock
        for part in parts:
            connection = CoinConnection(
                self,
                part,
                asks,
                _backoff(self._settings),
                attempts=limits.attempts_before_failover,
                connect_timeout=limits.connect_timeout,
                silence=self._settings.staleness.reconnect_after,
                max_lag=self._settings.staleness.max_lag,
                session_limit=self.venue.limits.session_limit,
                now=clock.monotonic,
                sleep=clock.sleep,
            )
            task = group.create_task(connection.carry(may_dial=len(made) < allowed), name=f"connection to {self.name}")
            self._connections[connection] = task
            task.add_done_callback(lambda task, connection=connection: self._connections.pop(connection, None))  # type: ignore[misc] # mypy: no lambda with a default
            made.append(connection)
        return made

    def _parts(self, asks: Carries) -> list[dict[str, str]]:
        """The markets of each connection that asks for the like, by what a connection may carry."""
        markets, capacity = self._markets, self.venue.limits.capacity
        weights = {coin: self._weight(asks, {coin: symbol}) for coin, symbol in markets.items()}
        limit = None if capacity is None else capacity.limit
        parts = allot(weights, [list(connection.markets) for connection in self._connections_like(asks)], limit)
        return [{coin: markets[coin] for coin in part} for part in parts]

    def _weight(self, asks: Carries, markets: Mapping[str, str]) -> int:
        capacity = self.venue.limits.capacity
        if capacity is None:
            return 0
        return sum(capacity.weight(self.venue.market_id(symbol), asks.subscriptions) for symbol in markets.values())

    async def _rearrange(self, group: asyncio.TaskGroup) -> None:
        """Change the connections after coins, channels or timeframes were added or removed, or the list has changed."""
        await self._fetch_day_stats(self._listed())
        asked_for, markets = self._wanted.coins, self._listed()  # some may have come and gone meanwhile
        new = {coin: symbol for coin, symbol in markets.items() if coin not in self._markets}
        self._leave({coin for coin in self._markets if coin not in markets} & self._known())
        self._markets = markets
        for opened in self._all_opened():
            if not opened.left.isdisjoint(new):  # the venue may have ended what it had subscribed to
                opened.outdated.set()
        if self.delivering:
            self.backfiller.resumed(new, {})
            if self.connected:
                self._silence_watch.watch(markets, self._hub.clock.monotonic())
        asks = self._asked()[0]
        connections = self._connections_like(asks)
        carried = {coin for connection in connections for coin in connection.markets}
        behind = self._parts(asks)[len(connections) :]
        if any(coin in carried for part in behind for coin in part):  # coins move: they flow there before they go here
            flowing = [
                asyncio.ensure_future(connection.flowing.wait()) for connection in self._open(group, asks, behind, 0)
            ]
            await asyncio.wait(flowing)
            self._markets = {coin: symbol for coin, symbol in self._markets.items() if coin in self._known()}
        self._spread(group)
        self.asked_for = asked_for
        self._wake()

    def _leave(self, coins: Collection[str]) -> None:
        """These coins are halted or not listed any more: deliver nothing of them until they are listed again."""
        for opened in self._all_opened():
            opened.listener.forget(coins)
            opened.left.update(coins)
        if self.delivering:
            self.backfiller.leave(coins)

    def _known(self) -> set[str]:
        return {coin.symbol for coin in self._wanted.coins}

    def _all_opened(self) -> list[OpenConnection]:
        return [opened for connection in self._connections for opened in connection.all_opened]

    def _essential(self) -> list[OpenConnection]:
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
        """What is wanted now of each kind of connection; order books have connections of their own.

        To synchronize a book anew may cost its connection, and ccxt closes a connection whose book it cannot join.
        """
        wanted = self._wanted
        others = tuple(name for name in wanted.channels if name != BOOKS.name)
        asked = [Carries(others, tuple(wanted.timeframes))] if others else []
        if BOOKS.name in wanted.channels and (not others or self.venue.streams(BOOKS.name)):
            asked.append(Carries((BOOKS.name,), book_depth=max(wanted.depths)))
        return asked

    # What a connection is told and given

    def dial(self, connection: CoinConnection) -> OpenConnection:
        """See Host."""
        outdated, markets, for_books = asyncio.Event(), dict(connection.markets), connection.asks.is_for_books
        if connection.broke and self.delivering and not for_books:
            self.backfiller.resumed(markets, {})

        def on_going_down() -> None:
            outdated.set()
            connection.wake()

        listener = self._listener(connection)
        listener.is_awaited = self._is_awaited
        asks, closed = connection.asks, self._hub.ledger.newest_closed()
        if for_books:
            self._hub.books.expect(markets, self._hub.clock.monotonic())
        else:
            self._day_stats.give(listener, markets)
        subscription = Subscription(markets, asks.channels, asks.timeframes, closed, asks.book_depth)
        stream = self.venue.connect(subscription, listener, self.bars, on_going_down)
        if isinstance(listener, BookListener):
            listener.distrust = stream.distrust_book
        if self.delivering and not for_books:
            self.bars.owe(self._hub.ledger.owed())
        running = asyncio.create_task(stream.run(), name=f"stream {self.name}")
        now = self._hub.clock.monotonic()
        return OpenConnection(stream, listener, running, dict(markets), asks, now, outdated)

    def _listener(self, connection: CoinConnection) -> ListenerBase:
        silence, delivering = self._settings.staleness.feed_stale_after, self.delivering
        if connection.asks.is_for_books:
            listener = BookListener(
                self._hub,
                self._silence_watch,
                self.name,
                self._note,
                wake=self._wake,
                delivering=delivering,
                main=self._main,
                silence=silence,
            )
            listener.shows_life = self.is_essential(connection)
            return listener
        return ConnectionListener(
            self._hub,
            self._silence_watch,
            self.backfiller,
            self.name,
            self._note,
            wake=self._wake,
            delivering=delivering,
            main=self._main,
            silence=silence,
        )

    async def may_dial(self, old: OpenConnection | None = None) -> None:
        """See Host."""
        clock = self._hub.clock
        sleep = clock.sleep if old is None else lambda seconds: wait(old, asyncio.Event(), seconds)
        await self._shared.dials.take(clock, sleep)

    def hang_up(self, opened: OpenConnection, reason: str) -> None:
        """See Host."""
        opened.listener.close(reason)
        opened.running.cancel()
        self._dismiss(_ended(opened.running, opened.stream.close()))
        known = self._known()
        carried = {symbol for other in self._all_opened() if other is not opened for symbol in other.markets.values()}
        carried |= set(self._markets.values())  # a market may go on as another coin
        self.bars.forget({symbol for coin, symbol in opened.markets.items() if coin not in known} - carried)

    def is_essential(self, connection: CoinConnection) -> bool:
        """See Host."""
        return not connection.asks.is_for_books or self._wanted.channels == [BOOKS.name]

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
            opened.stream.add(new, self._hub.ledger.newest_closed())
            opened.markets |= new
        if not opened.carries.is_for_books:
            self._day_stats.give(opened.listener, markets)

    def has_company(self, connection: CoinConnection, within: float) -> bool:
        """See Host."""
        now, any_will_do = self._hub.clock.monotonic(), not self.is_essential(connection)
        others = [each for each in self._connections if each is not connection]
        return any(other.has_data(within, now) for other in others if any_will_do or self.is_essential(other))

    def is_outpaced(self, connection: CoinConnection) -> bool:
        """See Host."""
        others = [each.opened for each in self._connections if each is not connection and each.opened is not None]
        lags = [other.listener.lag.seconds for other in others if not other.running.done()]
        return any(lag is not None and lag <= self._settings.staleness.max_lag for lag in lags)

    def on_lag(self, connection: CoinConnection, finding: LagFinding) -> None:
        """See Host."""
        self._tell_part(str(finding.kind), connection, seconds=round(finding.seconds, 3))

    def on_flow(self, connection: CoinConnection) -> None:
        """See Host."""
        if not self.connected and self.is_essential(connection):
            self.connected = True
            if self.delivering:
                self._silence_watch.start(self._markets, self._hub.clock.monotonic())
            self._tell("connected", coins=list(self._markets))
            self._wake()
        elif connection.broke:
            self._tell_part("connected", connection)
        connection.broke = False
        if self.delivering and connection.opened is not None and not connection.opened.listener.delivering:
            connection.opened.listener.deliver()  # it may have been dialled while this was still a trial

    def on_break(self, connection: CoinConnection, reason: str) -> None:
        """See Host."""
        connection.broke = True
        self._tell_part("disconnected", connection, reason=reason)
        if self.delivering and not connection.asks.is_for_books:
            self.backfiller.lost(connection.markets)

    def on_silence(self, connection: CoinConnection) -> None:
        """See Host."""
        if self.delivering and not connection.asks.is_for_books:
            for coin in connection.markets:
                self.backfiller.doubt(coin)

    def on_missing(self, coins: Sequence[str], seconds: float, doubted: Sequence[str]) -> None:
        """See Host."""
        some = ", ".join(coins[:NAMED]) + (f" and {len(coins) - NAMED} more" if len(coins) > NAMED else "")
        told = f"no trades of {some} for {seconds:.1f} s, while its tickers tell of some: the connection is replaced"
        self._note("error", self.name, error=told, coins=coins)
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
        """Report an event of one connection of several, with its coins; the state of the feed does not change."""
        if self.delivering:
            self._aside(event, self.name, coins=list(connection.markets), **details)

    # The rest

    def _tell(self, event: str, **details: Any) -> None:
        """Report an event; that of a trial only goes to the log."""
        if self.delivering:
            self._report(event, self.name, **details)
        else:
            logger.info("{} {} on trial", event, self.name)

    def _on_mended(self, candle: Candle) -> None:
        """Deliver a candle that an outage left open and the venue's record has closed."""
        if self.delivering:
            if not self._connections or candle.coin in self._markets:
                self._hub.on_candle(candle)
            return
        carrying = (
            connection
            for connection in self._connections
            if candle.coin in connection.markets and not connection.asks.is_for_books
        )
        connection = next(carrying, None)
        if connection is not None and connection.opened is not None:
            connection.opened.listener.on_mended(candle)

    def _report_gap(self, event: str, exchange: str, **details: Any) -> None:
        """Report a gap or its end; what is fetched for one comes too late for candles that are built from trades."""
        if event == "gap":
            self.bars.missed_trades(details["coin"])
        self._report(event, exchange, **details)

    def _note(self, event: str, exchange: str, **details: Any) -> None:
        """What happens while this delivers is the feed's own; what happens to a trial is told aside."""
        (self._report if self.delivering else self._aside)(event, exchange, **details)

    def _listed(self) -> dict[str, str]:
        self._refused = True
        markets = self.listing.markets(self._wanted.coins, self._flowing())
        self._refused = False
        self.listing.schedule(self._hub.clock.monotonic())
        self._list_due.set()
        return markets

    def _flowing(self) -> dict[str, str]:
        """The markets that its connections carry; a coin that is stale is not among them."""
        heard, limits = self._silence_watch.heard if self.delivering else {}, self._settings.staleness
        since = self._hub.clock.monotonic() - min(limits.feed_stale_after, limits.coin_stale_after)
        return {coin: symbol for coin, symbol in self._markets.items() if heard.get(coin, -inf) > since}

    async def _keep_listing(self) -> None:
        """Ask for the venue's list of markets whenever it is due: a missing coin may be listed now."""
        clock = self._hub.clock
        while True:
            due = self.listing.due if self.delivering else inf
            self._list_due.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if due == inf else max(0.0, due - clock.monotonic())):
                    await self._list_due.wait()
                continue
            try:
                await self.refresh()
            except VenueError as error:  # what is carried goes on, and what is missing is told by the list that is here
                logger.warning("{}: its markets could not be asked for: {}", self.name, error.reason)
                self.listing.confirm(self._wanted.coins)
                self.renew()
            self.listing.schedule(clock.monotonic(), again=True)

    async def _fetch_day_stats(self, markets: Mapping[str, str]) -> None:
        """The 24 h figures, once per coin, so that its first tick has them; without them the stream goes on."""
        first = self._hub.last_message is None
        await self._day_stats.fetch_missing(markets, day_stats.TIMEOUT if first else day_stats.HASTE)

    async def _keep_day_stats(self) -> None:
        """Fetch the 24 h figures regularly, where no ticker brings them."""
        while True:
            await self._hub.clock.sleep(day_stats.EVERY)
            if TICKER.name in self._wanted.channels and self._markets:
                await self._day_stats.fetch(self._markets, day_stats.TIMEOUT)
                for opened in self._essential():
                    self._day_stats.give(opened.listener, self._markets)


async def _ended(running: asyncio.Future[Any], closing: Awaitable[None]) -> None:
    """Wait until a stream is gone for good; what it still has to say does not matter any more."""
    await asyncio.gather(running, closing, return_exceptions=True)


async def _raised(failure: asyncio.Future[NoReturn]) -> None:
    await failure


def _backoff(settings: Settings) -> Backoff:
    connection = settings.connection
    return Backoff(
        connection.backoff_initial, connection.backoff_max, connection.backoff_jitter, connection.stable_after
    )
