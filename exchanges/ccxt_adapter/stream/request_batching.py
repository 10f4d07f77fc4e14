"""Sends a client's subscriptions as one request, if each request replaces the last one; decides how long to wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

SPAN = 0.25  # seconds; four requests within a second at most


def gather(client: Any, joined: Callable[[Sequence[Any]], Any]) -> None:
    """Have a new ``client`` send all requests of a SPAN as one, together with all earlier ones. ``joined`` makes one
    request of several. A message that is not a list is sent at once as it is.
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
