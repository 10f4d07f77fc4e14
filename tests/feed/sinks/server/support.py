"""Helpers that the server's tests share."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import sys
from typing import Any

import aiohttp
import pytest

from feed.settings import Staleness
from feed.sinks.server.app import Server

TOKEN = "correct-horse-battery-staple"
Json = dict[str, Any]
soon_stale = pytest.mark.parametrize(
    "staleness", [Staleness(feed_stale_after=1, coin_stale_after=2)], ids=["soon stale"]
)


async def get(http: aiohttp.ClientSession, path: str, **more: Any) -> tuple[int, Any]:
    async with http.get(path, **more) as answer:
        return answer.status, await answer.json()


async def subscribed(http: aiohttp.ClientSession, **wanted: Any) -> tuple[aiohttp.ClientWebSocketResponse, Json]:
    ws = await http.ws_connect("/v1/stream")
    await ws.send_json({"op": "subscribe", "channels": ["prices"], **wanted})
    return ws, await ws.receive_json(timeout=10)


async def stalled_client(server: Server, on_full: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A WebSocket with a small socket buffer that has subscribed to all trades and reads nothing."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.setblocking(False)
    await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", server.port))
    reader, writer = await asyncio.open_connection(sock=raw, limit=1024)
    key = base64.b64encode(bytes(16)).decode()
    writer.write(
        f"GET /v1/stream HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    await reader.readuntil(b"\r\n\r\n")
    text = json.dumps({"op": "subscribe", "channels": ["trades", "prices"], "on_full": on_full}).encode()
    writer.write(bytes((0x81, 0x80 | len(text), 0, 0, 0, 0)) + text)  # a client's frame, masked with zeros
    await writer.drain()
    return reader, writer


async def frame_of(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Read one frame; return its first byte and its payload."""
    kind, size = await reader.readexactly(2)
    if size >= 126:
        size = int.from_bytes(await reader.readexactly(2 if size == 126 else 8), "big")
    return kind, await reader.readexactly(size)


async def read_events(answer: aiohttp.ClientResponse, count: int) -> list[tuple[str, Json]]:
    """The ids and data of the first ``count`` events, without heartbeats."""
    found: list[tuple[str, Json]] = []
    fields: dict[str, str] = {}
    while len(found) < count:
        line = (await asyncio.wait_for(answer.content.readline(), 10)).decode().rstrip("\n")
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
            continue
        if "data" in fields and "event" not in fields:
            found.append((fields["id"], json.loads(fields["data"])))
        fields = {}
    return found


async def market_feed(*argv: str) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(sys.executable, "-m", "feed", *argv, stdout=pipe, stderr=pipe)


async def ask(server: Server, request: bytes, timeout: float = 10.0) -> bytes:
    """Send the bytes of a request on a new connection, and read until the server closes it; returns the answer."""
    reader, writer = await asyncio.open_connection(server.host, server.port)
    writer.write(request)
    try:
        return await asyncio.wait_for(reader.read(), timeout)
    except ConnectionError:  # the server has cut the connection
        return b""
    finally:
        writer.transport.abort()
