"""One WebSocket under ccxt's own client, over aiohttp and over picows: nobody can tell which it was."""

from __future__ import annotations

import asyncio
import json
import ssl
import zlib
from base64 import b64encode
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from hashlib import sha1
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import WSMsgType, web
from ccxt.async_support.base.ws.client import Client

from exchanges import Access
from exchanges.ccxt_adapter.stream.client_guard import FrameReading, abort, arm, hang_up
from exchanges.ccxt_adapter.transport.choose import TRANSPORTS, VARIABLE, Transport, transport_for
from exchanges.ccxt_adapter.venue import open_venue
from exchanges.errors import Rejected
from exchanges.simulator.connections.websocket_frames import close_frame, text_frame
from exchanges.venues.fast_decoder import Blame, Take
from tests.exchanges.support import served
from tests.support import until

Talk = Callable[[web.Request, web.WebSocketResponse], Awaitable[None]]


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> Transport | None:
    if request.param == "picows":
        pytest.importorskip("picows", reason="the extra [fast] is not installed")
    return transport_for(request.param)


def blaming(take: Take, blame: Blame) -> Take:
    """``take`` as the hot path makes one: what the listener raises is told."""

    def taken(text: str) -> bool:
        try:
            return take(text)
        except RuntimeError as error:
            blame(text, 1, error)
            return True

    return taken


class Dialled:
    """A real ccxt client, armed, and all that it told."""

    def __init__(
        self, url: str, transport: Transport | None, tls: ssl.SSLContext | bool, take: Any, frames: list[Any]
    ) -> None:
        self.frames = frames
        self.errors: list[Any] = []
        self.codes: list[int] = []
        self.bad: list[str] = []
        self.transport = transport
        self.session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls))
        self.client = Client(
            url,
            lambda client, frame: self.frames.append(frame),
            lambda client, error: self.errors.append(error),
            lambda client, code: self.codes.append(code),
            lambda client: None,
            {"asyncio_loop": asyncio.get_running_loop(), "keepAlive": 60_000},
        )
        carry = partial(transport.carry, tls=tls) if transport else lambda session: session
        taker = None if take is None else partial(blaming, take)
        arm(self.client, FrameReading(), (), self.bad.append, lambda frame: None, None, 5.0, taker, carry=carry)

    @property
    def reason(self) -> str:
        """What the dial or the connection failed for."""
        return str(self.errors[0])

    async def dial(self) -> None:
        self.client.connect(self.session)
        await until(lambda: self.client.isConnected or bool(self.errors))


@asynccontextmanager
async def dialled(
    url: str,
    transport: Transport | None,
    *,
    tls: ssl.SSLContext | bool | None = None,
    take: Any = None,
    frames: list[Any] | None = None,
) -> AsyncIterator[Dialled]:
    """A client that has dialled, or failed to; what ``take`` does not take comes to ``frames``."""
    context = ssl.create_default_context() if tls is None else tls
    made = Dialled(url, transport, context, take, [] if frames is None else frames)
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
    """A server whose WebSocket is given to ``talk``; yields its address."""

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
    """A server whose TCP connections are given to ``talk`` and closed behind it; yields ``host:port``."""
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
    """Writes bytes as they are."""

    async def talk(request: web.Request, socket: web.WebSocketResponse) -> None:
        assert request.transport is not None
        request.transport.write(b"".join(frames))

    return talk


def frame(payload: bytes, first: int) -> bytes:
    """A short frame whose first byte (fin, reserved bits, opcode) is ``first``."""
    return bytes([first, len(payload)]) + payload


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


async def test_both_ask_alike() -> None:
    """Some venues' front doors turn away who looks otherwise; cookies and a module's own headers go along."""
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
    """With ccxt's own connector for it, which needs a package that ccxt does not bring: the handshake is RFC 1928's."""
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
    """So do ccxt's for SOCKS proxies, and one that asks the environment for a proxy."""
    pytest.importorskip("picows", reason="the extra [fast] is not installed")
    picows = transport_for("picows")
    assert picows is not None

    class Other(aiohttp.TCPConnector):
        """As aiohttp_socks derives its own."""

    dialled = []

    async def refuse(request: web.Request) -> web.Response:
        dialled.append(request.headers["User-Agent"])
        return web.Response(status=418)

    async with served(web.get("/", refuse)) as at:
        for options in ({"connector": Other()}, {"trust_env": True}):
            async with aiohttp.ClientSession(headers={"User-Agent": "its own"}, **options) as session:
                with pytest.raises(aiohttp.WSServerHandshakeError):
                    await picows.dial(session, ssl.create_default_context(), f"ws://{at}/", {"max_msg_size": 1})
    assert dialled == ["its own"] * 2  # picows would not know of it


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
        known = host == "localhost"  # then the certificate is for another name
        tls = ssl.create_default_context(cafile=str(certificate)) if known else ssl.create_default_context()
        async with dialled(f"wss://{host}:{port}/", transport, tls=tls) as made:
            assert "CERTIFICATE_VERIFY_FAILED" in made.reason
            assert not made.client.isConnected


async def test_without_verification_any_server_will_do(transport: Transport | None, certificate: Path) -> None:
    async with (
        over_tls(certificate, '{"n":1}') as port,
        dialled(f"wss://127.0.0.1:{port}/", transport, tls=False) as made,
    ):
        await until(lambda: made.frames == [{"n": 1}])


# --- reading and writing ----------------------------------------------------------------------------------------------


async def test_texts_and_bytes_go_both_ways(transport: Transport | None) -> None:
    async def echo(request: web.Request, socket: web.WebSocketResponse) -> None:
        async for message in socket:
            await socket.send_str(message.data)
            await socket.send_bytes(message.data.encode())

    async with talking(echo) as url, dialled(url, transport) as made:
        long = {"long": "ä" * 100_000}
        for request in ({"a": "ü€😀"}, long, "ping"):
            await made.client.send(request)
        await until(lambda: len(made.frames) == 6)
        assert made.frames == [{"a": "ü€😀"}] * 2 + [long] * 2 + ["ping"] * 2


async def test_what_comes_with_the_handshake_is_not_lost(transport: Transport | None) -> None:
    async with (
        talking(raw(*(text_frame(f'{{"n":{number}}}') for number in range(3)))) as url,
        dialled(url, transport) as made,
    ):
        await until(lambda: [each["n"] for each in made.frames] == [0, 1, 2])


@pytest.mark.parametrize("hot", [True, False])
async def test_a_burst_comes_whole_and_in_order(transport: Transport | None, hot: bool) -> None:
    """100,000 small frames, every third of them not for the hot path, and pings between them."""
    count, frames = 100_000, list[Any]()

    def take(text: str) -> bool:
        if text[2] != "h":
            return False
        frames.append(text)
        return True

    async def burst(request: web.Request, socket: web.WebSocketResponse) -> None:
        assert request.transport is not None
        for start in range(0, count, 1000):
            texts = (
                f'{{"{"cold" if number % 3 == 0 else "hot"}":{number},"filler":"{"x" * 120}"}}'
                for number in range(start, start + 1000)
            )
            request.transport.write(b"".join(map(text_frame, texts)) + frame(b"", 0x89))
            await asyncio.sleep(0)

    async with talking(burst) as url, dialled(url, transport, take=take if hot else None, frames=frames) as made:
        await until(lambda: len(frames) >= count, timeout=60)
        came = [json.loads(each) if isinstance(each, str) else each for each in frames]
        assert [next(iter(each.values())) for each in came] == list(range(count))
        assert sum(isinstance(each, str) for each in frames) == (66_666 if hot else 0)
        assert made.bad == []


async def test_what_a_slow_reader_does_not_take_stays_with_the_sender(transport: Transport | None) -> None:
    """64 MB that come faster than they are read: never more of it under way than the sockets hold."""
    size, count, sent, taken, most = 65_536, 1_000, 0, 0, 0

    def take(text: str) -> bool:
        nonlocal most, taken
        most = max(most, sent - taken)
        taken += 1
        return True

    async def flood(request: web.Request, socket: web.WebSocketResponse) -> None:
        nonlocal sent
        for _ in range(count):
            sent += 1
            await socket.send_str("x" * size)

    async with talking(flood, compress=False) as url, dialled(url, transport, take=take):
        await until(lambda: taken == count, timeout=60)
        assert most * size < 32_000_000


async def test_a_burst_leaves_the_loop_its_turns(transport: Transport | None) -> None:
    """20 MB that wait in the kernel: what others do goes on between a few hundred frames and the next."""
    size, count, turn, came = 1_000, 20_000, 0, list[int]()

    def take(text: str) -> bool:
        came.append(turn)
        return True

    async def flood(request: web.Request, socket: web.WebSocketResponse) -> None:
        assert request.transport is not None
        request.transport.write(text_frame("x" * size) * count)

    async def others() -> None:
        nonlocal turn
        while len(came) < count:
            turn += 1
            await asyncio.sleep(0)

    async with talking(flood, compress=False) as url, dialled(url, transport, take=take):
        await asyncio.wait_for(others(), 60)
        seen = Counter(each for each in came if each)  # before that nobody counted
        assert max(seen.values()) * size < 1_000_000


async def test_a_listener_that_raises_costs_one_frame(transport: Transport | None) -> None:
    def take(text: str) -> bool:
        if "1" in text:
            raise RuntimeError("a listener's own")
        return False

    pad = " " * 130
    async with (
        talking(raw(*(text_frame(f'{{"n":{number}}}{pad}') for number in range(3)))) as url,
        dialled(url, transport, take=take) as made,
    ):
        await until(lambda: [each["n"] for each in made.frames] == [0, 2])
        assert len(made.bad) == 1


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536, 10_000_000])
async def test_frames_of_any_size_are_read(transport: Transport | None, size: int) -> None:
    async def talk(request: web.Request, socket: web.WebSocketResponse) -> None:
        await socket.send_str("x" * size)

    async with talking(talk) as url, dialled(url, transport) as made:
        await until(lambda: made.frames == ["x" * size])


async def test_fragments_are_put_together(transport: Transport | None) -> None:
    """Control frames may stand between them; a character may be torn in two."""
    euro = "€".encode()
    frames = (
        frame(b'{"a":"' + euro[:1], 0x01), frame(b"", 0x89), frame(euro[1:], 0x00), frame(b"", 0x00),
        frame(b'"}', 0x80), frame(b'{"b":1}', 0x81),
        frame(b'{"c"', 0x02), frame(b":1}", 0x80),
    )  # fmt: skip
    async with talking(raw(*frames)) as url, dialled(url, transport, take=lambda text: False) as made:
        await until(lambda: made.frames == [{"a": "€"}, {"b": 1}, {"c": 1}])


@pytest.mark.parametrize("takeover", [True, False])
async def test_compressed_messages_are_read(transport: Transport | None, takeover: bool) -> None:
    """RFC 7692, with one window for all messages and with a new one for each; also of frames that are not."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = (await reader.readuntil(b"\r\n\r\n")).decode()
        head = {line.split(": ")[0].lower(): line.split(": ")[1] for line in request.split("\r\n")[1:-2]}
        key = head["sec-websocket-key"].encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        answer = b64encode(sha1(key).digest()).decode()
        more = "" if takeover else "; server_no_context_takeover"
        writer.write(
            f"HTTP/1.1 101 OK\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: {answer}\r\n"
            f"Sec-WebSocket-Extensions: permessage-deflate{more}\r\n\r\n".encode()
        )
        packer = zlib.compressobj(wbits=-15)
        for number in range(50):
            if not takeover:
                packer = zlib.compressobj(wbits=-15)
            text = f'{{"n":{number},"same":"{"same" * 50}"}}'.encode()
            packed = (packer.compress(text) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]
            writer.write(frame(packed[:5], 0x41) + frame(packed[5:], 0x80))
        writer.write(text_frame('{"n":50}'))
        await reader.read(1)

    async with listening(talk) as at, dialled(f"ws://{at}/", transport, take=lambda text: False) as made:
        await until(lambda: [each["n"] for each in made.frames] == list(range(51)))
        assert made.frames[49]["same"] == "same" * 50


BREAKING = {
    "text that is no UTF-8": frame(b"\xff\xfe{}", 0x81),
    "a long text that is no UTF-8": bytes([0x81, 126, 0, 200]) + b"\xff" * 200,
    "an unknown opcode": frame(b"", 0x85),
    "a fragment of nothing": frame(b"x", 0x80),
    "a message within a message": frame(b"x", 0x01) + frame(b"x", 0x81),
    "a reserved bit": frame(b"x", 0xC1),
    "a frame of 11 MB": bytes([0x81, 127]) + (11_000_000).to_bytes(8, "big") + b"x",
    "too much in fragments": b"".join(
        bytes([0x01 if part == 0 else 0x00, 127]) + (1_000_000).to_bytes(8, "big") + b"x" * 1_000_000
        for part in range(11)
    ),
}


@pytest.mark.parametrize("what", BREAKING)
async def test_a_peer_that_breaks_the_protocol_is_left_with_a_reason(transport: Transport | None, what: str) -> None:
    async with (
        talking(raw(BREAKING[what]), compress=False) as url,
        dialled(url, transport, take=lambda text: False) as made,
    ):
        await until(lambda: made.client.closed())
        await until(lambda: bool(made.errors))
        assert made.reason
        assert made.frames == made.bad == []


# --- pings and the end ------------------------------------------------------------------------------------------------


async def test_a_ping_is_answered_with_its_own_text(transport: Transport | None) -> None:
    pongs = []

    async def talk(request: web.Request, socket: web.WebSocketResponse) -> None:
        await socket.ping(b"are you there")
        pongs.append(await socket.receive())

    async with talking(talk) as url, dialled(url, transport):
        await until(lambda: bool(pongs))
        assert (pongs[0].type, pongs[0].data) == (WSMsgType.PONG, b"are you there")


async def test_ccxts_own_pings_are_answered_and_noted(transport: Transport | None) -> None:
    """Its keepalive counts on it."""

    async def talk(request: web.Request, socket: web.WebSocketResponse) -> None:
        async for message in socket:
            if message.type is WSMsgType.PING:
                await socket.pong(message.data)

    async with talking(talk) as url, dialled(url, transport) as made:
        assert made.client.lastPong is None
        await made.client.connection.ping()
        await until(lambda: made.client.lastPong is not None)


@pytest.mark.parametrize("code", [1000, 1001, 1008, 1012, 4001])
async def test_a_close_frame_is_told_with_its_code_after_all_that_came_before(
    transport: Transport | None, code: int
) -> None:
    answered = asyncio.Event()

    async def talk(request: web.Request, socket: web.WebSocketResponse) -> None:
        assert request.transport is not None
        request.transport.write(text_frame('{"last":1}') + close_frame(code, "bye"))
        if (await socket.receive()).type in (WSMsgType.CLOSE, WSMsgType.CLOSING):
            answered.set()

    async with talking(talk, autoclose=False) as url, dialled(url, transport) as made:
        await until(lambda: bool(made.codes))
        assert made.codes[0] == code
        assert made.frames == [{"last": 1}]
        async with asyncio.timeout(10):
            await answered.wait()
        await until(made.client.closed)


@pytest.mark.parametrize("how", ["close", "abort"])
async def test_an_end_without_a_close_frame_is_code_1006(transport: Transport | None, how: str) -> None:
    async def talk(request: web.Request, socket: web.WebSocketResponse) -> None:
        await socket.send_str('{"last":1}')
        await socket.receive()
        assert request.transport is not None
        getattr(request.transport, how)()

    async with talking(talk) as url, dialled(url, transport) as made:
        await until(lambda: made.frames == [{"last": 1}])
        await made.client.send("now")
        await until(lambda: bool(made.codes))
        assert made.codes == [1006]
        assert made.client.closed()
        with pytest.raises(ConnectionError):
            await made.client.send("too late")


async def test_closing_sends_a_close_frame_and_accepts_nothing_more(transport: Transport | None) -> None:
    told = []

    async def talk(request: web.Request, socket: web.WebSocketResponse) -> None:
        told.append(await socket.receive())
        assert request.transport is not None
        request.transport.write(text_frame('{"late":1}') + close_frame(1000, ""))

    async with talking(talk, autoclose=False) as url, dialled(url, transport) as made:
        async with asyncio.timeout(5):
            await made.client.close()
        assert made.client.closed()
        assert (told[0].type, told[0].data) == (WSMsgType.CLOSE, 1000)
        assert made.frames == []


async def test_a_connection_can_be_dropped_without_its_peer(transport: Transport | None) -> None:
    """One that is gone answers no close frame."""
    ended = asyncio.Event()

    async def deaf(request: web.Request, socket: web.WebSocketResponse) -> None:
        await until(lambda: request.transport is None or request.transport.is_closing())
        ended.set()

    async with talking(deaf) as url, dialled(url, transport) as made:
        closing = asyncio.create_task(made.client.close())
        await asyncio.sleep(0)
        abort(made.client)
        async with asyncio.timeout(5):
            await closing
            await ended.wait()


# --- the choice -------------------------------------------------------------------------------------------------------


def test_picows_is_taken_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_the_environment_chooses_where_the_settings_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """So the whole suite runs on either: ``MARKET_FEED_TRANSPORT=aiohttp pytest``."""
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
