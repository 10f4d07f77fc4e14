"""If a peer sends far more than usual, memory stays bounded and other tasks continue, on both transports."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from typing import Any

import pytest
from aiohttp import web

from exchanges.ccxt_adapter.instance import close_instance, make_instance
from exchanges.ccxt_adapter.stream.client_guard import UNSENT
from exchanges.simulator.connections.websocket_frames import text_frame
from exchanges.venue import Access
from exchanges.venues.find import profile_of
from tests.exchanges.ccxt_adapter.transport.support import Talk, dialled, frame, talking
from tests.support import until

FLOOD = 64_000_000  # bytes
MOST = 24_000_000  # bytes by which this process may grow during the flood
STATM = "/proc/self/statm"


def resident() -> int:
    with open(STATM) as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def flooding(piece: bytes, size: int, end: bytes = b"") -> Talk:
    """A server that sends ``size`` bytes in pieces and then ``end``, and reads nothing."""

    async def flood(request: web.Request, socket: web.WebSocketResponse) -> None:
        out = request.transport
        assert out is not None
        out.pause_reading()
        for _ in range(size // len(piece)):
            while out.get_write_buffer_size() > 1_000_000 and not out.is_closing():  # noqa: ASYNC110 - no event reports this
                await asyncio.sleep(0.001)
            if out.is_closing():
                return
            out.write(piece)
        out.write(end)
        await until(out.is_closing, timeout=60)

    return flood


@pytest.mark.skipif(not os.path.exists(STATM), reason="this system does not tell how much memory a process has")
async def test_pings_of_a_peer_that_reads_nothing_take_no_memory(over_picows: bool) -> None:
    """Only the last of several pings is answered, as RFC 6455 (5.5.3) allows, and the stream continues."""
    pings = frame(b"x" * 125, 0x89) * 500
    async with talking(flooding(pings, FLOOD, text_frame('{"n":1}'))) as url:
        before = resident()
        async with dialled(url, over_picows) as made:
            await until(lambda: bool(made.frames or made.errors), timeout=60)
            assert made.frames == [{"n": 1}]
            assert resident() - before < MOST
            assert len(asyncio.all_tasks()) < 50


class Answering(list[Any]):
    """A list of frames that answers each frame, as ccxt's modules answer the pings that venues send as text."""

    def __init__(self) -> None:
        self.client: Any = None
        self.answers: set[asyncio.Task[None]] = set()
        self.sent = 0  # bytes

    def append(self, frame: Any) -> None:
        answer = asyncio.ensure_future(self.client.send({"pong": "x" * 2000}))
        self.answers.add(answer)
        answer.add_done_callback(self._ended)

    def _ended(self, answer: asyncio.Task[None]) -> None:
        self.answers.discard(answer)
        if not answer.cancelled() and answer.exception() is None:
            self.sent += 2000


async def test_the_connection_to_a_peer_that_reads_no_answers_is_closed(over_picows: bool) -> None:
    frames = Answering()
    async with (
        talking(flooding(text_frame('{"ping":1}') * 100, FLOOD), compress=False) as url,
        dialled(url, over_picows, frames=frames, ready=lambda made: setattr(frames, "client", made.client)) as made,
    ):
        await until(lambda: bool(made.errors), timeout=60)
        assert made.reason == "it does not read what we send"
        await until(lambda: not frames.answers)
        assert frames.sent < 2 * UNSENT + MOST  # MOST also covers the bytes in the sockets


class Slow(list[Any]):
    """A list that takes 0.1 ms for each frame, and counts the frames of each turn of the loop."""

    turn = 0

    def __init__(self) -> None:
        self.seen: Counter[int] = Counter()

    def append(self, frame: Any) -> None:
        self.seen[self.turn] += 1
        end = time.perf_counter() + 0.0001
        while time.perf_counter() < end:
            pass


async def test_other_tasks_run_during_a_flood_of_the_smallest_frames(over_picows: bool) -> None:
    """A read of 64 KiB contains 32,768 frames of the smallest size."""
    frames = Slow()

    async def others() -> None:
        while frames.seen.total() < 10_000:
            frames.turn += 1
            await asyncio.sleep(0)

    going_on = asyncio.create_task(others())
    async with talking(flooding(text_frame("") * 1000, 2_000_000)) as url, dialled(url, over_picows, frames=frames):
        await asyncio.wait_for(going_on, 60)
        # the first 16 KiB, which picows reads with the handshake, are 8,192 frames
        assert max(frames.seen.values()) <= 8_192


@pytest.mark.parametrize("times", [1, 2, 3])
async def test_a_cancelled_close_leaves_nothing_open(over_picows: bool, times: int) -> None:
    """A feed cancels the close of its connections after 3 s. In a loop that is busy with a flood, closing may take
    longer."""

    async def deaf(request: web.Request, socket: web.WebSocketResponse) -> None:
        await until(lambda: request.transport is None or request.transport.is_closing(), timeout=60)

    options = {"transport": "picows" if over_picows else "aiohttp"}
    async with talking(deaf, autoclose=False) as url:
        exchange = make_instance(profile_of("binance"), Access(ws_url=url, options=options))
        exchange.open()
        client = exchange.client(url)
        client.connect(exchange.session)
        await until(lambda: client.isConnected)
        closing = asyncio.create_task(close_instance(exchange))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        for _ in range(times):
            closing.cancel()
            await asyncio.sleep(0)
        await asyncio.wait({closing})
        assert closing.cancelled()
        assert exchange.session is None
