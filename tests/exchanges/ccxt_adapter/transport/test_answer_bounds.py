"""No answer of a venue takes more memory or time than its bound."""

from __future__ import annotations

import asyncio
import gzip
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from aiohttp import web

from exchanges.ccxt_adapter.transport.http_client import MOST_BYTES
from exchanges.errors import Disconnected
from exchanges.simulator import Simulator
from tests.exchanges.ccxt_adapter.transport.support import Handler, dial_failure, failure, listening
from tests.exchanges.support import opened, served

# --- sizes ------------------------------------------------------------------------------------------------------------


def packed(kind: str, size: int) -> Iterator[bytes]:
    """``size`` spaces, compressed and in pieces."""
    packer = zlib.compressobj(9, wbits=31 if kind == "gzip" else 15)
    for _ in range(size >> 20):
        yield packer.compress(b" " * (1 << 20))
    yield packer.flush()


def sending(pieces: Callable[[], Iterator[bytes]], status: int = 200, **headers: str) -> Handler:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=status, headers={"Content-Type": "application/json", **headers})
        await response.prepare(request)
        with suppress(ConnectionError):
            for piece in pieces():
                await response.write(piece)
        return response

    return answer


def endless() -> Iterator[bytes]:
    while True:
        yield b" " * (1 << 18)


@pytest.mark.parametrize("status", [200, 418, 500])
@pytest.mark.parametrize("how", ["endless", "gzip", "deflate"])
async def test_at_most_64_mb_of_an_answer_are_read(how: str, status: int) -> None:
    """The bound is for the unpacked size, and holds for any status."""
    pieces = endless if how == "endless" else (lambda: packed(how, 512 << 20))
    headers = {} if how == "endless" else {"Content-Encoding": how}
    async with (
        served(web.get("/{path:.*}", sending(pieces, status, **headers))) as at,
        opened("binance", at, timeout=60.0) as venue,
    ):
        tracemalloc.start()
        error = await failure(venue.load())
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert isinstance(error, Disconnected)
        assert f"HTTP {status}" in error.reason
        assert "more than 64 MB" in error.reason
        assert peak < 3 * MOST_BYTES


async def test_a_long_answer_within_the_bound_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Simulator(venues=("binance",), rate=0) as simulator, Simulator(venues=("bybit",)) as _:
        text = "".join([" " * (20 << 20), '{"symbols":[]}'])
        packed_text = gzip.compress(text.encode())

        async def answer(request: web.Request) -> web.Response:
            headers = {"Content-Encoding": "gzip"}
            return web.Response(body=packed_text, headers=headers, content_type="application/json")

        async with served(web.get("/{path:.*}", answer)) as at, opened("binance", at) as venue:
            error = await failure(venue.load())
            assert "no spot market at all" in error.reason
        assert simulator.rest_url


async def test_an_answer_that_comes_too_slowly_is_given_up_after_the_timeout() -> None:
    async def trickle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        with suppress(ConnectionError):
            while True:
                await response.write(b" ")
                await asyncio.sleep(0.05)
        return response

    async with served(web.get("/{path:.*}", trickle)) as at, opened("binance", at, timeout=1.0) as venue:
        async with asyncio.timeout(5):
            error = await failure(venue.load())
        assert error.reason == "no answer in time"


async def test_an_endless_answer_to_a_refused_dial_is_not_read_to_its_end(options: dict[str, Any]) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
            await writer.drain()

    async with (
        Simulator(venues=("binance",), rate=0) as simulator,
        listening(refuse) as at,
        opened("binance", simulator, ws_url=f"ws://{at}", options=options, timeout=3.0) as venue,
    ):
        await venue.load()
        tracemalloc.start()
        error = await dial_failure(venue)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert error.reason
        assert peak < MOST_BYTES


async def test_a_message_that_unpacks_to_more_than_10_mb_ends_the_connection(options: dict[str, Any]) -> None:
    async def bomb(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(compress=True)
        await socket.prepare(request)
        with suppress(ConnectionError):
            await socket.send_str(" " * (200 << 20))
            await socket.receive()
        return socket

    async with (
        Simulator(venues=("binance",), rate=0) as simulator,
        served(web.get("/{path:.*}", bomb)) as at,
        opened("binance", simulator, ws_url=f"ws://{at}", options=options) as venue,
    ):
        await venue.load()
        error = await dial_failure(venue)
        assert isinstance(error, Disconnected)
