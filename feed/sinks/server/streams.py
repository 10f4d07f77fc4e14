"""Serves the streams, WebSocket or Server-Sent Events: limits clients and messages, sends pings, closes clients."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from aiohttp import HttpVersion11, WSCloseCode, WSMsgType, web

from exchanges.bus import payloads
from feed.sinks.server import messages
from feed.sinks.server.access import offered
from feed.sinks.server.broadcast import HIGH, STALLED, Broadcast, Client
from feed.sinks.server.messages import RequestError, Resume
from feed.sinks.server.rest import failure

CLIENTS = 400  # the most streams at a time
MESSAGE = 16 * 1024  # the most bytes of a client's message
REQUESTS, WITHIN = 20, 10.0  # one client may send this many messages within this many seconds
PING = 20.0  # seconds between two pings; a client that does not answer within half of this time is gone
CLOSING = 2.0  # seconds that a client has to answer a close
HEARTBEAT = 2.0  # seconds between two heartbeats of Server-Sent Events, if no status event comes
APART = 0.25  # seconds: the shortest time between two heartbeats
_HEADERS = {"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class Streams:
    """The handlers of /v1/stream and /v1/events; ``close`` ends all that are open."""

    def __init__(self, broadcast: Broadcast, heartbeat: Callable[[], bytes]) -> None:
        self._broadcast = broadcast
        self._heartbeat = heartbeat
        self._sockets: set[web.WebSocketResponse] = set()
        self._closing = asyncio.Event()
        self._tasks: set[asyncio.Task[object]] = set()

    async def close(self) -> None:
        """Tell every client that the server goes away (1001)."""
        self._closing.set()
        ends = [_close(socket, WSCloseCode.GOING_AWAY, "the server ends") for socket in self._sockets]
        await asyncio.gather(*ends, *self._tasks, return_exceptions=True)

    def _full(self) -> bool:
        return self._broadcast.clients >= CLIENTS or self._closing.is_set()

    async def websocket(self, request: web.Request) -> web.StreamResponse:
        if self._full():
            return failure(f"this server has {CLIENTS} clients now, more are not allowed", 503)
        socket = web.WebSocketResponse(
            heartbeat=PING,
            autoping=False,  # pings are counted like messages
            max_msg_size=MESSAGE,
            compress=False,
            protocols=offered(request),
            timeout=CLOSING,
        )
        if request.version < HttpVersion11 or not socket.can_prepare(request):
            return failure("this path needs a WebSocket request", 426)
        self._broadcast.clients += 1
        try:
            await socket.prepare(request)
            transport = request.transport
            if isinstance(transport, asyncio.Transport):
                self._sockets.add(socket)
                client = Client(transport, messages.frames, lambda: self._overflow(socket, transport))
                await self._serve(socket, client)
        finally:
            self._sockets.discard(socket)
            self._broadcast.clients -= 1
        return socket

    async def _serve(self, socket: web.WebSocketResponse, client: Client) -> None:
        asked: deque[float] = deque(maxlen=REQUESTS)
        try:
            async for message in socket:
                now = time.monotonic()
                if len(asked) == REQUESTS and now - asked[0] < WITHIN:
                    self._broadcast.detach(client)
                    text = f"more than {REQUESTS} messages within {WITHIN:g} s"
                    await _close(socket, WSCloseCode.POLICY_VIOLATION, text)
                    return
                asked.append(now)
                if message.type is WSMsgType.PING:
                    await socket.pong(message.data)
                    continue
                if message.type is WSMsgType.PONG:
                    continue
                if message.type is not WSMsgType.TEXT:
                    await _say(socket, "found a binary message, allowed is text")
                    continue
                try:
                    await self._do(socket, client, message.data)
                except RequestError as error:
                    await _say(socket, str(error))
        except ConnectionError:  # the client left during the answer
            pass
        finally:
            self._broadcast.detach(client)

    async def _do(self, socket: web.WebSocketResponse, client: Client, text: str) -> None:
        """Carry out a client's request; its events are sent after the answer."""
        broadcast = self._broadcast
        wanted = messages.request(text, broadcast.coins)
        if isinstance(wanted, Resume):
            log = broadcast.log_that_holds(wanted.seq)
            if log is None:
                await socket.send_str(payloads.encode({"type": "snapshot_required", "seq": wanted.seq}).decode())
                return
            broadcast.attach(client, log, wanted.seq, wanted.on_full)
            return
        log = broadcast.log_of(wanted.selection)
        broadcast.detach(client)
        position = log.last
        with log.used():
            await socket.send_str(broadcast.snapshot(log).decode())
            broadcast.attach(client, log, position, wanted.on_full)

    def _overflow(self, socket: web.WebSocketResponse, transport: asyncio.Transport) -> None:
        """Close a client that is too slow; it has STALLED seconds to read what was sent, the close included."""
        loop = asyncio.get_running_loop()
        loop.call_later(STALLED, transport.abort)
        task: asyncio.Task[object] = loop.create_task(_close(socket, WSCloseCode.POLICY_VIOLATION, "too slow"))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def server_sent(self, request: web.Request) -> web.StreamResponse:
        if self._full():
            return failure(f"this server has {CLIENTS} clients now, more are not allowed", 503)
        query, broadcast = request.query, self._broadcast
        channels = query.get("channels", "prices,status").split(",")
        try:
            coins = query["coins"].split(",") if query.get("coins") else None
            wanted = messages.selection(channels, coins, broadcast.coins)
            on_full = messages.policy(query.get("on_full", "drop_oldest"))
            log = broadcast.log_of(wanted)
        except RequestError as error:
            return failure(str(error), 400)
        last = request.headers.get("Last-Event-ID", "")
        seq = int(last) if last.isascii() and last.isdecimal() and len(last) < 20 else -1
        response = web.StreamResponse(headers=_HEADERS)
        if request.version >= HttpVersion11:
            response.enable_chunked_encoding()
        else:  # the answer ends with the connection
            response.force_close()
        transport = request.transport
        if not isinstance(transport, asyncio.Transport):
            return response
        ended = asyncio.Event()
        client = Client(transport, messages.server_sent, ended.set)
        if response.chunked:
            client.write_events = messages.server_sent_chunk
        broadcast.clients += 1
        try:
            with log.used():
                await response.prepare(request)
                first = b"retry: 1000\n\n"
                if log.holds(seq):
                    position = seq
                else:
                    position = log.last
                    first += b"id: %d\ndata: %s\n\n" % (position, broadcast.snapshot(log))
                async with asyncio.timeout(STALLED):
                    await response.write(first)
                broadcast.attach(client, log, position, on_full)
            await self._beat(client, ended)
        except ConnectionError:  # the client left
            pass
        except TimeoutError:  # the client reads nothing
            transport.abort()
        finally:
            broadcast.detach(client)
            broadcast.clients -= 1
        return response

    async def _beat(self, client: Client, ended: asyncio.Event) -> None:
        """Send heartbeats every HEARTBEAT seconds and at status events, until the client or the server ends."""
        ends: set[asyncio.Future[Any]] = {asyncio.create_task(each.wait()) for each in (ended, self._closing)}
        transport = client.transport
        try:
            while not transport.is_closing():
                changed = self._broadcast.changed
                if transport.get_write_buffer_size() <= HIGH and client.full_since is None:
                    text = b"event: heartbeat\ndata: %s\n\n" % self._heartbeat()
                    transport.write(text if client.write_events is messages.server_sent else messages.chunk(text))
                done, _ = await asyncio.wait(ends, timeout=APART, return_when=asyncio.FIRST_COMPLETED)
                if not done:
                    waited = {*ends, changed}
                    await asyncio.wait(waited, timeout=HEARTBEAT - APART, return_when=asyncio.FIRST_COMPLETED)
                if ended.is_set() or self._closing.is_set():
                    return
        finally:
            for task in ends:
                task.cancel()


async def _say(socket: web.WebSocketResponse, error: str) -> None:
    await socket.send_str(payloads.encode({"type": "error", "error": error}).decode())


async def _close(socket: web.WebSocketResponse, code: int, text: str) -> None:
    """Close the WebSocket; a client that does not answer the close is cut."""
    with suppress(ConnectionError, TimeoutError):
        async with asyncio.timeout(2 * CLOSING):  # aiohttp's own timeout begins when the frame has been sent
            await socket.close(code=code, message=text.encode())
