"""Hostile answers over real sockets: sizes, redirects, proxies, certificates, on both transports."""

from __future__ import annotations

import asyncio
import gzip
import ssl
import traceback
import tracemalloc
import zlib
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from yarl import URL

from exchanges.ccxt_adapter.transport.choose import TRANSPORTS
from exchanges.ccxt_adapter.transport.http_client import MOST_BYTES, why_refused
from exchanges.ccxt_adapter.venue import CcxtVenue
from exchanges.errors import Disconnected, VenueError
from exchanges.simulator import Simulator
from tests.exchanges.ccxt_adapter.transport.support import listening
from tests.exchanges.support import opened, served, streaming
from tests.support import until

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
SECRET = "hunter2-S3cr3t"
VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(params=TRANSPORTS)
def options(request: pytest.FixtureRequest) -> dict[str, Any]:
    if request.param == "picows":
        pytest.importorskip("picows", reason="the extra [fast] is not installed")
    return {"transport": request.param}


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*VARIABLES, *map(str.upper, VARIABLES), "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)


async def failure(work: Awaitable[Any]) -> VenueError:
    with pytest.raises(VenueError) as caught:
        await work
    return caught.value


async def dial_failure(venue: CcxtVenue) -> VenueError:
    """The error with which a stream ends, at a venue with loaded markets."""
    async with streaming(venue, ["BTC"]) as running:
        error = await running.ended()
    assert isinstance(error, VenueError)
    return error


# --- sizes ------------------------------------------------------------------------------------------------------------


def packed(kind: str, size: int) -> Iterator[bytes]:
    """So many spaces, packed, in pieces."""
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
async def test_an_answer_is_read_to_64_mb_and_no_further(how: str, status: int) -> None:
    """As it comes, unpacked, and whatever its status is."""
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


async def test_an_answer_that_trickles_is_given_up_in_time() -> None:
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


async def test_an_endless_refusal_of_a_dial_is_not_read(options: dict[str, Any]) -> None:
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


# --- redirects --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "to", "followed"),
    [
        ("https://a.example/x", "https://a.example/y", True),
        ("https://a.example/x", "https://A.example:443/y", True),
        ("http://a.example/x", "https://a.example/x", True),
        ("ws://a.example/x", "wss://a.example/x", True),
        ("http://a.example:8080/x", "https://a.example:8443/x", False),
        ("https://a.example/x", "http://a.example/x", False),
        ("wss://a.example/x", "ws://a.example/x", False),
        ("wss://a.example/x", "http://named.example/x", False),
        ("https://a.example/x", "https://b.example/x", False),
        ("https://a.example/x", "https://b.a.example/x", False),
        ("https://a.example/x", "https://a.example.evil/x", False),
        ("https://a.example/x", "https://a.example@evil/x", False),
        ("https://a.example/x", "https://a.example:444/x", False),
        ("https://a.example/x", "https://named.example/x", True),
        ("https://a.example/x", "https://named.example:8443/x", False),
    ],
)
def test_a_redirect_to_plain_text_or_another_host_is_not_followed(at: str, to: str, followed: bool) -> None:
    assert (why_refused(URL(at), URL(to), {("named.example", 443), ("named.example", 80)}) == "") is followed


def redirecting(to: Callable[[], str], status: int) -> Handler:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status, headers={"Location": to()})

    return answer


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_to_another_host_is_not_followed(options: dict[str, Any], status: int) -> None:
    asked = []

    async def elsewhere(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.json_response({"symbols": []})

    async with (
        Simulator(venues=("binance",), rate=0) as simulator,
        served(web.get("/{path:.*}", elsewhere)) as other,
        served(web.get("/{path:.*}", redirecting(lambda: f"http://{other}/there", status))) as at,
    ):
        async with opened("binance", simulator, rest_url=f"http://{at}", options=options) as venue:
            error = await failure(venue.load())
            assert "is not followed: it leads to another host, which the settings do not name" in error.reason
        async with opened("binance", simulator, ws_url=f"ws://{at}", options=options) as venue:
            await venue.load()
            error = await dial_failure(venue)
            assert "is not followed: it leads to another host, which the settings do not name" in error.reason
        assert asked == []


@pytest.mark.parametrize(
    ("to", "words"), [("/round", "redirects of"), (None, "302")], ids=["in a circle", "without an address"]
)
async def test_a_redirect_that_leads_nowhere_is_told(options: dict[str, Any], to: str | None, words: str) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=302, headers={} if to is None else {"Location": to})

    async with Simulator(venues=("binance",), rate=0) as simulator, served(web.get("/{path:.*}", answer)) as at:
        async with opened("binance", simulator, rest_url=f"http://{at}", options=options) as venue:
            assert words in (await failure(venue.load())).reason
        async with opened("binance", simulator, ws_url=f"ws://{at}", options=options) as venue:
            await venue.load()
            assert words in (await dial_failure(venue)).reason


async def test_a_redirect_to_a_host_that_the_settings_name_is_followed(options: dict[str, Any]) -> None:
    async with Simulator(venues=("binance",), rate=0) as simulator:

        async def moved(request: web.Request) -> web.Response:
            raise web.HTTPTemporaryRedirect(f"{simulator.rest_url}{request.path_qs}")

        async with (
            served(web.get("/{path:.*}", moved)) as at,
            opened("binance", simulator, rest_url=f"http://{at}", options=options) as venue,
        ):
            await venue.load()
            assert venue.market("BTC") == "BTC/USDT"
        async with (
            served(web.get("/{path:.*}", moved)) as at,
            opened("binance", simulator, ws_url=f"ws://{at}", options=options) as venue,
            streaming(venue, ["BTC"]) as running,
        ):
            await running.until(lambda: any(each.subscriptions for each in simulator["binance"].connections))
            await simulator["binance"].trade("BTC", count=3)
            await running.until(lambda: len(running.heard.trades) == 3)


@pytest.mark.parametrize(
    "to", ["http://{host}/there", "http://127.0.0.1:9/", "ftp://127.0.0.1/", "http://[", "//127.0.0.1:9/x"]
)
async def test_a_redirect_from_tls_leads_to_no_plain_text(
    options: dict[str, Any], certificate: Path, monkeypatch: pytest.MonkeyPatch, to: str
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)
    host = ""
    async with (
        Simulator(venues=("binance",), rate=0) as simulator,
        served(web.get("/{path:.*}", redirecting(lambda: to.format(host=host), 302)), tls=tls) as at,
    ):
        host = at
        async with opened("binance", simulator, rest_url=f"https://{at}", options=options) as venue:
            assert isinstance(error := await failure(venue.load()), Disconnected)
            assert "redirect" in error.reason
        async with opened("binance", simulator, ws_url=f"wss://{at}", options=options) as venue:
            await venue.load()
            assert "redirect" in (await dial_failure(venue)).reason


# --- proxies ----------------------------------------------------------------------------------------------------------


class Proxy:
    """A proxy for plain HTTP and CONNECT that notes what it is asked, and refuses it or passes it on."""

    def __init__(self, refusal: str = "", to: str = "") -> None:
        self.refusal = refusal
        self.to = to  # host:port that everything goes to
        self.asked: list[str] = []
        self.logins: list[str] = []

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        line, *headers = head.split("\r\n")
        self.asked.append(line)
        self.logins += [each.partition(": ")[2] for each in headers if each.lower().startswith("proxy-authorization")]
        if self.refusal:
            writer.write(f"HTTP/1.1 {self.refusal}\r\nContent-Length: {len(head)}\r\n\r\n{head}".encode())
            await writer.drain()
            return
        host, port = self.to.split(":")
        there, out = await asyncio.open_connection(host, int(port))
        if line.startswith("CONNECT"):
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            method, url, version = line.split(" ")
            passed = [each for each in headers if not each.lower().startswith("proxy-")]
            out.write("\r\n".join([f"{method} {URL(url).raw_path_qs} {version}", *passed]).encode())
        await asyncio.gather(_passed(reader, out), _passed(there, writer))


async def _passed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while piece := await reader.read(65_536):
            writer.write(piece)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def proxying(**how: str) -> AsyncIterator[tuple[str, Proxy]]:
    proxy = Proxy(**how)
    async with listening(proxy.answer) as at:
        yield at, proxy


def address(simulator: Simulator) -> str:
    return simulator.rest_url.partition("//")[2]


FAR = {"rest_url": "http://venue.invalid", "ws_url": "ws://venue.invalid"}


@pytest.mark.parametrize("where", ["http_proxy", "HTTP_PROXY", "ALL_PROXY", "settings"])
async def test_a_proxy_carries_rest_and_the_stream(
    options: dict[str, Any], where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        Simulator(venues=("binance",), rate=0) as simulator,
        proxying(to=address(simulator)) as (at, proxy),
    ):
        named = f"http://me:{SECRET}@{at}"
        if where != "settings":
            monkeypatch.setenv(where, named)
        given = {"proxy": named} if where == "settings" else {}
        async with opened("binance", simulator, **FAR, options=options, **given) as venue:
            assert {str(each) for each in venue.proxies.values()} == {f"http://***@{at} ({where})"}
            async with streaming(venue, ["BTC"]) as running:
                await running.until(lambda: any(each.subscriptions for each in simulator["binance"].connections))
                await simulator["binance"].trade("BTC")
                await running.until(lambda: len(running.heard.trades) == 1)
        assert all("venue.invalid" in line for line in proxy.asked)
        assert len(proxy.asked) == 2
        assert proxy.logins == [f"Basic {b64encode(f'me:{SECRET}'.encode()).decode()}"] * 2


async def test_tls_goes_through_a_tunnel(
    options: dict[str, Any], certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The certificate is for 127.0.0.1, so this is what is asked for, by a proxy that the settings name."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)

    async def no_market(request: web.Request) -> web.Response:
        return web.json_response({"symbols": []})

    async with served(web.get("/{path:.*}", no_market), tls=tls) as at, proxying(to=at) as (proxy_at, proxy):
        where = {"rest_url": "https://127.0.0.1:1", "ws_url": "wss://127.0.0.1:1"}
        async with opened("binance", at, **where, options=options, proxy=f"http://me:{SECRET}@{proxy_at}") as venue:
            assert "no spot market at all" in (await failure(venue.load())).reason
        assert proxy.asked == ["CONNECT 127.0.0.1:1 HTTP/1.1"]


@pytest.mark.parametrize("how", ["loopback", "none", "no_proxy"])
async def test_hosts_in_no_proxy_are_asked_directly(
    options: dict[str, Any], how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Simulator(venues=("binance",), rate=0) as simulator, proxying(refusal="502 No") as (at, proxy):
        monkeypatch.setenv("ALL_PROXY", f"http://{at}")
        if how == "no_proxy":
            monkeypatch.setenv("NO_PROXY", ".invalid")
        given: dict[str, Any] = {} if how == "loopback" else FAR
        if how == "none":
            given = {**given, "proxy": "none"}
        async with opened("binance", simulator, options=options, **given) as venue:
            assert set(venue.proxies.values()) == {None}
            if how == "loopback":
                async with streaming(venue, ["BTC"]) as running:
                    await running.until(lambda: any(each.subscriptions for each in simulator["binance"].connections))
            else:
                assert isinstance(await failure(venue.load()), Disconnected)
        assert proxy.asked == []


async def test_a_wrong_proxy_of_the_environment_is_reported_with_its_variable(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"gopher://me:{SECRET}@proxy.example")
    async with Simulator(venues=("binance",), rate=0) as simulator:
        async with opened("binance", simulator, **FAR, options=options) as venue:
            error = await failure(venue.load())
            assert "the environment's HTTP_PROXY is 'gopher://***@proxy.example', allowed is" in error.reason
            assert error.reason in venue.proxies.values()
        async with opened("binance", simulator, ws_url=FAR["ws_url"], options=options) as venue:
            await venue.load()
            assert "HTTP_PROXY is 'gopher://***@proxy.example'" in (await dial_failure(venue)).reason


async def test_a_socks_proxy_carries_both(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 1928 and 1929: a name that the proxy looks up, a user and a password."""
    pytest.importorskip("aiohttp_socks", reason="the extra [socks] is not installed")
    asked, logins = [], []
    async with Simulator(venues=("binance",), rate=0) as simulator:

        async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            _, methods = await reader.readexactly(2)
            await reader.readexactly(methods)
            writer.write(b"\x05\x02")
            user = await reader.readexactly((await reader.readexactly(2))[1])
            password = await reader.readexactly((await reader.readexactly(1))[0])
            logins.append((user.decode(), password.decode()))
            writer.write(b"\x01\x00")
            *_, length = await reader.readexactly(5)
            asked.append((await reader.readexactly(length)).decode())
            await reader.readexactly(2)
            host, port = address(simulator).split(":")
            there, out = await asyncio.open_connection(host, int(port))
            writer.write(b"\x05\x00\x00\x01" + bytes(6))
            await asyncio.gather(_passed(reader, out), _passed(there, writer))

        async with listening(proxy) as at:
            monkeypatch.setenv("all_proxy", f"socks5h://me:{SECRET}@{at}")
            async with (
                opened("binance", simulator, **FAR, options=options) as venue,
                streaming(venue, ["BTC"]) as running,
            ):
                await running.until(lambda: any(each.subscriptions for each in simulator["binance"].connections))
        assert asked == ["venue.invalid"] * 2
        assert logins == [("me", SECRET)] * 2


async def test_a_refusal_by_a_socks_proxy_is_reported_as_the_proxys(options: dict[str, Any]) -> None:
    pytest.importorskip("aiohttp_socks", reason="the extra [socks] is not installed")

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, methods = await reader.readexactly(2)
        await reader.readexactly(methods)
        writer.write(b"\x05\x00")
        await reader.readexactly(10)
        writer.write(b"\x05\x02\x00\x01" + bytes(6))  # not allowed by its rules

    async with Simulator(venues=("binance",), rate=0) as simulator, listening(refuse) as at:
        proxy = f"socks5://me:{SECRET}@{at}"
        async with opened("binance", simulator, **FAR, options=options, proxy=proxy) as venue:
            error = await failure(venue.load())
        assert isinstance(error, Disconnected)
        assert "the SOCKS proxy failed" in error.reason
        assert SECRET not in everything_said(error)


# --- secrets and terminals --------------------------------------------------------------------------------------------


def everything_said(error: BaseException) -> str:
    """All texts of an error and its causes."""
    texts = [str(error), repr(error), "".join(traceback.format_exception(error))]
    for other in (error.__cause__, error.__context__):
        if other is not None:
            texts.append(everything_said(other))
    return "\n".join(texts)


@pytest.mark.parametrize("where", ["settings", "HTTPS_PROXY"])
@pytest.mark.parametrize("refusal", ["407 Proxy Authentication Required", "404 Not Found", "502 Bad", "451 No"])
async def test_no_error_shows_a_proxys_password(
    options: dict[str, Any], refusal: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy quotes the request, also in the reason of its answer."""
    encoded = b64encode(f"me:{SECRET}".encode()).decode()
    async with (
        Simulator(venues=("binance",), rate=0) as simulator,
        proxying(refusal=f"{refusal} to {encoded} {SECRET}") as (at, proxy),
    ):
        named = f"http://me:{SECRET}@{at}"
        if where != "settings":
            monkeypatch.setenv(where, named)
            monkeypatch.setenv("HTTP_PROXY", named)
        given = {"proxy": named} if where == "settings" else {}
        for scheme in ("", "s"):
            far = {"rest_url": f"http{scheme}://venue.invalid"}
            async with opened("binance", simulator, **far, options=options, **given) as venue:
                said = everything_said(await failure(venue.load())) + repr(venue) + repr(venue.access)
            assert SECRET not in said
            assert encoded.rstrip("=") not in said
        if where != "settings":
            for scheme in ("ws", "wss"):
                async with opened("binance", simulator, ws_url=f"{scheme}://venue.invalid", options=options) as venue:
                    await venue.load()
                    said = everything_said(await dial_failure(venue))
                assert SECRET not in said
                assert encoded.rstrip("=") not in said
        assert proxy.logins


async def test_what_a_venue_says_is_printable_and_quotes_no_key(options: dict[str, Any]) -> None:
    key = "AKIA-0123456789"
    nasty = f"\x1b[2J\x9b31m\u202ebad\u2066\x07 {key} \r\n{'x' * 5000}"

    async def refuse(request: web.Request) -> web.Response:
        return web.json_response({"code": -1, "msg": nasty}, status=400, dumps=lambda value: str(value["msg"]))

    async def close(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        with suppress(ConnectionError):
            await socket.send_bytes(f'{{"e":"trade","x":"{nasty}'.encode())
            await socket.send_str(f'{{"e":"trade","s":"BTCUSDT","p":"\u202e{key}","q":{{}}}}')
            await socket.close(code=4001, message="\x1b]0;\u202e".encode())
        return socket

    given = {"options": {**options, "apiKey": key}}
    async with Simulator(venues=("binance",), rate=0) as simulator:
        async with served(web.get("/{path:.*}", refuse)) as at, opened("binance", at, **given) as venue:
            error = await failure(venue.load())
            assert error.reason.isprintable()
            assert len(error.reason) <= 250
            assert key not in everything_said(error)
        async with (
            served(web.get("/{path:.*}", close)) as at,
            opened("binance", simulator, ws_url=f"ws://{at}", **given) as venue,
            streaming(venue, ["BTC"]) as running,
        ):
            ended = await running.ended()
            assert isinstance(ended, VenueError)
            assert ended.reason.isprintable()
            await until(lambda: bool(running.heard.bad))
            for sample in running.heard.bad:
                assert sample.isprintable()
                assert key not in sample
                assert len(sample) <= 250


# --- certificates -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
async def test_an_authority_of_the_environment_is_trusted(
    options: dict[str, Any], certificate: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)

    async def talk(request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade"):
            return web.Response(status=429, headers={"Retry-After": "9"})
        return web.json_response({"symbols": []})

    async with (
        Simulator(venues=("binance",), rate=0) as simulator,
        served(web.get("/{path:.*}", talk), tls=tls) as at,
    ):
        for trusted in (False, True):
            if trusted:
                monkeypatch.setenv(how, str(certificate if how == "SSL_CERT_FILE" else certificate.parent))
            async with opened("binance", at, rest_url=f"https://{at}", options=options) as venue:
                rest = (await failure(venue.load())).reason
            async with opened("binance", simulator, ws_url=f"wss://{at}", options=options) as venue:
                await venue.load()
                dial = (await dial_failure(venue)).reason
            for reason in (rest, dial):
                assert ("CERTIFICATE_VERIFY_FAILED" in reason) is not trusted
                assert all((name in reason) is not trusted for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"))


@pytest.mark.parametrize("how", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
async def test_a_variable_that_names_a_missing_file_is_reported(
    how: str, certificate: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(how, str(tmp_path / "nothing"))
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)
    async with (
        Simulator(venues=("binance",), rate=0) as simulator,
        served(tls=tls) as at,
    ):
        async with opened("binance", simulator) as venue:
            await venue.load()  # plain http needs no certificates
        async with opened("binance", at, rest_url=f"https://{at}") as venue:
            assert f"{how} names" in (await failure(venue.load())).reason
