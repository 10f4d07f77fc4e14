"""One venue carried until it fails: its markets, its 24 h figures, its stream, and the stream's successor in time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from loguru import logger

from exchanges import Subscription
from exchanges.bars import Bars
from exchanges.errors import Disconnected, Refused, VenueError
from exchanges.events import Candle
from feed.backoff import Backoff
from feed.budget import DialBudget
from feed.desk import Desk, Intake
from feed.events import CoinConfig
from feed.journal import Report
from feed.settings import Settings
from feed.staleness import Watchdog
from feed.tape import Tape
from feed.wanted import Wanted

if TYPE_CHECKING:
    from exchanges.adapter import Venue
    from exchanges.stream import Stream

BARS_SHARE = 0.5  # of the requests that a venue allows: gaps in trades can't wait, bars can
FIGURES_TIMEOUT = 3.0  # seconds that the 24 h figures may hold up the first stream
HASTE = 0.75  # seconds that they may hold up a later one: a failover is to take less than two in all
OVERLAP = 2.0  # seconds that a connection stays beside its successor: until that has subscribed to everything
ANEW = 10.0  # seconds until the next attempt at a successor while the connection still stands
EARLY = 600.0  # seconds before the venue cuts a connection that it is replaced


class Place:
    """A venue, and what it allows to all that is connected to it: dials, and REST requests for what was missed."""

    def __init__(self, venue: Venue) -> None:
        fetches = venue.profile.fetches
        self.venue = venue
        self.dials = DialBudget(venue.profile.dials)
        self.requests = DialBudget(fetches, 60.0)
        self.bars = DialBudget(max(1, int(fetches * BARS_SHARE)), 60.0)  # of these, those for bars


@dataclass(slots=True)
class _Link:
    """One connection."""

    stream: Stream
    intake: Intake
    running: asyncio.Task[None]
    worn: asyncio.Event  # it should be replaced
    markets: frozenset[str]  # the symbols that it asked for
    carries: tuple[tuple[str, ...], tuple[str, ...]]  # the channels and timeframes that it asked for


class Session:
    """Carries one venue: ``carry`` runs until the connection is lost and raises why.

    On trial it delivers nothing until ``promote``. ``dismiss`` takes the closing of a stream off our hands: a dead peer
    may hold it up, the next dial must not wait for it. ``missing`` are the coins that the venue does not list.
    """

    def __init__(
        self,
        place: Place,
        wanted: Wanted,
        desk: Desk,
        watchdog: Watchdog,
        settings: Settings,
        report: Report,
        aside: Report,
        *,
        main: bool,
        stir: Callable[[], None],
        dismiss: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        connection = settings.connection
        venue = self.venue = place.venue
        self.backoff = Backoff(
            connection.backoff_initial, connection.backoff_max, connection.backoff_jitter, connection.stable_after
        )
        self.bars = Bars(venue.name, self._fetch_candles, self._on_mended)
        self.tape = Tape(venue, settings.backfill, desk.on_trade, report, desk.clock, place.requests)
        self.connected = False  # the connection that is carried has delivered; ``carry`` moves it, and nobody else
        self.broke = False  # what ``carry`` raised last ended such a connection
        self.delivering = False  # False while on trial
        self.missing: list[CoinConfig] = []
        self._wanted = wanted
        self._desk = desk
        self._watchdog = watchdog
        self._place = place
        self._report = report
        self._aside = aside
        self._main = main
        self._connect_timeout = connection.connect_timeout
        self._stir = stir
        self._dismiss = dismiss
        self._dropped: asyncio.Future[NoReturn] | None = None
        self._figured: set[str] = set()  # coins whose 24 h figures were fetched
        self._told_missing: set[str] = set()
        self._since: Mapping[str, int] = {}
        self._link: _Link | None = None
        self._successor: _Link | None = None  # while it is to replace the link

    @property
    def last_data(self) -> float | None:
        """When the connection that is carried delivered last, monotonic seconds; None while it has not."""
        return None if self._link is None else self._link.intake.last_data

    @property
    def lost_bars(self) -> int:
        """Bars that ended unseen, and that the venue's record did not give in time."""
        return self.bars.lost

    def flowing_for(self, now: float) -> float:
        """Seconds since the first data of the connection that is carried; 0.0 before."""
        first = None if self._link is None else self._link.intake.first_data
        return 0.0 if first is None else now - first

    def renew(self) -> None:
        """Have the connection replaced by one that carries all that is wanted now."""
        if self._link is not None:
            self._link.worn.set()

    def drop(self, reason: str) -> None:
        """End the connection that is carried, if there is one: ``carry`` raises Disconnected."""
        if self._dropped is not None and not self._dropped.done():
            self._dropped.set_exception(Disconnected(self.venue.name, reason))

    async def refresh(self) -> None:
        """Ask the venue for its markets again; what is carried starts anew if they are not what it was made for."""
        changed = await self.venue.refresh()
        if self._link is not None and not self._link.markets.isdisjoint(changed):
            self.drop("the venue has changed markets that were wanted")

    def promote(self, since: Mapping[str, int]) -> None:
        """The trial is over, the connection delivers from now on. ``since``: see ``carry``."""
        self.delivering = True
        if self._link is not None:
            markets = self._markets()
            self.tape.resumed(markets, since)
            self._watchdog.start(markets, self._desk.clock.monotonic())
            self._link.intake.deliver()

    def demote(self) -> None:
        """Another venue delivers from now on."""
        self.delivering = False
        self._figured.clear()  # by the time it delivers again they are old
        for link in (self._link, self._successor):
            if link is not None:
                link.intake.close()

    def close(self) -> Awaitable[Any]:
        """The feed ends: what waits goes out, and nothing is fetched any more."""
        if self.delivering:
            self.tape.flush()
        self.tape.close()
        return self.bars.end()

    async def carry(self, since: Mapping[str, int], *, trial: bool = False) -> NoReturn:
        """Connect, deliver, and raise VenueError when it is over.

        ``since``: the time (Unix ms) of each coin's last trade on the venue that was left; what came later is fetched.
        """
        venue, desk = self.venue, self._desk
        self.broke = False
        self.delivering = not trial
        self._tell("connecting")
        await venue.load({coin.symbol: coin.markets.get(venue.name) for coin in self._wanted.coins})
        markets = self._markets()
        await self._place.dials.take(desk.clock)
        figures = await self._fetch_figures(markets)
        self._dropped = asyncio.get_running_loop().create_future()
        self._dropped.add_done_callback(lambda dropped: dropped.cancelled() or dropped.exception())  # awaited or not
        if self.delivering:
            self.tape.resumed(markets, since)
        self._link = self._dial(markets)
        for ticker in figures:
            self._link.intake.on_figures(ticker)
        try:
            await self._until_flowing(self._link)
            self.connected = True
            if self.delivering:
                self._watchdog.start(markets, desk.clock.monotonic())
            self._tell("connected", coins=list(markets))
            self._stir()
            while True:
                await self._until_worn(self._link)
                self._link = await self._replaced(self._link, markets)
                if self.delivering:
                    self._link.intake.deliver()  # it may have been dialled while this was still a trial
        finally:
            self._dropped.cancel()
            self._hang_up(self._link)
            self._link = None
            self.broke, self.connected = self.connected, False
            if not self.delivering:
                self._figured.clear()  # a trial's figures went with it
            if self.delivering:
                self.tape.lost()
                self._watchdog.lost()

    def _tell(self, event: str, **details: Any) -> None:
        """A trial is nobody's business but the log's."""
        if self.delivering:
            self._report(event, self.venue.name, **details)
        else:
            logger.info("{} {} on trial", event, self.venue.name)

    def _on_mended(self, candle: Candle) -> None:
        """A bar that an outage left open, closed from the venue's record."""
        if self.delivering:
            self._desk.on_candle(candle)
        elif self._link is not None:
            self._link.intake.on_mended(candle)

    async def _fetch_candles(self, symbol: str, timeframe: str, since: int) -> list[Any]:
        """As the venue does it, when its limit has room."""
        for budget in (self._place.bars, self._place.requests):
            await budget.take(self._desk.clock)
        return await self.venue.fetch_candles(symbol, timeframe, since)

    def _note(self, event: str, exchange: str, **details: Any) -> None:
        """What happens while this delivers is the feed's own; what happens to a trial is told aside."""
        (self._report if self.delivering else self._aside)(event, exchange, **details)

    def _dial(self, markets: Mapping[str, str]) -> _Link:
        """A connection, for which the venue's budget has been asked."""
        name, wanted, worn = self.venue.name, self._wanted, asyncio.Event()
        intake = Intake(
            self._desk,
            self._watchdog,
            self.tape,
            name,
            self._note,
            stir=self._stir,
            delivering=self.delivering,
            main=self._main,
        )
        channels, timeframes = tuple(wanted.channels), tuple(wanted.timeframes)
        subscription = Subscription(markets, channels, timeframes, self._desk.ledger.newest_closed())
        stream = self.venue.stream(subscription, intake, self.bars, worn.set)
        running = asyncio.create_task(stream.run(), name=f"stream {name}")
        return _Link(stream, intake, running, worn, frozenset(markets.values()), (channels, timeframes))

    def _hang_up(self, link: _Link) -> None:
        link.intake.close()
        link.running.cancel()
        self._dismiss(_ended(link.running, link.stream.close()))

    async def _until_flowing(self, link: _Link) -> None:
        if not await self._wait(link, link.intake.flowing, self._connect_timeout):
            raise Disconnected(self.venue.name, f"no data within {self._connect_timeout:g} s of the dial")

    async def _until_worn(self, link: _Link) -> None:
        if link.carries != (tuple(self._wanted.channels), tuple(self._wanted.timeframes)):
            return  # more was subscribed since it was dialled
        limit = self.venue.profile.session_limit
        await self._wait(link, link.worn, None if limit is None else max(limit - EARLY, limit / 2))

    async def _replaced(self, old: _Link, markets: Mapping[str, str]) -> _Link:
        """The successor of a connection that the venue will cut: it carries data before the old one goes."""
        logger.info("{}: replacing the connection before the venue cuts it", self.venue.name)
        await self._place.dials.take(self._desk.clock, lambda seconds: self._wait(old, asyncio.Event(), seconds))
        new = self._successor = self._dial(markets)
        try:
            await self._until_flowing(new)
            await self._wait(new, asyncio.Event(), OVERLAP)
        except VenueError as error:
            self._hang_up(new)
            if old.running.done() or (self._dropped is not None and self._dropped.done()):
                raise
            logger.warning("{}: the connection could not be replaced: {}", self.venue.name, error.reason)
            await self._wait(old, asyncio.Event(), ANEW)
            old.worn.set()  # its time has not begun anew
            return old
        except BaseException:
            self._hang_up(new)
            raise
        finally:
            self._successor = None
        self._hang_up(old)
        return new

    async def _wait(self, link: _Link, event: asyncio.Event, timeout: float | None) -> bool:
        """True when ``event`` came, False after ``timeout`` seconds; raises what ended the connection meanwhile."""
        assert self._dropped is not None
        waiting = asyncio.create_task(event.wait())
        try:
            awaited: set[asyncio.Future[Any]] = {link.running, self._dropped, waiting}
            done, _ = await asyncio.wait(awaited, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        for ended in (link.running, self._dropped):
            if ended in done:
                ended.result()
        return waiting in done

    def _markets(self) -> dict[str, str]:
        """Coin -> market symbol for what the venue lists; the others are told, once. Refused when there is none."""
        markets: dict[str, str] = {}
        refusals: dict[str, str] = {}
        self.missing = []
        for coin in self._wanted.coins:
            try:
                markets[coin.symbol] = self.venue.market(coin.symbol, coin.markets.get(self.venue.name))
            except Refused as refusal:
                refusals[coin.symbol] = refusal.reason
                self.missing.append(coin)
        for symbol, reason in refusals.items():
            if symbol not in self._told_missing:
                self._told_missing.add(symbol)
                self._note("coin_unavailable", self.venue.name, coin=symbol, reason=reason)
        if not markets:
            reasons = list(refusals.values())
            reason = reasons[0] if len(reasons) == 1 else f"does not list any of {', '.join(refusals)}"
            raise Refused(self.venue.name, reason)
        return markets

    async def _fetch_figures(self, markets: Mapping[str, str]) -> list[Any]:
        """The 24 h figures, once per coin, so that its first tick has them; without them the stream goes on."""
        missing = {coin: symbol for coin, symbol in markets.items() if coin not in self._figured}
        if not missing:
            return []
        try:
            async with asyncio.timeout(FIGURES_TIMEOUT if self._desk.last_message is None else HASTE):
                tickers = await self.venue.fetch_tickers(missing)
        except (VenueError, TimeoutError) as error:
            logger.warning("{}: no 24 h figures by REST: {}", self.venue.name, error or "no answer in time")
            return []
        self._figured.update(ticker.coin for ticker in tickers)
        return tickers


async def _ended(running: asyncio.Future[Any], closing: Awaitable[None]) -> None:
    """Wait until a stream is gone for good; what it still has to say does not matter any more."""
    await asyncio.gather(running, closing, return_exceptions=True)
