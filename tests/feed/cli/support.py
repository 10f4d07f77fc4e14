"""Runs each command in a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

TIMEOUT = 60.0
NOT_PASSED_ON = {
    "MARKET_FEED_SETTINGS",
    "COLUMNS",
    "LINES",
}  # settings and window size of the test run must not be used
ENVIRONMENT = {key: value for key, value in os.environ.items() if key not in NOT_PASSED_ON}


class Running:
    """A command in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def line(self) -> str:
        assert self.process.stdout is not None
        return (await self.process.stdout.readline()).decode()

    async def until(self, text: str) -> str:
        """Read lines up to the first line that contains ``text``, and return this line."""
        while line := await self.line():
            if text in line:
                return line
        raise AssertionError(f"ended without {text!r}: {await self.end()}")

    async def end(self) -> tuple[int, str, str]:
        """Wait for the end; return exit code, the rest of stdout, and stderr, which must not contain a traceback."""
        out, err = await self.process.communicate()
        assert b"Traceback" not in err
        assert b"ignored" not in err  # "Exception ignored": a destructor warned of something left open
        assert self.process.returncode is not None
        return self.process.returncode, out.decode(), err.decode()


@asynccontextmanager
async def market_feed(*argv: str) -> AsyncIterator[Running]:
    """Run the command line ``argv`` under one timeout; the command is killed if it still runs at the end."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-m", "feed", *argv, stdout=pipe, stderr=pipe, env=ENVIRONMENT, limit=1 << 20
    )
    try:
        async with asyncio.timeout(TIMEOUT):
            yield Running(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def ran(*argv: str) -> tuple[int, str, str]:
    async with market_feed(*argv) as running:
        return await running.end()


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]
