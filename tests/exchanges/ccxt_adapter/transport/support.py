"""Servers that behave as the test defines, and WebSockets to them over both transports."""

from __future__ import annotations

import asyncio
import ssl
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import pytest
from aiohttp import web
from ccxt.async_support.base.ws.client import Client
from yarl import URL

from exchanges.ccxt_adapter.stream.client_guard import FrameReading, abort, arm, hang_up
from exchanges.ccxt_adapter.transport.http_client import HttpClient
from exchanges.ccxt_adapter.venue import CcxtVenue
from exchanges.errors import VenueError
from exchanges.venues.fast_decoder import Blame, Take
from tests.exchanges.support import served, streaming
from tests.support import until

Talk = Callable[[web.Request, web.WebSocketResponse], Awaitable[None]]


def blaming(take: Take, blame: Blame) -> Take:
    """Wrap ``take`` as the fast decoder does: errors of the listener are reported."""

    def taken(text: str) -> bool:
        try:
            return take(text)
        except RuntimeError as error:
            blame(text, 1, error)
            return True

    return taken


class Dialled:
    """A real ccxt client with the guard, and everything that the guard reported."""

    def __init__(
        self, url: str, over_picows: bool, tls: ssl.SSLContext | bool, take: Any, frames: list[Any], **how: Any
    ) -> None:
        self.frames = frames
        self.errors: list[Any] = []
        self.codes: list[int] = []
        self.bad: list[str] = []
        proxy = how.pop("proxy", None)
        self.session = HttpClient(tls, lambda url: proxy, over_picows=over_picows, **how)
        self.client = Client(
            url,
            lambda client, frame: self.frames.append(frame),
            lambda client, error: self.errors.append(error),
            lambda client, code: self.codes.append(code),
            lambda client: None,
            {"asyncio_loop": asyncio.get_running_loop(), "keepAlive": 60_000},
        )
        taker = None if take is None else partial(blaming, take)
        arm(self.client, FrameReading(), (), self.bad.append, lambda frame: None, 5.0, taker)

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
    over_picows: bool,
    *,
    tls: ssl.SSLContext | bool | None = None,
    take: Any = None,
    frames: list[Any] | None = None,
    ready: Callable[[Dialled], object] = lambda made: None,
    **how: Any,
) -> AsyncIterator[Dialled]:
    """A client that has dialled or failed to dial; frames that ``take`` refuses are collected in ``frames``.

    ``ready`` is called before the dial; ``how``: arguments for HttpClient, and ``proxy``.
    """
    context = ssl.create_default_context() if tls is None else tls
    made = Dialled(url, over_picows, context, take, [] if frames is None else frames, **how)
    ready(made)
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
    """A server that passes each WebSocket to ``talk``; yields its address."""

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
    """A server that passes each TCP connection to ``talk`` and then closes it; yields ``host:port``."""
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
    """A ``talk`` that writes these bytes unchanged."""

    async def talk(request: web.Request, socket: web.WebSocketResponse) -> None:
        assert request.transport is not None
        request.transport.write(b"".join(frames))

    return talk


def frame(payload: bytes, first: int) -> bytes:
    """A short frame whose first byte (fin, reserved bits, opcode) is ``first``."""
    return bytes([first, len(payload)]) + payload


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
SECRET = "hunter2-S3cr3t"


async def failure(work: Awaitable[Any]) -> VenueError:
    with pytest.raises(VenueError) as caught:
        await work
    return caught.value


async def dial_failure(venue: CcxtVenue) -> VenueError:
    """The error with which a stream ends, at a venue with loaded markets."""
    async with streaming(venue, ["BTC"]) as running:
        error = await running.ended()
    assert isinstance(error, VenueError)
    return error


class Proxy:
    """A proxy for plain HTTP and CONNECT that notes the requests, and refuses them or passes them on."""

    def __init__(self, refusal: str = "", to: str = "") -> None:
        self.refusal = refusal
        self.to = to  # host:port to which everything is passed on
        self.asked: list[str] = []
        self.logins: list[str] = []

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        line, *headers = head.split("\r\n")
        self.asked.append(line)
        self.logins += [each.partition(": ")[2] for each in headers if each.lower().startswith("proxy-authorization")]
        if self.refusal:
            writer.write(f"HTTP/1.1 {self.refusal}\r\nContent-Length: {len(head)}\r\n\r\n{head}".encode())
            await writer.drain()
            return
        host, port = self.to.split(":")
        there, out = await asyncio.open_connection(host, int(port))
        if line.startswith("CONNECT"):
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            method, url, version = line.split(" ")
            passed = [each for each in headers if not each.lower().startswith("proxy-")]
            out.write("\r\n".join([f"{method} {URL(url).raw_path_qs} {version}", *passed]).encode())
        await asyncio.gather(_passed(reader, out), _passed(there, writer))


async def _passed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while piece := await reader.read(65_536):
            writer.write(piece)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def proxying(**how: str) -> AsyncIterator[tuple[str, Proxy]]:
    proxy = Proxy(**how)
    async with listening(proxy.answer) as at:
        yield at, proxy


def everything_said(error: BaseException) -> str:
    """All texts of an error and its causes."""
    texts = [str(error), repr(error), "".join(traceback.format_exception(error))]
    for other in (error.__cause__, error.__context__):
        if other is not None:
            texts.append(everything_said(other))
    return "\n".join(texts)
