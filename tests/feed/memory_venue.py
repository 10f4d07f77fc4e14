"""A venue in memory, as a program could register its own: nothing of ccxt, no socket, trades told by the test."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from exchanges.errors import Disconnected, Rejected, VenueError
from exchanges.events import Candle, Listener, Ticker, TradeEvent
from exchanges.foreign_text import Cleaner
from exchanges.venue import Limits, Subscription


class MemoryVenue:
    """Lists ``coins`` against USDT and delivers what ``trade`` is told; ``failure`` ends what is connected."""

    loaded, aged, can_fetch_trades = True, False, True
    timeframes: tuple[str, ...] = ()
    clean = Cleaner(())
    proxies: Mapping[str, object] = {}

    def __init__(self, name: str, coins: Collection[str], limits: Limits | None = None) -> None:
        self.name = name
        self.limits = limits or Limits(consecutive_ids=True)
        self.coins = set(coins)
        self.tape: list[TradeEvent] = []
        self.connections: list[MemoryConnection] = []
        self.failure: VenueError | None = None

    def trade(self, coin: str, price: float, *, told: bool = True) -> None:
        """A trade happens; connections hear of it unless it is not ``told``."""
        number = sum(trade.coin == coin for trade in self.tape) + 1
        now = time.time_ns()
        trade = TradeEvent(coin, price, 1.0, False, now // 1_000_000, self.name, str(number), now)
        self.tape.append(trade)
        for connection in self.connections if told else ():
            connection.hear(trade, number)

    @contextmanager
    def failing(self, failure: VenueError) -> Iterator[None]:
        """Connections end with ``failure``, and dials too, while it lasts."""
        self.failure = failure
        for connection in list(self.connections):
            connection.ended.set()
        yield
        self.failure = None

    def streams(self, channel: str) -> bool:
        return channel == "trades"

    async def load(self, coins: Mapping[str, str | None] | None = None, *, anew: bool = False) -> None: ...

    async def refresh(self) -> Collection[str]:
        return ()

    def market(self, coin: str, override: str | None = None) -> str:
        if coin not in self.coins:
            raise Rejected(self.name, f"does not list {coin}")
        return f"{coin}/USDT"

    def market_id(self, symbol: str) -> str:
        return symbol

    def connect(
        self, subscription: Subscription, listener: Listener, candles: Any, on_going_down: Callable[[], None]
    ) -> MemoryConnection:
        return MemoryConnection(self, dict(subscription.markets), listener)

    async def fetch_time(self) -> int | None:
        return None

    async def fetch_tickers(self, markets: Mapping[str, str]) -> list[Ticker]:
        return []

    async def fetch_trades(
        self, coin: str, symbol: str, from_id: int | None = None, limit: int | None = None
    ) -> list[TradeEvent]:
        return [trade for trade in self.tape if trade.coin == coin and int(trade.trade_id) >= (from_id or 0)]

    async def fetch_candles(self, symbol: str, timeframe: str, since: int) -> list[Any]:
        return []

    async def fetch_history(self, coin: str, symbol: str, timeframe: str, limit: int) -> list[Candle]:
        return []

    async def close(self) -> None: ...


class MemoryConnection:
    def __init__(self, venue: MemoryVenue, markets: dict[str, str], listener: Listener) -> None:
        self.venue, self.markets, self.listener = venue, markets, listener
        self.ended = asyncio.Event()

    def hear(self, trade: TradeEvent, number: int) -> None:
        if trade.coin in self.markets:
            self.listener.on_trade(trade, number)

    async def run(self) -> None:
        if self.venue.failure is None:
            self.venue.connections.append(self)
            await self.ended.wait()
        raise self.venue.failure or Disconnected(self.venue.name, "closed")

    def add(self, markets: Mapping[str, str], closed: Mapping[tuple[str, str], int]) -> None:
        self.markets |= markets

    async def close(self) -> None:
        if self in self.venue.connections:
            self.venue.connections.remove(self)
