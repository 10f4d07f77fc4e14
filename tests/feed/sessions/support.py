"""Three exchanges in memory, and a feed over them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from exchanges import register
from feed import MarketFeed, Settings, TradeEvent
from feed.settings import Connection, ExchangeConfig, Staleness
from tests.feed.memory_venue import MemoryVenue
from tests.support import until

NAMES = ("memory_one", "memory_two", "memory_three")
SETTINGS = Settings(
    exchanges=[ExchangeConfig(name) for name in NAMES],
    channels=["trades"],
    connection=Connection(
        connect_timeout=2,
        backoff_initial=0.05,
        backoff_max=0.1,
        stable_after=0.1,
        attempts_before_failover=2,
        failback_after=1,
    ),
    staleness=Staleness(feed_stale_after=1, reconnect_after=2, coin_stale_after=2),
)


class World:
    """Three exchanges, a feed over them, and the feed's status events."""

    def __init__(self, coins: list[str], settings: Settings = SETTINGS) -> None:
        self.venues = [MemoryVenue(name, ["BTC", "ETH"]) for name in NAMES]
        for venue in self.venues:
            register(venue.name, lambda access, venue=venue: venue)  # type: ignore[misc] # mypy refuses a lambda with a default
        self.feed = MarketFeed(coins, settings=settings)
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.feed.subscribe_status(lambda event, details: self.told.append((event, details)))
        self.trading = set(NAMES)
        self.trades: list[TradeEvent] = []
        self.feed.subscribe_trades(self.trades.append)

    @property
    def sold(self) -> list[tuple[str, str]]:
        """The coin and the exchange of each trade."""
        return [(trade.coin, trade.exchange) for trade in self.trades]

    def prices(self, coin: str) -> list[float]:
        return [trade.price for trade in self.trades if trade.coin == coin]

    def assert_whole(self, coin: str) -> None:
        """Check that the coin's trades are in order and complete, even after a change of the exchange.

        When another exchange takes over, none of its trades after the earlier exchange's last trade may be missing.
        """
        for before, after in pairwise(trade for trade in self.trades if trade.coin == coin):
            (venue,) = (venue for venue in self.venues if venue.name == after.exchange)
            if before.exchange == after.exchange:
                assert int(after.trade_id) == int(before.trade_id) + 1
            else:
                assert after.timestamp >= before.timestamp
                later = (t for t in venue.trades if t.coin == coin and t.timestamp > before.timestamp)
                assert int(after.trade_id) <= int(next(later).trade_id)

    async def settle(self) -> None:
        """Wait until every gap has ended."""
        await until(lambda: sum({"gap": 1, "gap_filled": -1}.get(event, 0) for event, _ in self.told) == 0)

    def moves(self) -> list[tuple[str, str, str]]:
        return [
            (event, details["from"], details["to"]) for event, details in self.told if event in ("failover", "failback")
        ]

    def trade(self) -> None:
        """Make a trade of every coin on every exchange that trades at the moment."""
        for venue in self.venues:
            for coin in venue.coins - venue.quiet if venue.name in self.trading else ():
                venue.trade(coin, 100.0)

    async def until(self, condition: Callable[[], bool], timeout: float = 20) -> None:
        """Let all exchanges trade until ``condition`` is true."""

        def after_a_trade() -> bool:
            self.trade()
            return condition()

        await until(after_a_trade, timeout)

    async def connect(self) -> None:
        connecting = asyncio.create_task(self.feed.connect(10))
        await self.until(connecting.done)
        await connecting

    def is_on(self, name: str) -> bool:
        return self.feed.status.exchange == name and self.feed.status.connected
