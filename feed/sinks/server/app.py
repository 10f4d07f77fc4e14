"""Opens and closes the server's HTTP port; limits its sockets, requests, and bytes per connection."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection
from types import TracebackType
from typing import TYPE_CHECKING, Self

from aiohttp import web
from loguru import logger

from exchanges.bus import payloads
from feed.errors import FeedError
from feed.sinks.server.access import AccessRules, is_loopback, is_preflight
from feed.sinks.server.broadcast import Broadcast
from feed.sinks.server.rest import Problem, Rest, failure
from feed.sinks.server.serve_page import Page
from feed.sinks.server.streams import Streams

if TYPE_CHECKING:
    from feed.market_feed import MarketFeed
    from feed.settings import Settings

CONNECTIONS = 512  # the most sockets at a time; further ones are cut at once
FIRST_REQUEST = 10.0  # seconds that a connection has to send its first request
KEEP_ALIVE = 15.0  # seconds that a connection has to send each further request
UNREAD = 30.0  # seconds that a client has to read an answer
INBOUND = 64 * 1024  # bytes a second that a client may send on average
BURST = 16  # seconds over which that average is taken
HEADER = 8190  # the most bytes of a header, and of the path
TEND = 1.0  # seconds between two rounds of housekeeping
SHUTDOWN = 1.0  # seconds that requests have to end
OPEN = "/health"  # the one path that needs no token
STREAM, EVENTS = "/v1/stream", "/v1/events"
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """Serves a feed: ``async with Server(feed, settings, port=8000) as server:``, before or after it connects.

    A ``host`` other than loopback needs a ``token``. ``origins`` are pages of other hosts that may send requests.
    ``start`` raises FeedError if the port cannot be opened. ``port`` is the port that was opened.
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
            raise FeedError(f"host: found {host!r} without a token, allowed without a token is only this machine")
        self.host = host
        self.port = port
        self._feed = feed
        self._access = AccessRules(token, origins)
        self._broadcast = Broadcast(feed, settings)
        try:
            from feed.sinks.metrics import FeedCollector
        except ImportError:  # the extra is missing, and /metrics says so
            self._collector = None
        else:
            self._collector = FeedCollector(feed)
        self._streams: Streams | None = None
        self._runner: web.AppRunner | None = None
        self._listener: asyncio.Server | None = None
        self._tending: asyncio.Task[None] | None = None
        self._connections: dict[asyncio.Protocol, _Connection] = {}  # the connections by aiohttp's protocol object
        self._heartbeat: tuple[float, object, bytes] = (0.0, None, b"")
        self._channels = list(settings.channels)

    @property
    def url(self) -> str:
        """The address for a browser."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}/"

    async def start(self) -> None:
        """Open the port."""
        app = web.Application(middlewares=[self._guard], client_max_size=1024)
        self._streams = Streams(self._broadcast, self._beat)
        app.add_routes(Rest(self._feed, self._broadcast, self._collector).routes())
        app.add_routes(
            [
                web.get("/", Page().get),
                web.get(STREAM, self._streams.websocket, allow_head=False),
                web.get(EVENTS, self._streams.server_sent, allow_head=False),
            ]
        )
        app.on_response_prepare.append(self._label)
        runner = web.AppRunner(
            app,
            access_log=None,
            logger=_silent_log(),
            handle_signals=False,
            keepalive_timeout=KEEP_ALIVE,
            lingering_time=0,  # seconds that are spent on a body that nobody reads
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
        """Return the protocol of a new connection: aiohttp's handler within bounds, or one that cuts it at once."""
        server = self._runner.server if self._runner is not None else None
        if server is None or len(self._connections) >= CONNECTIONS:
            return _Refused()
        handler = server()
        connection = self._connections[handler] = _Connection(handler, lambda: self._connections.pop(handler, None))
        return connection

    async def _tend(self) -> None:
        """Cut connections that exceed their bounds, and forget unused selections."""
        while True:
            await asyncio.sleep(TEND)
            now = time.monotonic()
            for connection in list(self._connections.values()):
                connection.tend(now)
            self._broadcast.tend()

    async def _label(self, request: web.Request, response: web.StreamResponse) -> None:
        """Add the headers that tell browsers which pages may read the answer, and that they must not guess its type."""
        response.headers.update(self._access.cross_origin(request))
        response.headers["X-Content-Type-Options"] = "nosniff"

    @web.middleware
    async def _guard(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        connection = self._connections.get(request.protocol)
        if connection is not None:
            connection.asked(request.path in (STREAM, EVENTS))
        reason = self._access.refusal(request)
        if reason is not None:
            return failure(reason, 403)
        if is_preflight(request):
            return web.Response(status=204)
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
        except Exception:
            logger.exception("a request for {!r} failed", request.path)
            raise  # aiohttp answers 500

    def _beat(self) -> bytes:
        """The feed's state for Server-Sent Events; made once for all clients, each second and when it changes."""
        made, since, text = self._heartbeat
        if time.monotonic() - made > 1.0 or since is not self._broadcast.changed:
            coins = {coin: self._broadcast.freshness(coin) for coin in self._broadcast.coins}
            health = self._feed.get_health()["status"]
            state = {"type": "heartbeat", "status": self._feed.get_status(), "health": health, "coins": coins}
            state["channels"] = self._channels
            text = payloads.encode(state)
            self._heartbeat = time.monotonic(), self._broadcast.changed, text
        return text


def _silent_log() -> logging.Logger:
    """A disabled log for aiohttp: it would log a traceback and parts of each bad request, which may contain a token."""
    silent = logging.Logger("market feed server")
    silent.disabled = True
    return silent


class _Connection(asyncio.Protocol):
    """Passes everything to aiohttp's ``handler`` as long as the client stays within its bounds.

    ``ended`` is called when the connection is lost.
    """

    def __init__(self, handler: web.RequestHandler, ended: Callable[[], object]) -> None:
        self._handler = handler
        self._ended = ended
        self._transport: asyncio.Transport | None = None
        self._opened = time.monotonic()
        self._asked = False
        self._streams = False
        self._unread_since: float | None = None
        self._inbound = 0  # bytes received, reduced by INBOUND each second

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            self._transport = transport
        self._handler.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self._inbound += len(data)
        if self._inbound <= INBOUND * BURST:
            self._handler.data_received(data)
        elif self._transport is not None:
            self._transport.abort()

    def eof_received(self) -> None:
        self._handler.eof_received()

    def pause_writing(self) -> None:
        self._handler.pause_writing()

    def resume_writing(self) -> None:
        self._handler.resume_writing()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._ended()
        self._handler.connection_lost(exc)

    def asked(self, streams: bool) -> None:
        """Note a request. ``streams``: it is for a stream, which itself cuts a client that does not read."""
        self._asked, self._streams = True, streams

    def tend(self, now: float) -> None:
        """Cut a connection that has sent no request, or has not read an answer, for too long. Call it every TEND s."""
        self._inbound = max(0, self._inbound - int(INBOUND * TEND))
        transport = self._transport
        if transport is None:
            return
        if self._streams or not transport.get_write_buffer_size():
            self._unread_since = None
        elif self._unread_since is None:
            self._unread_since = now
        unread = self._unread_since is not None and now - self._unread_since > UNREAD
        if unread or (not self._asked and now - self._opened > FIRST_REQUEST):
            transport.abort()


class _Refused(asyncio.Protocol):
    """The protocol of a connection above the limit: it is cut at once."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            transport.abort()
