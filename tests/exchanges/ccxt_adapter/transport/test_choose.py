"""ccxt's own client behaves the same over aiohttp and over picows."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from yarl import URL

from exchanges import Access
from exchanges.ccxt_adapter.transport.choose import TRANSPORTS, VARIABLE, uses_picows
from exchanges.ccxt_adapter.transport.http_client import redirect
from exchanges.ccxt_adapter.transport.proxies import Proxy
from exchanges.ccxt_adapter.venue import open_venue
from exchanges.errors import Rejected
from tests.exchanges.ccxt_adapter.transport.support import (
    Dialled,
    dialled,
    listening,
)
from tests.exchanges.support import served
from tests.support import until

# --- dialling ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("status", "retry_after"), [(403, None), (451, None), (429, 17.0), (503, None)])
async def test_the_error_of_a_refused_handshake_has_the_status_and_the_headers(
    over_picows: bool, status: int, retry_after: float | None
) -> None:
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}

    async def refuse(request: web.Request) -> web.Response:
        return web.Response(status=status, headers=headers, text="no")

    async with served(web.get("/", refuse)) as at, dialled(f"ws://{at}/", over_picows) as made:
        cause = made.errors[0].args[0]
        assert cause.status == status
        assert made.client.last_retry_after == retry_after
        assert made.reason == f"{status}, message='Invalid response status', url='ws://{at}/'"


@pytest.mark.parametrize(
    ("url", "target", "dialled"),
    [
        ("wss://stream.venue.com:9443/ws", None, "wss://stream.venue.com:9443/ws"),
        ("wss://stream.venue.com:9443/ws", "ws://127.0.0.1:8765", "ws://127.0.0.1:8765/ws"),
        ("wss://stream.venue.com/v5/public/spot", "ws://localhost:1", "ws://localhost:1/v5/public/spot"),
        ("https://api.venue.com/api/v3/trades?symbol=X&limit=5", "http://h", "http://h/api/v3/trades?symbol=X&limit=5"),
        ("https://api.venue.com", "http://[::1]:80", "http://[::1]:80"),
        ("https://api.venue.com/?a=b#c", "https://other.example:444", "https://other.example:444/?a=b#c"),
        ("https://api.venue.com/a%2Fb?s=%5B%22X%22%5D", "http://h:1", "http://h:1/a%2Fb?s=%5B%22X%22%5D"),
    ],
)
def test_redirecting_replaces_scheme_and_host_and_nothing_else(url: str, target: str | None, dialled: str) -> None:
    assert redirect(url, target) == dialled


async def test_the_settings_address_is_dialled_and_the_client_keeps_ccxts_address(over_picows: bool) -> None:
    """ccxt distinguishes spot and swap by the client's address."""
    asked = []

    async def refuse(request: web.Request) -> web.Response:
        asked.append(request.path_qs)
        return web.Response(status=418)

    own = "wss://venue.invalid:9443/ws?x=1"
    async with served(web.get("/ws", refuse)) as at, dialled(own, over_picows, ws_url=f"ws://{at}") as made:
        assert asked == ["/ws?x=1"]
        assert made.client.url == own


async def test_an_answer_that_is_no_websocket_handshake_is_an_error(over_picows: bool) -> None:
    async def odd(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 Fine\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")

    async with listening(odd) as at, dialled(f"ws://{at}/", over_picows) as made:
        assert made.reason


async def test_a_peer_that_closes_the_connection_instead_of_answering_is_an_error(over_picows: bool) -> None:
    async def rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")

    async with listening(rude) as at, dialled(f"ws://{at}/", over_picows) as made:
        assert made.reason == "Server disconnected"


async def test_the_error_names_a_port_where_nobody_listens(over_picows: bool, unused_tcp_port: int) -> None:
    async with dialled(f"ws://127.0.0.1:{unused_tcp_port}/", over_picows) as made:
        assert made.reason.startswith(f"Cannot connect to host 127.0.0.1:{unused_tcp_port}")


async def test_both_transports_send_the_same_request() -> None:
    """Some venues' gateways refuse clients with other headers. Cookies and a ccxt class's own headers are sent too."""
    pytest.importorskip("picows", reason="the extra [fast] is not installed")
    seen = []

    async def look(request: web.Request) -> web.Response:
        seen.append({name: value for name, value in request.headers.items() if name != "Sec-WebSocket-Key"})
        return web.Response(status=418)

    async with served(web.get("/", look)) as at:
        for name in TRANSPORTS:
            made = Dialled(f"ws://{at}/", uses_picows(name), ssl.create_default_context(), None, [])
            made.client.options = {"headers": {"origin": "https://venue.example", "user-agent": "x"}}
            made.session.cookie_jar.update_cookies({"a": "1", "b": "2"}, URL(f"http://{at}/"))
            await made.dial()
            await made.session.close()
    lower = [{key.lower(): value for key, value in each.items()} for each in seen]
    assert lower[0] == lower[1]
    assert "permessage-deflate" in lower[0]["sec-websocket-extensions"]


# --- what picows does not do ------------------------------------------------------------------------------------------


async def test_a_proxy_is_dialled_over_aiohttp(over_picows: bool) -> None:
    asked = asyncio.Event()

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if b"venue.invalid" in await reader.readuntil(b"\r\n\r\n"):
            asked.set()

    async with listening(proxy) as at:
        made = Dialled("ws://venue.invalid/", over_picows, ssl.create_default_context(), None, [])
        made.client.proxy = f"http://{at}"
        await made.dial()
        await made.session.close()
        assert asked.is_set()


async def test_a_socks_proxy_is_dialled_over_aiohttp(over_picows: bool) -> None:
    """The proxy of this test follows RFC 1928 in its handshake."""
    pytest.importorskip("aiohttp_socks", reason="the extra [socks] is not installed")
    asked = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, methods = await reader.readexactly(2)
        await reader.readexactly(methods)
        writer.write(b"\x05\x00")  # SOCKS 5: no login is needed
        *_, length = await reader.readexactly(5)
        asked.append(await reader.readexactly(length))
        writer.write(b"\x05\x04\x00\x01" + bytes(6))  # host unreachable

    async with listening(proxy) as at:
        tls, proxy_of = ssl.create_default_context(), Proxy(f"socks5h://{at}", "the test")
        made = Dialled("ws://venue.invalid/", over_picows, tls, None, [], proxy=proxy_of)
        await made.dial()
        await made.session.close()
        assert asked == [b"venue.invalid"]
        assert made.reason


async def test_a_redirect_is_followed(over_picows: bool) -> None:
    async def moved(request: web.Request) -> web.Response:
        raise web.HTTPFound("/there")

    async def there(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str('{"there":1}')
        async for _ in socket:
            pass
        return socket

    async with (
        served(web.get("/", moved), web.get("/there", there)) as at,
        dialled(f"ws://{at}/", over_picows) as made,
    ):
        await until(lambda: made.frames == [{"there": 1}])


# --- TLS --------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def over_tls(certificate: Path, *frames: str) -> AsyncIterator[int]:
    """A server that sends ``frames`` over TLS; yields its port."""

    async def answer(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        for each in frames:
            await socket.send_str(each)
        async for message in socket:
            await socket.send_str(message.data)
        return socket

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    async with served(web.get("/", answer), tls=context) as at:
        yield int(at.rpartition(":")[2])


async def test_a_server_of_a_known_authority_is_trusted(over_picows: bool, certificate: Path) -> None:
    frames = [f'{{"n":{number},"x":"{"x" * (number % 3000)}"}}' for number in range(2000)]
    async with over_tls(certificate, *frames) as port:
        trusted = ssl.create_default_context(cafile=str(certificate))
        async with dialled(f"wss://127.0.0.1:{port}/", over_picows, tls=trusted) as made:
            await made.client.send({"n": 2000})
            await until(lambda: [each["n"] for each in made.frames] == list(range(2001)))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_server_of_an_unknown_authority_or_with_another_name_is_not_trusted(
    over_picows: bool, certificate: Path, host: str
) -> None:
    async with over_tls(certificate) as port:
        known = host == "localhost"  # for localhost the authority is known, but the certificate's name is wrong
        tls = ssl.create_default_context(cafile=str(certificate)) if known else ssl.create_default_context()
        async with dialled(f"wss://{host}:{port}/", over_picows, tls=tls) as made:
            assert "CERTIFICATE_VERIFY_FAILED" in made.reason
            assert not made.client.isConnected


async def test_without_verification_any_server_is_accepted(over_picows: bool, certificate: Path) -> None:
    async with (
        over_tls(certificate, '{"n":1}') as port,
        dialled(f"wss://127.0.0.1:{port}/", over_picows, tls=False) as made,
    ):
        await until(lambda: made.frames == [{"n": 1}])


# --- the choice -------------------------------------------------------------------------------------------------------


def test_picows_is_used_if_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("picows", reason="the extra [fast] is not installed")
    monkeypatch.delenv(VARIABLE, raising=False)
    assert uses_picows(None)
    assert uses_picows("picows")
    assert not uses_picows("aiohttp")
    monkeypatch.setattr("exchanges.ccxt_adapter.transport.choose.find_spec", lambda name: None)
    assert not uses_picows(None)
    assert not uses_picows("aiohttp")
    with pytest.raises(ValueError, match=r"picows, which is not installed: pip install \"market-feed\[fast\]\""):
        uses_picows("picows")


def test_the_environment_chooses_if_the_settings_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """With this variable the whole suite can run on either transport: ``MARKET_FEED_TRANSPORT=aiohttp pytest``."""
    pytest.importorskip("picows", reason="the extra [fast] is not installed")
    monkeypatch.setenv(VARIABLE, "aiohttp")
    assert not uses_picows(None)
    assert uses_picows("picows")
    monkeypatch.setenv(VARIABLE, "picow")
    with pytest.raises(ValueError, match="MARKET_FEED_TRANSPORT is 'picow', allowed are aiohttp and picows"):
        uses_picows(None)
    assert not uses_picows("aiohttp")


@pytest.mark.parametrize("wrong", ["websockets", "", 1, True, ["aiohttp"]])
def test_an_unknown_transport_is_refused_with_the_names_of_the_known_transports(wrong: Any) -> None:
    with pytest.raises(Rejected) as caught:
        open_venue("binance", Access(options={"transport": wrong}))
    assert caught.value.reason == f"options.transport is {wrong!r}, allowed are aiohttp and picows"
