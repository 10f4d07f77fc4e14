"""Helpers for the scenarios: quick settings, connections that can be cut at any byte, and a check for leaks."""

from __future__ import annotations

import asyncio
import gc
import os
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from time import monotonic
from typing import Any
from zlib import crc32

import aiohttp
from aiohttp import web

from exchanges.simulator import SimulatedVenue, Simulator
from feed import MarketFeed, Settings
from feed.settings import Connection, ExchangeConfig, Staleness
from tests.support import Recorder, settings_for, until

VENUES = ("binance", "bybit")
COINS = ("BTC", "ETH")
CLOSED_WITHIN = 5.0  # seconds; disconnect() must not take longer


def quick(*simulators: Simulator, coins: Iterable[str] = COINS, **changes: Any) -> Settings:
    """Settings with short timeouts, so that an outage takes one or two seconds; ``changes`` replace whole sections."""
    connection = Connection(
        connect_timeout=2, backoff_initial=0.05, backoff_max=0.4, stable_after=0.5, attempts_before_failover=2,
        failback_after=1,
    )  # fmt: skip
    staleness = Staleness(feed_stale_after=0.7, coin_stale_after=30, reconnect_after=1.4)
    return settings_for(*simulators, coins=coins, **{"connection": connection, "staleness": staleness, **changes})


def simulated(venue: str, seed: str, *, rate: float = 100, coins: Iterable[str] = COINS, **more: Any) -> Simulator:
    """A simulator of one venue; ``seed`` is any text."""
    return Simulator(venues=(venue,), rate=rate, coins=coins, seed=crc32(seed.encode()), **more)


def only(simulator: Simulator) -> SimulatedVenue:
    """The only venue of the simulator."""
    (venue,) = simulator.venues.values()
    return venue


def redirected(
    settings: Settings, *, rest_url: str | None = None, ws_url: str | None = None, **changes: Any
) -> Settings:
    """Give the first venue of the settings other addresses, and set its fields that ``changes`` name."""
    first = settings.exchanges[0]
    first.rest_url = rest_url or first.rest_url
    first.ws_url = ws_url or first.ws_url
    for name, value in changes.items():
        setattr(first, name, value)
    return settings


class Witness(Recorder):
    """A recorder that also notes times: ``stamps`` has the monotonic time of every status event."""

    def __init__(self, feed: MarketFeed) -> None:
        super().__init__(feed)
        self.stamps: list[tuple[str, float]] = []
        self.first_price: dict[str, float] = {}  # exchange -> monotonic time of its first tick
        feed.subscribe_status(lambda event, details: self.stamps.append((event, monotonic())))
        feed.subscribe_price(lambda tick: self.first_price.setdefault(tick.exchange, monotonic()))

    def at(self, event: str, count: int = 1) -> float:
        """The monotonic time of the ``count``-th event of that name."""
        return [stamp for name, stamp in self.stamps if name == event][count - 1]

    async def more_trades(self, count: int = 10, timeout: float = 20.0) -> None:
        """Wait until ``count`` more trades have come."""
        wanted = len(self.trades) + count
        await self.until(lambda: len(self.trades) >= wanted, timeout)


def whole(got: Recorder, venue: SimulatedVenue, coin: str) -> None:
    """Check that from the coin's first received trade on, no trade is lost, repeated or out of order."""
    received, made = got.ids(coin), [trade.id for trade in venue.trades[coin]]
    assert received == made[made.index(received[0]) :]


async def quiet(got: Recorder, venue: SimulatedVenue) -> None:
    """Let the venue make one more trade of every coin and no others, and wait for these trades."""
    venue.rate = 0
    for coin in COINS:
        await venue.trade(coin)
    last = {coin: venue.trades[coin][-1].id for coin in COINS}
    await got.until(lambda: all(got.ids(coin)[-1:] == [last[coin]] for coin in COINS))


# -- leaks ------------------------------------------------------------------------------------------------------------


def open_sockets() -> int:
    """How many sockets this process holds."""
    count = 0
    for number in os.listdir("/dev/fd"):
        with suppress(OSError):  # the descriptor that listed the folder is closed now
            count += stat.S_ISSOCK(os.fstat(int(number)).st_mode)
    return count


@asynccontextmanager
async def nothing_left() -> AsyncIterator[None]:
    """Fail if the code inside leaves a task, a socket or a session open, or an error unhandled."""
    loop = asyncio.get_running_loop()
    unhandled: list[Mapping[str, Any]] = []
    loop.set_exception_handler(lambda loop, context: unhandled.append(context))
    gc.collect()
    tasks, sockets = asyncio.all_tasks(), open_sockets()
    yield
    try:
        await until(lambda: asyncio.all_tasks() <= tasks and open_sockets() <= sockets, CLOSED_WITHIN)
    except TimeoutError:
        left = asyncio.all_tasks() - tasks
        raise AssertionError(f"left behind: {left}, {open_sockets() - sockets} sockets") from None
    gc.collect()  # open sessions and unread errors are reported when they are collected
    await asyncio.sleep(0)
    loop.set_exception_handler(None)
    assert unhandled == [], unhandled


@asynccontextmanager
async def feeding(settings: Settings, *coins: str, timeout: float = 20.0) -> AsyncIterator[tuple[MarketFeed, Witness]]:
    """A connected feed and its recorder; fails if the feed leaves something open."""
    async with nothing_left():
        feed = MarketFeed(coins or None, settings=settings)
        got = Witness(feed)
        try:
            await feed.connect(timeout)
            yield feed, got
        finally:
            began = monotonic()
            await feed.disconnect()
            took = monotonic() - began
        assert took < CLOSED_WITHIN


# -- proxies ----------------------------------------------------------------------------------------------------------


class Gate:
    """A TCP proxy to a server; clients dial the proxy's ``address``.

    ``hangs``: the proxy accepts connections and passes nothing on. ``delay``: seconds by which the server's data is
    delayed. ``cut_after``: the proxy cuts one connection after this many bytes from the server, and passes everything
    on later connections. ``connections`` counts all connections.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()
        self.hangs = False
        self.delay = 0.0
        self.cut_after: int | None = None
        self.cuts = 0
        self.connections = 0

    @property
    def address(self) -> str:
        assert self._server is not None
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Gate:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        self.connections += 1
        ends = [writer]
        try:
            if self.hangs:
                await reader.read(-1)  # until the peer gives up
                return
            inner_reader, inner = await asyncio.open_connection("127.0.0.1", self._port)
            ends.append(inner)
            up = asyncio.create_task(_pump(reader, inner))
            try:
                await self._down(inner_reader, writer)
            finally:
                up.cancel()
                await asyncio.gather(up, return_exceptions=True)
        except (ConnectionError, asyncio.CancelledError):
            pass  # if one side ends, both are closed
        finally:
            for end in ends:
                end.transport.abort()

    async def _down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        due = 0.0
        while data := await reader.read(1 << 16):
            if self.delay or due > monotonic():  # data keeps its order, even if the delay becomes shorter
                due = max(due, monotonic() + self.delay)
                asyncio.get_running_loop().call_at(due, writer.write, data)
                continue
            if self.cut_after is not None:
                data, left = data[: self.cut_after], self.cut_after - len(data)
                self.cut_after = max(0, left)
                if left <= 0:
                    self.cut_after = None
                    self.cuts += 1
                    writer.write(data)
                    await writer.drain()
                    return
            writer.write(data)
            await writer.drain()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()  # the client has closed its connection, so the one to the server is closed too


Answer = Callable[[web.Request], Awaitable[web.StreamResponse | None]]


@asynccontextmanager
async def fronted(simulator: Simulator, answer: Answer, **site: Any) -> AsyncIterator[str]:
    """A server in front of a simulator's REST: it passes on the requests for which ``answer`` returns None. Yields
    host:port."""
    connector = aiohttp.TCPConnector(force_close=True)  # a connection kept open for reuse would look like a leak
    async with aiohttp.ClientSession(connector=connector) as session:

        async def handle(request: web.Request) -> web.StreamResponse:
            answered = await answer(request)
            if answered is not None:
                return answered
            async with session.get(f"{simulator.rest_url}{request.path_qs}") as passed:
                return web.Response(body=await passed.read(), status=passed.status, content_type=passed.content_type)

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", handle)
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.2)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, **site).start()
        try:
            yield f"127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()


def elsewhere(name: str, address: str, scheme: str = "") -> ExchangeConfig:
    """Settings of a venue at ``host:port``; with ``scheme`` "s" the feed reaches the venue over TLS."""
    return ExchangeConfig(name, rest_url=f"http{scheme}://{address}", ws_url=f"ws{scheme}://{address}")
