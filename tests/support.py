"""Helpers for tests of the whole feed: settings for loopback venues, and a recorder of all events."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from exchanges.simulator import SimulatedVenue, Simulator
from feed import Candle, MarketFeed, PriceTick, Settings, TradeEvent
from feed.events import CoinConfig
from feed.settings import Connection, ExchangeConfig, Staleness

CCXT_ALONE = pytest.mark.filterwarnings("ignore:enable_cleanup_closed:DeprecationWarning")
"""Mark of tests that use an unchanged ccxt class, which passes aiohttp an option that newer Python versions ignore."""

PATIENCE = 60.0  # seconds to wait for a condition at most; long enough for a busy machine


def settings_for(*simulators: Simulator, coins: Iterable[str] = ("BTC", "ETH"), **changes: Any) -> Settings:
    """Settings with the venues of these simulators, in this order, and with short waits before reconnects."""
    exchanges = [
        ExchangeConfig(venue.name, rest_url=simulator.rest_url, ws_url=simulator.ws_url)
        for simulator in simulators
        for venue in simulator.venues.values()
    ]
    settings = Settings(
        coins=[CoinConfig(coin) for coin in coins],
        exchanges=exchanges,
        connection=Connection(backoff_initial=0.05, backoff_max=0.5, stable_after=5),
        staleness=Staleness(),
    )
    for name, value in changes.items():
        setattr(settings, name, value)
    return settings


class Recorder:
    """Subscribes to all channels of a feed and keeps the events; ``until`` waits for a condition on them."""

    def __init__(self, feed: MarketFeed) -> None:
        self.prices: list[PriceTick] = []
        self.trades: list[TradeEvent] = []
        self.candles: list[Candle] = []
        self.status: list[tuple[str, dict[str, Any]]] = []
        self._stirred = asyncio.Event()
        feed.subscribe_price(self._keep(self.prices))
        feed.subscribe_trades(self._keep(self.trades))
        feed.subscribe_candles(self._keep(self.candles))
        feed.subscribe_status(lambda event, details: self._keep(self.status)((event, details)))

    def _keep(self, kept: list[Any]) -> Callable[[Any], None]:
        def keep(event: Any) -> None:
            kept.append(event)
            self._stirred.set()

        return keep

    @property
    def events(self) -> list[str]:
        """The names of the status events, in order."""
        return [event for event, _ in self.status]

    def details(self, event: str) -> list[dict[str, Any]]:
        """The details of every status event of that name."""
        return [details for name, details in self.status if name == event]

    def ids(self, coin: str) -> list[int]:
        """The ids of the received trades of a coin, in the order of their arrival."""
        return [int(trade.trade_id) for trade in self.trades if trade.coin == coin]

    async def until(self, condition: Callable[[], bool], timeout: float = PATIENCE) -> None:
        """Wait until ``condition`` holds; the condition is checked at every event."""
        try:
            async with asyncio.timeout(timeout):
                while not condition():
                    self._stirred.clear()
                    await self._stirred.wait()
        except TimeoutError:
            raise AssertionError(
                f"not within {timeout:g} s; events {self.events[-40:]}, the last {self.status[-5:]}, "
                f"{len(self.trades)} trades, {len(self.prices)} prices, {len(self.candles)} candles"
            ) from None

    async def until_event(self, event: str, count: int = 1, timeout: float = PATIENCE) -> dict[str, Any]:
        """Wait for the ``count``-th status event of that name and return its details."""
        await self.until(lambda: len(self.details(event)) >= count, timeout)
        return self.details(event)[count - 1]


async def until(condition: Callable[[], bool], timeout: float = PATIENCE) -> None:
    """Wait until ``condition`` holds; the condition is checked every 5 ms."""
    async with asyncio.timeout(timeout):
        while not condition():  # noqa: ASYNC110 - no event can be awaited here
            await asyncio.sleep(0.005)


def made_ids(venue: SimulatedVenue, coin: str) -> list[int]:
    """The ids of all trades that the venue has made of a coin."""
    return [trade.id for trade in venue.trades[coin]]
