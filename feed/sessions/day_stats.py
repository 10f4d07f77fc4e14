"""Fetches the day stats of a venue's coins over REST: before the first tick, and every minute if no tickers come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from loguru import logger

from exchanges.errors import VenueError
from exchanges.events import Ticker
from feed.market_data.listener_base import ListenerBase

if TYPE_CHECKING:
    from exchanges.venue import Venue

EVERY = 60.0  # seconds between two fetches where the venue streams no tickers
TIMEOUT = 3.0  # seconds that the day stats may delay the first stream
HASTE = 0.75  # seconds that the day stats may delay a later stream: a whole failover should take less than two seconds


class DayStats:
    """Fetches the day stats and keeps them until a connection takes them. ``known`` returns the coins wanted now."""

    def __init__(self, venue: Venue, known: Callable[[], Collection[str]]) -> None:
        self._venue = venue
        self._known = known
        self._fetched: set[str] = set()  # coins whose day stats were fetched
        self._waiting: dict[str, Ticker] = {}  # fetched day stats that no connection has taken yet

    def forget(self, coins: Iterable[str]) -> None:
        """Drop coins that were removed from the feed."""
        for coin in coins:
            self._fetched.discard(coin)
            self._waiting.pop(coin, None)

    def outdate(self) -> None:
        """Make the next fetch include all coins again: the fetched day stats will be too old then."""
        self._fetched.clear()

    def drop(self) -> None:
        """Drop the day stats that no connection has taken: no connection is left."""
        self._waiting.clear()

    def give(self, listener: ListenerBase, coins: Collection[str]) -> None:
        """Give the fetched day stats of ``coins`` to a connection's listener."""
        for coin in self._waiting.keys() & coins:
            listener.on_day_stats(self._waiting.pop(coin))

    async def fetch_missing(self, markets: Mapping[str, str], within: float) -> None:
        """Fetch the day stats of the coins (coin -> symbol) that have none yet; a failure is only logged."""
        missing = {coin: symbol for coin, symbol in markets.items() if coin not in self._fetched}
        if missing:
            await self.fetch(missing, within)

    async def fetch(self, markets: Mapping[str, str], within: float) -> None:
        """Fetch the day stats of these coins (coin -> symbol), if the venue answers in ``within`` seconds."""
        try:
            async with asyncio.timeout(within):
                tickers = await self._venue.fetch_tickers(markets)
        except (VenueError, TimeoutError) as error:
            reason = error or "no answer in time"
            logger.warning("{}: its 24 h statistics could not be fetched over REST: {}", self._venue.name, reason)
            return
        known = self._known()  # a coin that was removed meanwhile must not get these day stats when it is added again
        for ticker in (ticker for ticker in tickers if ticker.coin in known):
            self._fetched.add(ticker.coin)
            self._waiting[ticker.coin] = ticker
