"""A name server that does not answer: the feed runs in a process of its own, in which getaddrinfo hangs."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import time
from pathlib import Path

import pytest

from exchanges.ccxt_adapter.transport.choose import TRANSPORTS
from exchanges.simulator import Simulator
from feed.cli.reports.diagnosis import SILENT_SERVER

HANGS = 60.0  # seconds for which getaddrinfo hangs in the child; the real getaddrinfo gives up after 20 to 30 s
EXIT = 10.0  # seconds from the last line of output to the end of the process, on a busy machine

CHILD = """
import asyncio, socket, sys, time
from exchanges.ccxt_adapter.transport import name_lookup
name_lookup.PATIENCE = {patience}
look_up = socket.getaddrinfo

def hanging(host, *args, **kwargs):
    if isinstance(host, str) and host.endswith(".invalid"):
        time.sleep({hangs})
    return look_up(host, *args, **kwargs)

socket.getaddrinfo = hanging
from feed import MarketFeed, NoExchangeAvailable, Settings
from feed.settings import Connection, ExchangeConfig

FAR = {{"rest_url": "https://venue.invalid", "ws_url": "wss://venue.invalid"}}
NEAR = {{"rest_url": "{rest}", "ws_url": "{ws}"}}
OPTIONS = {{"transport": "{transport}"}}

async def main():
    settings = Settings(
        exchanges=[ExchangeConfig(name, **{{**NEAR, **where}}, options=OPTIONS) for name, where in {venues}],
        connection=Connection(connect_timeout={connect_timeout}, backoff_initial=0.1),
    )
    feed = MarketFeed(["BTC"], settings=settings)
    await asyncio.to_thread(__import__, "ccxt.pro")
    begun = time.monotonic()
    try:
        await feed.connect({timeout})
        how = feed.status.exchange
    except NoExchangeAvailable as error:
        how = "none: " + " ".join(str(error).split())
    took = time.monotonic() - begun
    await feed.disconnect()
    print(f"{{took:.2f}}|{{time.monotonic() - begun - took:.2f}}|{{how}}", flush=True)

asyncio.run(main())
"""


async def told(
    simulator: Simulator, venues: str, timeout: float, connect_timeout: float, transport: str, patience: float = 8.0
) -> list[str]:
    """Run the child process, assert that the process ends soon after its output, and return the output."""
    code = CHILD.format(
        hangs=HANGS,
        patience=patience,
        rest=simulator.rest_url,
        ws=simulator.ws_url,
        venues=venues,
        timeout=timeout,
        connect_timeout=connect_timeout,
        transport=transport,
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    async with asyncio.timeout(HANGS):
        line = (await process.stdout.readline()).decode()
    said = time.monotonic()
    async with asyncio.timeout(EXIT):
        assert await process.wait() == 0
    assert time.monotonic() - said < EXIT
    return line.strip().split("|")


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> str:
    if request.param == "picows":
        pytest.importorskip("picows", reason="the extra [fast] is not installed")
    return str(request.param)


async def test_connect_returns_within_its_timeout_and_the_process_ends(transport: str) -> None:
    async with Simulator(rate=20) as simulator:
        took, closing, how = await told(simulator, '[("binance", FAR)]', 3.0, 10.0, transport)
    assert 2.9 < float(took) < 4.5
    assert float(closing) < 4.5
    assert how.startswith("none: no exchange delivered data within 3 s")


@pytest.mark.parametrize(
    "where",
    [
        "FAR",
        '{"ws_url": FAR["ws_url"]}',
        '{"proxy": "http://proxy.invalid:1"}',
        '{"proxy": "socks5://proxy.invalid:1"}',
    ],
    ids=["for REST", "for the stream", "for a proxy", "for a SOCKS proxy"],
)
async def test_the_next_venue_takes_over_within_the_connect_timeout(transport: str, where: str) -> None:
    if "socks" in where:
        pytest.importorskip("aiohttp_socks", reason="the extra [socks] is not installed")
    async with Simulator(rate=20) as simulator:
        venues = f'[("binance", {where}), ("bybit", {{}})]'
        took, closing, how = await told(simulator, venues, 30.0, 2.0, transport)
    assert how == "bybit"
    assert float(took) < 2.0 + 4.0
    assert float(closing) < 4.5


@pytest.mark.parametrize("where", ["FAR", '{"ws_url": FAR["ws_url"]}'], ids=["for REST", "for the stream"])
async def test_the_reason_names_the_name_server(transport: str, where: str) -> None:
    """The lookup fails before the dial does, because the reason of a failed dial would only be "no data within 10
    s"."""
    async with Simulator(rate=20) as simulator:
        *_, how = await told(simulator, f'[("binance", {where})]', 8.0, 4.0, transport, patience=1.0)
    assert "the name server has not answered for venue.invalid within 1 s" in how


SILENT_NAME_SERVER = """
import os, socket, sys, threading
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 53))
os.execv(sys.executable, [sys.executable, "-m", "feed", *sys.argv[1:]]) if os.fork() else threading.Event().wait()
"""


async def in_its_network(folder: Path, *arguments: str) -> asyncio.subprocess.Process:
    """Run ``market-feed`` in a network whose name server is silent."""
    if shutil.which("unshare") is None:
        pytest.skip("unshare is missing")
    resolver = folder / "resolv.conf"
    resolver.write_text("nameserver 127.0.0.1\noptions timeout:30\n")
    within = f'ip link set lo up && mount --bind {resolver} /etc/resolv.conf && exec "$@"'
    command = ["unshare", "-r", "-n", "-m", "--kill-child", "-p", "-f", "sh", "-c", within, "sh", sys.executable, "-c"]
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(*command, SILENT_NAME_SERVER, *arguments, stdout=pipe, stderr=pipe)


async def test_check_names_a_name_server_that_does_not_answer(tmp_path: Path) -> None:
    """A real name server in a network of its own gets the queries and answers none."""
    check = ["check", "--json", "--timeout", "2", "--exchange", "binance"]
    began = time.monotonic()
    process = await in_its_network(tmp_path, *check)
    out, err = await process.communicate()
    if process.returncode == 1:
        pytest.skip(f"no network of its own here: {err.decode()[:100]}")
    assert process.returncode == 3
    assert time.monotonic() - began < HANGS / 2
    told = json.loads(out)
    assert told["names"]["unanswered"] == ["api.binance.com"]
    assert told["advice"][0].startswith(f"{SILENT_SERVER} api.binance.com: ")
    assert not any("firewall" in line for line in told["advice"])


@pytest.mark.parametrize(
    ("bus", "words"),
    [
        ("nats://bus.invalid:4222", "bus.invalid: look at /etc/resolv.conf"),
        ("tls://bus.invalid:4222", "bus.invalid: look at /etc/resolv.conf"),
        ("nats://bus.invalid:4222,nats://127.0.0.1:9", "Connect call failed ('127.0.0.1', 9)"),
    ],
)
async def test_a_bus_whose_name_is_not_resolved_does_not_delay_the_end_of_the_command(
    bus: str, words: str, tmp_path: Path
) -> None:
    """nats-py would look the name up in a thread, and the end of the program would wait for this thread."""
    pytest.importorskip("nats", reason="the extra [bus] is not installed")
    settings = tmp_path / "settings.yaml"
    settings.write_text(f"coins: [BTC]\nexchanges: [binance]\nbus: {bus}\nconnection: {{connect_timeout: 2}}\n")
    began = time.monotonic()
    process = await in_its_network(tmp_path, "check", "--json", "--timeout", "2", "--settings", str(settings))
    out, err = await process.communicate()
    if process.returncode == 1:
        pytest.skip(f"no network of its own here: {err.decode()[:100]}")
    assert time.monotonic() - began < HANGS / 2
    assert words in out.decode()
