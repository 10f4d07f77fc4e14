"""ccxt's own client over aiohttp and over picows: both behave the same."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from exchanges import Access
from exchanges.ccxt_adapter.transport.choose import TRANSPORTS, VARIABLE, Transport, transport_for
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
async def test_a_refused_handshake_keeps_its_status_and_headers(
    transport: Transport | None, status: int, retry_after: float | None
) -> None:
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}

    async def refuse(request: web.Request) -> web.Response:
        return web.Response(status=status, headers=headers, text="no")

    async with served(web.get("/", refuse)) as at, dialled(f"ws://{at}/", transport) as made:
        cause = made.errors[0].args[0]
        assert cause.status == status
        assert made.client.last_retry_after == retry_after
        assert made.reason == f"{status}, message='Invalid response status', url='ws://{at}/'"


async def test_a_handshake_that_is_no_websocket_is_an_error(transport: Transport | None) -> None:
    async def odd(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 Fine\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")

    async with listening(odd) as at, dialled(f"ws://{at}/", transport) as made:
        assert made.reason


async def test_a_peer_that_hangs_up_instead_of_answering_is_an_error(transport: Transport | None) -> None:
    async def rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")

    async with listening(rude) as at, dialled(f"ws://{at}/", transport) as made:
        assert made.reason == "Server disconnected"


async def test_a_port_where_nobody_listens_is_named(transport: Transport | None, unused_tcp_port: int) -> None:
    async with dialled(f"ws://127.0.0.1:{unused_tcp_port}/", transport) as made:
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
            made = Dialled(f"ws://{at}/", transport_for(name), ssl.create_default_context(), None, [])
            made.client.options = {"headers": {"origin": "https://venue.example", "user-agent": "x"}}
            made.session.cookie_jar.update_cookies({"a": "1", "b": "2"}, made.session._build_url(f"http://{at}/"))
            await made.dial()
            await made.session.close()
    lower = [{key.lower(): value for key, value in each.items()} for each in seen]
    assert lower[0] == lower[1]
    assert "permessage-deflate" in lower[0]["sec-websocket-extensions"]


# --- what picows does not do ------------------------------------------------------------------------------------------


async def test_a_proxy_is_dialled_over_aiohttp(transport: Transport | None) -> None:
    asked = asyncio.Event()

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if b"venue.invalid" in await reader.readuntil(b"\r\n\r\n"):
            asked.set()

    async with listening(proxy) as at:
        made = Dialled("ws://venue.invalid/", transport, ssl.create_default_context(), None, [])
        made.client.proxy = f"http://{at}"
        await made.dial()
        await made.session.close()
        assert asked.is_set()


async def test_a_socks_proxy_is_dialled_over_aiohttp(transport: Transport | None) -> None:
    """It uses ccxt's own connector, which needs a package that ccxt does not install; the handshake is RFC 1928's."""
    connector = pytest.importorskip("aiohttp_socks", reason="what ccxt dials SOCKS proxies with is not installed")
    asked = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, methods = await reader.readexactly(2)
        await reader.readexactly(methods)
        writer.write(b"\x05\x00")  # no password
        *_, length = await reader.readexactly(5)
        asked.append(await reader.readexactly(length))
        writer.write(b"\x05\x04\x00\x01" + bytes(6))  # host unreachable

    async with listening(proxy) as at:
        made = Dialled("ws://venue.invalid/", transport, ssl.create_default_context(), None, [])
        await made.session.close()
        made.session = aiohttp.ClientSession(connector=connector.ProxyConnector.from_url(f"socks5://{at}", rdns=True))
        await made.dial()
        await made.session.close()
        assert asked == [b"venue.invalid"]
        assert made.reason


async def test_a_session_with_a_connector_of_its_own_dials_itself() -> None:
    """ccxt's sessions for SOCKS proxies do so, and sessions that ask the environment for a proxy."""
    pytest.importorskip("picows", reason="the extra [fast] is not installed")
    picows = transport_for("picows")
    assert picows is not None

    class Other(aiohttp.TCPConnector):
        """A connector class derived like that of aiohttp_socks."""

    dialled = []

    async def refuse(request: web.Request) -> web.Response:
        dialled.append(request.headers["User-Agent"])
        return web.Response(status=418)

    async with served(web.get("/", refuse)) as at:
        for options in ({"connector": Other()}, {"trust_env": True}):
            async with aiohttp.ClientSession(headers={"User-Agent": "its own"}, **options) as session:
                with pytest.raises(aiohttp.WSServerHandshakeError):
                    await picows.dial(session, ssl.create_default_context(), f"ws://{at}/", {"max_msg_size": 1})
    assert dialled == ["its own"] * 2  # picows would not use this connector


async def test_a_redirect_is_followed(transport: Transport | None) -> None:
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
        dialled(f"ws://{at}/", transport) as made,
    ):
        await until(lambda: made.frames == [{"there": 1}])


# --- TLS --------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def over_tls(certificate: Path, *frames: str) -> AsyncIterator[int]:
    """A server that says ``frames`` over TLS; yields its port."""

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


async def test_a_server_of_a_known_authority_is_trusted(transport: Transport | None, certificate: Path) -> None:
    frames = [f'{{"n":{number},"x":"{"x" * (number % 3000)}"}}' for number in range(2000)]
    async with over_tls(certificate, *frames) as port:
        trusted = ssl.create_default_context(cafile=str(certificate))
        async with dialled(f"wss://127.0.0.1:{port}/", transport, tls=trusted) as made:
            await made.client.send({"n": 2000})
            await until(lambda: [each["n"] for each in made.frames] == list(range(2001)))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_server_of_an_unknown_authority_or_another_name_is_not(
    transport: Transport | None, certificate: Path, host: str
) -> None:
    async with over_tls(certificate) as port:
        known = host == "localhost"  # otherwise the certificate is for another name
        tls = ssl.create_default_context(cafile=str(certificate)) if known else ssl.create_default_context()
        async with dialled(f"wss://{host}:{port}/", transport, tls=tls) as made:
            assert "CERTIFICATE_VERIFY_FAILED" in made.reason
            assert not made.client.isConnected


async def test_without_verification_any_server_is_accepted(transport: Transport | None, certificate: Path) -> None:
    async with (
        over_tls(certificate, '{"n":1}') as port,
        dialled(f"wss://127.0.0.1:{port}/", transport, tls=False) as made,
    ):
        await until(lambda: made.frames == [{"n": 1}])


# --- the choice -------------------------------------------------------------------------------------------------------


def test_picows_is_used_if_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("picows", reason="the extra [fast] is not installed")
    monkeypatch.delenv(VARIABLE, raising=False)
    assert isinstance(transport_for(None), Transport)
    assert isinstance(transport_for("picows"), Transport)
    assert transport_for("aiohttp") is None
    monkeypatch.setattr("exchanges.ccxt_adapter.transport.choose.find_spec", lambda name: None)
    assert transport_for(None) is None
    assert transport_for("aiohttp") is None
    with pytest.raises(ValueError, match=r"picows, which is not installed: pip install \"market-feed\[fast\]\""):
        transport_for("picows")


def test_the_environment_chooses_if_the_settings_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """So the whole suite can run on either transport: ``MARKET_FEED_TRANSPORT=aiohttp pytest``."""
    pytest.importorskip("picows", reason="the extra [fast] is not installed")
    monkeypatch.setenv(VARIABLE, "aiohttp")
    assert transport_for(None) is None
    assert isinstance(transport_for("picows"), Transport)
    monkeypatch.setenv(VARIABLE, "picow")
    with pytest.raises(ValueError, match="MARKET_FEED_TRANSPORT is 'picow', allowed are aiohttp and picows"):
        transport_for(None)
    assert transport_for("aiohttp") is None


@pytest.mark.parametrize("wrong", ["websockets", "", 1, True, ["aiohttp"]])
def test_an_unknown_transport_is_refused_with_the_known_ones(wrong: Any) -> None:
    with pytest.raises(Rejected) as caught:
        open_venue("binance", Access(options={"transport": wrong}))
    assert caught.value.reason == f"options.transport is {wrong!r}, allowed are aiohttp and picows"
