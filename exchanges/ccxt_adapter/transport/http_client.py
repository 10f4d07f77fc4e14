"""Sends a ccxt instance's requests and dials, also through proxies; limits redirects and the size of answers.

It takes the proxy of each address (``proxies``), looks names up without delaying the end of the program
(``name_lookup``), limits the bytes of an answer and of a message, and follows no redirect from TLS to plain text, or to
a host that the settings do not name.

A WebSocket is dialled over picows if that is chosen (``choose``), otherwise over aiohttp. A dial that picows can't make
goes over aiohttp too: a dial through a proxy, without verified certificates, to a server that answers with a redirect,
or with options that a later ccxt may pass. Both allow messages of the same size, and both offer compression.
"""

from __future__ import annotations

import asyncio
import socket
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partialmethod
from importlib.util import find_spec
from ssl import SSLContext
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import aiohttp
from aiohttp import ClientResponse, ClientSession, TCPConnector, TraceConfig, connector
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from exchanges.ccxt_adapter.transport.dial_socket import dial_socket
from exchanges.ccxt_adapter.transport.name_lookup import look_up
from exchanges.ccxt_adapter.transport.proxies import PORTS, TLS, Proxy
from exchanges.foreign_text import READ

MOST_BYTES = 64 << 20  # the largest size of an unpacked REST answer; the largest lists of markets have some 20 MB
MOST_MESSAGE_BYTES = 10 << 20  # the largest size of an unpacked WebSocket message; ccxt's own limit is the same
REFUSAL_WITHIN = 1.0  # seconds for reading the answer of a server that refuses a dial
REDIRECTS = (301, 302, 303, 307, 308)
SOCKS_PORT = 1080  # the port if the address names none
SOCKS_EXTRA = 'needs aiohttp_socks, which is not installed: pip install "market-feed[socks]"'

_CLEANUP_CLOSED: bool = getattr(connector, "NEEDS_CLEANUP_CLOSED", False)  # aiohttp warns if this is set without need
_CUT = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, aiohttp.ClientConnectionResetError)
_REWORDED = (aiohttp.ClientHttpProxyError, aiohttp.TooManyRedirects, *_CUT)  # errors that _failed gives another text
# options of a dial that ccxt passes and picows can handle; ccxt pings and closes itself
_OF_PICOWS = {"autoping", "autoclose", "headers", "compress", "max_msg_size"}

Place = tuple[str, int]  # host and port

_refusals: ContextVar[list[str] | None] = ContextVar("refusals", default=None)  # keeps the text of a refused dial


class RedirectRefused(aiohttp.ClientConnectionError):
    """Raised for a redirect that is not followed; the text says where it leads, and why it is not followed."""


class ProxyRefused(aiohttp.ClientConnectionError):
    """Raised if a proxy refuses a tunnel. The status is the proxy's; ``headers`` may say when to ask again."""

    def __init__(self, text: str, headers: Any) -> None:
        super().__init__(text)
        self.headers = headers or {}


class TooMuch(aiohttp.ClientPayloadError):
    """Raised for an answer of more than MOST_BYTES."""


class HttpClient:
    """Sends requests and dials WebSockets for one ccxt instance, in place of the aiohttp session that ccxt would make.

    ``tls``: the context with which servers are verified, False for no verification. ``proxy_for`` returns the proxy of
    an address; a redirect may lead to the hosts of the ``named`` addresses. WebSockets are dialled at the scheme and
    host of ``ws_url``, if there is one; ccxt's client keeps the venue's address, by which ccxt distinguishes spot and
    swap.
    """

    def __init__(
        self,
        tls: Any,
        proxy_for: Callable[[str], Proxy | None],
        named: Collection[str] = (),
        *,
        ws_url: str | None = None,
        over_picows: bool = False,
    ) -> None:
        self._tls = tls
        self._proxy_for = proxy_for
        self._ws_url = ws_url
        self._over_picows = over_picows
        self._named = {place(URL(address)) for address in named}
        self._trace = TraceConfig()
        self._trace.on_request_redirect.append(self._on_redirect)
        self._trace.on_request_end.append(self._on_answer)
        self._socks: dict[str, ClientSession] = {}
        self._reworded: tuple[type[Exception], ...] = _REWORDED
        self._session = self._over(
            TCPConnector(
                ssl=tls,
                resolver=Resolver(),
                family=socket.AF_UNSPEC,
                socket_factory=dial_socket,
                happy_eyeballs_delay=0,  # both address families are tried at once, as in ccxt
                enable_cleanup_closed=_CLEANUP_CLOSED,
            )
        )

    def __repr__(self) -> str:
        return f"<HttpClient, {'closed' if self.closed else 'open'}>"

    @property
    def cookie_jar(self) -> Any:
        return self._session.cookie_jar

    @property
    def headers(self) -> Any:
        """The headers that ccxt adds to each request: none."""
        return self._session.headers

    @property
    def closed(self) -> bool:
        return self._session.closed

    def ws_connect(self, url: str, **options: Any) -> _PendingSocket:
        """Return a context manager that ccxt enters but never leaves."""
        return _PendingSocket(self, redirect(url, self._ws_url), {**options, "max_msg_size": MOST_MESSAGE_BYTES})

    async def dial(self, url: str, options: Mapping[str, Any]) -> Any:
        """Dial a WebSocket; raises aiohttp's errors."""
        words: list[str] = []
        kept = _refusals.set(words)
        proxy = None
        try:
            session, way, proxy = await self._way(url, options)
            fits = self._over_picows and options.keys() <= _OF_PICOWS and isinstance(self._tls, SSLContext)
            if proxy is None and fits and (connection := await self._dial_over_picows(url, options)) is not None:
                return connection
            return await session.ws_connect(url, **way)
        except aiohttp.WSServerHandshakeError as error:
            error.body = getattr(error, "body", "") or "".join(words)  # type: ignore[attr-defined] # ours: the text may report a ban
            raise
        except self._reworded as error:
            failed = _failed(error, proxy)
        finally:
            _refusals.reset(kept)
        raise failed

    async def _dial_over_picows(self, url: str, options: Mapping[str, Any]) -> Any:
        """The connection; None if the server answers with a redirect: aiohttp decides whether to follow it."""
        from exchanges.ccxt_adapter.transport.dial import connect, headers_for

        headers = headers_for(url, self.cookie_jar, options.get("headers"))
        try:
            return await connect(url, headers, self._tls, options["max_msg_size"], bool(options.get("compress")))
        except aiohttp.WSServerHandshakeError as error:
            if error.status not in REDIRECTS:
                raise
        return None

    async def close(self) -> None:
        await asyncio.gather(self._session.close(), *(session.close() for session in self._socks.values()))

    @asynccontextmanager
    async def _request(self, method: str, url: Any, **options: Any) -> AsyncIterator[Answer]:
        proxy = None
        try:
            async with asyncio.timeout(getattr(options.get("timeout"), "total", None)):  # aiohttp's timer begins later
                session, way, proxy = await self._way(str(url), options)
            async with session.request(method, url, **way) as response:
                if response.status in REDIRECTS:  # a redirect without an address; aiohttp follows the others
                    raise RedirectRefused(f"HTTP {response.status}: a redirect that names no address")
                answer = Answer(response, await _body(response))
        except self._reworded as error:
            failed = _failed(error, proxy)
        else:
            yield answer
            return
        raise failed

    get = partialmethod(_request, "GET")  # as in aiohttp; public data needs only these two methods
    post = partialmethod(_request, "POST")

    def _over(self, through: TCPConnector) -> ClientSession:
        return ClientSession(connector=through, trace_configs=[self._trace])

    def _proxy(self, url: str) -> Proxy | None:
        try:
            return self._proxy_for(url)
        except ValueError as error:
            raise aiohttp.ClientConnectionError(str(error)) from None

    async def _way(self, url: str, options: Mapping[str, Any]) -> tuple[ClientSession, dict[str, Any], Proxy | None]:
        """The session for an address, the options with its proxy (without login: errors quote them), and the proxy."""
        way = dict(options)
        given = way.pop("proxy", None)
        proxy = Proxy(str(given), "ccxt") if given else self._proxy(url)
        if proxy is None:
            return self._session, way, None
        if proxy.socks:
            return await self._socks_session(proxy), way, proxy
        address = URL(proxy.url)
        if address.user is not None:  # aiohttp sends the login as Proxy-Authorization, for tunnels and other requests
            login = b64encode(f"{address.user}:{address.password or ''}".encode()).decode()
            way["proxy_headers"] = {"Authorization": f"Basic {login}"}
        return self._session, {**way, "proxy": address.with_user(None)}, proxy

    async def _socks_session(self, proxy: Proxy) -> ClientSession:
        if proxy.url not in self._socks:
            try:
                from aiohttp_socks import ProxyConnectionError, ProxyConnector, ProxyError, ProxyTimeoutError
            except ImportError:
                raise aiohttp.ClientConnectionError(f"the proxy {proxy} {SOCKS_EXTRA}") from None
            self._reworded = *_REWORDED, ProxyError, ProxyConnectionError, ProxyTimeoutError
            scheme, _, rest = proxy.url.partition("://")
            remote = True if scheme in ("socks5h", "socks4a") else None  # whether the proxy looks up the names
            kind = {"socks5h": "socks5", "socks4a": "socks4"}.get(scheme, scheme)
            address = URL(f"{kind}://{rest}")
            found = await look_up(address.host or "", address.port or SOCKS_PORT)  # in a thread of its own
            there = address.with_port(address.port or SOCKS_PORT).with_host(str(found[0][4][0]))
            if proxy.url not in self._socks:  # another request may have made the session meanwhile
                through = ProxyConnector.from_url(str(there), ssl=self._tls, rdns=remote)
                self._socks[proxy.url] = self._over(through)
        return self._socks[proxy.url]

    async def _on_answer(self, session: Any, context: Any, ended: aiohttp.TraceRequestEndParams) -> None:
        """Keep the text of an answer that refuses a dial, which aiohttp does not read."""
        words, response = _refusals.get(), ended.response
        if words is None or response.status == 101:
            return
        with suppress(TimeoutError, aiohttp.ClientError):
            async with asyncio.timeout(REFUSAL_WITHIN):
                words.append((await response.content.read(READ)).decode("utf-8", "replace"))

    async def _on_redirect(self, session: Any, context: Any, told: aiohttp.TraceRequestRedirectParams) -> None:
        """Check a redirect before aiohttp follows it: an error raised here ends the request."""
        response = told.response
        location = response.headers.get("Location") or response.headers.get("URI")
        if location is None:
            return
        try:
            to = URL(location)
            why = why_refused(response.url, response.url.join(to), self._named)
            if not why and to.scheme not in ("", "http", "https"):  # aiohttp does not follow these
                why = "it leads to no http:// or https:// address"
        except ValueError:
            why = "it is no address"
        if why:
            response.close()
            raise RedirectRefused(
                f"HTTP {response.status}: the redirect is not followed: {why}: from {response.url.origin()} to "
                f"{location!r}"
            )


class Resolver(AbstractResolver):
    """Looks names up for aiohttp's connector."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]) if len(address) < 4 or not address[3] else f"{address[0]}%{address[3]}",
                port=int(address[1]),
                family=kind,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for kind, _, protocol, _, address in await look_up(host, port, family)
        ]

    async def close(self) -> None: ...


class Answer:
    """An answer that was read completely, with those attributes of aiohttp's answer that ccxt uses."""

    def __init__(self, response: ClientResponse, body: bytes) -> None:
        self.status = response.status
        self.reason = response.reason
        self.headers = response.headers
        self.content = body
        self._charset = response.charset

    async def text(self, errors: str = "strict") -> str:
        try:
            return self.content.decode(self._charset or "utf-8", errors)
        except LookupError:  # an unknown charset
            return self.content.decode("utf-8", errors)


@dataclass(frozen=True, slots=True)
class _PendingSocket:
    client: HttpClient
    url: str
    options: Mapping[str, Any]

    async def __aenter__(self) -> Any:
        return await self.client.dial(self.url, self.options)


def redirect(url: str, target: str | None) -> str:
    """``url`` with the scheme and host of ``target``; unchanged if ``target`` is None."""
    if target is None:
        return url
    to = urlsplit(target)
    return urlunsplit(urlsplit(url)._replace(scheme=to.scheme, netloc=to.netloc))


def why_refused(at: URL, to: URL, named: Collection[Place] = ()) -> str:
    """Why a redirect is not followed; "" if it is followed. Redirects are followed on the same host and port, from
    plain text to TLS on the usual ports, and to the ``named`` places; but never from TLS to plain text.
    """
    if not to.host:
        return "it is no address"
    if at.scheme in TLS and to.scheme not in TLS:
        return "it leads from TLS to plain text"
    usual = place(at)[1] == PORTS.get(at.scheme) and place(to)[1] == PORTS.get(to.scheme)
    same = place(at) == place(to) or (place(at)[0] == place(to)[0] and usual)
    if same or place(to) in named:
        return ""
    return "it leads to another host, which the settings do not name"


def place(url: URL) -> Place:
    return (url.host or "").rstrip(".").lower(), url.port or PORTS.get(url.scheme, 0)


def socks_missing() -> bool:
    """Whether the package for SOCKS proxies is not installed."""
    return find_spec("aiohttp_socks") is None


async def _body(response: ClientResponse) -> bytes:
    """The whole content of an answer, unpacked. Raises TooMuch."""
    parts, size = [], 0
    async for part in response.content.iter_any():
        parts.append(part)
        size += len(part)
        if size > MOST_BYTES:
            response.close()
            raise TooMuch(f"answered HTTP {response.status} with more than {MOST_BYTES >> 20} MB")
    return b"".join(parts)


def _failed(error: Exception, proxy: Proxy | None) -> Exception:
    """The error for a failed request; it names the proxy if that may have caused it. It has no cause if aiohttp's error
    contains the sent request, whose headers have the password.
    """
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return ProxyRefused(f"the proxy answered HTTP {error.status}: {error.message}", error.headers)
    if isinstance(error, aiohttp.TooManyRedirects):
        at = error.request_info.real_url.origin()
        return RedirectRefused(f"{len(error.history)} redirects of {at} in a row are not followed any further")
    if proxy is None:
        return error
    if proxy.socks and not isinstance(error, aiohttp.ClientError):
        return aiohttp.ClientConnectionError(f"the SOCKS proxy failed: {error}")
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        named = aiohttp.ClientConnectionError(f"the proxy is not reached: {error}")
    elif type(error) in _CUT:
        named = aiohttp.ClientConnectionError(f"{error} (through the proxy {proxy})")
    else:
        return error
    named.__cause__ = error
    return named
