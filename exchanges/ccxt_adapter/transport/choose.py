"""Chooses the transport of ccxt's WebSockets: aiohttp, which ccxt installs, or picows with the extra ``[fast]``.

With picows a message reaches its callback sooner, and many messages take less work (tests/benchmarks/RESULTS.md). The
option ``{transport: aiohttp}`` or ``{transport: picows}`` chooses for one venue. The environment's
MARKET_FEED_TRANSPORT chooses for all venues without that option. Without both, picows is used if it is installed. The
event loop is the program's own choice; nothing here installs uvloop.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Any

TRANSPORTS = ("aiohttp", "picows")
VARIABLE = "MARKET_FEED_TRANSPORT"


def uses_picows(name: Any = None) -> bool:
    """Whether picows is the transport; ``name`` is the user's choice.

    If neither ``name`` nor the environment chooses one, picows is used if it is installed. Raises ValueError for a name
    that is not in TRANSPORTS, and for picows if it is not installed.
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
