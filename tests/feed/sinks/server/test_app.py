"""The server's limits for connections and messages, the end of the server, and the command ``market-feed serve``."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from pathlib import Path

import aiohttp
import pytest

from exchanges.simulator import Simulator
from feed import MarketFeed
from feed.settings import Settings
from feed.sinks.server import app as server_app
from feed.sinks.server import streams
from feed.sinks.server.app import Server
from tests.feed.sinks.server.support import TOKEN, get, market_feed, stalled_client, subscribed
from tests.support import until


async def test_a_connection_without_a_request_is_cut(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_app, "FIRST_REQUEST", 0.5)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET /v1/status HTT")
    assert await asyncio.wait_for(reader.read(), 10) == b""
    writer.close()


async def test_the_numbers_of_connections_and_clients_are_limited(
    server: Server, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "CLIENTS", 2)
    sockets = [await http.ws_connect("/v1/stream") for _ in range(2)]
    with pytest.raises(aiohttp.WSServerHandshakeError, match="503"):
        await http.ws_connect("/v1/stream")
    monkeypatch.setattr(server_app, "CONNECTIONS", 2)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    with contextlib.suppress(ConnectionError):
        assert await asyncio.wait_for(reader.read(), 10) == b""
    writer.close()
    for ws in sockets:
        await ws.close()


UPGRADE = (
    b"GET /v1/stream HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


async def test_a_connection_whose_later_request_never_ends_is_cut(
    feed: MarketFeed, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_app, "KEEP_ALIVE", 0.5)
    async with Server(feed, settings, port=0) as server:
        whole = b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(whole + whole[:20])
        ended = asyncio.create_task(reader.read())
        for byte in whole[20:-1]:
            if ended.done():
                break
            writer.write(bytes([byte]))
            await asyncio.sleep(0.1)  # this client sends its request slowly
        assert (await asyncio.wait_for(ended, 10)).count(b"HTTP/1.1 200 OK") == 1
        writer.close()


async def test_a_client_that_does_not_read_its_answers_is_cut(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_app, "UNREAD", 0.5)
    _, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
    writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 1000)
    await until(lambda: len(server._connections) == 1)
    await until(lambda: not server._connections)
    writer.transport.abort()


async def test_a_client_that_sends_too_much_is_cut(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_app, "BURST", 1)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(UPGRADE)
    await reader.readuntil(b"\r\n\r\n")
    empty = bytes((0x01, 0x80, 0, 0, 0, 0)) + bytes((0x00, 0x80, 0, 0, 0, 0)) * 20_000  # a message without an end
    with contextlib.suppress(ConnectionError):
        while not writer.transport.is_closing():
            writer.write(empty)
            await writer.drain()
    await until(lambda: not server._connections)


async def test_clients_that_read_nothing_do_not_delay_the_end_of_the_server(
    feed: MarketFeed, settings: Settings
) -> None:
    async with Server(feed, settings, port=0) as server, aiohttp.ClientSession(server.url) as http, feed:
        ws, _ = await subscribed(http)
        stalled = [await stalled_client(server, "drop_oldest") for _ in range(3)]
        for request in (b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET /v1"):
            stalled.append(await asyncio.open_connection("127.0.0.1", server.port, limit=1024))
            stalled[-1][1].write(request)
        await until(lambda: server._broadcast.clients == 5)
        begun = time.monotonic()
        ending = asyncio.create_task(server.close())
        while not ws.closed:
            await ws.receive(timeout=10)
        assert ws.close_code == 1001
        assert time.monotonic() - begun < 2
        await ending
        assert time.monotonic() - begun < 8
        for _, writer in stalled:
            writer.transport.abort()


# --- the command


async def test_serve_prints_its_address_and_at_sigterm_closes_its_streams_with_code_1001(
    simulator: Simulator, tmp_path: Path
) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(simulator.settings_yaml())
    process = await market_feed("serve", "BTC", "--port", "0", "--settings", str(file))
    try:
        assert process.stdout is not None
        line = (await asyncio.wait_for(process.stdout.readline(), 60)).decode()
        url = line.removeprefix("serving at ").strip()
        async with aiohttp.ClientSession(url) as http:
            ws, snapshot = await subscribed(http)
            assert snapshot["coins"] == ["BTC"]
            assert (await ws.receive_json(timeout=30))["type"] == "price"
            process.send_signal(signal.SIGTERM)
            while not ws.closed:
                await ws.receive(timeout=10)
            assert ws.close_code == 1001
        _, err = await asyncio.wait_for(process.communicate(), 30)
        assert (process.returncode, err) == (0, b"")
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--host", "0.0.0.0"], "without a token"),
        (["--token-file", "missing"], "No such file"),
        (["--token-file", "short"], "16 to 256"),
        (["--token-file", "pipe"], "a pipe into which nobody wrote within 5 s"),
        (["--token-file", "/dev/zero"], "16 to 256"),
    ],
)
async def test_serve_refuses_unsafe_arguments(tmp_path: Path, argv: list[str], words: str) -> None:
    (tmp_path / "short").write_text("secret")
    os.mkfifo(tmp_path / "pipe")
    argv = [str(tmp_path / each) if each in ("missing", "short", "pipe") else each for each in argv]
    process = await market_feed("serve", "--port", "0", *argv)
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert (process.returncode, out) == (2, b"")
    assert words in err.decode()
    assert b"Traceback" not in err


async def test_the_token_is_in_no_log(simulator: Simulator, tmp_path: Path) -> None:
    """This holds even if the request is malformed after the token."""
    (tmp_path / "settings.yaml").write_text(simulator.settings_yaml())
    (tmp_path / "token").write_text(TOKEN)
    argv = ["--port", "0", "--settings", str(tmp_path / "settings.yaml"), "--token-file", str(tmp_path / "token")]
    process = await market_feed("serve", "BTC", *argv, "--log-level", "TRACE")
    assert process.stdout is not None
    url = (await asyncio.wait_for(process.stdout.readline(), 60)).decode().removeprefix("serving at ").strip()
    bearer = f"Authorization: Bearer {TOKEN}".encode()
    for request in (b"GET / HTTP/1.1\r\nHost: x\r\n" + bearer + b"\x00\r\n\r\n", bearer + b"\r\n\r\n"):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.strip("/").rpartition(":")[2]))
        writer.write(request)
        assert b" 400 " in await asyncio.wait_for(reader.read(), 10)
        writer.close()
    async with aiohttp.ClientSession(url) as http:
        assert (await get(http, "/v1/status", headers={"Authorization": f"Bearer {TOKEN}"}))[0] == 200
    process.send_signal(signal.SIGTERM)
    _, err = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0
    assert TOKEN.encode() not in err
    assert b"Traceback" not in err
