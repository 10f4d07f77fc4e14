"""Carries one venue until it fails: loads its markets, opens its connections, and fetches what they need over REST."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from math import inf
from typing import Any, NoReturn

from loguru import logger

from exchanges import venue_time
from exchanges.errors import Disconnected, VenueError
from exchanges.events import Candle
from feed.candles.venue_candles import VenueCandles
from feed.channels import TICKER
from feed.clock import is_set_within
from feed.events import CoinConfig
from feed.sessions import day_stats
from feed.sessions.coin_listing import CoinListing
from feed.sessions.connections.pool import ConnectionPool
from feed.sessions.day_stats import DayStats
from feed.sessions.feed_context import FeedContext
from feed.sessions.shared_venue import SharedVenue
from feed.trades.backfiller import TradeBackfiller

TRUST_WAIT = 0.5  # seconds of data on trial in which a venue may answer with its time, so that its lag is known


class Session:
    """Carries one venue from ``start`` until ``stop``, or until it has failed: then ``take_failure`` returns why.

    Its coins are spread over as many connections as the venue's capacity requires, each a CoinConnection. On trial
    it delivers nothing until ``promote``.
    """

    def __init__(self, shared: SharedVenue, feed: FeedContext) -> None:
        settings, hub = feed.settings, feed.hub
        self.shared = shared
        venue = self.venue = shared.venue
        self.name = venue.name
        fetch_candles = partial(shared.fetch_candles, hub.clock)
        self.candles = VenueCandles(
            venue.name, fetch_candles, self._on_decided, self, self._stays_open, shared.candle_record
        )
        self.backfiller = TradeBackfiller(
            venue, settings.backfill, hub.on_trade, self._report_gap, hub.clock, shared.requests, shared.sequences
        )
        self.connected = False  # a connection has delivered
        self.broke = False  # the last failure ended a connection that had delivered
        self.delivering = False  # False while on trial
        self._on_trial = False  # whether the venue will be on trial when it is dialled: promote may come before that
        self.lag: float | None = None  # lag of the session's most up-to-date connection, seconds; None: not known
        self.listing = CoinListing(venue, self.note)
        self.asked_for: Sequence[CoinConfig] = ()  # the coins that were wanted when the venue was last asked
        self._feed = feed
        self._task: asyncio.Task[VenueError] | None = None  # exists from ``start`` until ``stop`` or ``take_failure``
        self._ending: set[asyncio.Task[VenueError]] = set()  # earlier tasks that end after ``stop``
        self._dropped: asyncio.Future[NoReturn] | None = None
        self._refused = False  # the venue lists none of the wanted coins
        self._list_due = asyncio.Event()  # set when the venue's list of markets must be requested now
        self._changed = asyncio.Event()  # set when the wanted coins, channels or timeframes have changed
        self._day_stats = DayStats(venue, lambda: feed.wanted.symbols)
        self.pool = ConnectionPool(self, shared, feed, self.backfiller, self.candles, self._day_stats)

    def start(self, *, trial: bool) -> None:
        """Carry the venue, as soon as it may be dialled."""
        if self._task is None:
            self._on_trial = trial
            self._task = asyncio.create_task(self._run(), name=f"market feed on {self.name}")
            self._task.add_done_callback(lambda task: self._feed.wake())

    def stop(self) -> None:
        """Stop carrying the venue."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)
            self._feed.closings.add_task(task)

    @property
    def is_started(self) -> bool:
        """Whether the venue is carried, or will be when it may be dialled."""
        return self._task is not None

    def take_failure(self) -> VenueError | None:
        """Why the venue is not carried any more; None if the session has not ended by itself since the last call."""
        task = self._task
        if task is None or not task.done():
            return None
        self._task = None
        return Disconnected(self.name, "cancelled from outside") if task.cancelled() else task.result()

    def look_at_lag(self) -> None:
        """Measure the lag of the connections; report a wrong local clock once, and order books that do not come."""
        if self.shared.clock_complaint is None and (complaint := venue_time.complaint(self.name)) is not None:
            self.shared.clock_complaint = complaint
            self.note("error", self.name, error=complaint)
        for opened in self.pool.opened:
            opened.listener.look()
        if self.delivering and self.pool.wants_books:
            hub = self._feed.hub
            for coin, reason in hub.books.overdue(self.pool.markets, hub.clock.monotonic()):
                self.note("book_unsynced", self.name, coin=coin, reason=reason)
        lags = (opened.listener.lag.seconds for opened in self.pool.opened)
        self.lag = min((lag for lag in lags if lag is not None), default=None)

    def is_up_to_date(self, now: float) -> bool:
        """Whether data comes at this moment and, as far as its stamps show, does not lag."""
        last, lag, limits = self.pool.last_data, self.lag, self._feed.settings.staleness
        return last is not None and now - last < limits.feed_stale_after and (lag is None or lag <= limits.max_lag)

    def venue_time(self) -> float | None:
        """See feed.candles.overdue.Timing."""
        delay = self._feed.hub.delays[self.name].seconds
        return None if delay is None else (self._feed.hub.clock.running() - delay) * 1000

    def stream_time(self) -> float | None:
        """See feed.candles.overdue.Timing."""
        at, last = self.venue_time(), self.pool.last_data
        if at is None or last is None or not self.connected:
            return None
        return at - (self._feed.hub.clock.monotonic() - last + (self.lag or 0.0)) * 1000

    def heard_at(self, symbol: str) -> float:
        """See feed.candles.overdue.Timing."""
        at, heard = self.venue_time(), self._feed.silence_watch.heard
        if not self.venue.timeframes:
            return inf
        if at is None:
            return -inf
        coins = [coin for coin, market in self.pool.markets.items() if market == symbol]
        last = max((heard[coin] for coin in coins if coin in heard), default=-inf)
        return at - (self._feed.hub.clock.monotonic() - last + (self.lag or 0.0)) * 1000

    def has_room(self) -> bool:
        """See feed.candles.overdue.Timing."""
        now, shared = self._feed.hub.clock.monotonic(), self.shared
        return bool(self.venue.timeframes) and shared.candle_requests.plenty(now) and shared.requests.plenty(now)

    def is_proven_up_to_date(self, now: float) -> bool:
        """Whether ``is_up_to_date`` is True and can be trusted, for a session with a new connection.

        The lag may be unknown until the venue has answered with its time, and until more than one stamp of a coin has
        shown that the stream is late.
        """
        if not self.is_up_to_date(now) or any(opened.listener.lag.is_doubtful for opened in self.pool.opened):
            return False
        unknown = self.lag is None or self._feed.hub.delays[self.name].wants_trust(self._feed.hub.clock.running())
        return not unknown or self.pool.flowing_for(now) >= TRUST_WAIT

    @property
    def withheld(self) -> list[CoinConfig]:
        """The coins that are withheld here because their prices are too far from the last known prices."""
        markets, withholds = self.pool.markets, self._feed.hub.markets.withholds
        return [
            coin
            for coin in self._feed.wanted.coins
            if coin.symbol in markets and withholds(self.name, coin.symbol, markets[coin.symbol])
        ]

    def renew(self) -> None:
        """Make the connections carry exactly what is wanted now."""
        self._changed.set()

    def forget(self, coins: Iterable[str]) -> None:
        """Stop delivering these removed coins; their streams end with their connections, or with ``renew``."""
        gone = set(coins)
        self.pool.forget(gone)
        self.backfiller.forget(gone)
        self._day_stats.forget(gone)
        self.listing.forget(gone)

    def drop(self, reason: str) -> None:
        """End the connections, if there are any: the session fails with Disconnected."""
        if self._dropped is not None and not self._dropped.done():
            self._dropped.set_exception(Disconnected(self.name, reason))

    async def refresh(self) -> None:
        """Request the venue's markets again; if wanted markets have changed, the connections are opened again."""
        changed = await self.listing.refresh(self._feed.wanted.coins)
        carried = self.pool.markets
        if not set(carried.values()).isdisjoint(changed):
            self.drop("the venue has changed markets that were wanted")
        elif carried and self.listing.differs(self._feed.wanted.coins, carried, self._flowing()):
            self.renew()

    def doubt(self, coin: str) -> None:
        """Call this when a coin is silent: trades of it may be missing, or it may have been halted."""
        self.backfiller.doubt(coin)
        if coin:
            self.listing.doubt(self._feed.hub.clock.monotonic())
            self._list_due.set()

    def promote(self) -> None:
        """End the trial: the connections deliver from now on."""
        self.delivering, self._on_trial = True, False
        self._list_due.set()
        if self.pool:
            self.backfiller.resumed(self.pool.markets)
            self._feed.silence_watch.start(self.pool.markets, self._feed.hub.clock.monotonic())
            for opened in self.pool.opened:
                opened.listener.deliver(opened.markets)
            self.candles.note_unclosed(self._feed.hub.delivered_candles.unclosed())

    def demote(self) -> None:
        """Stop delivering: another venue is active from now on."""
        self._leave_it("another exchange is active now")

    def _leave_it(self, reason: str) -> None:
        self.delivering = False
        self._day_stats.outdate()
        for opened in self.pool.opened:
            opened.listener.close(reason)

    def close(self) -> Coroutine[Any, Any, None]:
        """End with the feed: deliver the trades that wait, and stop fetching. Await the result to end the candles."""
        if self.delivering:
            self.backfiller.flush()
        self._leave_it("")  # trades that still arrive must not start a fetch
        self.backfiller.close()
        return self.candles.end()

    async def _run(self) -> VenueError:
        """Carry the venue until it has failed; returns the reason."""
        clock, delay = self._feed.hub.clock, self._feed.hub.delays[self.name]
        asking: asyncio.Task[None] | None = None
        try:
            if ending := set(self._ending):
                await asyncio.wait(ending)  # wait until the earlier run has ended
            while (wait := self.shared.dial_due - clock.monotonic()) > 0:
                await clock.sleep(wait)
            asking = asyncio.create_task(self.shared.ask_time(clock, delay), name=f"time of {self.name}")
            await self._carry()
        except VenueError as failure:
            return failure
        except Exception as error:  # noqa: BLE001 - a defect here must not end the feed in silence
            clean = self.venue.clean
            told = clean.lines("".join(traceback.format_exception(error)))
            logger.error("{}: the connection was closed because of an unforeseen error\n{}", self.name, told)
            return Disconnected(self.name, clean(f"unforeseen {error!r}"))
        finally:
            if asking is not None:
                asking.cancel()
                await asyncio.wait({asking})

    async def _carry(self) -> NoReturn:
        """Connect and deliver; raises VenueError when the venue has failed."""
        self.broke = False
        self.delivering = not self._on_trial
        self._tell("connecting")
        self.asked_for = self._feed.wanted.coins
        await self.listing.load(self._feed.wanted.coins, anew=self._refused or not self._feed.main)
        markets = self._listed()
        await self.shared.dials.take(self._feed.hub.clock)
        await self._fetch_day_stats(markets)
        self.asked_for = self._feed.wanted.coins
        markets = self._listed()  # coins may have been added and removed meanwhile
        self._dropped = asyncio.get_running_loop().create_future()
        # read the exception in any case: otherwise Python warns
        self._dropped.add_done_callback(lambda dropped: dropped.cancelled() or dropped.exception())
        self._changed.clear()
        self.pool.markets = markets
        if self.delivering:
            self.backfiller.resumed(markets)
        try:
            async with asyncio.TaskGroup() as group:
                self.pool.spread(group, allowed=1)
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
            self.pool.clear()
            self._day_stats.drop()
            self.broke, self.connected = self.connected, False
            self.lag = None
            if not self.delivering:
                self._day_stats.outdate()  # the day stats of a trial have ended with the trial
                self.candles.drop()
            if self.delivering:
                self.backfiller.lost()
                self._feed.silence_watch.lost()
        raise AssertionError("unreachable: the tasks of the group run until one of them raises")

    async def _rearrange(self, group: asyncio.TaskGroup) -> None:
        """Change the connections after coins, channels or timeframes were added or removed, or the list has changed."""
        await self._fetch_day_stats(self._listed())
        asked_for, markets = self._feed.wanted.coins, self._listed()  # coins may have been added or removed meanwhile
        new = {coin: symbol for coin, symbol in markets.items() if coin not in self.pool.markets}
        gone = {coin for coin in self.pool.markets if coin not in markets} & self._feed.wanted.symbols
        self.pool.leave(gone)  # do not deliver these coins until they are listed again
        if self.delivering:
            self.backfiller.leave(gone)
        self.pool.markets = markets
        self.pool.readmit(new)
        if self.delivering:
            self.backfiller.resumed(new)
            if self.connected:
                self._feed.silence_watch.watch(markets, self._feed.hub.clock.monotonic())
        await self.pool.make_room(group)
        self.pool.spread(group)
        self.asked_for = asked_for
        self._feed.wake()

    def on_first_data(self) -> None:
        """See PoolOwner."""
        self.connected = True
        if self.delivering:
            self._feed.silence_watch.start(self.pool.markets, self._feed.hub.clock.monotonic())
        self._tell("connected", coins=list(self.pool.markets))
        self._feed.wake()

    def _tell(self, event: str, **details: Any) -> None:
        """Report an event; an event of a trial only goes to the log."""
        if self.delivering:
            self._feed.report(event, self.name, **details)
        else:
            logger.info("{} {}, which is on trial", event, self.name)

    def _on_decided(self, candle: Candle) -> None:
        """Deliver a candle that was open during an outage and is closed with the venue's record now."""
        if self.delivering:
            if not self.pool or candle.coin in self.pool.markets:
                self._feed.hub.on_candle(candle)
            return
        listener = self.pool.listener_of(candle.coin)
        if listener is not None:
            listener.on_decided(candle)

    def _stays_open(self, coin: str, timeframe: str, opened: list[int]) -> None:
        """Report candles that can't be closed, because no answer of the venue proves how they ended."""
        times = ", ".join(f"{datetime.fromtimestamp(each / 1000, UTC):%Y-%m-%d %H:%M:%S}" for each in opened[:8])
        more = f" and {len(opened) - 8} more" if len(opened) > 8 else ""
        self._tell("error", error=f"{timeframe} candles of {coin} that opened at {times}{more} UTC can't be closed")

    def _report_gap(self, event: str, exchange: str, **details: Any) -> None:
        """Report a gap or its end; fetched trades come too late for candles that are built from trades."""
        if event == "gap":
            self.candles.missed_trades(details["coin"])
        self._feed.report(event, exchange, **details)

    def note(self, event: str, exchange: str, **details: Any) -> None:
        """Report what happens to this session: as an event of the feed while it delivers, otherwise with ``aside``."""
        (self._feed.report if self.delivering else self._feed.aside)(event, exchange, **details)

    def _listed(self) -> dict[str, str]:
        self._refused = True
        markets = self.listing.markets(self._feed.wanted.coins, self._flowing())
        self._refused = False
        self.listing.schedule(self._feed.hub.clock.monotonic())
        self._list_due.set()
        return markets

    def _flowing(self) -> dict[str, str]:
        """The markets that the connections carry, without those of stale coins."""
        heard, limits = self._feed.silence_watch.heard if self.delivering else {}, self._feed.settings.staleness
        since = self._feed.hub.clock.monotonic() - min(limits.feed_stale_after, limits.coin_stale_after)
        return {coin: symbol for coin, symbol in self.pool.markets.items() if heard.get(coin, -inf) > since}

    async def _keep_listing(self) -> None:
        """Request the venue's list of markets whenever it is due: a missing coin may be listed now."""
        clock = self._feed.hub.clock
        while True:
            due = self.listing.due if self.delivering else inf
            self._list_due.clear()
            if await is_set_within(self._list_due, due - clock.monotonic()):
                continue
            try:
                await self.refresh()
            except VenueError as error:  # keep carrying the coins; the old list says what is missing
                logger.warning("{}: its list of markets could not be requested: {}", self.name, error.reason)
                self.listing.confirm(self._feed.wanted.coins)
                self.renew()
            self.listing.schedule(clock.monotonic(), again=True)

    async def _fetch_day_stats(self, markets: Mapping[str, str]) -> None:
        """Fetch the 24 h statistics once per coin, for its first tick; a failure does not stop the stream."""
        first = self._feed.hub.last_message is None
        await self._day_stats.fetch_missing(markets, day_stats.TIMEOUT if first else day_stats.HASTE)

    async def _keep_day_stats(self) -> None:
        """Fetch the 24 h statistics regularly, for a venue that streams no tickers."""
        while True:
            await self._feed.hub.clock.sleep(day_stats.EVERY)
            if TICKER.name in self._feed.wanted.channels and self.pool.markets:
                await self._day_stats.fetch(self.pool.markets, day_stats.TIMEOUT)
                for opened in self.pool.essential:
                    self._day_stats.give(opened.listener, self.pool.markets)


async def _raised(failure: asyncio.Future[NoReturn]) -> None:
    await failure
