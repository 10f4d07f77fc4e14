"""What all that is connected to one venue shares: how many dials and REST requests it allows them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from loguru import logger

from exchanges.errors import VenueError
from feed.clock import Clock
from feed.policies.lag import LeastDelay
from feed.policies.rate_limit import RateLimit
from feed.trades.backfiller import KnownSequences

if TYPE_CHECKING:
    from exchanges.venue import Venue

TIME_TIMEOUT = 5.0  # seconds that the venue has for telling its time
BARS_SHARE = 0.5  # of the requests that a venue allows: gaps in trades can't wait, bars can


class SharedVenue:
    """A venue, what it allows to all its sessions together, and what they know of its coins."""

    def __init__(self, venue: Venue) -> None:
        fetches = venue.limits.requests
        self.venue = venue
        self.dials = RateLimit(venue.limits.dials)
        self.requests = RateLimit(fetches, 60.0)
        self.shelf = KnownSequences()
        self.clock_complaint: str | None = None  # what was told of the local clock
        self.bars = RateLimit(max(1, int(fetches * BARS_SHARE)), 60.0)  # of these, those for bars

    async def fetch_candles(self, clock: Clock, symbol: str, timeframe: str, since: int) -> list[Any]:
        """As the venue does it, when its limit has room."""
        for budget in (self.bars, self.requests):
            await budget.take(clock)
        return await self.venue.fetch_candles(symbol, timeframe, since)

    async def ask_time(self, clock: Clock, delay: LeastDelay) -> None:
        """Have the venue's own clock be a reference for ``delay``: a stream that is late from its beginning shows."""
        if not delay.wants_trust(clock.running()):
            return
        try:
            async with asyncio.timeout(TIME_TIMEOUT):
                time = await self.venue.fetch_time()
        except (VenueError, TimeoutError) as error:
            logger.info("{}: its time could not be asked for: {}", self.venue.name, error or "no answer in time")
            return
        if time is not None:
            now = clock.running()
            delay.trust(now - time / 1000, now)
