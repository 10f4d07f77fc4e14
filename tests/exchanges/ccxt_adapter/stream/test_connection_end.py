"""The error of a stream says how the connection ended; closing a connection leaves nothing open."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from aiohttp import web

from exchanges import Access
from exchanges.ccxt_adapter.venue import CcxtVenue
from exchanges.errors import Blocked, Disconnected
from exchanges.simulator import SimulatedVenue as Simulated
from tests.exchanges.ccxt_adapter.stream.support import carries, on_both
from tests.exchanges.support import CHANNELS, served, streaming
from tests.support import until

# --- ending -----------------------------------------------------------------------------------------------------------


@on_both
@pytest.mark.parametrize("status", [403, 451])
async def test_an_upgrade_refused_because_of_the_location_is_reported_as_blocked(
    venue: CcxtVenue, simulated: Simulated, status: int
) -> None:
    await venue.load()
    with simulated.refusing(status):
        async with streaming(venue, ["BTC"], CHANNELS) as running:
            error = await running.ended()
    assert isinstance(error, Blocked)
    assert error.status == status
    assert error.exchange == venue.name
    assert str(status) in error.reason
    assert len(simulated.dials) == 1


@on_both
@pytest.mark.parametrize(("status", "retry_after"), [(429, 17.0), (418, 90.0), (429, None), (503, None), (500, None)])
async def test_the_error_of_a_temporarily_refused_upgrade_says_how_long_to_wait(
    venue: CcxtVenue, simulated: Simulated, status: int, retry_after: float | None
) -> None:
    await venue.load()
    with simulated.refusing(status, retry_after):
        async with streaming(venue, ["BTC"], CHANNELS) as running:
            error = await running.ended()
    assert isinstance(error, Disconnected)
    assert error.retry_after == retry_after
    assert str(status) in error.reason
    assert "\n" not in error.reason


@pytest.mark.parametrize("code", [1000, 1006, 1008, 1012])
async def test_a_close_ends_the_stream_at_once(venue: CcxtVenue, simulated: Simulated, code: int) -> None:
    async with streaming(venue, ["BTC", "ETH"]) as running:
        await running.until(carries(simulated, 2))
        simulated.close(code)
        error = await running.ended(timeout=3)
    assert isinstance(error, Disconnected)
    assert str(code) in error.reason


async def test_a_cut_connection_ends_the_stream_at_once(venue: CcxtVenue, simulated: Simulated) -> None:
    async with streaming(venue, ["BTC", "ETH"]) as running:
        await running.until(carries(simulated, 2))
        simulated.cut()
        assert isinstance(await running.ended(timeout=3), Disconnected)


@pytest.mark.parametrize("where", ["127.0.0.1:{}", "nowhere.invalid:{}"])
async def test_a_dial_to_a_closed_port_or_an_unknown_host_is_an_outage(
    venue: CcxtVenue, where: str, unused_tcp_port: int
) -> None:
    await venue.load()
    venue.access = Access(ws_url=f"ws://{where.format(unused_tcp_port)}", timeout=5)
    async with streaming(venue, ["BTC"], CHANNELS) as running:
        error = await running.ended()
    assert isinstance(error, Disconnected)
    assert where.format(unused_tcp_port) in error.reason


async def test_a_dial_without_an_answer_is_given_up_after_the_timeout(venue: CcxtVenue) -> None:
    """The TCP connection is accepted, but the upgrade request gets no answer."""
    await venue.load()
    released = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await released.wait()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    venue.access = Access(ws_url=f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}", timeout=1)
    async with streaming(venue, ["BTC"], CHANNELS) as running:
        error = await running.ended(timeout=4)
    released.set()
    server.close()
    assert isinstance(error, Disconnected)
    assert "time" in error.reason.lower()


@on_both
async def test_closing_leaves_nothing_behind(venue: CcxtVenue, simulated: Simulated) -> None:
    await venue.load()
    before = asyncio.all_tasks()
    async with streaming(venue, ["BTC"]) as running:
        await running.until(carries(simulated, 1))
    await until(lambda: asyncio.all_tasks() <= before and not simulated.connections)


@on_both
async def test_closing_takes_a_bounded_time_whatever_the_peer_does(venue: CcxtVenue) -> None:
    """A peer that has gone does not answer the closing handshake; aiohttp alone would wait for ten seconds."""
    await venue.load()
    upgraded, released = asyncio.Event(), asyncio.Event()

    async def deaf(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        upgraded.set()
        await released.wait()
        return socket

    async with served(web.get("/{path:.*}", deaf)) as at:
        venue.access = replace(venue.access, ws_url=f"ws://{at}")
        async with streaming(venue, ["BTC"]) as running:
            async with asyncio.timeout(5):
                await upgraded.wait()
            await running.until(lambda: all(client.isConnected for client in running.exchange.clients.values()))
            running.task.cancel()
            async with asyncio.timeout(3):
                await running.stream.close()
        released.set()
