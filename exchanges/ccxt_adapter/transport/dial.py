"""Dials a WebSocket over picows, with aiohttp's errors; a cancelled dial leaves nothing open."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Mapping
from contextlib import suppress
from ssl import SSLContext
from typing import Any

import aiohappyeyeballs
import aiohttp
import picows
from aiohttp import ClientRequest, hdrs
from aiohttp.http import SERVER_SOFTWARE
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from exchanges.ccxt_adapter.transport.name_lookup import look_up
from exchanges.ccxt_adapter.transport.websocket import Inflate, WebSocket
from exchanges.foreign_text import READ

OFFER = "permessage-deflate; client_max_window_bits"
EYEBALLS = 0.25  # seconds before the other address family is tried as well: RFC 8305, 5
GONE_WITHIN = 0.5  # seconds for picows to see that its socket has ended: a turn or two of the loop
_LIKE_AIOHTTP = {**{str(k): v for k, v in ClientRequest.DEFAULT_HEADERS.items()}, "User-Agent": SERVER_SOFTWARE}
_log = logging.Logger("picows", logging.CRITICAL + 1)  # disabled: the errors that picows would log are raised


async def connect(url: str, headers: Mapping[str, str], tls: SSLContext, limit: int, compress: bool) -> WebSocket:
    """Dial ``url``; a cancelled dial leaves nothing open.

    ``limit``: the most bytes of a message. ``compress``: offer compression to the server. ``tls`` verifies the server.
    Raises aiohttp's errors: WSServerHandshakeError (the status, the headers) and ClientConnectionError.
    """
    if compress:
        headers = {**headers, "Sec-WebSocket-Extensions": OFFER}
    where = URL(url)
    socks: list[socket.socket] = []
    opened: list[WebSocket] = []

    async def connected(to: object) -> socket.socket:
        found = await look_up(where.host or "", where.port or 0)
        socks.append(await aiohappyeyeballs.start_connection(found, happy_eyeballs_delay=EYEBALLS, interleave=1))
        return socks[0]

    def listener(request: picows.WSUpgradeRequest, response: picows.WSUpgradeResponse) -> WebSocket:
        opened.append(WebSocket(_agreed(response.headers.get("Sec-WebSocket-Extensions", ""), compress), limit))
        return opened[0]

    dialling = asyncio.create_task(
        picows.ws_connect(
            listener,
            url,
            ssl_context=tls,
            disconnect_on_exception=False,
            enable_auto_pong=False,  # picows would keep all answers for a peer that does not read them
            websocket_handshake_timeout=None,
            logger_name=_log,
            max_frame_size=limit,
            extra_headers=headers,
            max_redirects=0,
            socket_factory=connected,
        )
    )
    try:
        await asyncio.wait({dialling})
        _, connection = dialling.result()
        if not isinstance(connection, WebSocket):  # None when the peer closed the connection instead of answering
            raise aiohttp.ServerDisconnectedError
    except picows.WSHandshakeError as error:
        _hang_up(socks)
        raise _refusal(error, where, headers) from error
    except (OSError, ValueError) as error:  # ValueError: an invalid certificate or name
        _hang_up(socks)
        raise aiohttp.ClientConnectionError(f"Cannot connect to host {where.host}:{where.port} [{error}]") from error
    except asyncio.CancelledError:
        await _give_up(dialling, socks, opened)
        raise
    return connection


def headers_for(url: str, cookie_jar: aiohttp.abc.AbstractCookieJar, given: Any) -> dict[str, str]:
    """The headers that aiohttp would send, and the ``given`` headers: some gateways refuse clients with others."""
    cookies = cookie_jar.filter_cookies(URL(url))
    headers = dict(_LIKE_AIOHTTP)
    if cookies:
        headers[hdrs.COOKIE] = "; ".join(f"{name}={cookie.value}" for name, cookie in cookies.items())
    own = {name.lower() for name in given or {}}
    return {name: value for name, value in headers.items() if name.lower() not in own} | dict(given or {})


def _hang_up(socks: list[socket.socket]) -> None:
    """Close the TCP connection, which also ends picows's connection on it."""
    for sock in socks:
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)


async def _give_up(dialling: asyncio.Task[Any], socks: list[socket.socket], opened: list[WebSocket]) -> None:
    """Cancel a dial and wait until its socket is closed.

    Picows does not keep the transport while it waits for the upgrade. After the upgrade nothing is read yet, so the end
    of the TCP connection would not be noticed.
    """
    dialling.cancel()
    await asyncio.wait({dialling})
    if not dialling.cancelled():
        dialling.exception()  # the error is retrieved, because nobody waits for the dial any more
    for connection in opened:
        connection.abort()
    _hang_up(socks)
    with suppress(TimeoutError):
        async with asyncio.timeout(GONE_WITHIN):
            while any(sock.fileno() >= 0 for sock in socks):  # noqa: ASYNC110 - no event reports the end
                await asyncio.sleep(0)


def _agreed(extensions: str, offered: bool) -> Inflate | None:
    """The compression on which server and client agree."""
    if not extensions:
        return None
    name, *parameters = [part.strip() for part in extensions.split(";")]
    if not offered or name != "permessage-deflate" or "," in extensions:
        raise picows.WSHandshakeError(f"Invalid extensions {extensions!r}")
    return Inflate("server_no_context_takeover" in parameters)


def _refusal(error: picows.WSHandshakeError, url: URL, headers: Mapping[str, str]) -> aiohttp.ClientError:
    """The error that aiohttp would raise for this answer, with the same text."""
    response = error.response
    if response is None:
        return aiohttp.ClientConnectionError(f"Cannot connect to host {url.host}:{url.port} [{error}]")
    refused = isinstance(error, picows.WSInvalidStatusError)
    request = aiohttp.RequestInfo(url, "GET", CIMultiDictProxy(CIMultiDict(headers)), url)
    made = aiohttp.WSServerHandshakeError(
        request,
        (),
        status=int(response.status),
        message="Invalid response status" if refused else str(error),
        headers=response.headers,
    )
    made.body = (error.raw_body or b"")[:READ].decode("utf-8", "replace")  # type: ignore[attr-defined] # HttpClient sets it too
    return made
