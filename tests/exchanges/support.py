"""Helpers for tests of one venue: a listener that keeps all it receives, and streams that end with the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from ssl import SSLContext
from typing import Any

from aiohttp import web

from exchanges import Access, Subscription
from exchanges.ccxt_adapter.stream.connection import CcxtConnection
from exchanges.ccxt_adapter.venue import CcxtVenue, open_venue
from exchanges.events import Candle, OrderBook, Quote, Ticker, TradeEvent
from exchanges.simulator import Simulator
from tests.support import until

VENUES = ("binance", "bybit")  # venues that the simulator has
CHANNELS = ("trades", "ticker", "candles")


class Heard:
    """A listener that keeps all it receives."""

    def __init__(self) -> None:
        self.trades: list[TradeEvent] = []
        self.past: list[TradeEvent] = []
        self.tickers: list[Ticker] = []
        self.candles: list[Candle] = []
        self.quotes: list[Quote] = []
        self.bad: list[str] = []
        self.unavailable: list[tuple[str, list[str], str]] = []
        self.refused: set[tuple[str, str]] = set()  # pairs of channel and timeframe
        self.on_history = self.past.extend
        self.on_ticker = self.tickers.append
        self.flagged: list[bool] = []  # for each candle, whether the venue flags closed candles
        self.on_quote = self.quotes.append
        self.books: list[OrderBook] = []
        self.unsynced: list[tuple[str, str]] = []
        self.on_book = self.books.append
        self.on_bad_frame = self.bad.append
        self.off_book: list[str] = []
        self.on_off_book = self.off_book.append
        self.sources: list[tuple[str, str, list[str]]] = []

    def on_trade(self, trade: TradeEvent, number: int | None = None) -> None:
        assert number is None or trade.trade_id == str(number)
        self.trades.append(trade)

    def on_candle(self, candle: Candle, flagged: bool) -> None:
        self.candles.append(candle)
        self.flagged.append(flagged)

    def on_book_unsynced(self, coin: str, reason: str) -> None:
        self.unsynced.append((coin, reason))

    def on_source(self, source: str, reason: str, missed: Collection[str]) -> None:
        self.sources.append((source, reason, list(missed)))

    def on_unavailable(self, channel: str, coins: list[str], reason: str, timeframe: str = "") -> None:
        self.unavailable.append((channel, coins, reason))
        self.refused.add((channel, timeframe))

    def ids(self, coin: str) -> list[int]:
        """The ids of a coin's trades in order of arrival."""
        return [int(trade.trade_id) for trade in self.trades if trade.coin == coin]


@asynccontextmanager
async def opened(name: str, at: Simulator | str, **access: Any) -> AsyncIterator[CcxtVenue]:
    """The venue ``name`` at a simulator or at ``host:port``; it is closed at the end."""
    rest_url, ws_url = (at.rest_url, at.ws_url) if isinstance(at, Simulator) else (f"http://{at}", f"ws://{at}")
    venue = open_venue(name, Access(**{"rest_url": rest_url, "ws_url": ws_url, "timeout": 5.0, **access}))
    try:
        yield venue
    finally:
        await venue.close()


class Running:
    """A running stream: ``heard`` is what its listener received, ``ended`` the error that ended it."""

    def __init__(self, stream: CcxtConnection, heard: Heard) -> None:
        self.stream = stream
        self.heard = heard
        self.task = asyncio.create_task(stream.run())
        self.exchange = stream.exchange

    async def until(self, condition: Callable[[], bool], timeout: float = 20.0) -> None:
        """Wait until ``condition`` holds; if the stream ends before that, raise its error."""
        await until(lambda: self.task.done() or condition(), timeout)
        if not condition():
            self.task.result()

    async def ended(self, timeout: float = 10.0) -> BaseException:
        """The error that ended the stream."""
        await asyncio.wait({self.task}, timeout=timeout)
        assert self.task.done(), "the stream has not ended"
        error = self.task.exception()
        assert error is not None
        return error


@asynccontextmanager
async def streaming(
    venue: CcxtVenue, coins: Iterable[str], channels: Sequence[str] = ("trades",), timeframes: Sequence[str] = ("1m",)
) -> AsyncIterator[Running]:
    """A running stream of some coins; the venue's markets are loaded first."""
    await venue.load()
    wanted = Subscription({coin: venue.market(coin) for coin in coins}, channels, timeframes)
    heard = Heard()
    running = Running(venue.connect(wanted, heard, lambda: None), heard)
    try:
        yield running
    finally:
        running.task.cancel()
        await asyncio.gather(running.task, return_exceptions=True)
        await running.stream.close()


@asynccontextmanager
async def served(*routes: web.RouteDef, tls: SSLContext | None = None) -> AsyncIterator[str]:
    """A web server with these routes, over TLS if ``tls`` is a context; yields its ``host:port``."""
    app = web.Application()
    app.add_routes(routes)
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    try:
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
