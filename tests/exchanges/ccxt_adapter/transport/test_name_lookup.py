"""A lookup of a host name does no harm if no thread can be started, or if nobody waits for its result."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
from typing import Any, NoReturn

import pytest

from exchanges.ccxt_adapter.transport.name_lookup import look_up
from tests.support import until


async def test_a_lookup_without_a_free_thread_does_not_block_other_lookups(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next lookup of the same name starts a thread again, and does not wait for the lookup that never started."""
    with monkeypatch.context() as full:

        def start(self: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        full.setattr(threading.Thread, "start", start)
        for _ in range(2):
            with pytest.raises(RuntimeError, match="new thread"):
                await look_up("localhost", 1)
    assert await look_up("localhost", 1)


async def test_a_lookup_that_fails_after_it_was_cancelled_is_not_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """asyncio reports a future whose error nobody has retrieved."""
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: reported.append(context))
    asked, answer = threading.Event(), threading.Event()

    def getaddrinfo(*request: object) -> NoReturn:
        asked.set()
        answer.wait()
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    waiting = asyncio.create_task(look_up("nowhere.example", 1))
    await until(asked.is_set)
    waiting.cancel()
    await asyncio.wait({waiting})
    answer.set()
    await until(lambda: all(thread.name != "looking up nowhere.example" for thread in threading.enumerate()))
    await asyncio.sleep(0)
    del waiting
    gc.collect()
    assert reported == []
