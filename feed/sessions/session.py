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
        desk: MarketDataHub,
        watchdog: SilenceWatch,
        settings: Settings,
        report: Report,
        aside: Report,
        *,
        main: bool,
        stir: Callable[[], None],
        dismiss: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        venue = self.venue = shared.venue
        self.name = venue.name
        self.backoff = _backoff(settings)
        self.bars = VenueCandles(venue.name, partial(shared.fetch_candles, desk.clock), self._on_mended, self)
        self.tape = TradeBackfiller(
            venue, settings.backfill, desk.on_trade, report, desk.clock, shared.requests, shared.shelf
        )
        self.connected = False  # a connection has delivered; only ``carry`` sets it
        self.broke = False  # what ``carry`` raised last ended such a connection
        self.delivering = False  # False while on trial
        self.lag: float | None = None  # seconds, of its most up-to-date connection at the last check; None: not known
        self.listing = CoinListing(venue, self._note)
        self.asked_for: Sequence[CoinConfig] = ()  # what was wanted when the venue was last asked for it
        self._settings = settings
        self._wanted = wanted
        self._desk = desk
        self._watchdog = watchdog
        self._shared = shared
        self._report = report
        self._aside = aside
        self._main = main
        self._stir = stir
        self._dismiss = dismiss
        self._dropped: asyncio.Future[NoReturn] | None = None
        self._since: Mapping[str, int] = {}  # see ``carry``
        self._eager = False
        self._without_books: set[str] = set()  # coins that were told to have no books here
        self._refused = False  # the venue lists none of the wanted coins
        self._list_due = asyncio.Event()  # its list of markets is to be asked for now
        self._changed = asyncio.Event()  # the wanted coins, channels or timeframes have changed
        self._figures = DayStats(venue, self._known)
        self._markets: dict[str, str] = {}  # coin -> symbol, of what is carried
        self._legs: dict[CoinConnection, asyncio.Task[None]] = {}

    @property
    def last_data(self) -> float | None:
        """When one of its connections last delivered, monotonic seconds; None while none has."""
        return max((at for link in self._essential() if (at := link.intake.last_data) is not None), default=None)

    @property
    def lost_bars(self) -> int:
        """Candles whose end was missed, and that the venue's record did not give in time."""
        return self.bars.lost

    def look_at_lag(self) -> None:
        """Measure the lag of its connections, and report a wrong local clock once."""
        if self._shared.clock_complaint is None and (complaint := venue_time.complaint(self.name)) is not None:
            self._shared.clock_complaint = complaint
            self._note("error", self.name, error=complaint)
        for link in self._links():
            link.intake.look()
        lags = (link.intake.lag.seconds for link in self._links())
        self.lag = min((lag for lag in lags if lag is not None), default=None)

    @property
    def lags_in_part(self) -> bool:
        """Whether one of its connections lags while others do not."""
        return any(leg.is_lagging for leg in self._legs)

    def is_up_to_date(self, now: float) -> bool:
        """Whether data comes at this moment and, as far as its stamps show, does not lag."""
        last, lag = self.last_data, self.lag
        silence = self._settings.staleness.feed_stale_after
        return last is not None and now - last < silence and (lag is None or lag <= self._settings.staleness.max_lag)

    def venue_time(self) -> float | None:
        """See exchanges.candles.overdue.Timing."""
        delay = self._desk.delays[self.name].seconds
        return None if delay is None or not self.delivering else (self._desk.clock.running() - delay) * 1000

    def stream_time(self) -> float | None:
        """See exchanges.candles.overdue.Timing."""
        at, last, silence = self.venue_time(), self.last_data, self._settings.staleness.reconnect_after
        if at is None or last is None or not self.connected or self._desk.clock.monotonic() - last > silence:
            return None
        return at - (self.lag or 0.0) * 1000

    def has_room(self) -> bool:
        """See exchanges.candles.overdue.Timing."""
        now, shared = self._desk.clock.monotonic(), self._shared
        return bool(self.venue.timeframes) and shared.bars.plenty(now) and shared.requests.plenty(now)

    def is_proven_up_to_date(self, now: float) -> bool:
        """The same of a connection that is new: its lag may be unknown until the venue has told its time, and until a
        late stream has shown itself to be one by more than one stamp of a coin."""
        if not self.is_up_to_date(now) or any(link.intake.lag.is_doubtful for link in self._links()):
            return False
        unknown = self.lag is None or self._desk.delays[self.name].wants_trust(self._desk.clock.running())
        return not unknown or self.flowing_for(now) >= TRUST_WAIT

    @property
    def eager(self) -> bool:
        """Whether the next data of a trial may lead to a decision, so that it wakes the supervisor."""
        return self._eager

    @eager.setter
    def eager(self, eager: bool) -> None:
        self._eager = eager
        for link in self._links():
            link.intake.eager = eager

    def flowing_for(self, now: float) -> float:
        """Seconds since the first data of its connections; 0.0 before."""
        firsts = [at for link in self._essential() if (at := link.intake.first_data) is not None]
        return now - min(firsts) if firsts else 0.0

    @property
    def withheld(self) -> list[CoinConfig]:
        """The coins that are withheld here because their prices are too far from the last ones known."""
        markets, withholds = self._markets, self._desk.markets.withholds
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
        for link in self._links():
            link.intake.forget(gone)
        for leg in self._legs:
            leg.markets = {coin: symbol for coin, symbol in leg.markets.items() if coin not in gone}
        self._markets = {coin: symbol for coin, symbol in self._markets.items() if coin not in gone}
        self.tape.forget(gone)
        self._figures.forget(gone)
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
        self.tape.doubt(coin)
        if coin:
            self.listing.doubt(self._desk.clock.monotonic())
            self._list_due.set()

    def promote(self, since: Mapping[str, int]) -> None:
        """The trial is over, the connections deliver from now on. ``since``: see ``carry``."""
        self.delivering = True
        self._since = since
        self._list_due.set()
        if self._legs:
            self.tape.resumed(self._markets, since)
            self._watchdog.start(self._markets, self._desk.clock.monotonic())
            for link in self._links():
                link.intake.deliver()
            self.bars.owe(self._desk.ledger.owed())

    def demote(self) -> None:
        """Another venue is active from now on."""
        self._leave_it("another exchange is active now")

    def _leave_it(self, reason: str) -> None:
        self.delivering = False
        self._figures.outdate()
        for link in self._links():
            link.intake.close(reason)

    def close(self) -> Awaitable[Any]:
        """The feed ends: deliver the trades that wait, and fetch nothing more."""
        if self.delivering:
            self.tape.flush()
        self._leave_it("")  # what a connection still brings while it ends starts no fetch
        self.tape.close()
        return self.bars.end()

    async def carry(self, since: Mapping[str, int], *, trial: bool = False) -> NoReturn:
        """Connect, deliver, and raise VenueError when it is over.

        ``since``: the time (Unix ms) of each coin's last trade on the venue that was left; what came later is fetched.
        """
        clock, delay = self._desk.clock, self._desk.delays[self.name]
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
        await self._shared.dials.take(self._desk.clock)
        await self._fetch_figures(markets)
        self.asked_for = self._wanted.coins
        markets = self._listed()  # coins may have come and gone meanwhile
        self._dropped = asyncio.get_running_loop().create_future()
        self._dropped.add_done_callback(lambda dropped: dropped.cancelled() or dropped.exception())  # awaited or not
        self._changed.clear()
        self._markets = markets
        if self.delivering:
            self.tape.resumed(markets, self._since)
        try:
            async with asyncio.TaskGroup() as group:
                self._spread(group, allowed=1)
                group.create_task(_raised(self._dropped))
                if not self.venue.streams(TICKER.name):
                    group.create_task(self._keep_figures())
                group.create_task(self._keep_listing())
                while True:
                    await self._changed.wait()
                    self._changed.clear()
                    await self._rearrange(group)
        except* VenueError as failures:
            raise failures.exceptions[0] from None
        finally:
            self._dropped.cancel()
            self._legs.clear()
            self._markets = {}
            self._figures.drop()
            self.broke, self.connected = self.connected, False
            self.lag = None
            if not self.delivering:
                self._figures.outdate()  # a trial's went with it
                self.bars.drop()
            if self.delivering:
                self.tape.lost()
                self._watchdog.lost()
        raise AssertionError("a group that waits for ever ends by an error")

    # The legs

    def _spread(self, group: asyncio.TaskGroup, *, allowed: int = 0) -> None:
        """Give each leg its part of the markets, and open those that are missing; ``allowed`` dials were asked for."""
        for asks in self._asked():
            legs, parts = self._legs_like(asks), self._parts(asks)
            for leg, part in zip(legs, parts, strict=False):
                leg.markets, leg.asks = part, asks
                leg.stir()
            self._open(group, asks, parts[len(legs) :], allowed)
            allowed = 0
        self._tell_without_books()
        for link in self._links():
            link.intake.shows_life = link in self._essential()

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
        opened: list[CoinConnection] = []
        connection, clock = self._settings.connection, self._desk.clock
        for part in parts:
            leg = CoinConnection(
                self,
                part,
                asks,
                _backoff(self._settings),
                attempts=connection.attempts_before_failover,
                connect_timeout=connection.connect_timeout,
                silence=self._settings.staleness.reconnect_after,
                max_lag=self._settings.staleness.max_lag,
                session_limit=self.venue.limits.session_limit,
                now=clock.monotonic,
                sleep=clock.sleep,
            )
            task = group.create_task(leg.carry(may_dial=len(opened) < allowed), name=f"connection to {self.name}")
            self._legs[leg] = task
            task.add_done_callback(lambda task, leg=leg: self._legs.pop(leg, None))  # type: ignore[misc] # mypy: no lambda with a default
            opened.append(leg)
        return opened

    def _parts(self, asks: Carries) -> list[dict[str, str]]:
        """The markets of each leg that asks for the like, by what a connection may carry."""
        markets, capacity = self._markets, self.venue.limits.capacity
        weights = {coin: self._weight(asks, {coin: symbol}) for coin, symbol in markets.items()}
        limit = None if capacity is None else capacity.limit
        parts = allot(weights, [list(leg.markets) for leg in self._legs_like(asks)], limit)
        return [{coin: markets[coin] for coin in part} for part in parts]

    def _weight(self, asks: Carries, markets: Mapping[str, str]) -> int:
        capacity = self.venue.limits.capacity
        if capacity is None:
            return 0
        return sum(capacity.weight(self.venue.market_id(symbol), asks.subscriptions) for symbol in markets.values())

    async def _rearrange(self, group: asyncio.TaskGroup) -> None:
        """Change the connections after coins, channels or timeframes were added or removed, or the list has changed."""
        await self._fetch_figures(self._listed())
        asked_for, markets = self._wanted.coins, self._listed()  # some may have come and gone meanwhile
        new = {coin: symbol for coin, symbol in markets.items() if coin not in self._markets}
        self._leave({coin for coin in self._markets if coin not in markets} & self._known())
        self._markets = markets
        for link in self._links():
            if not link.left.isdisjoint(new):  # the venue may have ended what it had subscribed to
                link.worn.set()
        if self.delivering:
            self.tape.resumed(new, {})
            if self.connected:
                self._watchdog.watch(markets, self._desk.clock.monotonic())
        asks = self._asked()[0]
        legs = self._legs_like(asks)
        carried = {coin for leg in legs for coin in leg.markets}
        behind = self._parts(asks)[len(legs) :]
        if any(coin in carried for part in behind for coin in part):  # coins move: they flow there before they go here
            flowing = [asyncio.ensure_future(leg.flowing.wait()) for leg in self._open(group, asks, behind, 0)]
            await asyncio.wait(flowing)
            self._markets = {coin: symbol for coin, symbol in self._markets.items() if coin in self._known()}
        self._spread(group)
        self.asked_for = asked_for
        self._stir()

    def _leave(self, coins: Collection[str]) -> None:
        """These coins are halted or not listed any more: deliver nothing of them until they are listed again."""
        for link in self._links():
            link.intake.forget(coins)
            link.left.update(coins)
        if self.delivering:
            self.tape.leave(coins)

    def _known(self) -> set[str]:
        return {coin.symbol for coin in self._wanted.coins}

    def _links(self) -> list[OpenConnection]:
        return [link for leg in self._legs for link in leg.links]

    def _essential(self) -> list[OpenConnection]:
        """The connections whose data shows that the venue works."""
        return [link for leg in self._legs if self.is_essential(leg) for link in leg.links]

    def _legs_like(self, asks: Carries) -> list[CoinConnection]:
        return [leg for leg in self._legs if leg.asks.is_for_books == asks.is_for_books]

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

    # What a leg is told and given

    def dial(self, leg: CoinConnection) -> OpenConnection:
        """See Host."""
        worn, markets, for_books = asyncio.Event(), dict(leg.markets), leg.asks.is_for_books
        if leg.broke and self.delivering and not for_books:
            self.tape.resumed(markets, {})

        def on_going_down() -> None:
            worn.set()
            leg.stir()

        intake = self._listener(leg)
        intake.eager = self._eager
        asks, closed = leg.asks, self._desk.ledger.newest_closed()
        if for_books:
            self._desk.books.expect(markets, self._desk.clock.monotonic())
        else:
            self._figures.give(intake, markets)
        subscription = Subscription(markets, asks.channels, asks.timeframes, closed, asks.book_depth)
        stream = self.venue.connect(subscription, intake, self.bars, on_going_down)
        if isinstance(intake, BookListener):
            intake.distrust = stream.distrust_book
        if self.delivering and not for_books:
            self.bars.owe(self._desk.ledger.owed())
        running = asyncio.create_task(stream.run(), name=f"stream {self.name}")
        now = self._desk.clock.monotonic()
        return OpenConnection(stream, intake, running, dict(markets), asks, now, worn)

    def _listener(self, leg: CoinConnection) -> ListenerBase:
        silence, delivering = self._settings.staleness.feed_stale_after, self.delivering
        if leg.asks.is_for_books:
            listener = BookListener(
                self._desk,
                self._watchdog,
                self.name,
                self._note,
                stir=self._stir,
                delivering=delivering,
                main=self._main,
                silence=silence,
            )
            listener.shows_life = self.is_essential(leg)
            return listener
        return ConnectionListener(
            self._desk,
            self._watchdog,
            self.tape,
            self.name,
            self._note,
            stir=self._stir,
            delivering=delivering,
            main=self._main,
            silence=silence,
        )

    async def may_dial(self, old: OpenConnection | None = None) -> None:
        """See Host."""
        clock = self._desk.clock
        sleep = clock.sleep if old is None else lambda seconds: wait(old, asyncio.Event(), seconds)
        await self._shared.dials.take(clock, sleep)

    def hang_up(self, link: OpenConnection, reason: str) -> None:
        """See Host."""
        link.intake.close(reason)
        link.running.cancel()
        self._dismiss(_ended(link.running, link.stream.close()))
        known = self._known()
        carried = {symbol for other in self._links() if other is not link for symbol in other.markets.values()}
        carried |= set(self._markets.values())  # a market may go on as another coin
        self.bars.forget({symbol for coin, symbol in link.markets.items() if coin not in known} - carried)

    def is_essential(self, leg: CoinConnection) -> bool:
        """See Host."""
        return not leg.asks.is_for_books or self._wanted.channels == [BOOKS.name]

    def fits(self, leg: CoinConnection, markets: Mapping[str, str]) -> bool:
        """See Host."""
        capacity = self.venue.limits.capacity
        return capacity is None or self._weight(leg.asks, markets) <= capacity.limit

    def extend(self, link: OpenConnection, markets: Mapping[str, str]) -> None:
        """See Host."""
        unasked = (coin for coin in markets if coin not in link.markets or coin in link.intake.refused)
        new = {coin: markets[coin] for coin in unasked}
        link.intake.welcome(markets)
        if new:
            link.stream.add(new, self._desk.ledger.newest_closed())
            link.markets |= new
        if not link.carries.is_for_books:
            self._figures.give(link.intake, markets)

    def has_company(self, leg: CoinConnection, within: float) -> bool:
        """See Host."""
        now, any_will_do = self._desk.clock.monotonic(), not self.is_essential(leg)
        links = (each.link for each in self._legs if each is not leg and (any_will_do or self.is_essential(each)))
        return any(
            not link.running.done() and link.intake.last_data is not None and now - link.intake.last_data < within
            for link in links
            if link is not None
        )

    def is_outpaced(self, leg: CoinConnection) -> bool:
        """See Host."""
        links = [other.link for other in self._legs if other is not leg and other.link is not None]
        lags = [link.intake.lag.seconds for link in links if not link.running.done()]
        return any(lag is not None and lag <= self._settings.staleness.max_lag for lag in lags)

    def on_lag(self, leg: CoinConnection, finding: LagFinding) -> None:
        """See Host."""
        self._tell_part(str(finding.kind), leg, seconds=round(finding.seconds, 3))

    def on_flow(self, leg: CoinConnection) -> None:
        """See Host."""
        if not self.connected and self.is_essential(leg):
            self.connected = True
            if self.delivering:
                self._watchdog.start(self._markets, self._desk.clock.monotonic())
            self._tell("connected", coins=list(self._markets))
            self._stir()
        elif leg.broke:
            self._tell_part("connected", leg)
        leg.broke = False
        if self.delivering and leg.link is not None and not leg.link.intake.delivering:
            leg.link.intake.deliver()  # it may have been dialled while this was still a trial

    def on_break(self, leg: CoinConnection, reason: str) -> None:
        """See Host."""
        leg.broke = True
        self._tell_part("disconnected", leg, reason=reason)
        if self.delivering and not leg.asks.is_for_books:
            self.tape.lost(leg.markets)

    def on_silence(self, leg: CoinConnection) -> None:
        """See Host."""
        if self.delivering and not leg.asks.is_for_books:
            for coin in leg.markets:
                self.tape.doubt(coin)

    def on_missing(self, coins: Sequence[str], seconds: float, doubted: Sequence[str]) -> None:
        """See Host."""
        some = ", ".join(coins[:NAMED]) + (f" and {len(coins) - NAMED} more" if len(coins) > NAMED else "")
        told = f"no trades of {some} for {seconds:.1f} s, while its tickers tell of some: the connection is replaced"
        self._note("error", self.name, error=told, coins=coins)
        for coin in doubted:
            self.tape.doubt(coin)

    def on_replaced(self, leg: CoinConnection, reason: str) -> None:
        """See Host."""
        self._tell_part("disconnected", leg, reason=reason)
        self._tell_part("connected", leg)

    def on_retry(self, leg: CoinConnection, attempt: int, delay: float) -> None:
        """See Host."""
        self._tell_part("reconnecting", leg, attempt=attempt, delay=round(delay, 3))

    def _tell_part(self, event: str, leg: CoinConnection, **details: Any) -> None:
        """Report an event of one connection of several, with its coins; the state of the feed does not change."""
        if self.delivering:
            self._aside(event, self.name, coins=list(leg.markets), **details)

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
            if not self._legs or candle.coin in self._markets:
                self._desk.on_candle(candle)
            return
        carrying = (leg for leg in self._legs if candle.coin in leg.markets and not leg.asks.is_for_books)
        leg = next(carrying, None)
        if leg is not None and leg.link is not None:
            leg.link.intake.on_mended(candle)

    def _note(self, event: str, exchange: str, **details: Any) -> None:
        """What happens while this delivers is the feed's own; what happens to a trial is told aside."""
        (self._report if self.delivering else self._aside)(event, exchange, **details)

    def _listed(self) -> dict[str, str]:
        self._refused = True
        markets = self.listing.markets(self._wanted.coins, self._flowing())
        self._refused = False
        self.listing.schedule(self._desk.clock.monotonic())
        self._list_due.set()
        return markets

    def _flowing(self) -> dict[str, str]:
        """The markets that its connections carry; a coin that is stale is not among them."""
        heard, limits = self._watchdog.heard if self.delivering else {}, self._settings.staleness
        since = self._desk.clock.monotonic() - min(limits.feed_stale_after, limits.coin_stale_after)
        return {coin: symbol for coin, symbol in self._markets.items() if heard.get(coin, -inf) > since}

    async def _keep_listing(self) -> None:
        """Ask for the venue's list of markets whenever it is due: a missing coin may be listed now."""
        clock = self._desk.clock
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

    async def _fetch_figures(self, markets: Mapping[str, str]) -> None:
        """The 24 h figures, once per coin, so that its first tick has them; without them the stream goes on."""
        first = self._desk.last_message is None
        await self._figures.fetch_missing(markets, day_stats.TIMEOUT if first else day_stats.HASTE)

    async def _keep_figures(self) -> None:
        """Fetch the 24 h figures regularly, where no ticker brings them."""
        while True:
            await self._desk.clock.sleep(day_stats.EVERY)
            if TICKER.name in self._wanted.channels and self._markets:
                await self._figures.fetch(self._markets, day_stats.TIMEOUT)
                for link in self._essential():
                    self._figures.give(link.intake, self._markets)


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
