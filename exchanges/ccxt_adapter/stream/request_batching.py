"""Sends all subscriptions of a client as one request, for venues where each request replaces the previous one.

Decides how long a request waits for further subscriptions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

SPAN = 0.25  # seconds between two requests: at most four requests per second


def gather(client: Any, joined: Callable[[Sequence[Any]], Any]) -> None:
    """Change a new ``client``: it sends the requests of one SPAN as one request, which repeats all earlier requests.

    ``joined`` makes one request of several. A message that is not a list is sent at once and unchanged.
    """
    send, given, due = client.send, [], False

    async def gathered(message: Any) -> Any:
        nonlocal due
        if not isinstance(message, list):
            return await send(message)
        given.append(message)
        if due:
            return None
        due = True
        try:
            await asyncio.sleep(SPAN)
        finally:
            due = False
        given[:] = [joined(given)]
        return await send(given[0])

    client.send = gathered
