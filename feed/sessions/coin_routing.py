"""Decides from which venue each coin comes (the active one, or the next that lists it), and when connect() returns."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any

from loguru import logger

from exchanges.errors import VenueError
from exchanges.registry import import_for, open_exchange
from feed.clock import is_set_within
from feed.errors import NoExchangeAvailable
from feed.events import CoinConfig, TradeEvent
from feed.market_data.hub import MarketDataHub
from feed.policies.staleness import SilenceWatch
from feed.sessions.closings import Closings
from feed.sessions.feed_context import FeedContext
from feed.sessions.session import Session
from feed.sessions.shared_venue import SharedVenue, access_of
from feed.sessions.supervisor import Supervisor
from feed.settings.schema import ExchangeConfig, Settings
from feed.subscriptions.status import Report, StatusReporter
from feed.subscriptions.wanted_data import WantedData
from feed.trades.sequence import TradeSequence

OWN_MOVES = frozenset({"failover", "failback"})  # changes of the feed's venue; for fallback coins they are only logged


@dataclass(eq=False, repr=False)
class CoinRouting:
    """Routes coins to venues until it is cancelled, and then closes everything.

    The first supervisor carries all coins. Coins that its venue does not list, the fallback coins, are carried by a
    second supervisor over the other venues. A third supervisor carries the coins that are not listed there either, and
    so on. All supervisors share the venues.

    ``ready`` is done with the first data. Unless ``patient``, it fails with NoExchangeAvailable when every venue has
    refused. ``parts``: into how many parts the venues' limits per address are divided. ``before``: the last trades
    that an earlier program received.
    """

    order: Sequence[ExchangeConfig]
    settings: Settings
    wanted: WantedData
    hub: MarketDataHub
    reporter: StatusReporter
    _: KW_ONLY
    patient: bool
    parts: int
    before: Iterable[TradeEvent]

    def __post_init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[None] = self._loop.create_future()
        # read the exception in any case: otherwise Python warns
        self.ready.add_done_callback(lambda ready: ready.cancelled() or ready.exception())
        self.venues: dict[str, SharedVenue] = {}
        self._something_new = asyncio.Event()  # something has happened that may lead to a decision
        self._closings = Closings(self.hub.clock)
        self.main = self._supervisor(self.order, self.wanted, self.reporter.note, main=True)
        self._supervisors = [self.main]

    @property
    def exchange(self) -> str:
        """The active venue, or the one that is tried."""
        return self.main.exchange

    @property
    def reasons(self) -> Mapping[str, str]:
        """Venue -> why it does not deliver, for each venue that was tried."""
        return self.main.reasons

    @property
    def undelivered(self) -> dict[str, int]:
        """How many trades came too late to be delivered in order, and how many candles could not be closed."""
        sessions = [session for each in self._supervisors for session in each.sessions.values()]
        return {
            "late_trades": sum(session.backfiller.late for session in sessions),
            "lost_bars": sum(session.candles.lost for session in sessions),
        }

    @property
    def lags_in_part(self) -> bool:
        """Whether one of the active venue's connections lags while others do not."""
        session = self.main.session
        return session is not None and session.pool.lags_in_part

    @property
    def venue_count(self) -> int:
        """How many venues may carry a coin."""
        return len(self.venues) or len(self.order)

    def carrier(self, coin: str) -> Session | None:
        """The session that carries ``coin`` or is tried for it; None while there is none."""
        return next((each.session for each in self._supervisors if coin not in each.lacking), None)

    def lag_of(self, exchange: str) -> float | None:
        """Seconds by which a venue's data is late; None while that is not known."""
        lags = (each.lag_of(exchange) for each in self._supervisors)
        return next((lag for lag in lags if lag is not None), None)

    def hears(self, coin: str) -> bool:
        """Whether data of ``coin`` has come from the venue that carries it."""
        return any(each.hears(coin) for each in self._supervisors)

    def share_limits(self, parts: int) -> None:
        """See MarketFeed."""
        self.parts = parts
        for venue in self.venues.values():
            venue.share(parts)

    def renew(self) -> None:
        """Make the connections carry what is wanted now, after a change. Safe from any thread."""
        self._loop.call_soon_threadsafe(self._renew)

    def forget(self, coins: Collection[str]) -> None:
        """Stop delivering these coins, which were removed."""
        for supervisor in self._supervisors:
            supervisor.lacking = [coin for coin in supervisor.lacking if coin not in coins]
            if supervisor is not self.main:
                supervisor.wanted.coins = [coin for coin in supervisor.wanted.coins if coin.symbol not in coins]
            supervisor.forget(coins)
        for venue in self.venues.values():
            venue.sequences.forget(coins)
        self._end(len([each for each in self._supervisors if each.wanted.coins]))
        self._renew()

    def _renew(self) -> None:
        for supervisor in self._supervisors:
            supervisor.renew()

    async def run(self) -> None:
        """Keep the feed connected, until cancelled."""
        try:
            if self.settings.bus is None:
                await asyncio.to_thread(import_for, [config.name for config in self.order])
            self._open()
            if self.venues:
                self.main.begin(self.venues)
            else:
                self.ready.set_exception(NoExchangeAvailable(self.reasons, None))
            while self.venues:
                await self._pause()
                self._look(self.hub.clock.monotonic())
        finally:
            await _to_the_end(self._release())

    async def _pause(self) -> None:
        """Wait until something has happened, or a decision is due."""
        now = self.hub.clock.monotonic()
        await is_set_within(self._something_new, min(supervisor.due(now) for supervisor in self._supervisors) - now)
        self._something_new.clear()

    def _look(self, now: float) -> None:
        """Let each supervisor decide, and then pass the coins that its venue does not list to the next supervisor."""
        self.main.look(now)
        if not self.ready.done():
            if self.main.has_connected:
                self.ready.set_result(None)
            elif not self.patient and self.main.is_hopeless:
                self.ready.set_exception(NoExchangeAvailable(self.reasons, None))
        for place, supervisor in enumerate(self._supervisors[1:], start=1):
            try:
                supervisor.look(now)
            except Exception:  # noqa: BLE001 - a defect here must not end the other coins
                before = self._supervisors[place - 1]
                logger.exception("{} are connected again after an unforeseen error", ", ".join(before.lacking))
                before.lacking = []
                self._end(place)
                break
        for place, supervisor in enumerate(self._supervisors):  # the list may grow meanwhile
            self._pass_on(place, supervisor)

    def _pass_on(self, place: int, supervisor: Supervisor) -> None:
        """Let the other venues carry the coins that a supervisor's venue does not list."""
        missing = supervisor.missing()
        if missing is None or [coin.symbol for coin in missing] == supervisor.lacking:
            return
        others = [config for config in supervisor.order if config.name != supervisor.exchange]
        behind = self._supervisors[place + 1] if place + 1 < len(self._supervisors) else None
        supervisor.lacking = [coin.symbol for coin in missing]
        if behind is not None and missing and behind.order == others:
            behind.carry(missing)
            return
        self._end(place + 1)
        if missing and others:
            wanted = replace(self.wanted, coins=missing)
            report = naming(lambda: wanted.coins, self.reporter.aside)
            fallback = self._supervisor(others, wanted, report, main=False)
            self._supervisors.append(fallback)
            fallback.begin(self.venues)

    def _end(self, place: int) -> None:
        """End the supervisors from this place in the list on."""
        for supervisor in self._supervisors[place:]:
            supervisor.end()
        del self._supervisors[place:]

    def _supervisor(
        self, order: Sequence[ExchangeConfig], wanted: WantedData, report: Report, *, main: bool
    ) -> Supervisor:
        silence_watch = SilenceWatch(self.settings.staleness)
        wake, closings, aside = self._something_new.set, self._closings, self.reporter.aside
        feed = FeedContext(self.settings, self.hub, wanted, silence_watch, report, aside, main, wake, closings)
        return Supervisor(order, feed)

    def _open(self) -> None:
        """Open every venue of the order."""
        delivered: dict[str, TradeSequence] = {}
        for config in self.order:
            try:
                venue = open_exchange(config.name, access_of(config, self.settings))
            except VenueError as error:  # the venue's settings can't work: continue without this venue
                self.main.reasons[config.name] = error.reason
                self.reporter.note("error", config.name, error=error.reason)
                continue
            shared = self.venues[config.name] = SharedVenue(venue, self.settings.connection, delivered)
            shared.share(self.parts)
            shared.sequences.before |= {each.coin: each for each in self.before if each.exchange == config.name}

    async def _release(self) -> None:
        """Close everything that is open."""
        for supervisor in self._supervisors:
            supervisor.end()
        for each in self.venues.values():
            self._closings.add(each.venue.close())
        await self._closings.finish()


def naming(coins: Callable[[], Iterable[CoinConfig]], aside: Report) -> Report:
    """Return a function that reports events with the names of ``coins``; ``aside`` does not change the feed's state."""

    def report(event: str, exchange: str, **details: Any) -> None:
        names = [coin.symbol for coin in coins()]
        if event in OWN_MOVES:
            logger.info("{} {} for {}: {}", event, exchange, ", ".join(names), details)
        else:
            aside(event, exchange, **(details if "coin" in details else {"coins": names} | details))

    return report


async def _to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Await ``work`` to its end even if the caller is cancelled repeatedly: an event loop that ends cancels twice."""
    task = asyncio.create_task(work, name="closing the feed")
    cancelled = False
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError
