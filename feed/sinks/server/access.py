"""Decides who may send requests: by the token, the page's origin, and the host name of the request."""

from __future__ import annotations

import base64
import binascii
import contextlib
import hmac
import re
from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from aiohttp import web

SUBPROTOCOL = "bearer."
TOKEN = re.compile(r"[A-Za-z0-9._~-]{16,256}\Z")  # fits in a header and a subprotocol, and can't be guessed


def is_loopback(host: str) -> bool:
    """Whether ``host`` is a loopback name or address, which only this machine can reach."""
    name = host.strip("[]").lower()
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")


@dataclass(frozen=True)
class AccessRules:
    """``token`` None: no token is needed.

    ``origins``: pages of other hosts that may send requests, as scheme://host.
    """

    token: str | None = None
    origins: Collection[str] = ()

    def refusal(self, request: web.Request) -> str | None:
        """Why a request is refused because of its origin or host; None if it is allowed.

        A page of another host must not read this server through its visitor's browser. The Origin header shows such a
        page. Without a token, the Host header must name this machine: another host may make its own name point to this
        machine (DNS rebinding).
        """
        origin, host = request.headers.get("Origin"), request.headers.get("Host", "")
        if origin is not None and origin not in self.origins:
            try:
                there = urlsplit(origin).netloc
            except ValueError:
                there = ""
            if not there or there.lower() != host.lower():
                return "Origin: found a page of another host, allowed are those that --origin names"
        if self.token is None:
            try:
                name = urlsplit(f"//{host}").hostname or ""
            except ValueError:
                name = ""
            if not is_loopback(name):
                return "Host: found another name, allowed is one of this machine such as localhost"
        return None

    def cross_origin(self, request: web.Request) -> dict[str, str]:
        """The headers that make a browser allow a page of ``origins`` to read the answer and to send its token."""
        origin = request.headers.get("Origin")
        if origin is None or origin not in self.origins:
            return {}
        headers = {"Access-Control-Allow-Origin": origin, "Vary": "Origin"}
        if is_preflight(request):
            headers["Access-Control-Allow-Headers"] = "Authorization, Last-Event-ID"
            headers["Access-Control-Max-Age"] = "600"
        return headers

    def permits(self, request: web.Request) -> bool:
        """Whether the request has the token, or none is needed."""
        if self.token is None:
            return True
        found = [protocol.removeprefix(SUBPROTOCOL) for protocol in offered(request)]
        kind, _, value = request.headers.get("Authorization", "").partition(" ")
        if kind.lower() == "bearer":
            found.append(value.strip())
        elif kind.lower() == "basic":  # a browser asks its user, who gives any name, and the token as password
            with contextlib.suppress(binascii.Error, UnicodeDecodeError):
                found.append(base64.b64decode(value, validate=True).decode("ascii").partition(":")[2])
        right = self.token.encode()
        return any([hmac.compare_digest(right, each.encode("utf-8", "replace")) for each in found])


def is_preflight(request: web.Request) -> bool:
    """Whether this is a CORS preflight: a browser sends it without a token before its page's request."""
    return request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers


def offered(request: web.Request) -> list[str]:
    """The subprotocols of a WebSocket request that contain a token."""
    names = request.headers.get("Sec-WebSocket-Protocol", "").split(",")
    return [name.strip() for name in names if name.strip().startswith(SUBPROTOCOL)]
