"""Runs work that would block the event loop in a thread with an event loop of its own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")
PIECE = 1 << 16  # characters of JSON that are parsed in one go: about a millisecond

_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])
_ANY = msgspec.json.Decoder()


async def run_aside(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Return what the coroutine of ``work()`` returns, or raise what it raises; this loop turns on meanwhile.

    The coroutine runs on another loop: nothing of this one may be awaited in it. Cancelling this cancels it, and waits
    for its end.
    """
    stop: Callable[[], object] | None = None
    stopped = False

    async def watched() -> T:
        nonlocal stop
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None
        stop = lambda: loop.call_soon_threadsafe(task.cancel)  # noqa: E731 - shorter than a function of two lines
        if stopped:  # before this thread came to its first line
            raise asyncio.CancelledError
        return await work()

    def run() -> T:
        with asyncio.Runner() as runner:
            running = watched()
            try:
                return runner.run(running)
            finally:
                running.close()  # which does nothing, unless this thread may not have a loop

    running = asyncio.get_running_loop().run_in_executor(None, run)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        stopped = True
        with contextlib.suppress(RuntimeError):  # its loop is closed: it has ended
            if stop is not None:
                stop()
        await asyncio.wait({running})
        if not running.cancelled():
            running.exception()  # retrieved, whoever waited for it
        raise


def parse_in_turns(text: str | bytes | msgspec.Raw) -> Any:
    """Parse JSON piece by piece. A parser in C keeps all other threads waiting: 0.1 s for 5 MB of markets.

    Raises msgspec.MsgspecError for what is no JSON.
    """
    content = text.encode() if isinstance(text, str) else bytes(text)
    if len(content) <= PIECE:
        return _ANY.decode(content)
    match content.lstrip()[:1]:
        case b"{":
            return {key: parse_in_turns(value) for key, value in _OBJECT.decode(content).items()}
        case b"[":
            return [parse_in_turns(value) for value in _ARRAY.decode(content)]
        case _:
            return _ANY.decode(content)
