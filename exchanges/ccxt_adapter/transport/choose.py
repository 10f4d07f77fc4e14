"""Chooses the transport of ccxt's WebSockets: aiohttp, which ccxt brings along, or picows with the extra ``[fast]``.

With picows a message is in the callback sooner, and a flood takes less work (tests/benchmarks/RESULTS.md). ``options:
{transport: aiohttp}`` or ``picows`` chooses for one venue, the environment's MARKET_FEED_TRANSPORT for all that say
nothing; without either, picows is used if it is installed. A dial that picows can't make goes over aiohttp: through any
proxy, without verified certificates, with a redirect in place of the handshake, or with options that a later ccxt may
pass. A message may have as many bytes as ccxt allows on both, and both offer the server to compress.

The event loop is the program's own choice; nothing here installs uvloop.
"""

from __future__ import annotations

import os
from http.cookies import SimpleCookie
from importlib.util import find_spec
from ssl import SSLContext
from typing import Any

from aiohttp import ClientRequest, TCPConnector, WSServerHandshakeError, hdrs
from aiohttp.http import SERVER_SOFTWARE
from yarl import URL

from exchanges.ccxt_adapter.transport.http_client import REDIRECTS, HttpClient

TRANSPORTS = ("aiohttp", "picows")
VARIABLE = "MARKET_FEED_TRANSPORT"

# options that ccxt passes and picows can handle; ccxt pings and closes itself
_KNOWN = {"autoping", "autoclose", "headers", "compress", "max_msg_size"}
_LIKE_AIOHTTP = {**{str(k): v for k, v in ClientRequest.DEFAULT_HEADERS.items()}, "User-Agent": SERVER_SOFTWARE}


def transport_for(name: Any = None) -> Transport | None:
    """The picows transport, or None for aiohttp, by the user's ``name``; ValueError if that is not one of TRANSPORTS.

    Without a name, here and in the environment: picows where it is installed.
    """
    installed = find_spec("picows") is not None
    said = "options.transport"
    if name is None and (name := os.environ.get(VARIABLE) or None):
        said = VARIABLE
    if name is not None and name not in TRANSPORTS:
        raise ValueError(f"{said} is {name!r}, allowed are {' and '.join(TRANSPORTS)}")
    if name == "picows" and not installed:
        raise ValueError(f'{said} is picows, which is not installed: pip install "market-feed[fast]"')
    return Transport() if installed and name != "aiohttp" else None


class Transport:
    """Dials over picows."""

    def carry(self, session: Any, tls: Any) -> Any:
        """``session``, an aiohttp session, as ccxt's client uses one: ``ws_connect`` and ``cookie_jar``.

        ``tls``: the context with which servers are verified; False: they are not verified.
        """
        return _Session(session, tls, self)

    async def dial(self, session: Any, tls: Any, url: str, options: dict[str, Any]) -> Any:
        """Dial over picows, or over aiohttp where picows can't; raises aiohttp's errors."""
        direct = session.direct(url) if isinstance(session, HttpClient) else _direct(session)
        if not direct or not options.keys() <= _KNOWN or not isinstance(tls, SSLContext):
            return await session.ws_connect(url, **options)
        from exchanges.ccxt_adapter.transport.dial import connect

        try:
            return await connect(
                url,
                _headers(session, url, options.get("headers")),
                tls,
                options["max_msg_size"],
                bool(options.get("compress")),
            )
        except WSServerHandshakeError as error:
            if error.status not in REDIRECTS:
                raise
        return await session.ws_connect(url, **options)  # aiohttp decides whether to follow the redirect


class _Session:
    """An aiohttp session whose WebSockets use picows if possible."""

    def __init__(self, session: Any, tls: Any, transport: Transport) -> None:
        self._session = session
        self._tls = tls
        self._transport = transport
        self.cookie_jar = session.cookie_jar

    def ws_connect(self, url: str, **options: Any) -> _Dialling:
        return _Dialling(self._transport, self._session, self._tls, url, options)


class _Dialling:
    """What ``ws_connect`` returns; ccxt enters it."""

    def __init__(self, transport: Transport, *dial: Any) -> None:
        self._transport = transport
        self._dial = dial

    async def __aenter__(self) -> Any:
        return await self._transport.dial(*self._dial)

    async def __aexit__(self, *error: object) -> None: ...


def _direct(session: Any) -> bool:
    """Whether the aiohttp session has no special connector (such as for SOCKS) and no proxy of the environment."""
    return type(session.connector) is TCPConnector and not session.trust_env


def _headers(session: Any, url: str, given: Any) -> dict[str, str]:
    """The headers that aiohttp would send: some venues' gateways refuse clients with others."""
    cookies: SimpleCookie = session.cookie_jar.filter_cookies(URL(url))
    headers = dict(_LIKE_AIOHTTP)
    if cookies:
        headers[hdrs.COOKIE] = "; ".join(f"{name}={cookie.value}" for name, cookie in cookies.items())
    own = {name.lower() for name in given or {}}
    return {name: value for name, value in headers.items() if name.lower() not in own} | dict(given or {})
