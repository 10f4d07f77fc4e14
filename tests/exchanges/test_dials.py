"""Dials that are given up leave no task, no socket and no open file, over aiohttp and over picows."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest
from aiohttp import web

from exchanges import Subscription
from exchanges.ccxt_adapter.stream.connection import CcxtConnection
from exchanges.ccxt_adapter.transport.choose import TRANSPORTS
from exchanges.ccxt_adapter.venue import CcxtVenue
from exchanges.simulator import Simulator
from tests.exchanges.support import Heard, opened, served
from tests.scenarios.support import nothing_left, open_sockets
from tests.support import until

TURNS = 40  # turns of the loop that a dial needs on an idle machine


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if name == "picows":
        pytest.importorskip("picows", reason="the extra [fast] is not installed")
    return name


@asynccontextmanager
async def venue_at(ws_url: str, transport: str) -> AsyncIterator[CcxtVenue]:
    """A venue with known markets, whose stream is dialled at ``ws_url``."""
    async with (
        Simulator(venues=("binance",), rate=0, coins=("BTC",)) as simulator,
        opened("binance", simulator, ws_url=ws_url, timeout=60.0, options={"transport": transport}) as venue,
    ):
        await venue.load()
        yield venue


class Dial:
    """A stream that dials. ``give_up`` ends the stream; as in the feed, the next stream may already dial meanwhile."""

    def __init__(self, venue: CcxtVenue, tls: ssl.SSLContext | None = None) -> None:
        heard = Heard()
        wanted = Subscription({"BTC": "BTC/USDT"}, ("trades",))
        self.stream: CcxtConnection = venue.connect(wanted, heard, lambda: None)
        if tls is not None:
            self.stream.exchange.ssl_context = tls
        self.running = asyncio.create_task(self.stream.run())

    @property
    def connected(self) -> bool:
        return any(client.isConnected for client in (self.stream.exchange.clients or {}).values())

    async def give_up(self) -> None:
        self.running.cancel()
        await asyncio.gather(self.running, self.stream.close(), return_exceptions=True)


class Deaf:
    """A server that accepts TCP connections and sends nothing."""

    def __init__(self) -> None:
        self.came = 0
        self.heard = 0

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.came += 1
        with suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                self.heard += len(data)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


@pytest.mark.parametrize("scheme", ["ws", "wss"])
async def test_an_unanswered_dial_leaves_nothing_open(transport: str, scheme: str) -> None:
    """The upgrade request, or the first TLS message, gets no answer."""
    deaf = Deaf()
    async with await asyncio.start_server(deaf.take, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with venue_at(f"{scheme}://127.0.0.1:{port}", transport) as venue, nothing_left():
            dial = Dial(venue)
            await until(lambda: deaf.heard > 0)
            await dial.give_up()


async def test_a_dial_to_a_server_that_accepts_no_connection_leaves_nothing_open(transport: str) -> None:
    with ExitStack() as stack:
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        while True:  # until the queue of unaccepted connections is full
            waiting = stack.enter_context(socket.socket())
            waiting.settimeout(0.2)
            try:
                waiting.connect(full.getsockname())
            except TimeoutError:
                break
        async with venue_at(f"ws://127.0.0.1:{full.getsockname()[1]}", transport) as venue, nothing_left():
            dial = Dial(venue)
            for _ in range(TURNS):
                await asyncio.sleep(0)
            assert dial.stream.exchange.clients
            assert not dial.connected
            await dial.give_up()


@pytest.mark.parametrize(("scheme", "host"), [("ws", "localhost"), ("wss", "127.0.0.1")])
async def test_a_dial_that_is_given_up_at_any_moment_leaves_nothing_open(
    transport: str, scheme: str, host: str, certificate: Path
) -> None:
    """Each dial is given up one turn of the loop later than the previous dial: the first before the name lookup, the
    last after the server's answer."""

    async def agree(request: web.Request) -> web.WebSocketResponse:
        connection = web.WebSocketResponse()
        await connection.prepare(request)
        async for _ in connection:
            pass
        return connection

    server = client = None
    if scheme == "wss":
        server, client = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
        server.load_cert_chain(certificate)
        client.load_verify_locations(certificate)
    async with served(web.get("/{path:.*}", agree), tls=server) as at:
        port = at.rpartition(":")[2]
        async with venue_at(f"{scheme}://{host}:{port}", transport) as venue, nothing_left():
            ends = []
            through = 0
            for turns in range(10 * TURNS):
                dial = Dial(venue, client)
                for _ in range(turns):
                    await asyncio.sleep(0)
                through += dial.connected
                ends.append(asyncio.create_task(dial.give_up()))
                if through > 3:
                    break
            assert through
            await asyncio.gather(*ends)


@pytest.mark.parametrize("scheme", ["ws", "wss"])
async def test_when_a_dial_over_picows_is_cancelled_its_socket_is_closed(scheme: str) -> None:
    """The socket is closed at once, at any stage of picows's dial, because the program's loop may end in the next
    turn."""
    pytest.importorskip("picows", reason="the extra [fast] is not installed")
    from exchanges.ccxt_adapter.transport.dial import connect

    tls = ssl.create_default_context()
    # the kernel accepts the connections, but no program answers
    with socket.create_server(("127.0.0.1", 0), backlog=2 * TURNS) as server:
        url = f"{scheme}://localhost:{server.getsockname()[1]}/"
        async with nothing_left():
            before = open_sockets()
            for turns in range(TURNS):
                dial = asyncio.create_task(connect(url, {}, tls, 1 << 20, False))
                for _ in range(turns):
                    await asyncio.sleep(0)
                dial.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await dial
                assert open_sockets() == before
