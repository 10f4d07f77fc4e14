"""The simulator's own HTTP interface, for tests in any language: its state, its faults, its true order books.

``GET /simulator`` gives the state as JSON; ``POST /simulator/faults`` with ``{"fault": "stall+5"}`` starts a fault;
``GET /simulator/books/binance/BTC?sequence=123&depth=20`` gives the true order book at a number that a client received
(404 if its state at that number is not kept any more), or without ``sequence`` the current book.

The interface is for programs on this machine. A browser is such a program: a page of any site may send requests to a
loopback address, and can read the answers if the site's name points to that address. So a request from another origin
is refused (403), and so is a request to a host that is neither an address nor this machine's own name (400).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from ipaddress import ip_address
from typing import Any, Protocol
from urllib.parse import urlsplit

from aiohttp import web

from exchanges.simulator.errors import SimulatorError
from exchanges.simulator.faults import ScheduledFault, allowed, parse_fault

PREFIX = "/simulator"


class Controlled(Protocol):
    """What this interface needs to know about the simulator; each of its venues is a ``SimulatedVenue``."""

    @property
    def host(self) -> str: ...

    @property
    def rest_url(self) -> str: ...

    @property
    def ws_url(self) -> str: ...

    @property
    def venues(self) -> Mapping[str, Any]: ...

    @property
    def replay_state(self) -> str | None: ...

    def __getitem__(self, name: str) -> Any: ...

    def schedule(self, fault: ScheduledFault) -> None:
        """See Simulator.schedule."""


async def handle(simulator: Controlled, request: web.Request) -> web.Response:
    hosts = request.headers.getall("Host", [])
    if len(hosts) != 1 or not _is_here(hosts[0], simulator.host):
        text = f"found the host {', '.join(hosts)[:100]!r}; allowed are this machine's addresses and localhost"
        return web.json_response({"error": text}, status=400)
    if foreign := _foreign_origin(request, hosts[0]):
        text = f"found a request of {foreign[:100]!r}; allowed are requests of programs and of {hosts[0]}"
        return web.json_response({"error": text}, status=403)
    if request.path == PREFIX and request.method == "GET":
        return web.json_response(state(simulator))
    if request.path == f"{PREFIX}/faults" and request.method == "POST":
        try:
            fault = parse_fault(_spec(await request.read()))
            simulator.schedule(fault)
        except SimulatorError as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response({"started": str(fault.fault), "start": fault.start, "duration": fault.duration})
    if request.path.startswith(f"{PREFIX}/books/") and request.method == "GET":
        return _book(simulator, request)
    allowed_here = f"GET {PREFIX}, GET {PREFIX}/books/<venue>/<coin> and POST {PREFIX}/faults"
    text = f"found {request.method} {request.path}; allowed are {allowed_here}"
    return web.json_response({"error": text}, status=404)


def _book(simulator: Controlled, request: web.Request) -> web.Response:
    name, _, coin = request.path.removeprefix(f"{PREFIX}/books/").partition("/")
    sequence, depth = request.query.get("sequence"), request.query.get("depth", "20")
    try:
        venue = simulator[name]
        book = venue.book_at(coin, None if sequence is None else int(sequence), int(depth))
    except (KeyError, SimulatorError, ValueError) as error:
        text = str(error.args[0]) if error.args else str(error)
        return web.json_response({"error": text}, status=400)
    if book is None:
        return web.json_response({"error": f"the book of {coin} at {sequence} is not known"}, status=404)
    return web.json_response(asdict(book))


def _is_here(host: str, own: str) -> bool:
    """Whether a Host header names this machine: by an address, as localhost, or by the server's own host name."""
    try:
        address = urlsplit(f"//{host}")
        name, port = address.hostname, address.port
    except ValueError:  # not an address, or not a port
        return False
    plain = host == address.netloc and "@" not in host and (port is None or port > 0)
    if not plain or name is None:
        return False
    with suppress(ValueError):
        return bool(ip_address(name.partition("%")[0]))
    return name == "localhost" or name == own.lower()


def _foreign_origin(request: web.Request, host: str) -> str:
    """The origin that a browser sends, if it is not this server; empty for programs, which send none."""
    for origin in request.headers.getall("Origin", []):
        if origin.lower() != f"http://{host}".lower():
            return origin or "no origin"
    site: str = request.headers.get("Sec-Fetch-Site", "none")
    return "" if site in ("none", "same-origin") else f"a {site} page"


def _spec(body: bytes) -> str:
    try:
        spec = json.loads(body.decode())["fault"]
    except (ValueError, KeyError, TypeError, RecursionError):
        spec = None
    if not isinstance(spec, str):
        wanted = '{"fault": "[venue:]kind[-argument][@start][+duration]"}'
        raise SimulatorError(f"send {wanted}; the kinds are {allowed()}")
    return spec


def state(simulator: Controlled) -> dict[str, Any]:
    """The state of each venue."""
    venues = {
        name: {
            "connections": [
                {"id": connection.id, "subscriptions": list(connection.subscriptions), "waiting": connection.waiting}
                for connection in venue.connections
            ],
            "violations": venue.violations,
            "dropped": venue.dropped,
            "dials": len(venue.dials),
            "rest_calls": len(venue.rest_calls),
            "markets": len(venue.markets),
            "trades": venue.trades_made,
            "faults": venue.faults,
            "time": venue.now(),
        }
        for name, venue in simulator.venues.items()
    }
    urls = {"rest_url": simulator.rest_url, "ws_url": simulator.ws_url}
    return {**urls, "venues": venues, "replay": simulator.replay_state}
