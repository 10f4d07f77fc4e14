"""The server as a whole: an HTTP port whose connections, requests and clients are bounded, and its end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection
from types import TracebackType
from typing import TYPE_CHECKING, Self

from aiohttp import web

from exchanges.bus import payloads
from feed.errors import FeedError
from feed.sinks.server.access import Access, is_loopback
from feed.sinks.server.broadcast import Broadcast
from feed.sinks.server.page import Page
from feed.sinks.server.rest import Problem, Rest, failure
from feed.sinks.server.streams import Streams

if TYPE_CHECKING:
    from feed.market_feed import MarketFeed
    from feed.settings import Settings

CONNECTIONS = 512  # sockets at a time; more are cut at once
FIRST_REQUEST = 10.0  # seconds that a connection has to send its first request
KEEP_ALIVE = 15.0  # seconds for which an idle connection is kept
HEADER = 8190  # bytes of a header, and of the path
TEND = 1.0  # seconds between two rounds of housekeeping
SHUTDOWN = 1.0  # seconds that requests have to end
OPEN = "/health"  # the one path that needs no token
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """Serves a feed: ``async with Server(feed, settings, port=8000) as server:``, before or after it connects.

    ``host`` other than this machine's own needs a ``token``. ``origins`` are pages of other hosts that may ask.
    ``start`` raises FeedError when the port cannot be had. ``port`` is the one that was opened.
    """

    def __init__(
        self,
        feed: MarketFeed,
        settings: Settings,
        *,
        host: str = "127.0.0.1",
        port: int = 8000,
        token: str | None = None,
        origins: Collection[str] = (),
    ) -> None:
        if token is None and not is_loopback(host):
            raise FeedError(f"host: found {host!r} without a token, allowed without one is this machine alone")
        self.host = host
        self.port = port
        self._feed = feed
        self._access = Access(token, origins)
        self._broadcast = Broadcast(feed, settings)
        try:
            from feed.sinks.metrics import FeedCollector
        except ImportError:  # the extra is missing: /metrics says so
            self._collector = None
        else:
            self._collector = FeedCollector(feed)
        self._streams: Streams | None = None
        self._runner: web.AppRunner | None = None
        self._listener: asyncio.Server | None = None
        self._tending: asyncio.Task[None] | None = None
        self._silent: dict[asyncio.Protocol, float] = {}  # connections without a request yet: since when, monotonic
        self._heartbeat: tuple[float, bytes] = (0.0, b"")
        self._has_books = "books" in settings.channels

    @property
    def url(self) -> str:
        """Where it is, as a browser takes it."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}/"

    async def start(self) -> None:
        """Open the port."""
        app = web.Application(middlewares=[self._guard], client_max_size=1024)
        self._streams = Streams(self._broadcast, self._beat)
        app.add_routes(Rest(self._feed, self._broadcast, self._collector).routes())
        app.add_routes(
            [
                web.get("/", Page().get),
                web.get("/v1/stream", self._streams.websocket),
                web.get("/v1/events", self._streams.server_sent),
            ]
        )
        runner = web.AppRunner(
            app,
            access_log=None,
            handle_signals=False,
            keepalive_timeout=KEEP_ALIVE,
            lingering_time=0,  # seconds for a body that nobody reads
            shutdown_timeout=SHUTDOWN,
            max_line_size=HEADER,
            max_field_size=HEADER,
        )
        await runner.setup()
        loop = asyncio.get_running_loop()
        try:
            self._listener = await loop.create_server(self._connection, self.host, self.port, backlog=128)
        except (OSError, OverflowError) as error:
            await runner.cleanup()
            self._broadcast.close()
            reason = getattr(error, "strerror", None) or error
            raise FeedError(f"port {self.port} on {self.host} cannot be opened: {reason}") from None
        self._runner = runner
        self.port = self._listener.sockets[0].getsockname()[1]
        self._tending = asyncio.create_task(self._tend(), name="market feed server")

    async def close(self) -> None:
        """Close every client with 1001 and free the port. Idempotent."""
        if self._runner is None or self._listener is None or self._streams is None or self._tending is None:
            return
        runner, self._runner = self._runner, None
        self._listener.close()
        await self._streams.close()
        self._broadcast.close()
        if self._collector is not None:
            self._collector.close()
        await runner.cleanup()
        self._tending.cancel()
        await asyncio.wait({self._tending})

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # Bounds

    def _connection(self) -> asyncio.Protocol:
        """What takes a new connection: aiohttp's handler, or nobody when there are too many."""
        server = self._runner.server if self._runner is not None else None
        if server is None or len(server.connections) >= CONNECTIONS:
            return _Refused()
        handler = server()
        self._silent[handler] = time.monotonic()
        return handler

    async def _tend(self) -> None:
        """Cut connections that send no request, and forget what nobody needs."""
        while True:
            await asyncio.sleep(TEND)
            now = time.monotonic()
            for connection, since in list(self._silent.items()):
                if now - since > FIRST_REQUEST:
                    del self._silent[connection]
                    if isinstance(connection, web.RequestHandler):
                        connection.force_close()
            self._broadcast.tend()

    @web.middleware
    async def _guard(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        self._silent.pop(request.protocol, None)
        reason = self._access.refusal(request)
        if reason is not None:
            return failure(reason, 403)
        if request.path != OPEN and not self._access.permits(request):
            refused = failure("the token is missing or wrong", 401)
            refused.headers["WWW-Authenticate"] = 'Bearer, Basic realm="market-feed"'
            return refused
        try:
            return await handler(request)
        except Problem as problem:
            return problem.response
        except web.HTTPException as error:
            answer = failure(error.reason, error.status)
            if "Allow" in error.headers:
                answer.headers["Allow"] = error.headers["Allow"]
            return answer

    def _beat(self) -> bytes:
        """How the feed stands, for Server-Sent Events; made once a second for all of them."""
        made, text = self._heartbeat
        if time.monotonic() - made > 1.0:
            coins = {coin: self._broadcast.freshness(coin) for coin in self._broadcast.coins}
            health = self._feed.get_health()["status"]
            state = {"type": "heartbeat", "status": self._feed.get_status(), "health": health, "coins": coins}
            state["books"] = self._has_books
            text = payloads.encode(state)
            self._heartbeat = time.monotonic(), text
        return text


class _Refused(asyncio.Protocol):
    """Takes a connection that is one too many, and cuts it."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            transport.abort()
