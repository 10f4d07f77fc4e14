"""Runs work in a thread with its own event loop, so that the feed's loop is not blocked; parses JSON in pieces."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterator
from itertools import chain
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")
PIECE = 1 << 16  # characters of JSON that are parsed in one go: about a millisecond

_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])
_ANY = msgspec.json.Decoder()


async def run_aside(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Return what the coroutine of ``work()`` returns, or raise what it raises; this event loop continues meanwhile.

    The coroutine runs on another loop, so nothing that belongs to this loop may be awaited in it. Cancelling this call
    cancels the coroutine, and waits for its end.
    """
    stop: Callable[[], object] | None = None
    stopped = False

    async def watched() -> T:
        nonlocal stop
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None
        stop = lambda: loop.call_soon_threadsafe(task.cancel)  # noqa: E731 - shorter than a function of two lines
        if stopped:  # the work was stopped before this thread began
            raise asyncio.CancelledError
        return await work()

    def run() -> T:
        with asyncio.Runner() as runner:
            running = watched()
            try:
                return runner.run(running)
            finally:
                running.close()  # closes the coroutine if the loop could not be made; else it has ended

    running = asyncio.get_running_loop().run_in_executor(None, run)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        stopped = True
        with contextlib.suppress(RuntimeError):  # the other loop is closed, so the coroutine has ended
            if stop is not None:
                stop()
        # the result is always retrieved, even if another cancellation ends this wait, as at the end of asyncio.run()
        running.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        await asyncio.wait({running})
        raise


class Rows(list[Any]):
    """The items of a long JSON array, each parsed when it is read, so that only one at a time is in memory."""

    def __getitem__(self, index: Any) -> Any:
        item = super().__getitem__(index)
        if isinstance(item, msgspec.Raw):
            return _ANY.decode(item)
        return Rows(item) if isinstance(index, slice) else item

    def __iter__(self) -> Iterator[Any]:
        return (self[place] for place in range(len(self)))

    def __reversed__(self) -> Iterator[Any]:
        return (self[place] for place in reversed(range(len(self))))

    def __add__(self, other: Any) -> Any:
        return Rows(chain(_unread(self), _unread(other)))

    def __radd__(self, other: Any) -> Any:
        return Rows(chain(_unread(other), _unread(self)))

    def __contains__(self, item: object) -> bool:
        return any(each == item for each in self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, list) and list(self) == list(other)

    __hash__ = None

    def __reduce_ex__(self, protocol: Any) -> Any:
        return list, (list(self),)  # a copy or a pickle is a plain list


def _unread(rows: list[Any]) -> Iterator[Any]:
    return list.__iter__(rows)


def parse_in_turns(text: str | bytes | msgspec.Raw, *, rows_when_read: bool = False) -> Any:
    """Parse JSON piece by piece, because a parser in C stops all other threads: 0.1 s for 5 MB of markets.

    With ``rows_when_read`` the items of a long array are parsed when they are read; an item that is no JSON raises only
    then. Raises msgspec.MsgspecError for text that is not JSON.
    """
    content = text.encode() if isinstance(text, str) else bytes(text)
    if len(content) <= PIECE:
        return _ANY.decode(content)
    match content.lstrip()[:1]:
        case b"{":
            fields = _OBJECT.decode(content).items()
            return {key: parse_in_turns(value, rows_when_read=rows_when_read) for key, value in fields}
        case b"[" if rows_when_read:
            return Rows(_ARRAY.decode(content))
        case b"[":
            return [parse_in_turns(value) for value in _ARRAY.decode(content)]
        case _:
            return _ANY.decode(content)
