"""Decides whether a price or book is fresh enough for a bot; reports the feed's status and health."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from feed.errors import StaleDataError
from feed.events import FeedState, FeedStatus, OrderBook, PriceTick
from feed.market_data.hub import MarketDataHub
from feed.market_data.order_books import best_levels
from feed.running.runner import TURN, FeedRunner
from feed.settings.arguments import known_depth, seconds, symbol
from feed.settings.schema import Staleness
from feed.subscriptions.status import StatusReporter
from feed.subscriptions.wanted_data import WantedData

_HEALTH = {FeedState.IDLE: "failed", FeedState.LIVE: "healthy", FeedState.CLOSED: "failed"}  # else: degraded
_FLOWING = (FeedState.LIVE, FeedState.LAGGING)
_CONNECTED = (*_FLOWING, FeedState.STALE)


@dataclass(eq=False, repr=False)
class Queries:
    """Returns what is known now; may be called from any thread."""

    runner: FeedRunner
    hub: MarketDataHub
    reporter: StatusReporter
    staleness: Staleness
    wanted: WantedData

    def require_fresh(self, coin: str, max_age: float | None) -> PriceTick:
        """See MarketFeed.require_fresh."""
        coin = symbol(coin)
        limit = self._limit(coin, max_age)
        price = self.hub.prices.get(coin)
        tick = None if price is None else price.tick
        if price is None or tick is None or price.priced_at is None:
            raise StaleDataError(coin, None, limit)
        self._refuse_old("price", tick, price.priced_at, price.stamp(), limit, whole_feed=max_age is None)
        return tick

    def get_book(self, coin: str, depth: int) -> OrderBook | None:
        """See MarketFeed.get_book."""
        return self.hub.books.get(symbol(coin), known_depth(depth), self.staleness.feed_stale_after)

    def require_fresh_book(self, coin: str, max_age: float | None, depth: int) -> OrderBook:
        """See MarketFeed.require_fresh_book."""
        coin, depth = symbol(coin), known_depth(depth)
        limit = self._limit(coin, max_age)
        held = self.hub.books.proven(coin, self.staleness.feed_stale_after)
        if held is None:
            why = self.hub.books.why_unproven(coin)
            raise StaleDataError(coin, None, limit, f"the order book is not synchronized: {why}")
        stamp = held.book.timestamp or None
        self._refuse_old("order book", held.book, held.at, stamp, limit, whole_feed=max_age is None)
        return best_levels(held.book, depth)

    def _limit(self, coin: str, max_age: float | None) -> float:
        """The age allowed, in seconds. Raises StaleDataError if the feed is not connected."""
        limit = seconds("max_age", max_age, "coin_stale_after") or self.staleness.coin_stale_after
        if not self.runner.is_running or self.runner.loop_closed:
            raise StaleDataError(coin, None, limit, "the feed is not connected")
        return limit

    def _refuse_old(
        self,
        what: str,
        data: PriceTick | OrderBook,
        came_at: float,
        stamp: int | None,
        limit: float,
        *,
        whole_feed: bool,
    ) -> None:
        """Raise StaleDataError for data that a bot must not act on.

        ``came_at``: monotonic seconds; ``stamp``: the venue's time in Unix ms, None if the venue gives none; ``limit``:
        the age allowed, in seconds. ``whole_feed``: raise also if the feed as a whole is stale.
        """
        coin, exchange, received = data.coin, data.exchange, self.hub.clock.since(came_at)
        age = max(received, self._age_at_venue(stamp, exchange, received))
        if age > limit:
            reason = f"the {what} is {age:.3f} s old at {exchange}, received {received:.3f} s ago"
            reason = f"{reason}; allowed are {limit:g} s"
            doubt = self.hub.markets.doubt(coin)
            raise StaleDataError(coin, age, limit, f"{reason}; {doubt}" if doubt else reason)
        if doubt := self.hub.markets.doubt(coin):
            raise StaleDataError(coin, age, limit, doubt)
        if not self.tradable:
            raise StaleDataError(coin, age, limit, "the circuit breaker is open")
        heard, allowed = self.hub.last_message, self.staleness.feed_stale_after
        silent = None if heard is None else self.hub.clock.since(heard)
        if whole_feed and (silent is None or silent > allowed):
            told = "has delivered nothing yet" if silent is None else f"has been silent for {silent:.1f} s"
            raise StaleDataError(coin, age, limit, f"the feed {told}")

    def _age_at_venue(self, stamp: int | None, exchange: str, received: float) -> float:
        """Seconds since the venue's ``stamp``; ``received``: seconds since the stamped data was received."""
        delay, clock = self.hub.delays[exchange].seconds, self.hub.clock
        lag = self._lag_of(exchange) or 0.0
        if stamp is None:
            return received + lag
        if delay is None:  # only our clock shows the stamp's age: a stamp far ahead is as wrong as one far behind
            return abs(clock.now() - stamp / 1000)
        return max(received + lag, clock.running() - stamp / 1000 - delay)

    @property
    def tradable(self) -> bool:
        """See MarketFeed.tradable."""
        return self.reporter.breaker.tradable

    @property
    def status(self) -> FeedStatus:
        """See MarketFeed.status."""
        return FeedStatus(
            connected=self._state in _CONNECTED and not self._hangs,
            exchange=self.reporter.exchange,
            state=self._state,
            last_message_time=self._last_message_time(),
            reconnect_count=self.reporter.reconnects,
            failover_count=self.reporter.failovers,
            messages_received=self.hub.messages,
            errors=self.reporter.errors + self.hub.bad_frames,
            bad_frames=self.hub.bad_frames,
            tradable=self.tradable,
            lag=self._lag_of(self.reporter.exchange),
        )

    def get_status(self) -> dict[str, Any]:
        """See MarketFeed.get_status."""
        heard = self.hub.last_message
        return asdict(self.status) | {
            "state": str(self._state),
            "coins": [config.symbol for config in self.wanted.coins],
            "prices_cached": self.hub.prices.cached,
            "last_message_age": None if heard is None else self.hub.clock.since(heard),
        }

    def get_health(self) -> dict[str, Any]:
        """See MarketFeed.get_health."""
        status, routing = self.status, self.runner.routing
        at = status.last_message_time
        in_part = status.state is FeedState.LIVE and routing is not None and routing.lags_in_part
        return {
            "status": "degraded" if in_part else _HEALTH.get(status.state, "degraded"),
            "last_activity": None if at is None else datetime.fromtimestamp(at, UTC).isoformat(),
            "error_count": status.errors,
            "metrics": {key: value for key, value in self.get_status().items() if key not in ("coins", "errors")}
            | {"off_book_trades": self.hub.off_book_trades}
            | ({} if routing is None else routing.undelivered),
        }

    @property
    def _hangs(self) -> bool:
        """Whether a callback has blocked the event loop for longer than ``feed_stale_after``."""
        if not self.runner.is_running:
            return False
        return self.hub.clock.since(self.runner.turned_at) > self.staleness.feed_stale_after + TURN

    @property
    def _state(self) -> FeedState:
        state = FeedState.CLOSED if self.runner.loop_closed else self.reporter.state
        return FeedState.STALE if state in _FLOWING and self._hangs else state

    def _lag_of(self, exchange: str) -> float | None:
        """Seconds by which the venue's data is late; None while that is not known."""
        return None if self.runner.routing is None else self.runner.routing.lag_of(exchange)

    def _last_message_time(self) -> float | None:
        heard = self.hub.last_message
        return None if heard is None else self.hub.clock.now() - self.hub.clock.since(heard)
