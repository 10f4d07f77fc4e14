"""The example clients of docs/server.md run without changes except for the address."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from exchanges.simulator import Simulator
from feed import MarketFeed
from feed.sinks.server.app import Server
from tests.support import settings_for

PAGE = Path(__file__).parents[4] / "docs" / "server.md"
MODULES = Path("/usr/share/nodejs")  # Debian's packages of Node


def example(language: str, word: str) -> str:
    """Return the page's example that is written in ``language`` and contains ``word``."""
    blocks: list[str] = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    (found,) = [block for block in blocks if word in block]
    return found


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with Simulator(0, ("binance",), rate=100.0) as simulator:
        settings = settings_for(simulator)
        feed = MarketFeed(settings=settings)
        async with Server(feed, settings, port=0) as server, feed:
            yield server


async def lines(count: int, *command: str) -> list[str]:
    """Return the first lines of a program's output, and then end the program."""
    environment = os.environ | {"NODE_PATH": str(MODULES), "PYTHONUNBUFFERED": "1"}
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, env=environment)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            return [(await process.stdout.readline()).decode().strip() for _ in range(count)]
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def check(found: list[str]) -> None:
    """Check that the lines are a snapshot and then prices, with numbers that count up by one."""
    rows = [line.split() for line in found]
    assert [row[0] for row in rows] == ["snapshot"] + ["price"] * (len(rows) - 1)
    first = int(rows[0][1])
    assert [int(row[1]) for row in rows] == list(range(first, first + len(rows)))
    assert all(float(row[2]) > 0 for row in rows[1:])


async def test_the_documented_python_client_runs(server: Server, tmp_path: Path) -> None:
    program = tmp_path / "client.py"
    program.write_text(example("python", "ws_connect").replace("http://127.0.0.1:8000", server.url.rstrip("/")))
    check(await lines(6, sys.executable, str(program)))


@pytest.mark.skipif(shutil.which("node") is None, reason="node is missing: apt-get install nodejs")
@pytest.mark.parametrize("module", ["ws", "eventsource"])
async def test_the_documented_node_clients_run(server: Server, tmp_path: Path, module: str) -> None:
    if not (MODULES / module).exists():
        pytest.skip(f"Node's {module} is missing: apt-get install node-{module}")
    program = tmp_path / "client.js"
    program.write_text(example("js", f'require("{module}")').replace("127.0.0.1:8000", f"127.0.0.1:{server.port}"))
    check(await lines(6, "node", str(program)))


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is missing: apt-get install curl")
async def test_curl_gets_prices_and_events(server: Server) -> None:
    price, events = example("sh", "curl -sN").replace("127.0.0.1:8000", f"127.0.0.1:{server.port}").splitlines()
    assert json.loads((await lines(1, "sh", "-c", price))[0])["coin"] == "BTC"
    found = [line for line in await lines(12, "sh", "-c", f"exec {events}") if line.startswith("data: ")]
    assert json.loads(found[0].removeprefix("data: "))["type"] == "snapshot"
