"""On venues where each request replaces the previous one, one request has all subscriptions."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from exchanges.ccxt_adapter.stream.request_batching import gather


def joined(requests: Sequence[Any]) -> list[Any]:
    return [part for request in requests for part in request]


async def test_requests_made_together_are_sent_as_one_request_and_later_requests_repeat_them() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    client = SimpleNamespace(send=send)
    gather(client, joined)
    await asyncio.gather(client.send(["trades"]), client.send("PING"), client.send(["tickers"]))
    assert sent == ["PING", ["trades", "tickers"]]
    await client.send(["books"])
    assert sent[2:] == [["trades", "tickers", "books"]]
