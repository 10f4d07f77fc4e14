"""Keeps some coins on one venue: passes failures to the failover policy, and carries out what the policy decides."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from loguru import logger

from exchanges.errors import Blocked, Disconnected, Halted, Rejected, VenueError
from feed.events import CoinConfig
from feed.policies import failover_decisions as decided
from feed.policies.failover import Failover
from feed.policies.failover_decisions import Decision, FailoverState
from feed.policies.lag import LagWatch
from feed.policies.staleness import SilenceKind
from feed.sessions.coin_listing import HALT, UNLISTED
from feed.sessions.feed_context import FeedContext
from feed.sessions.prefetch import Prefetch
from feed.sessions.session import Session
from feed.sessions.shared_venue import SharedVenue
from feed.settings.schema import ExchangeConfig

START_GRACE = 2.0  # seconds from the start, in which no other venue is tried beside the first one
LOOK = 0.5  # seconds between two checks for connections that carry data


class Supervisor:
    """Works from ``begin`` to ``end``. Call ``look`` at ``due`` and after each call of FeedContext.wake: it decides.

    The main supervisor is for all coins: its venue is the active one of the feed. ``lacking``: the coins that its venue
    does not deliver, so that the next supervisor carries them. ``reasons``: venue -> why it does not deliver.
    """

    def __init__(self, order: Sequence[ExchangeConfig], feed: FeedContext) -> None:
        self.order = order
        self.wanted = feed.wanted
        self.reasons: dict[str, str] = {}
        self.lacking: list[str] = []
        self.sessions: dict[str, Session] = {}
        self.has_connected = False
        self._feed = feed
        self._suspended = feed.hub.clock.suspended()  # seconds of suspends that the silence watch has counted
        self._woken: tuple[float, float] | None = None  # seconds of a suspend, and when it was found, monotonic
        self._lag_watch = LagWatch(feed.settings.staleness.max_lag)
        self._prefetch = Prefetch(feed.closings.add)
        self._final: set[str] = set()  # venues that have refused: waiting does not help
        self._policy = self._failover()

    def _failover(self) -> Failover:
        connection, limits = self._feed.settings.connection, self._feed.settings.staleness
        return Failover(  # one attempt per venue until the first data, then as many as the settings say
            [config.name for config in self.order],
            1,
            connection.failback_after,
            stable_after=connection.stable_after,
            relief_after=limits.feed_stale_after if self._feed.main else limits.coin_stale_after,
            heard=self._feed.hub.clock.monotonic() + max(0.0, START_GRACE - limits.feed_stale_after),
        )

    @property
    def exchange(self) -> str:
        """The active venue, or the one that is tried."""
        return self._policy.active or self.order[0].name

    @property
    def session(self) -> Session | None:
        """The session of ``exchange``; None before ``begin``."""
        return self.sessions.get(self.exchange)

    @property
    def is_hopeless(self) -> bool:
        """Whether every venue has refused, so that waiting does not help."""
        return self._policy.state is FailoverState.EXHAUSTED and self._final >= self.sessions.keys()

    def begin(self, venues: Mapping[str, SharedVenue]) -> None:
        """Dial the first venue of the order; a venue that is not in ``venues`` could not be opened and is left out."""
        self.order = [config for config in self.order if config.name in venues]
        self.sessions = {config.name: Session(venues[config.name], self._feed) for config in self.order}
        self._policy = self._failover()  # the policy's time limits begin now
        self._dial(self.exchange)

    def end(self) -> None:
        """Stop all sessions."""
        for session in self.sessions.values():
            session.stop()
            self._feed.closings.add(session.close())

    def carry(self, coins: Sequence[CoinConfig]) -> None:
        """Carry exactly these coins; the streams of coins that stay are not touched."""
        gone = self.wanted.symbols - {coin.symbol for coin in coins}
        self.wanted.coins = coins
        for session in self.sessions.values():
            session.backfiller.leave(gone)
        self.forget(gone)
        self.renew()

    def forget(self, coins: Collection[str]) -> None:
        """Stop delivering these coins, which were removed."""
        for session in self.sessions.values():
            session.forget(coins)
        self._feed.silence_watch.forget(coins)

    def hears(self, coin: str) -> bool:
        """Whether data of ``coin`` has come from the venue that carries it."""
        return coin in self._feed.silence_watch.heard

    def renew(self) -> None:
        """Make the connections carry what is wanted now, after a change."""
        for session in self.sessions.values():
            session.renew()
        now = self._feed.hub.clock.monotonic()
        self._carry_out(self._policy.asked_anew(now), now)

    def missing(self) -> list[CoinConfig] | None:
        """The wanted coins that the supervisor's venue does not deliver; None while that is not known."""
        session = self.session
        return [*session.listing.missing, *session.withheld] if session is not None and session.connected else None

    @property
    def _started(self) -> list[Session]:
        """The sessions of the active venue and of those on trial."""
        return [session for session in self.sessions.values() if session.is_started]

    # Looking for what has happened

    def due(self, now: float) -> float:
        """When the next decision is due, if nothing happens before; monotonic seconds."""
        due = min(self._policy.next_tick(now), self._feed.silence_watch.next_check(now))
        return min(due, now + LOOK) if self._started else due

    def look(self, now: float) -> None:
        """Tell the policies what has happened, and carry out what they decide."""
        failures = {name: session.take_failure() for name, session in self.sessions.items()}
        for session in self._started:
            session.look_at_lag()
            if (last := session.pool.last_data) is not None:
                session.shared.backoff.note_data(last)
                given = session.delivering and self._policy.state is not FailoverState.RELIEF
                if session.connected and (given or session.is_proven_up_to_date(now)):
                    self._carry_out(self._policy.data(session.name, last, now), now)
        for name in sorted(failures, key=self.exchange.__eq__):  # ended trials first: none of them must be chosen
            if (failure := failures[name]) is not None:
                self._failed(name, failure, now)
        active = self.sessions[self.exchange]
        if active.connected and not self.has_connected:
            self.has_connected = True
            self._policy.attempts_before_failover = self._feed.settings.connection.attempts_before_failover
        if active.connected:
            self._prefetch.look(active, list(self.sessions.values()), now)
        self._note_suspend(now)
        for finding in self._feed.silence_watch.check(now):
            venue = self.exchange
            if finding.kind in (SilenceKind.FEED_STALE, SilenceKind.COIN_STALE):
                self.sessions[venue].doubt(finding.coin)
            if finding.kind is not SilenceKind.DEAD and (self._feed.main or finding.coin):
                self._feed.report(str(finding.kind), venue, **finding.details)
            if finding.kind is SilenceKind.DEAD:
                self.sessions[venue].drop(f"no data for {finding.seconds:.1f} s")
        self._look_at_lag(now)
        self._carry_out(self._policy.tick(now), now)
        if now - self._policy.heard > self._feed.settings.staleness.feed_stale_after / 4:
            self._prefetch.hurry([session for name, session in self.sessions.items() if name != self.exchange], now)
        for session in self._started:
            session.pool.expect_data(self._policy.awaits(session.name, now))

    def _note_suspend(self, now: float) -> None:
        """Count a suspend as silence, but only one check later, because newer data may have come since."""
        if self._woken is not None:
            self._feed.silence_watch.backdate(*self._woken)
            self._woken = None
        if missed := self._feed.hub.clock.suspended() - self._suspended:
            self._suspended += missed
            self._woken = missed, now

    def _look_at_lag(self, now: float) -> None:
        """Report when the active venue begins to lag and when that ends; dial it again if the lag continues."""
        active = self.sessions[self.exchange]
        if not active.connected or self._feed.silence_watch.is_stale:
            self._lag_watch.restart()
            return
        finding = self._lag_watch.check(active.lag, now, active.name)
        if finding is not None:
            self._feed.report(str(finding.kind), active.name, seconds=round(finding.seconds, 3))
        since = self._lag_watch.since
        if since is None:
            self._policy.caught_up(active.name)
            return
        self._carry_out(self._policy.lagging(active.name, active.lag or 0.0, now), now)
        if self.exchange == active.name and now - since >= self._feed.settings.staleness.reconnect_after:
            active.drop(f"lags {active.lag or 0.0:.1f} s, for {now - since:.1f} s")

    def lag_of(self, exchange: str) -> float | None:
        """Seconds by which a venue's data is late; None while that is not known."""
        session = self.sessions.get(exchange)
        return None if session is None or not session.is_started else session.lag

    def _failed(self, name: str, failure: VenueError, now: float) -> None:
        """Report that a session has ended or could not connect, and pass that to the failover policy."""
        session = self.sessions[name]
        if isinstance(failure, Rejected) and session.asked_for is not self.wanted.coins:
            failure = Disconnected(name, f"{failure.reason}, before the exchange was asked for what is wanted now")
        session.shared.put_off(now, getattr(failure, "retry_after", None))
        final = isinstance(failure, Rejected | Blocked) and not isinstance(failure, Halted)
        (self._final.add if final else self._final.discard)(name)
        if not session.delivering:
            logger.info("the trial of {} has failed: {}", name, failure.reason)
        if session.delivering and (self.has_connected or self.reasons.get(name) != failure.reason):
            self.reasons[name] = failure.reason  # before the first data a failure is reported once, not in every round
            if isinstance(failure, Blocked):
                self._feed.report("exchange_blocked", name, status=failure.status, reason=failure.reason)
            if session.broke:
                self._feed.report("disconnected", name, reason=failure.reason)
            elif isinstance(failure, Disconnected) or (isinstance(failure, Rejected) and self._feed.main):
                self._feed.report("error", name, error=failure.reason)  # otherwise the coins were reported already
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
        return wait > self._feed.settings.staleness.reconnect_after and len(self.order) > 1

    # Carrying out what was decided

    def _carry_out(self, decisions: Sequence[Decision], now: float) -> None:
        for decision in decisions:
            match decision:
                case decided.Retry(venue):
                    shared = self.sessions[venue].shared
                    delay = max(0.0, shared.dial_due - now)
                    self._feed.report("reconnecting", venue, attempt=shared.backoff.attempt, delay=round(delay, 3))
                    self._dial(venue)
                case decided.Switch(from_, to, reason):
                    if self.has_connected or to not in self.reasons:
                        self._feed.report("failover", to, **{"from": from_, "to": to, "reason": reason})
                    self._relieve(from_, to)
                case decided.TryFailback(to) | decided.TryRelief(to):
                    self._dial(to, trial=True)
                case decided.Failback(from_, to):
                    self._feed.report("failback", to, **{"from": from_, "to": to})
                    self._relieve(from_, to)
                case decided.AbandonTrial(venue):
                    self.sessions[venue].stop()
                case decided.Exhausted(until, venue):
                    whom = "" if self._feed.main else " for " + ", ".join(coin.symbol for coin in self.wanted.coins)
                    wait = f"{venue} is asked again in {until - now:.0f} s"
                    self._feed.report("exhausted", venue, reason=f"no exchange is left{whom}, {wait}")

    def _relieve(self, left: str, to: str) -> None:
        """Switch from one venue to another one, which may carry data on trial already."""
        session = self.sessions[to]
        self._feed.hub.delivered_candles.note_unclosed(self.sessions[left].candles.holes())
        self.sessions[left].demote()
        self.sessions[left].backfiller.flush()
        if session.is_started:
            session.promote()
            if session.connected:
                self._feed.report("connected", to)
        else:
            self._dial(to)
        self.sessions[left].stop()

    def _dial(self, name: str, *, trial: bool = False) -> None:
        """Start a venue's session."""
        self.sessions[name].start(trial=trial)
