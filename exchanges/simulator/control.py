"""The simulator's own HTTP interface, for tests in any language:

``GET /simulator`` tells the state as JSON; ``POST /simulator/faults`` with ``{"fault": "stall+5"}`` starts a fault.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from aiohttp import web

from .errors import SimulatorError
from .faults import allowed, parse_fault

if TYPE_CHECKING:
    from .server import Simulator

PREFIX = "/simulator"


async def handle(simulator: Simulator, request: web.Request) -> web.Response:
    if request.path == PREFIX and request.method == "GET":
        return web.json_response(state(simulator))
    if request.path == f"{PREFIX}/faults" and request.method == "POST":
        try:
            fault = parse_fault(_spec(await request.text()))
            simulator.schedule(fault)
        except SimulatorError as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response({"started": str(fault.fault), "start": fault.start, "duration": fault.duration})
    text = f"found {request.method} {request.path}; allowed are GET {PREFIX} and POST {PREFIX}/faults"
    return web.json_response({"error": text}, status=404)


def _spec(body: str) -> str:
    try:
        spec = json.loads(body)["fault"]
    except (ValueError, KeyError, TypeError):
        spec = None
    if not isinstance(spec, str):
        wanted = '{"fault": "[venue:]kind[-argument][@start][+duration]"}'
        raise SimulatorError(f"send {wanted}; the kinds are {allowed()}")
    return spec


def state(simulator: Simulator) -> dict[str, Any]:
    """What there is to know, per venue."""
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
