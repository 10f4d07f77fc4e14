"""Decides after how much silence the feed or a coin is stale, and a connection dead.

The listeners (feed.market_data) decide which events end a silence. Only data counts. Pings, pongs and acknowledgements
never reach this module, so a venue that answers pings and sends nothing counts as dead. A quiet coin is not dead: its
silence is reported, and never restarts the connection.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass
from enum import StrEnum
from math import inf

from feed.settings.schema import Staleness

FEED_POLL = 0.25  # seconds between checks while the feed is stale, so that its recovery is always reported
COIN_POLL = 1.0  # seconds between checks while some coin is stale
ROUNDING = 0.001  # seconds: a check comes this much after the limit, so that float rounding can't make it too early


class SilenceKind(StrEnum):
    """What was found; all but DEAD are the names of status events."""

    FEED_STALE = "feed_stale"
    FEED_RECOVERED = "feed_recovered"
    COIN_STALE = "coin_stale"
    COIN_RECOVERED = "coin_recovered"
    DEAD = "dead"  # drop the connection


@dataclass(frozen=True, slots=True)
class Finding:
    """One change: ``seconds`` of silence so far, or in total after a recovery; ``coin`` is empty for the whole feed."""

    kind: SilenceKind
    seconds: float
    coin: str = ""

    @property
    def details(self) -> dict[str, str | float]:
        """The status event's details, as the contract has them."""
        if self.kind is SilenceKind.COIN_RECOVERED:
            return {"coin": self.coin}
        return {"coin": self.coin, "seconds": self.seconds} if self.coin else {"seconds": self.seconds}


class SilenceWatch:
    """Watches one feed over all its connections; times are monotonic seconds.

    Silence is counted from the last piece of data, independent of connections: a feed that is reconnecting becomes
    stale after the same time as a feed that is stalled. Only DEAD concerns a single connection: its silence is counted
    from the connection's start.
    """

    def __init__(self, limits: Staleness) -> None:
        self._limits = limits
        self.heard: dict[str, float] = {}  # coin -> when its last data came
        self._since: dict[str, float] = {}  # coin -> when it was first watched; without data, its silence began then
        self._began = 0.0  # when the first coin was watched; without data, the feed's silence began then
        self._connected_at: float | None = None  # None: there is no connection, or it has been found dead
        self._feed_silent_since: float | None = None  # set while the feed is stale
        self._coins_silent_since: dict[str, float] = {}  # stale coin -> when its silence began
        self._checked_at = 0.0
        self.awaited: Container[str] = ()  # the coins whose data would be a recovery

    @property
    def is_stale(self) -> bool:
        """Whether the feed was reported as stale, and not yet as recovered."""
        return self._feed_silent_since is not None

    def start(self, coins: Iterable[str], now: float) -> None:
        """Call this when a connection for ``coins`` is open. What is stale stays stale until data comes."""
        self.watch(coins, now)
        self._connected_at = now

    def lost(self) -> None:
        """Call this when the connection is lost: no connection can be found dead until the next start."""
        self._connected_at = None

    def watch(self, coins: Iterable[str], now: float) -> None:
        """Watch these coins from now on; coins that stay keep their times, and the connection does not change."""
        if self._since:
            self._began = self._heard()  # the last data may be of a coin that is removed now; it still counts
        else:
            self._began, self._feed_silent_since = now, None
        self._since = {coin: self._since.get(coin, now) for coin in coins}
        for gone in self.heard.keys() - self._since.keys():
            del self.heard[gone]
        for gone in self._coins_silent_since.keys() - self._since.keys():
            del self._coins_silent_since[gone]

    def forget(self, coins: Iterable[str]) -> None:
        """Stop watching these coins."""
        gone = frozenset(coins)
        if gone and self._since:
            self.watch([coin for coin in self._since if coin not in gone], self._began)

    def backdate(self, seconds: float, before: float) -> None:
        """Shift the times up to ``before`` back by the ``seconds`` for which the machine was suspended."""
        for times in (self.heard, self._since, self._coins_silent_since):
            for coin, at in times.items():
                if at <= before:
                    times[coin] = at - seconds
        self._began -= seconds if self._began <= before else 0.0
        if self._feed_silent_since is not None and self._feed_silent_since <= before:
            self._feed_silent_since -= seconds
        if self._connected_at is not None and self._connected_at <= before:
            self._connected_at -= seconds

    def note(self, coin: str, now: float) -> bool:
        """Note data of ``coin``. If this returns True, call check() at once: the data ends a reported silence."""
        self.heard[coin] = now
        return coin in self.awaited

    def check(self, now: float) -> list[Finding]:
        """Return what has changed since the last check; each change is returned once."""
        if not self._since:
            return []
        heard = self._heard()
        found = self._check_feed(heard, now) + self._check_coins(now)
        connected_at = self._connected_at
        if connected_at is not None and (silent := now - max(heard, connected_at)) >= self._limits.reconnect_after:
            self._connected_at = None
            found.append(Finding(SilenceKind.DEAD, silent))
        self.awaited = self._since if self._feed_silent_since is not None else self._coins_silent_since
        self._checked_at = now
        return found

    def next_check(self, now: float) -> float:
        """When the next finding is possible, never before ``now``; ``inf`` before the first start."""
        if not self._since:
            return inf
        limits, heard = self._limits, self._heard()
        talking = self._since.keys() - self._coins_silent_since.keys()
        due = [self.heard.get(coin, self._since[coin]) + limits.coin_stale_after for coin in talking]
        if self._feed_silent_since is None:
            due.append(heard + limits.feed_stale_after)
        if self._connected_at is not None:
            due.append(max(heard, self._connected_at) + limits.reconnect_after)
        polls = [self._checked_at + FEED_POLL] if self._feed_silent_since is not None else []
        if self._coins_silent_since:
            polls.append(self._checked_at + COIN_POLL)
        return max(now, min([at + ROUNDING for at in due] + polls, default=inf))

    def _heard(self) -> float:
        """When the feed's last data came."""
        return max(self.heard.values(), default=self._began)

    def _check_feed(self, heard: float, now: float) -> list[Finding]:
        since = self._feed_silent_since
        if since is not None and heard > since:
            self._feed_silent_since = None
            first = min((at for at in self.heard.values() if at > since), default=heard)
            return [Finding(SilenceKind.FEED_RECOVERED, first - since), *self._check_feed(heard, now)]
        if since is None and now - heard >= self._limits.feed_stale_after:
            self._feed_silent_since = heard
            return [Finding(SilenceKind.FEED_STALE, now - heard)]
        return []

    def _check_coins(self, now: float) -> list[Finding]:
        found: list[Finding] = []
        for coin, watched_since in self._since.items():
            heard = self.heard.get(coin, watched_since)
            since = self._coins_silent_since.get(coin)
            if since is not None and heard > since:
                del self._coins_silent_since[coin]
                found.append(Finding(SilenceKind.COIN_RECOVERED, heard - since, coin))
                since = None
            if since is None and now - heard >= self._limits.coin_stale_after:
                self._coins_silent_since[coin] = heard
                found.append(Finding(SilenceKind.COIN_STALE, now - heard, coin))
        return found
