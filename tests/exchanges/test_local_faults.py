"""Faults of this machine are reported as faults of this machine, not as a venue's answer."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from exchanges.ccxt_adapter.transport.choose import TRANSPORTS
from exchanges.local_faults import local_fault
from exchanges.simulator import ThreadedSimulator
from feed import FeedError, MarketFeed, Settings
from feed.events import CoinConfig
from feed.settings import ExchangeConfig


@pytest.fixture(scope="module")
def simulator() -> Iterator[ThreadedSimulator]:
    with ThreadedSimulator(venues=["binance"], rate=20) as simulator:
        yield simulator


def settings_for(simulator: ThreadedSimulator, transport: str) -> Settings:
    options: dict[str, Any] = {"transport": transport}
    venue = ExchangeConfig("binance", rest_url=simulator.rest_url, ws_url=simulator.ws_url, options=options)
    return Settings(coins=[CoinConfig("BTC")], exchanges=[venue])


async def reason(settings: Settings) -> str:
    """The reason that the feed reports when it cannot connect."""
    feed = MarketFeed(settings=settings)
    failed: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def on_status(event: str, details: dict[str, Any]) -> None:
        if event in ("error", "disconnected") and not failed.done():
            failed.set_result(str(details.get("error") or details.get("reason")))

    feed.subscribe_status(on_status)
    connecting = asyncio.create_task(feed.connect())
    async with asyncio.timeout(20):
        why = await failed
    connecting.cancel()
    await asyncio.wait({connecting})
    return why


class Lame(asyncio.SelectorEventLoop):
    """An event loop that cannot open a connection."""

    async def sock_connect(self, sock: Any, address: Any) -> None:
        raise NotImplementedError("this loop has no sock_connect")

    async def create_connection(self, *args: Any, **options: Any) -> Any:
        raise NotImplementedError("this loop has no create_connection")


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_loop_that_cannot_dial_is_a_local_fault(transport: str, simulator: ThreadedSimulator) -> None:
    settings = settings_for(simulator, transport)
    settings.exchanges[0].options["market_cache"] = False
    with asyncio.Runner(loop_factory=Lame) as runner:
        told = runner.run(reason(settings))
    assert told.startswith("this program: NotImplementedError: this loop has no ")


def test_in_a_loop_of_another_library_the_error_recommends_start(simulator: ThreadedSimulator) -> None:
    trio = pytest.importorskip("trio", reason="trio is not installed")
    feed = MarketFeed(settings=settings_for(simulator, "aiohttp"))
    with pytest.raises(FeedError, match=r"connect\(\) needs asyncio's event loop, .*: use start\(\)"):
        trio.run(feed.connect)
    feed.start()
    assert feed.status.connected
    feed.stop()


FULL = """
import asyncio, os, resource, sys
import exchanges.ccxt_adapter.venue
from feed import MarketFeed, NoExchangeAvailable

async def main():
    feed = MarketFeed(settings=sys.argv[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
    taken = []
    try:
        while True:
            taken.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        pass
    try:
        await feed.connect(2)
    except NoExchangeAvailable as error:
        print(error)

asyncio.run(main())
"""


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_process_out_of_file_descriptors_gets_a_hint(
    transport: str, simulator: ThreadedSimulator, tmp_path: Path
) -> None:
    file = tmp_path / "s.yaml"
    venue = f"{{name: binance, rest_url: '{simulator.rest_url}', ws_url: '{simulator.ws_url}'"
    file.write_text(f"coins: [BTC]\nexchanges: [{venue}, options: {{transport: {transport}}}}}]")
    command = [sys.executable, "-c", FULL, str(file)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    why = "binance: this machine: too many open files: raise this process's limit (ulimit -n)"
    assert ended.stdout.splitlines()[1:] == [f"  {why}"], ended.stderr


WITHOUT = """
import asyncio, sys
sys.modules[{module!r}] = None
try:
    from feed import FeedError, MarketFeed
except ImportError as error:
    raise SystemExit(f"at once: {{error}}")
feed = MarketFeed(["BTC"], "binance", settings="{settings}")
try:
    asyncio.run(feed.connect(30))
except FeedError as error:
    print(error)
"""


@pytest.mark.parametrize("module", ["ssl", "gzip"])
def test_a_missing_standard_module_is_named(module: str, tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text("exchanges: [{name: binance, rest_url: 'http://127.0.0.1:1', ws_url: 'ws://127.0.0.1:1'}]")
    code = WITHOUT.format(module=module, settings=file)
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert f"import of {module} halted" in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr
    assert "cannot be read" not in ended.stdout


@pytest.mark.parametrize("number", [errno.ENOMEM, errno.ENETUNREACH, errno.EACCES])
def test_error_numbers_of_the_system_are_shown_in_words(number: int) -> None:
    assert local_fault([ValueError(), OSError(number, "x")]).startswith("this machine: ")


def test_if_one_of_several_addresses_answers_there_is_no_local_fault() -> None:
    """The machine has no IPv6, and nobody listens at the IPv4 address."""
    both = OSError("Multiple exceptions: [Errno 111] Connect call failed, [Errno 101] Network is unreachable")
    assert local_fault([both]) == ""
    assert local_fault([OSError("[Errno 101] Network is unreachable, [Errno 101] Network is unreachable")]) != ""


NOT_LOCAL = [
    KeyError("p"),
    TypeError("'NoneType'"),
    ValueError(),
    ConnectionRefusedError(111, "refused"),
    ssl.SSLCertVerificationError(1, "certificate verify failed"),  # 1 is OpenSSL's number here, not EPERM
    socket.gaierror(12, "unknown"),
]


@pytest.mark.parametrize("error", NOT_LOCAL, ids=repr)
def test_a_venues_answer_is_not_a_local_fault(error: Exception) -> None:
    with pytest.raises(type(error)) as caught:
        raise error
    assert local_fault([caught.value]) == ""
