"""Chooses the transport of ccxt's WebSockets: aiohttp, which ccxt installs, or picows with the extra ``[fast]``.

With picows a message is in the callback sooner, and a flood takes less work (tests/benchmarks/RESULTS.md). ``options:
{transport: aiohttp}`` or ``picows`` chooses for one venue, the environment's MARKET_FEED_TRANSPORT for all venues
without that option; without either, picows is used if it is installed. The event loop is the program's own choice;
nothing here installs uvloop.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Any

TRANSPORTS = ("aiohttp", "picows")
VARIABLE = "MARKET_FEED_TRANSPORT"


def uses_picows(name: Any = None) -> bool:
    """Whether picows is the transport, by the user's ``name``; ValueError if that is not one of TRANSPORTS.

    If neither ``name`` nor the environment chooses one, picows is used if it is installed.
    """
    installed = find_spec("picows") is not None
    said = "options.transport"
    if name is None and (name := os.environ.get(VARIABLE) or None):
        said = VARIABLE
    if name is not None and name not in TRANSPORTS:
        raise ValueError(f"{said} is {name!r}, allowed are {' and '.join(TRANSPORTS)}")
    if name == "picows" and not installed:
        raise ValueError(f'{said} is picows, which is not installed: pip install "market-feed[fast]"')
    return installed and name != "aiohttp"
