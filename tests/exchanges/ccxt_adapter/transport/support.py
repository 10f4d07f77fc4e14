"""Servers that talk as a test wants, and WebSockets dialled to them over either transport."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import aiohttp
from aiohttp import web
from ccxt.async_support.base.ws.client import Client

from exchanges.ccxt_adapter.stream.client_guard import FrameReading, abort, arm, hang_up
from exchanges.ccxt_adapter.transport.choose import Transport
from exchanges.venues.fast_decoder import Blame, Take
from tests.exchanges.support import served
from tests.support import until

Talk = Callable[[web.Request, web.WebSocketResponse], Awaitable[None]]


def blaming(take: Take, blame: Blame) -> Take:
    """``take`` as the hot path makes one: what the listener raises is told."""

    def taken(text: str) -> bool:
        try:
            return take(text)
        except RuntimeError as error:
            blame(text, 1, error)
            return True

    return taken


class Dialled:
    """A real ccxt client with the guard, and everything that it reported."""

    def __init__(
        self, url: str, transport: Transport | None, tls: ssl.SSLContext | bool, take: Any, frames: list[Any]
    ) -> None:
        self.frames = frames
        self.errors: list[Any] = []
        self.codes: list[int] = []
        self.bad: list[str] = []
        self.transport = transport
        self.session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls))
        self.client = Client(
            url,
            lambda client, frame: self.frames.append(frame),
            lambda client, error: self.errors.append(error),
            lambda client, code: self.codes.append(code),
            lambda client: None,
            {"asyncio_loop": asyncio.get_running_loop(), "keepAlive": 60_000},
        )
        carry = partial(transport.carry, tls=tls) if transport else lambda session: session
        taker = None if take is None else partial(blaming, take)
        arm(self.client, FrameReading(), (), self.bad.append, lambda frame: None, None, 5.0, taker, carry=carry)

    @property
    def reason(self) -> str:
        """The error of the dial or the connection."""
        return str(self.errors[0])

    async def dial(self) -> None:
        self.client.connect(self.session)
        await until(lambda: self.client.isConnected or bool(self.errors))


@asynccontextmanager
async def dialled(
    url: str,
    transport: Transport | None,
    *,
    tls: ssl.SSLContext | bool | None = None,
    take: Any = None,
    frames: list[Any] | None = None,
) -> AsyncIterator[Dialled]:
    """A client that has dialled, or failed to; what ``take`` does not take comes to ``frames``."""
    context = ssl.create_default_context() if tls is None else tls
    made = Dialled(url, transport, context, take, [] if frames is None else frames)
    try:
        await made.dial()
        yield made
    finally:
        await hang_up(made.client)
        with suppress(TimeoutError):
            async with asyncio.timeout(2):
                await made.client.close()
        abort(made.client)
        await made.session.close()


@asynccontextmanager
async def talking(talk: Talk, **options: Any) -> AsyncIterator[str]:
    """A server whose WebSocket is given to ``talk``; yields its address."""

    async def answer(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(autoping=False, **options)
        await socket.prepare(request)
        with suppress(ConnectionError):
            await talk(request, socket)
            async for _ in socket:
                pass
        return socket

    async with served(web.get("/", answer)) as at:
        yield f"ws://{at}/"


@asynccontextmanager
async def listening(
    talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    """A server whose TCP connections are given to ``talk`` and closed behind it; yields ``host:port``."""
    talks = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talks.append(asyncio.current_task())
        with suppress(ConnectionError):
            await talk(reader, writer)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        yield f"{host}:{port}"
    await until(lambda: all(task is None or task.done() for task in talks))


def raw(*frames: bytes) -> Talk:
    """Writes bytes as they are."""

    async def talk(request: web.Request, socket: web.WebSocketResponse) -> None:
        assert request.transport is not None
        request.transport.write(b"".join(frames))

    return talk


def frame(payload: bytes, first: int) -> bytes:
    """A short frame whose first byte (fin, reserved bits, opcode) is ``first``."""
    return bytes([first, len(payload)]) + payload
