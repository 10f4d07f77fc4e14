"""The consumers in docs/bus.md, in JavaScript, Go and Python, are run unchanged."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from exchanges.simulator import Simulator
from feed.sinks.bus.server import BusServer
from tests.bus.conftest import COINS
from tests.bus.support import needs_bus, publisher

pytestmark = needs_bus
PAGE = Path(__file__).parents[2] / "docs" / "bus.md"
LINES = 30


def example(language: str) -> str:
    """The consumer that docs/bus.md has in this language."""
    found: list[str] = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    return found[-1]


def node_modules() -> str:
    """The folder of npm's global packages."""
    if shutil.which("npm") is None:
        return ""
    return subprocess.run(["npm", "root", "-g"], capture_output=True, text=True, check=False).stdout.strip()


async def lines(bus: BusServer, *command: str, **environment: str) -> list[str]:
    """Return the first lines of a program's output, and then end the program."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "MARKET_FEED_BUS": bus.url, **environment},
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            return [(await process.stdout.readline()).decode().strip() for _ in range(LINES)]
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def check(simulator: Simulator, found: list[str]) -> None:
    """Check that the lines are trades of the exchange."""
    for line in found:
        coin, price, number = line.split()
        assert coin in COINS
        true = {trade.id: trade.price for trade in simulator["binance"].trades[coin]}
        assert float(price) == true[int(number)]


async def test_the_javascript_consumer_prints_trades(
    bus: BusServer, simulator: Simulator, collect: Callable[..., Any]
) -> None:
    modules = os.environ.get("NODE_PATH", "") or await asyncio.to_thread(node_modules)
    if shutil.which("node") is None or not any(map(has_nats, modules.split(os.pathsep))):
        pytest.skip("no Node, or no nats for it: npm install -g nats@2")
    await collect("one")
    await publisher(bus.url, "binance")
    check(simulator, await lines(bus, "node", "-e", example("js"), NODE_PATH=modules))


async def test_the_go_consumer_prints_trades(
    bus: BusServer, simulator: Simulator, collect: Callable[..., Any], tmp_path: Path
) -> None:
    """The consumer is built with Debian's packages (golang-go, golang-github-nats-io-go-nats-dev) or with
    packages in GOPATH."""
    file, program = tmp_path / "main.go", tmp_path / "consumer"
    file.write_text(example("go").replace("nats.DefaultURL", f'"{bus.url}"'))
    paths = os.pathsep.join(filter(None, (os.environ.get("GOPATH"), "/usr/share/gocode")))
    environment = {**os.environ, "GO111MODULE": "off", "GOPATH": paths, "GOFLAGS": ""}
    if shutil.which("go") is None:
        pytest.skip("no Go here")
    command = ["go", "build", "-o", str(program), str(file)]
    built = await asyncio.to_thread(
        subprocess.run, command, env=environment, capture_output=True, text=True, check=False
    )
    if "cannot find package" in built.stderr:
        pytest.skip("no nats.go here: apt install golang-github-nats-io-go-nats-dev")
    assert built.returncode == 0, built.stderr
    await collect("one")
    await publisher(bus.url, "binance")
    found = [json.loads(line) for line in await lines(bus, str(program))]
    check(simulator, [f"{each['coin']} {each['price']} {each['trade_id']}" for each in found])


def has_nats(folder: str) -> bool:
    return bool(folder) and (Path(folder) / "nats" / "package.json").is_file()


async def test_the_python_consumer_prints_trades_without_this_project(
    bus: BusServer, simulator: Simulator, collect: Callable[..., Any]
) -> None:
    await collect("one")
    await publisher(bus.url, "binance")
    check(simulator, await lines(bus, sys.executable, "-c", example("python")))


def test_each_consumer_is_short() -> None:
    for language in ("js", "go", "python"):
        assert len([line for line in example(language).splitlines() if line.strip()]) <= 14, language
