"""One connection to a venue: decides when it is replaced (age, silence, lag, missing trades) and dialled again."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from loguru import logger

from exchanges.errors import Blocked, Disconnected, Rejected, VenueError
from feed.channels import BOOKS, CANDLES, TRADES
from feed.clock import Clock
from feed.market_data.connection_listener import subscribed_within
from feed.market_data.listener_base import ListenerBase
from feed.policies.backoff import GrowingWait, backoff_of
from feed.policies.lag import LagFinding, LagWatch
from feed.settings.schema import Settings

if TYPE_CHECKING:
    from exchanges.venue import Connection

COMPLETE_WITHIN = 120.0  # seconds to synchronize all books: the requests for their snapshots share one limit
COMPLETE_STEP = 0.25  # seconds between two checks whether all books are synchronized
ANEW = 10.0  # seconds until another successor is tried while the connection is still open
EARLY = 600.0  # seconds before the venue's cut at which a connection is replaced
GRACE = 0.1  # seconds; connections that end within this time were cut at the same time
FEW = 20  # coins: if fewer are silent, they may all be quiet and the connection may work
UNHEARD = 3  # factor of the allowed silence for coins without a trade yet: they may not be subscribed to yet
REPLACED, ENDED = "its connection is replaced", "its connection is closed"
UNHEARD_EACH = 0.1  # seconds that are added for each subscription of the connection


class Carries(NamedTuple):
    """The channels, candle timeframes and levels of order books to which a connection subscribes."""

    channels: tuple[str, ...]
    timeframes: tuple[str, ...] = ()
    book_depth: int = 0

    @property
    def is_for_books(self) -> bool:
        """Whether the connection subscribes to order books, which have connections of their own."""
        return self.channels == (BOOKS.name,)

    @property
    def subscriptions(self) -> int:
        """How many subscriptions the connection makes per market."""
        return len(set(self.channels) - {CANDLES.name}) + (len(self.timeframes) if CANDLES.name in self.channels else 0)


@dataclass(slots=True)
class OpenConnection:
    """One connection.

    ``markets`` (coin -> symbol): what it has subscribed to, including coins that are not wanted any more.
    """

    stream: Connection
    listener: ListenerBase
    running: asyncio.Task[None]
    markets: dict[str, str]
    carries: Carries
    dialled_at: float  # monotonic seconds
    number: int  # the connection's number in VenueCandles
    outdated: asyncio.Event = field(default_factory=asyncio.Event)  # set when the venue announces a cut
    left: set[str] = field(default_factory=set)  # coins that were halted while it carried them

    def brings(self, coin: str) -> bool:
        return coin in self.markets and coin not in self.listener.gone

    @property
    def subscriptions(self) -> int:
        return len(self.markets) * self.carries.subscriptions

    def has_data(self, within: float, now: float) -> bool:
        """Whether the connection is open and had data in the last ``within`` seconds."""
        last = self.listener.last_data
        return not self.running.done() and last is not None and now - last < within

    def silent_for(self, now: float) -> float:
        heard = self.listener.last_data
        return now - (self.dialled_at if heard is None else heard)


class Host(Protocol):
    """What the connections need to know about their session."""

    @property
    def name(self) -> str: ...

    def dial(self, connection: CoinConnection) -> OpenConnection:
        """Open a connection for the markets and channels of ``connection``; the limit of dials allows it already."""

    async def may_dial(self, old: OpenConnection | None = None) -> None:
        """Wait until the venue's limit allows a dial; raises the error of ``old`` if ``old`` ends meanwhile."""

    def hang_up(self, opened: OpenConnection, reason: str) -> None: ...

    def is_essential(self, connection: CoinConnection) -> bool:
        """Whether the venue counts as failed if this connection cannot be kept; False for order books beside trades."""

    def fits(self, connection: CoinConnection, markets: Mapping[str, str]) -> bool:
        """Whether a connection can carry these markets."""

    def extend(self, opened: OpenConnection, markets: Mapping[str, str]) -> None:
        """Subscribe to these markets, for the first time or again, over a connection that is open."""

    def has_company(self, connection: CoinConnection, within: float) -> bool:
        """Whether another connection of the venue is open and had data in the last ``within`` seconds."""

    def is_outpaced(self, connection: CoinConnection) -> bool:
        """Whether another connection of the venue has data that is up to date."""

    def on_lag(self, connection: CoinConnection, finding: LagFinding) -> None:
        """Called when the connection began to lag while others are up to date, or has stopped lagging."""

    def on_flow(self, connection: CoinConnection) -> None:
        """Called when the connection delivers data, or when all of its coins may be quiet."""

    def on_break(self, connection: CoinConnection, reason: str) -> None:
        """Called when the connection has ended and is dialled again, while the others stay open."""

    def on_retry(self, connection: CoinConnection, attempt: int, delay: float) -> None: ...

    def on_silence(self, connection: CoinConnection) -> None:
        """Called when the connection may have missed trades."""

    def on_missing(self, coins: Sequence[str], seconds: float, doubted: Sequence[str]) -> None:
        """Called when trades of ``coins`` do not come although tickers show them; ``doubted`` coins may lack trades."""

    def on_replaced(self, connection: CoinConnection, reason: str) -> None:
        """Called when the connection was silent and another connection with data has replaced it."""


@dataclass(eq=False, repr=False)
class CoinConnection:
    """Keeps a connection open that subscribes to what ``asks`` lists, for ``markets`` (coin -> symbol).

    Call ``wake`` after a change of ``asks`` or ``markets``. If this is the venue's only open connection and it ends,
    ``carry`` ends with the error. If others are open, only this one is dialled again, up to
    ``attempts_before_failover`` times; after that the venue has failed. ``session_limit``: the seconds after which the
    venue cuts a connection, None if it cuts none.
    """

    host: Host
    markets: dict[str, str]
    asks: Carries
    settings: Settings
    clock: Clock
    session_limit: float | None

    def __post_init__(self) -> None:
        silence = self.settings.staleness.reconnect_after
        self.opened: OpenConnection | None = None
        self.successor: OpenConnection | None = None  # the connection that is to replace the open connection
        self.broke = False  # True after a break was reported, until the reconnect is reported
        self.flowing = asyncio.Event()  # set when the first connection has data, or all its coins may be quiet
        self._backoff = backoff_of(self.settings.connection)
        self._connect_timeout = self.settings.connection.connect_timeout
        self._silence = silence
        self._silence_allowed = GrowingWait(silence)  # how long the silence of a few coins is accepted
        self._lag_watch = LagWatch(self.settings.staleness.max_lag)
        self._lag_allowed = GrowingWait(silence)
        # how long the silence of each coin's trades is accepted
        self._silence_of_coin: defaultdict[str, GrowingWait] = defaultdict(lambda: GrowingWait(silence))
        self._lifetime = inf if self.session_limit is None else max(self.session_limit - EARLY, self.session_limit / 2)
        self._now = self.clock.monotonic
        self._sleep = self.clock.sleep
        self._something_new = asyncio.Event()

    @property
    def all_opened(self) -> list[OpenConnection]:
        """The connections that deliver: the connection in use, and its successor while there is one."""
        return [opened for opened in (self.opened, self.successor) if opened is not None]

    def has_data(self, within: float, now: float) -> bool:
        """Whether the connection is open and had data in the last ``within`` seconds."""
        return self.opened is not None and self.opened.has_data(within, now)

    @property
    def is_lagging(self) -> bool:
        """Whether the connection's data is late while the data of other connections is not."""
        return self._lag_watch.since is not None

    def wake(self) -> None:
        """Check again whether the connection must change."""
        self._something_new.set()

    async def carry(self, *, may_dial: bool) -> None:
        """Keep a connection open until there is nothing to carry; raises VenueError when the venue has failed.

        ``may_dial``: the venue's limit of dials already allows the first dial.
        """
        try:
            while self.markets:
                try:
                    if not may_dial:
                        await self.host.may_dial()
                    may_dial = False
                    self.opened = self.host.dial(self)
                    await self._until_flowing(self.opened)
                    self.host.on_flow(self)
                    self.flowing.set()
                    await self._attend()
                except VenueError as failure:
                    await self._recover(failure)
        finally:
            self._hang_up()
            self.flowing.set()

    def _hang_up(self, reason: str = ENDED) -> None:
        opened, self.opened = self.opened, None
        if opened is not None:
            self.host.hang_up(opened, reason)

    async def _attend(self) -> None:
        """Watch over the open connection until it must be replaced; raises what ended it."""
        while self.markets:
            self._something_new.clear()
            opened, now = self.opened, self._now()
            assert opened is not None
            if opened.running.done():
                opened.running.result()  # the connection has ended
            missing = {coin: s for coin, s in self.markets.items() if not opened.brings(coin)}
            if missing and self.host.fits(self, opened.markets | missing):
                self.host.extend(opened, missing)
                missing = {}
            is_silent, untraded = self._is_silent(opened, now), self._untraded(opened, now)
            unwanted = sum(coin not in self.markets for coin in opened.markets)
            if is_silent:
                await self._replace_silent(opened, now)
            elif untraded:
                for coin in untraded:
                    self._silence_of_coin[coin].spend(now)
                since, lost = max(untraded.values()), opened.listener.lost_subscriptions
                doubted = [coin for coin in self.markets if not lost.flowed(coin, since)]
                self.host.on_missing(sorted(untraded), now - min(untraded.values()), doubted)
                await self._replace(opened)
            elif self._lags_too_long(opened, now):
                self._lag_allowed.spend(now)
                self._lag_watch.restart()
                await self._replace(opened)
            elif (
                missing
                or opened.outdated.is_set()
                or opened.carries != self.asks
                or unwanted > len(self.markets)
                or now >= opened.dialled_at + self._lifetime
            ):
                await self._replace(opened)
            else:
                due = opened.dialled_at + self._lifetime - now
                await wait(opened, self._something_new, min(due, self._silence / 4))

    def _is_silent(self, opened: OpenConnection, now: float) -> bool:
        """Whether the connection has been silent for too long while others have data.

        With fewer than FEW coins, which may all be quiet, each replacement makes the accepted silence longer.
        """
        silence = self._silence_allowed.at(now) if len(self.markets) < FEW else self._silence
        return opened.silent_for(now) >= silence and self.host.has_company(self, self._silence / 2)

    def _lags_too_long(self, opened: OpenConnection, now: float) -> bool:
        """Whether the connection's data has been late for long while the data of other connections is up to date.

        Reports the beginning and the end of this lag.
        """
        lag = opened.listener.lag.seconds
        if lag is not None and (self.host.is_outpaced(self) or self.is_lagging):
            finding = self._lag_watch.check(lag, now)
            if finding is not None:
                self.host.on_lag(self, finding)
        since = self._lag_watch.since
        return since is not None and now - since >= self._lag_allowed.at(now) and self.host.is_outpaced(self)

    def _untraded(self, opened: OpenConnection, now: float) -> dict[str, float]:
        """The coins whose trades do not come although the connection subscribed to them, and since when."""
        if TRADES.name not in opened.carries.channels:
            return {}
        beginning = UNHEARD_EACH * opened.subscriptions

        def longest_silence(coin: str) -> float:
            enough = self._silence_of_coin[coin].at(now)
            return enough if opened.listener.has_traded(coin) else UNHEARD * enough + beginning

        return opened.listener.lost_subscriptions.missing(longest_silence, now)

    async def _replace(self, old: OpenConnection) -> None:
        """Open a successor, and close the old connection when the successor has data."""
        logger.info("{}: a connection that works is replaced", self.host.name)
        try:
            async with self._successor_of(old) as new:
                await wait(new, asyncio.Event(), subscribed_within(new.subscriptions))
                await self._until_complete(new, old)
        except VenueError as error:
            if old.running.done():
                raise
            logger.warning("{}: the connection could not be replaced: {}", self.host.name, error.reason)
            await wait(old, asyncio.Event(), ANEW)
            return
        self.opened = new
        self.host.hang_up(old, REPLACED)

    @asynccontextmanager
    async def _successor_of(self, old: OpenConnection) -> AsyncIterator[OpenConnection]:
        """Open a connection beside ``old``; yields it when it has data or may be quiet. Closes it at an error."""
        await self.host.may_dial(old)
        new = self.successor = self.host.dial(self)
        try:
            await self._until_flowing(new)
            yield new
        except BaseException as error:
            self.host.hang_up(new, error.reason if isinstance(error, VenueError) else ENDED)
            raise
        finally:
            self.successor = None

    async def _until_complete(self, new: OpenConnection, old: OpenConnection) -> None:
        """Wait until the successor of a connection for order books has all books, at most COMPLETE_WITHIN seconds."""
        end = self._now() + COMPLETE_WITHIN
        while not new.listener.has_all_of(old.listener) and not old.running.done() and self._now() < end:
            await wait(new, asyncio.Event(), COMPLETE_STEP)

    async def _replace_silent(self, old: OpenConnection, now: float) -> None:
        """Replace a silent connection: it may be broken, or its coins may be quiet; a successor shows which is true."""
        reason = f"no data for {old.silent_for(now):.1f} s"
        logger.info("{}: one of its connections is silent: {}", self.host.name, reason)
        self._silence_allowed.spend(now)
        self.host.on_silence(self)
        async with self._successor_of(old) as new:
            was_quiet = old.silent_for(self._now()) < self._silence  # only some coins were silent
        if was_quiet:
            self.host.hang_up(new, REPLACED)
            return
        self._hang_up(reason)
        self.opened = new
        if new.listener.flowing.is_set():
            self.host.on_replaced(self, reason)

    async def _until_flowing(self, opened: OpenConnection) -> None:
        if await wait(opened, opened.listener.flowing, self._connect_timeout):
            return
        if len(self.markets) >= FEW or not self.host.has_company(self, self._silence):
            raise Disconnected(self.host.name, f"no data within {self._connect_timeout:g} s of the dial")

    async def _recover(self, failure: VenueError) -> None:
        """Wait until the connection may be dialled again; raises ``failure`` if the whole venue has failed."""
        opened = self.opened
        if opened is not None:
            first, last = opened.listener.first_data, opened.listener.last_data
            for at in (first, last):
                if at is not None:
                    self._backoff.note_data(at)
        self._hang_up(failure.reason)
        if opened is not None and isinstance(failure, Rejected) and not all(map(opened.brings, self.markets)):
            return  # the connection ended just when more subscriptions were to be requested
        essential = self.host.is_essential(self)
        if essential:
            if isinstance(failure, Blocked) or not self.host.has_company(self, self._silence):
                raise failure
            await self._sleep(GRACE)
            if not self.host.has_company(self, self._silence):
                raise failure
        if opened is not None:
            self.host.on_break(self, failure.reason)
        if isinstance(failure, Rejected):  # the connection's coins were reported: wait until there are other coins
            self.flowing.set()
            refused = dict(self.markets)
            while self.markets == refused:
                self._something_new.clear()
                await self._something_new.wait()
            return
        delay = self._backoff.delay_for(getattr(failure, "retry_after", None))
        if essential and self._backoff.attempt > self.settings.connection.attempts_before_failover:
            raise failure
        self.host.on_retry(self, self._backoff.attempt, delay)
        await self._sleep(delay)


async def wait(opened: OpenConnection, event: asyncio.Event, timeout: float | None) -> bool:
    """True when ``event`` is set, False after ``timeout`` seconds; raises what ended the connection meanwhile."""
    waiting = asyncio.create_task(event.wait())
    try:
        awaited: set[asyncio.Future[Any]] = {opened.running, waiting}
        done, _ = await asyncio.wait(awaited, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
    if opened.running in done:
        opened.running.result()
    return waiting in done
