"""What all commands share: exit codes, the handling of Ctrl-C and SIGTERM, the printing of errors, the log."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from enum import IntEnum
from types import FrameType
from typing import Any

from exchanges.foreign_text import Cleaner
from feed.cli.arguments import PROGRAM

_RESTORE = b"\x1b[?1049l\x1b[?25h"  # leave the alternate screen, show the cursor


class Exit(IntEnum):
    """The exit codes."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NO_VENUE = 3
    INTERRUPTED = 130


class CommandError(Exception):
    """A command can't do what was asked; the text is for the user, one line per problem."""

    def __init__(self, text: str, code: int = Exit.USAGE) -> None:
        super().__init__(text)
        self.code = code


def complain(problem: object) -> None:
    """Print ``problem`` on stderr, each line after the program's name."""
    for line in str(problem).splitlines():
        print(f"{PROGRAM}: {line}", file=sys.stderr)


_caught: list[int] = []  # the signals that asked this process to end


def interrupted() -> bool:
    """Return whether Ctrl-C or SIGTERM has asked for the end."""
    return bool(_caught)


def run(command: Coroutine[Any, Any, int]) -> int:
    """Run a command to its end and return its exit code.

    Ctrl-C and SIGTERM cancel it, so that it cleans up (exit codes 130 and 0); a second signal ends it at once.
    """
    _caught.clear()

    async def supervised() -> int:
        loop = asyncio.get_running_loop()
        task = loop.create_task(command)
        with _signals(lambda: loop.call_soon_threadsafe(task.cancel)):
            try:
                return await task
            except asyncio.CancelledError:
                if _caught:
                    return Exit.INTERRUPTED if _caught[0] == signal.SIGINT else Exit.OK
                raise

    return asyncio.run(supervised())


@contextmanager
def _signals(stop: Callable[[], object]) -> Iterator[None]:
    """Handle SIGINT and SIGTERM with plain handlers, because these also run while a callback blocks the loop."""

    def handler(number: int, _: FrameType | None) -> None:
        if _caught:
            if sys.stdout.isatty():
                os.write(sys.stdout.fileno(), _RESTORE)
            os._exit(128 + number)
        _caught.append(number)
        stop()

    wanted = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, handler) for number in wanted]
    try:
        yield
    finally:
        for number, old in zip(wanted, before, strict=True):
            signal.signal(number, old)


def start_log(level: str, write: Callable[[str], object] | None = None) -> None:
    """Send both packages' log records of ``level`` or above to ``write``, or to stderr if it is None.

    Only programs call this, never the library. A traceback may contain text from the network, so unprintable characters
    are escaped: a terminal may take them as commands.
    """
    from loguru import logger

    logger.remove()
    for package in ("feed", "exchanges"):
        logger.enable(package)
    form = "{time:HH:mm:ss.SSS} {level: <7} {message}"
    clean = Cleaner()

    def sink(message: str) -> None:
        (write or sys.stderr.write)(clean.lines(message) + "\n")

    logger.add(sink, level=level, format=form, backtrace=False, diagnose=False)
