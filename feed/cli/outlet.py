"""Bytes to stdout, in order and without holding up the feed."""

from __future__ import annotations

import asyncio
import os
import queue
import threading
from collections.abc import Callable
from contextlib import suppress

CHUNKS = 1000  # loop turns whose output may wait for a slow reader before the feed is made to wait, too
_SLICE = 0.2  # seconds of waiting for a slow reader before looking whether that still makes sense
_END = b""


class Outlet:
    """Collects what one turn of the event loop writes and hands it to a thread, which writes it at once.

    When the reader is slow the thread waits for it; when CHUNKS are waiting, so does the writer: nothing is dropped,
    unless the reader has gone (``on_broken`` is called in the event loop) or ``give_up`` says that it's over.
    """

    def __init__(self, fd: int, on_broken: Callable[[], object], give_up: Callable[[], bool]) -> None:
        self._fd = fd
        self._on_broken = on_broken
        self._give_up = give_up
        self._loop = asyncio.get_running_loop()
        self._lines: list[bytes] = []
        self._chunks: queue.Queue[bytes] = queue.Queue(CHUNKS)
        self._broken = False
        self._thread = threading.Thread(target=self._drain, name="market-feed output", daemon=True)
        self._thread.start()

    def write(self, line: bytes) -> None:
        """Take a line without its newline; it is on its way when the loop's present turn ends."""
        if not self._lines:
            self._loop.call_soon(self.flush)
        self._lines.append(line)

    def flush(self) -> None:
        """Hand over what is collected."""
        if self._lines:
            self._lines.append(b"")
            chunk, self._lines = b"\n".join(self._lines), []
            self._put(chunk)

    def close(self) -> None:
        """Return when everything is written, or can't be."""
        self.flush()
        self._put(_END)
        while self._thread.is_alive() and not self._broken and not self._give_up():
            self._thread.join(_SLICE)

    def _put(self, chunk: bytes) -> None:
        while not self._broken:
            try:
                self._chunks.put(chunk, timeout=_SLICE)
                return
            except queue.Full:
                if self._give_up():
                    return

    def _drain(self) -> None:
        while chunk := self._chunks.get():
            rest = memoryview(chunk)
            while rest:
                try:
                    rest = rest[os.write(self._fd, rest) :]
                except OSError:  # EPIPE: the reader has gone; ENOSPC, EIO: nothing can be written any more, either
                    self._broken = True
                    with suppress(RuntimeError):  # the loop is closed: nobody waits for the news
                        self._loop.call_soon_threadsafe(self._on_broken)
                    return
