"""Keeps the feed connected to a venue of the settings' order: carries out what the failover policy decides."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from math import inf
from typing import Any

from loguru import logger

from exchanges.errors import Blocked, Disconnected, Halted, Rejected, VenueError
from exchanges.registry import import_for, open_exchange
from feed.errors import NoExchangeAvailable
from feed.events import CoinConfig
from feed.market_data.hub import MarketDataHub
from feed.policies import failover_decisions as decided
from feed.policies.failover import Failover
from feed.policies.failover_decisions import Decision, FailoverState
from feed.policies.lag import LagWatch
from feed.policies.staleness import SilenceKind, SilenceWatch
from feed.sessions.coin_listing import HALT, UNLISTED
from feed.sessions.fallback_coins import FallbackCoins, naming
from feed.sessions.prefetch import Prefetch
from feed.sessions.session import Session
from feed.sessions.session_tasks import SessionTasks, to_the_end
from feed.sessions.shared_venue import SharedVenue, access_of
from feed.settings.schema import ExchangeConfig, Settings
from feed.subscriptions.status import Report
from feed.subscriptions.wanted_data import WantedData

RELEASE_TIMEOUT = 3.0  # seconds for closing all connections at the end
START_GRACE = 2.0  # seconds that the first venue has at least until the next ones are tried beside it
LOOK = 0.5  # seconds between two checks which connections carry data


class Supervisor:
    """Runs until it is cancelled, and then closes everything.

    ``ready`` is done with the first data, or, unless ``patient``, fails with NoExchangeAvailable when every venue has
    said no; ``reasons`` says for each venue tried why it does not deliver. Coins that the active venue does not list
    come through a supervisor of their own over the other venues, which is given what is ``shared``, goes on from the
    main one's ``since`` and reports ``aside``.
    """

    def __init__(
        self,
        order: Sequence[ExchangeConfig],
        settings: Settings,
        wanted: WantedData,
        hub: MarketDataHub,
        report: Report,
        aside: Report,
        *,
        patient: bool,
        shared: dict[str, SharedVenue] | None = None,
        since: Mapping[str, int] | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[None] = self._loop.create_future()
        self.ready.add_done_callback(lambda ready: ready.cancelled() or ready.exception())  # awaited or not
        self.reasons: dict[str, str] = {}
        self._order = order
        self._settings = settings
        self._wanted = wanted
        self._hub = hub
        self._report = report
        self._aside = aside
        self._patient = patient
        self._main = shared is None
        self._parts = 1  # of the venues' limits per address
        self._shared: dict[str, SharedVenue] = {} if shared is None else shared
        self._silence_watch = SilenceWatch(settings.staleness)
        self._suspended = hub.clock.suspended()  # seconds, as far as the silence watch knows
        self._woken: tuple[float, float] | None = None  # seconds of a suspend, and when it was found, monotonic
        self._lag_watch = LagWatch(settings.staleness.max_lag)
        self._something_new = asyncio.Event()  # something has happened that may lead to a decision
        self._sessions: dict[str, Session] = {}
        self._tasks = SessionTasks(hub.clock, self._something_new.set)
        self._since: Mapping[str, int] = since or {}  # the last trades (Unix ms) of the venue that was left
        self._fallback = FallbackCoins(self._over_others, self._tasks.dismiss_task)
        self._prefetch = Prefetch(self._tasks.dismiss)
        self._final: set[str] = set()  # venues that have refused: waiting does not help
        self._policy = self._policy_over(order)

    def _policy_over(self, order: Sequence[ExchangeConfig]) -> Failover:
        connection, limits = self._settings.connection, self._settings.staleness
        return Failover(  # one attempt per venue until the first data, then as many as the settings say
            [config.name for config in order],
            1,
            connection.failback_after,
            stable_after=connection.stable_after,
            relief_after=limits.feed_stale_after if self._main else limits.coin_stale_after,
            began=self._hub.clock.monotonic() + max(0.0, START_GRACE - limits.feed_stale_after),
        )

    @property
    def exchange(self) -> str:
        """The active venue, or the one that is tried."""
        return self._policy.active or self._order[0].name

    @property
    def undelivered(self) -> dict[str, int]:
        """How many trades came too late to be delivered in order, and how many candles no record could close."""
        fallback = self._fallback.undelivered
        late = sum(session.backfiller.late for session in self._sessions.values())
        lost = sum(session.lost_bars for session in self._sessions.values())
        return {"late_trades": late + fallback.get("late_trades", 0), "lost_bars": lost + fallback.get("lost_bars", 0)}

    def carrier(self, coin: str) -> Session | None:
        """The session that carries ``coin`` or is tried for it; None while there is none."""
        return self._fallback.carrier(coin) if coin in self._fallback.coins else self._sessions.get(self.exchange)

    def share_limits(self, parts: int) -> None:
        """See MarketFeed."""
        self._parts = parts
        for shared in self._shared.values():
            shared.share(parts)

    def renew(self) -> None:
        """Have the connections carry what is wanted now, after it has changed. Safe from any thread."""
        self._loop.call_soon_threadsafe(self._renew)

    def forget(self, coins: Collection[str]) -> None:
        """These coins were removed: deliver nothing more of them."""
        self._since = {coin: at for coin, at in self._since.items() if coin not in coins}
        for session in self._sessions.values():
            session.forget(coins)
        self._silence_watch.forget(coins)
        self._fallback.forget(coins)
        self._renew()

    @property
    def venues(self) -> int:
        """How many venues may carry a coin."""
        return len(self._sessions) or len(self._order)

    def hears(self, coin: str) -> bool:
        """Whether data of ``coin`` has come from the venue that carries it."""
        return coin in self._silence_watch.heard or self._fallback.hears(coin)

    def _renew(self) -> None:
        for session in self._sessions.values():
            session.renew()
        now = self._hub.clock.monotonic()
        self._carry_out(self._policy.asked_anew(now), now)
        self._fallback.renew()

    async def run(self) -> None:
        """Keep the feed connected, until cancelled."""
        try:
            if self._settings.bus is None:
                await asyncio.to_thread(import_for, [config.name for config in self._order])
            self._open()
            self._policy = self._policy_over(self._order)  # its time begins now
            if self._sessions:
                self._dial(self.exchange)
            else:
                self.ready.set_exception(NoExchangeAvailable(self.reasons, None))
            while self._sessions:
                await self._pause()
                self._look(self._hub.clock.monotonic())
        finally:
            await to_the_end(self._release())

    # What happens

    async def _pause(self) -> None:
        """Wait until something has happened, or a decision is due."""
        now = self._hub.clock.monotonic()
        due = min(
            self._policy.next_tick(now),
            self._silence_watch.next_check(now),
            now + LOOK if self._tasks.carrying else inf,
        )
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None if due == inf else max(0.0, due - now)):
                await self._something_new.wait()
        self._something_new.clear()

    def _look(self, now: float) -> None:
        """Tell the policies what has happened, and carry out what they decide."""
        ended = self._tasks.take_ended()
        for name in list(self._tasks.carrying):
            session = self._sessions[name]
            session.look_at_lag()
            if session.last_data is not None:
                session.backoff.note_data(session.last_data)
                given = session.delivering and self._policy.state is not FailoverState.RELIEF
                if session.connected and (given or session.is_proven_up_to_date(now)):
                    self._carry_out(self._policy.data(name, session.last_data, now), now)
        for name in sorted(ended, key=self.exchange.__eq__):  # ended trials first: none of them may be chosen
            self._failed(name, ended[name], now)
        active = self._sessions[self.exchange]
        if active.connected and not self.ready.done():
            self.ready.set_result(None)
            self._policy.attempts_before_failover = self._settings.connection.attempts_before_failover
        if active.connected:
            self._prefetch.look(active, [self._sessions[config.name] for config in self._order], now)
            others = [config for config in self._order if config.name != active.venue.name]
            self._fallback.look_after([*active.listing.missing, *active.withheld], others)
        self._note_suspend(now)
        for finding in self._silence_watch.check(now):
            venue = self.exchange
            if finding.kind in (SilenceKind.FEED_STALE, SilenceKind.COIN_STALE):
                self._sessions[venue].doubt(finding.coin)
            if finding.kind is not SilenceKind.DEAD and (self._main or finding.coin):
                self._report(str(finding.kind), venue, **finding.details)
            if finding.kind is SilenceKind.DEAD:
                self._sessions[venue].drop(f"no data for {finding.seconds:.1f} s")
        self._look_at_lag(now)
        self._carry_out(self._policy.tick(now), now)
        if now - self._policy.heard > self._settings.staleness.feed_stale_after / 4:
            self._prefetch.hurry([session for name, session in self._sessions.items() if name != self.exchange], now)
        for name in self._tasks.carrying:
            self._sessions[name].is_awaited = self._policy.awaits(name, now)

    def _note_suspend(self, now: float) -> None:
        """Have the silence watch count the time of a suspend, one check later: newer data may have come since."""
        if self._woken is not None:
            self._silence_watch.backdate(*self._woken)
            self._woken = None
        if missed := self._hub.clock.suspended() - self._suspended:
            self._suspended += missed
            self._woken = missed, now

    def _look_at_lag(self, now: float) -> None:
        """Report when the active venue begins to lag and when that ends; dial it again if it goes on lagging."""
        active = self._sessions[self.exchange]
        if not active.connected or self._silence_watch.is_stale:
            self._lag_watch.restart()
            return
        finding = self._lag_watch.check(active.lag, now, active.name)
        if finding is not None:
            self._report(str(finding.kind), active.name, seconds=round(finding.seconds, 3))
        since = self._lag_watch.since
        if since is None:
            self._policy.caught_up(active.name)
            return
        self._carry_out(self._policy.lagging(active.name, active.lag or 0.0, now), now)
        if self.exchange == active.name and now - since >= self._settings.staleness.reconnect_after:
            active.drop(f"lags {active.lag or 0.0:.1f} s, for {now - since:.1f} s")

    def lag_of(self, exchange: str) -> float | None:
        """Seconds by which a venue's data is late; None while that is not known."""
        session = self._sessions.get(exchange)
        own = None if session is None or exchange not in self._tasks.carrying else session.lag
        return self._fallback.lag_of(exchange) if own is None else own

    @property
    def lags_in_part(self) -> bool:
        """Whether one of the active venue's connections lags while others do not."""
        session = self._sessions.get(self.exchange)
        return session is not None and session.lags_in_part

    def _over_others(self, order: Sequence[ExchangeConfig], coins: Sequence[CoinConfig]) -> Supervisor:
        """Make a supervisor of these venues for coins that the active venue does not list."""
        wanted = replace(self._wanted, coins=coins)
        return Supervisor(
            order,
            self._settings,
            wanted,
            self._hub,
            naming(lambda: wanted.coins, self._aside),
            self._aside,
            patient=True,
            shared=self._shared,
            since=self._since,
        )

    @property
    def carried(self) -> Sequence[CoinConfig]:
        """The coins that this supervisor is to carry."""
        return self._wanted.coins

    def change(self, coins: Iterable[CoinConfig]) -> None:
        """Carry exactly these coins."""
        before = {coin.symbol for coin in self._wanted.coins}
        self._wanted.coins = list(coins)
        self.forget(before - {coin.symbol for coin in self._wanted.coins})

    def _failed(self, name: str, failure: VenueError, now: float) -> None:
        """A session has ended, or could not connect: report it, and tell the failover policy."""
        session = self._sessions[name]
        if isinstance(failure, Rejected) and session.asked_for is not self._wanted.coins:
            failure = Disconnected(name, f"{failure.reason}, before it was asked for what is wanted now")
        session.backoff.note_disconnect(now)
        delay = session.backoff.delay_for(getattr(failure, "retry_after", None))
        self._tasks.due[name] = now + delay
        final = isinstance(failure, Rejected | Blocked) and not isinstance(failure, Halted)
        (self._final.add if final else self._final.discard)(name)
        if not session.delivering:
            logger.info("{} fell on trial: {}", name, failure.reason)
        if session.delivering and (self.ready.done() or self.reasons.get(name) != failure.reason):
            self.reasons[name] = failure.reason  # before the first data, reported once and not in every round
            if isinstance(failure, Blocked):
                self._report("exchange_blocked", name, status=failure.status, reason=failure.reason)
            if session.broke:
                self._report("disconnected", name, reason=failure.reason)
            elif isinstance(failure, Disconnected) or (isinstance(failure, Rejected) and self._main):
                self._report("error", name, error=failure.reason)  # else its coins were told as unavailable
        match failure:
            case Blocked():
                decisions = self._policy.blocked(name, failure.status, now)
            case Rejected():
                longest = HALT if isinstance(failure, Halted) else UNLISTED
                decisions = self._policy.refused(name, failure.reason, now, longest)
            case Disconnected(retry_after=float(wait)) if self._too_long(wait):
                decisions = self._policy.put_off(name, wait, failure.reason, now)
            case _:
                decisions = self._policy.disconnected(name, now, failure.reason)
        self._carry_out(decisions, now)

    def _too_long(self, wait: float) -> bool:
        """Whether a Retry-After is longer than a connection may be silent, and there is another venue."""
        return wait > self._settings.staleness.reconnect_after and len(self._order) > 1

    # What follows

    def _carry_out(self, decisions: Sequence[Decision], now: float) -> None:
        for decision in decisions:
            match decision:
                case decided.Retry(venue):
                    delay = max(0.0, self._tasks.due[venue] - now)
                    attempt = self._sessions[venue].backoff.attempt
                    self._report("reconnecting", venue, attempt=attempt, delay=round(delay, 3))
                    self._dial(venue)
                case decided.Switch(from_, to, reason):
                    if self.ready.done() or to not in self.reasons:
                        self._report("failover", to, **{"from": from_, "to": to, "reason": reason})
                    self._relieve(from_, to)
                case decided.TryFailback(to) | decided.TryRelief(to):
                    self._dial(to, trial=True)
                case decided.Failback(from_, to):
                    self._report("failback", to, **{"from": from_, "to": to})
                    self._relieve(from_, to)
                case decided.AbandonTrial(venue):
                    self._tasks.stop(venue)
                case decided.Exhausted(until, venue):
                    whom = "" if self._main else " for " + ", ".join(coin.symbol for coin in self._wanted.coins)
                    wait = f"{venue} is asked again in {until - now:.0f} s"
                    self._report("exhausted", venue, reason=f"no exchange is left{whom}, {wait}")
                    if not self.ready.done() and not self._patient and self._final >= set(self._sessions):
                        self.ready.set_exception(NoExchangeAvailable(self.reasons, None))

    def _relieve(self, left: str, to: str) -> None:
        """Leave one venue for another one, which may carry data on trial already."""
        session = self._sessions[to]
        backfiller = self._sessions[left].backfiller
        self._since = {**self._since, **backfiller.last_timestamps()}
        self._hub.delivered_candles.owe(self._sessions[left].bars.holes())
        self._sessions[left].demote()
        backfiller.flush()
        if to in self._tasks.carrying:
            session.promote(self._since)
            if session.connected:
                self._report("connected", to)
        else:
            self._dial(to)
        self._tasks.stop(left)

    def _dial(self, name: str, *, trial: bool = False) -> None:
        """Start a venue's session, when its backoff allows."""
        self._tasks.start(self._sessions[name], lambda: self._since, trial=trial)

    # What is open

    def _open(self) -> None:
        """Make the session of every venue of the order."""
        for config in self._order:
            settings = self._settings
            if config.name not in self._shared:
                try:
                    venue = open_exchange(config.name, access_of(config, settings))
                except VenueError as error:  # its settings can't work: the others go on without it
                    self.reasons[config.name] = error.reason
                    self._report("error", config.name, error=error.reason)
                    continue
                self._shared[config.name] = SharedVenue(venue)
                self._shared[config.name].share(self._parts)
            self._sessions[config.name] = Session(
                self._shared[config.name],
                self._wanted,
                self._hub,
                self._silence_watch,
                settings,
                self._report,
                self._aside,
                main=self._main,
                wake=self._something_new.set,
                dismiss=self._tasks.dismiss,
            )
        able = [config for config in self._order if config.name in self._sessions]
        if able and able != list(self._order):
            self._order, self._policy = able, self._policy_over(able)

    async def _release(self) -> None:
        """Close everything that is open, within RELEASE_TIMEOUT."""
        self._fallback.end()
        for name in list(self._tasks.carrying):
            self._tasks.stop(name)
        for session in self._sessions.values():
            self._tasks.dismiss(_awaited(session.close()))
        if self._main:  # the supervisor of the fallback coins shares the venues
            for each in self._shared.values():
                self._tasks.dismiss(each.venue.close())
        await self._tasks.close(RELEASE_TIMEOUT)


async def _awaited(end: Awaitable[Any]) -> None:
    await end
