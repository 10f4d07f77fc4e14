"""What all that is connected to one venue shares: how many dials and REST requests it allows them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from feed.budget import DialBudget
from feed.clock import Clock
from feed.tape import Shelf

if TYPE_CHECKING:
    from exchanges.adapter import Venue

BARS_SHARE = 0.5  # of the requests that a venue allows: gaps in trades can't wait, bars can


class SharedVenue:
    """A venue, what it allows to all its sessions together, and what they know of its coins."""

    def __init__(self, venue: Venue) -> None:
        fetches = venue.profile.fetches
        self.venue = venue
        self.dials = DialBudget(venue.profile.dials)
        self.requests = DialBudget(fetches, 60.0)
        self.shelf = Shelf()
        self.bars = DialBudget(max(1, int(fetches * BARS_SHARE)), 60.0)  # of these, those for bars

    async def fetch_candles(self, clock: Clock, symbol: str, timeframe: str, since: int) -> list[Any]:
        """As the venue does it, when its limit has room."""
        for budget in (self.bars, self.requests):
            await budget.take(clock)
        return await self.venue.fetch_candles(symbol, timeframe, since)
