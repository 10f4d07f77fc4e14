"""What all sessions of one venue share: how it is reached, its limits, and when it may be dialled again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from math import inf
from typing import TYPE_CHECKING

from loguru import logger

from exchanges.errors import VenueError
from exchanges.events import Candle
from exchanges.venue import Access
from feed.candles.missing import CandleRecord
from feed.clock import Clock
from feed.policies.backoff import backoff_of
from feed.policies.lag import LeastDelay
from feed.policies.rate_limit import RateLimit
from feed.settings.schema import Connection, ExchangeConfig, Settings
from feed.trades.backfiller import KnownSequences
from feed.trades.sequence import TradeSequence

if TYPE_CHECKING:
    from exchanges.venue import Venue

TIME_TIMEOUT = 5.0  # seconds in which the venue must answer with its time
CANDLES_SHARE = 0.5  # candles' share of the requests that a venue allows: gaps in trades can't wait, candles can


class SharedVenue:
    """A venue, and what its sessions share: its limits, the waits between dials, and what is known of its coins.

    ``delivered``: see KnownSequences.
    """

    def __init__(self, venue: Venue, connection: Connection, delivered: dict[str, TradeSequence] | None = None) -> None:
        fetches = venue.limits.requests
        self.venue = venue
        self.backoff = backoff_of(connection)
        self.dial_due = -inf  # when the venue may be dialled again after a failure, monotonic seconds
        self.dials = RateLimit(venue.limits.dials)
        self.requests = RateLimit(fetches, 60.0)
        self.sequences = KnownSequences({} if delivered is None else delivered)
        self.candle_record = CandleRecord()
        self.clock_complaint: str | None = None  # what was reported about the local clock
        # the part of the requests that candles may use
        self.candle_requests = RateLimit(max(1, int(fetches * CANDLES_SHARE)), 60.0)

    def put_off(self, now: float, retry_after: float | None) -> None:
        """Call this when a session has failed. ``retry_after``: the seconds that the venue asks to wait, or None.

        A failure during the wait belongs to the same round of dials, and does not double the wait.
        """
        self.backoff.note_disconnect(now)
        delay = (retry_after or 0.0) if now < self.dial_due else self.backoff.delay_for(retry_after)
        self.dial_due = max(self.dial_due, now + delay)

    def share(self, parts: int) -> None:
        """Use only one of ``parts`` equal parts of the limits."""
        for limit in (self.dials, self.requests, self.candle_requests):
            limit.share(parts)

    async def fetch_candles(self, clock: Clock, coin: str, symbol: str, timeframe: str, since: int) -> list[Candle]:
        """Fetch candles as the venue does, once the limit of requests allows it."""
        for limit in (self.candle_requests, self.requests):
            await limit.take(clock)
        return await self.venue.fetch_candles(coin, symbol, timeframe, since)

    async def ask_time(self, clock: Clock, delay: LeastDelay) -> None:
        """Request the venue's time and note it in ``delay``: it shows if a stream is late from its first data on."""
        if not delay.wants_trust(clock.running()):
            return
        try:
            async with asyncio.timeout(TIME_TIMEOUT):
                time = await self.venue.fetch_time()
        except (VenueError, TimeoutError) as error:
            logger.info("{}: its time could not be requested: {}", self.venue.name, error or "no answer in time")
            return
        if time is not None:
            now = clock.running()
            delay.trust(now - time / 1000, now)


def access_of(config: ExchangeConfig, settings: Settings) -> Access:
    """The way to reach a venue, according to the settings."""
    return Access(
        market_type=config.market_type,
        quote=tuple(settings.quote),
        rest_url=config.rest_url,
        ws_url=config.ws_url,
        proxy=config.proxy,
        options=config.options,
        timeout=settings.connection.connect_timeout,
        bus=None if settings.bus is None else settings.bus.address,
    )


def secrets_of(order: Iterable[ExchangeConfig], settings: Settings) -> Iterator[str]:
    """The texts that must not be shown: secrets of the settings and of the environment's proxies."""
    for config in order:
        yield from access_of(config, settings).secrets()
