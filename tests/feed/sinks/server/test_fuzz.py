"""After ten thousand bad requests, drawn from a seed, the server still serves and keeps no data of them."""

from __future__ import annotations

import asyncio
import contextlib
import random

import aiohttp

from exchanges.simulator import Simulator
from feed import MarketFeed
from feed.sinks.server.app import Server
from tests.support import settings_for, until

REQUESTS = 10_000
AT_ONCE = 40
UPGRADE = (
    "GET /v1/stream HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def bad(draw: random.Random) -> bytes:
    """A request that no client should make."""
    junk = draw.randbytes(draw.randrange(1, 200))
    path = "".join(draw.choice("/%.?&=;\\abcBTC0129\u00e9") for _ in range(draw.randrange(1, 60)))
    kind = draw.randrange(7)
    if kind == 0:
        return junk
    if kind == 1:
        return f"GET /{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
    if kind == 2:
        return f"GET /v1/prices/{path} HTTP/1.1\r\nHost: {path}\r\nConnection: close\r\n\r\n".encode()
    if kind == 3:
        return b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\n" + junk
    if kind == 4:
        return f"GET / HTTP/1.1\r\nHost: localhost\r\nX: {'x' * draw.randrange(20_000)}\r\n\r\n".encode()
    if kind == 5:
        text = draw.choice([b"{", b"[]", b'{"op":"subscribe","channels":["moons"]}', junk[:100]])
        return UPGRADE.encode() + bytes((0x81, 0x80 | len(text), 0, 0, 0, 0)) + text
    return UPGRADE.encode() + junk


async def test_after_ten_thousand_bad_requests_the_server_still_serves() -> None:
    draw = random.Random(1)
    async with Simulator(0, ("binance",), rate=100.0) as simulator:
        settings = settings_for(simulator)
        feed = MarketFeed(settings=settings)
        async with Server(feed, settings, port=0) as server, feed:
            turn = asyncio.Semaphore(AT_ONCE)

            async def send(request: bytes) -> None:
                async with turn:
                    with contextlib.suppress(ConnectionError):
                        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
                        writer.write(request)
                        with contextlib.suppress(TimeoutError):
                            await asyncio.wait_for(reader.read(512), 0.2)
                        writer.transport.abort()

            await asyncio.gather(*(send(bad(draw)) for _ in range(REQUESTS)))
            await until(lambda: server._broadcast.clients == 0)
            assert server._broadcast._logs == {}
            async with aiohttp.ClientSession(server.url) as http, http.get("/health") as answer:
                assert (answer.status, (await answer.json())["status"]) == (200, "healthy")
