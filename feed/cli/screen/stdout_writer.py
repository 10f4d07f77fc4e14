"""Writes bytes to stdout in order; decides how many may wait for a slow reader before the feed must wait too."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from time import monotonic

WAITING = 64 * 1024 * 1024  # bytes that may wait for a slow reader; if there are more, the feed must wait too
_SLICE = 0.2  # seconds between two checks whether to wait longer for a slow reader
_STANDSTILL = 2.0  # seconds; close() does not wait for a reader that has taken nothing for longer


class StdoutWriter:
    """Collects the lines of one turn of the event loop, and passes them to a thread, which writes them together.

    If the reader is slow, the thread waits for it. If more than ``waiting`` bytes wait, the event loop waits too, so
    that nothing is dropped. It does not wait if the reader has gone (then ``on_broken`` is called in the event loop) or
    if ``give_up`` returns True. ``error`` is the error with which writing has failed.

    ``close`` does not wait for a reader that takes nothing if ``give_up`` returns True.
    """

    def __init__(
        self, fd: int, on_broken: Callable[[], object], give_up: Callable[[], bool], waiting: int = WAITING
    ) -> None:
        self._fd = fd
        self._on_broken = on_broken
        self._give_up = give_up
        self._waiting = waiting
        self._loop = asyncio.get_running_loop()
        self._lines: list[bytes] = []
        self._due = bytearray()
        self._closing = False
        self._written = 0  # bytes
        self.error: OSError | None = None
        self._changed = threading.Condition()  # guards _due, _closing and error
        self._thread = threading.Thread(target=self._drain, name="market-feed output", daemon=True)
        self._thread.start()

    def write(self, line: bytes) -> None:
        """Take a line without its newline; it is passed to the thread at the end of the loop's present turn."""
        if not self._lines:
            self._loop.call_soon(self.flush)
        self._lines.append(line)

    def flush(self) -> None:
        """Pass the collected lines to the thread."""
        if not self._lines:
            return
        self._lines.append(b"")
        chunk, self._lines = b"\n".join(self._lines), []
        with self._changed:
            while len(self._due) > self._waiting and self.error is None:
                self._changed.wait(_SLICE)
                if self._give_up():
                    return
            self._due += chunk
            self._changed.notify_all()

    def close(self) -> None:
        """Return when everything is written, or nothing more can be written."""
        self.flush()
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        written, since = self._written, monotonic()
        while self._thread.is_alive() and not (self._give_up() and monotonic() - since > _STANDSTILL):
            self._thread.join(_SLICE)
            if self._written != written:
                written, since = self._written, monotonic()

    def _drain(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._due or self._closing)
                chunk, self._due = self._due, bytearray()
                self._changed.notify_all()
            if not chunk:
                return
            try:
                rest = memoryview(chunk)
                while rest:
                    number = os.write(self._fd, rest)
                    self._written += number
                    rest = rest[number:]
            except OSError as error:  # EPIPE: the reader has gone; ENOSPC, EIO: nothing can be written any more
                with self._changed:
                    self.error = error
                    self._changed.notify_all()
                with suppress(RuntimeError):  # the loop is closed: nobody waits for this call
                    self._loop.call_soon_threadsafe(self._on_broken)
                return
