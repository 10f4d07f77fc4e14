"""The clients' connections and REST requests, from the upgrade to the end; enforces the venue's rules and faults."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import inf
from time import monotonic, time_ns
from typing import TypeVar

from aiohttp import WSMessage, WSMsgType, web

from exchanges.simulator.connections.active_faults import ActiveFaults
from exchanges.simulator.connections.client_connection import ClientConnection, reset
from exchanges.simulator.connections.topics import Topic
from exchanges.simulator.connections.venue_laws import VenueLaws, Window
from exchanges.simulator.connections.websocket_frames import close_frame, ping_frame, pong_frame, text_frame

PAUSE = 0.1  # if the event loop does nothing for this many seconds, it was blocked; usually it runs every 10 ms
AFTER_PAUSE = 0.02  # for so many seconds after the loop was blocked, it reads messages that came during the block
REMEMBERED = 100_000  # at most this many entries of a growing list are kept

T = TypeVar("T")


def remember(entries: list[T], entry: T) -> None:
    entries.append(entry)
    if len(entries) > REMEMBERED:
        del entries[: REMEMBERED // 2]


@dataclass(frozen=True, slots=True)
class Entry:
    """What the path of an upgrade requests."""

    streams: tuple[str, ...] = ()
    combined: bool = False


class Sessions(ActiveFaults):
    """The connections of one venue, and what a test may look at:

    ``dials`` (monotonic times of upgrade attempts), ``connections``, ``rest_calls`` (method, path), ``violations``
    (broken rules), ``dropped`` (readers that were too slow).
    """

    def __init__(self, name: str, seed: str, laws: VenueLaws) -> None:
        super().__init__(seed)
        self.name = name
        self.laws = laws
        self.violations: list[str] = []
        self.dropped: list[str] = []
        self.dials: list[float] = []
        self.rest_calls: list[tuple[str, str]] = []
        self.topics: dict[str, Topic] = {}
        self.on_subscription: Callable[[], None] | None = None
        self._connections: dict[ClientConnection, None] = {}
        self._waiting: dict[ClientConnection, None] = {}  # connections with pending frames
        self._count = 0
        self._dial_window = Window()
        self._enforced = monotonic()
        self._pause = (-inf, -inf)  # begin and end of the last time in which the loop was blocked

    @property
    def connections(self) -> list[ClientConnection]:
        """The open connections, oldest first."""
        return [connection for connection in self._connections if not connection.gone]

    def violate(self, what: str) -> None:
        remember(self.violations, what)

    # -- what a venue's protocol says ---------------------------------------------------------------------------

    @abstractmethod
    def entry(self, request: web.Request) -> Entry | web.Response:
        """Read the path of an upgrade."""

    @abstractmethod
    def topic(self, stream: str) -> Topic | None:
        """The topic of a stream name; None if there is no such stream."""

    @abstractmethod
    def open_topic(self, topic: Topic) -> None:
        """Open a topic, because it has its first subscriber now."""

    @abstractmethod
    def keeps(self, topic: Topic) -> bool:
        """Whether a topic without subscribers is kept."""

    @abstractmethod
    def receive(self, connection: ClientConnection, text: str) -> None:
        """Handle a client's request."""

    @abstractmethod
    async def rest(self, request: web.Request) -> web.Response: ...

    @abstractmethod
    def blocked_response(self, status: int) -> web.Response: ...

    @abstractmethod
    def too_many_dials(self, retry_after: float) -> web.Response: ...

    # -- subscriptions ------------------------------------------------------------------------------------------

    def subscribe(self, connection: ClientConnection, topic: Topic) -> None:
        known = self.topics.get(topic.stream)
        if known is None:
            known = self.topics[topic.stream] = topic
            self.open_topic(topic)
        if not self._drops(topic):
            known.subscribers[connection] = None
        connection.subscriptions[topic.stream] = None

    def unsubscribe(self, connection: ClientConnection, stream: str) -> None:
        connection.subscriptions.pop(stream, None)
        topic = self.topics.get(stream)
        if topic is not None:
            topic.subscribers.pop(connection, None)
            if not topic.subscribers and not self.keeps(topic):
                del self.topics[stream]

    def drop_trades(self) -> None:
        for topic in self.topics.values():
            if self._drops(topic):
                topic.subscribers.clear()

    def _drops(self, topic: Topic) -> bool:
        return topic.kind == "trades" and topic.market is not None and self.is_tradeless(topic.market.coin)

    # -- sending ------------------------------------------------------------------------------------------------

    def queue(self, connection: ClientConnection, frames: Iterable[bytes]) -> None:
        connection.pending += frames
        self._waiting[connection] = None

    def reply(self, connection: ClientConnection, text: str) -> None:
        """Answer one connection."""
        self.queue(connection, [text_frame(text)])

    def flush(self, patient: bool = False) -> None:
        """Write pending frames. Drop clients for which more bytes wait than the venue allows, unless ``patient``."""
        for connection in self._waiting:
            connection.flush()
            if not patient and connection.waiting > self.laws.patience:
                remember(self.dropped, f"connection {connection.id} reads too slowly: {connection.waiting} bytes wait")
                connection.reset()
        self._waiting.clear()

    # -- a connection's life ------------------------------------------------------------------------------------

    async def upgrade(self, request: web.Request) -> web.StreamResponse:
        now = monotonic()
        remember(self.dials, now)
        refusal = self._refusal(request, now)
        if refusal is not None:
            return refusal
        entry = self.entry(request)
        if isinstance(entry, web.Response):
            return entry
        response = web.WebSocketResponse(autoping=False, autoclose=False, compress=False)
        try:
            await response.prepare(request)
        except ConnectionResetError:  # the client has closed the connection meanwhile: no answer reaches it
            return web.Response()
        transport = request.transport
        if transport is None:
            return response
        self._count += 1
        connection = ClientConnection(self._count, request, transport, entry.combined)
        if self.active("accept-then-drop"):
            connection.close(1008, "disconnected")
        self._connections[connection] = None
        try:
            for stream in entry.streams:
                topic = self.topic(stream)
                if topic is not None:
                    self.subscribe(connection, topic)
            self.subscribed()
            async for message in response:
                if message.type is WSMsgType.ERROR:
                    break
                self._read(connection, message)
                self.flush()
            if response.close_code is not None and not connection.gone:
                connection.pending.append(close_frame(1000, ""))
                connection.flush()
        finally:
            self._forget(connection)
            transport.close()
        return response

    def subscribed(self) -> None:
        """Call this when somebody has subscribed."""
        if self.on_subscription is not None:
            self.on_subscription()

    def _forget(self, connection: ClientConnection) -> None:
        connection.finish()
        self._connections.pop(connection, None)
        self._waiting.pop(connection, None)
        for stream in list(connection.subscriptions):
            self.unsubscribe(connection, stream)

    def _refusal(self, request: web.Request, now: float) -> web.Response | None:
        laws = self.laws
        too_many = self._dial_window.add(now, laws.dial_window) > laws.dials  # failed dials count too
        if too_many:
            self.violate(f"more than {laws.dials} dials within {laws.dial_window:g} s")
        if self.active("partition"):
            return cut_off(request)
        blocked, refused = self.active("blocked"), self.active("refuse")
        if blocked is not None:
            return self.blocked_response(int(blocked.argument or 451))
        if too_many:
            return self.too_many_dials(self._dial_window.free_in(now, laws.dial_window))
        if refused is not None:
            headers = {} if refused.seconds is None else {"Retry-After": f"{refused.seconds:g}"}
            return web.Response(status=int(refused.argument or 503), headers=headers, text="refused")
        return None

    def _read(self, connection: ClientConnection, message: WSMessage) -> None:
        now = connection.last_inbound = monotonic()
        if connection.gone:
            return
        if message.type is WSMsgType.PONG:
            connection.unanswered = None
        limit = self.laws.messages_per_second
        if limit is not None and connection.inbound.add(self._read_since(now), now, limit, 1.0):
            self.violate(f"{limit + 1} messages within 1 s on connection {connection.id}")
            connection.close(1008, "Too many requests")
        elif self.active("mute"):
            return
        elif message.type is WSMsgType.PING:
            self.queue(connection, [pong_frame(bytes(message.data))])
        elif message.type is WSMsgType.TEXT:
            self.receive(connection, message.data)
        elif message.type is WSMsgType.BINARY:
            self.receive(connection, message.data.decode(errors="replace"))

    def _read_since(self, now: float) -> float:
        """The earliest time at which a message that is read now can have come: the loop may have been blocked."""
        begun, ended = self._pause
        if now - self._enforced > PAUSE:  # the loop was blocked until now
            return self._enforced
        return begun if now - ended < AFTER_PAUSE else now

    def enforce(self, now: float) -> None:
        """Enforce the rules about time on every connection: pings and pongs, idle time, the longest session."""
        laws = self.laws
        if now - self._enforced > PAUSE:
            self._pause = self._enforced, now
        self._enforced = now
        if self.active("mute"):
            return
        for connection in self.connections:
            if laws.session_limit is not None and now - connection.opened >= laws.session_limit:
                connection.close(1001, "session limit")
            elif laws.idle_limit is not None and now - connection.last_inbound >= laws.idle_limit:
                self.violate(f"no message within {laws.idle_limit:g} s on connection {connection.id}")
                connection.drop()
            elif connection.unanswered is not None and now - connection.unanswered >= laws.pong_within:
                self.violate(f"no pong within {laws.pong_within:g} s on connection {connection.id}")
                connection.close(1008, "Pong timeout")
            elif laws.ping_every is not None and now - connection.last_ping >= laws.ping_every:
                connection.last_ping = now
                connection.unanswered = now if connection.unanswered is None else connection.unanswered
                self.queue(connection, [ping_frame(str(time_ns() // 1_000_000).encode())])

    # -- REST ---------------------------------------------------------------------------------------------------

    async def answer(self, request: web.Request) -> web.Response:
        """Answer a REST request, unless a fault in force prevents that."""
        remember(self.rest_calls, (request.method, request.path))
        slow = self.active("slow-rest")
        if slow is not None:
            await asyncio.sleep(float(slow.argument or 0.0))
        if self.active("partition"):
            return cut_off(request)
        blocked, down = self.active("blocked"), self.active("rest-down")
        if blocked is not None:
            return self.blocked_response(int(blocked.argument or 451))
        if down is not None:
            return web.Response(status=int(down.argument or 503), text="Service Unavailable")
        return await self.rest(request)


def cut_off(request: web.Request) -> web.Response:
    """Reset the TCP connection of a request; nobody receives the returned response."""
    if request.transport is not None:
        reset(request.transport)
    return web.Response(status=503)
