"""A bus with TLS and a login: read with what the settings or the environment say, refused without, nothing shown."""

from __future__ import annotations

import asyncio
import socket
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from exchanges.bus.client import BusClient, BusUnreachable
from feed.settings import Bus
from feed.sinks.bus.server import program
from tests.bus.support import needs_bus

pytestmark = needs_bus
SECRET = "pass-w0rd-of-the-bus"


@pytest.fixture
async def guarded(tmp_path: Path, certificate: Path) -> AsyncIterator[Bus]:
    """A nats-server that wants TLS and a password."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = tmp_path / "server.conf"
    config.write_text(
        f'host: 127.0.0.1\nport: {port}\njetstream {{ store_dir: "{tmp_path}" }}\n'
        f'tls {{ cert_file: "{certificate}", key_file: "{certificate}" }}\n'
        f"authorization {{ user: me, password: {SECRET} }}\n"
    )
    process = await asyncio.create_subprocess_exec(str(program()), "-c", str(config), stdout=DEVNULL, stderr=DEVNULL)
    try:
        async with asyncio.timeout(10):
            while True:
                try:
                    _, opened = await asyncio.open_connection("127.0.0.1", port)
                    opened.close()
                    break
                except OSError:
                    await asyncio.sleep(0.02)
        yield Bus(f"tls://127.0.0.1:{port}", user="me", password=SECRET, ca=str(certificate))
    finally:
        process.terminate()
        await process.wait()


async def test_with_the_login_and_the_authority_it_is_reached(guarded: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    client = await BusClient.dial(guarded.address, "test")
    assert (await client.api("INFO"))["type"].endswith("account_info_response")
    await client.close()
    monkeypatch.setenv("MARKET_FEED_BUS_PASSWORD", SECRET)
    client = await BusClient.dial(replace(guarded, password=None).address, "test")
    await client.close()
    within = guarded.url.replace("//", f"//me:{SECRET}@")
    client = await BusClient.dial(Bus(within, ca=guarded.ca).address, "test")
    assert SECRET not in client.shown
    await client.close()


async def test_a_wrong_login_is_refused_and_not_shown(guarded: Bus) -> None:
    wrong = replace(guarded, password=f"{SECRET}-not")
    with pytest.raises(BusUnreachable) as raised:
        await BusClient.dial(wrong.address, "test")
    assert "uthoriz" in str(raised.value)
    assert SECRET not in str(raised.value)


async def test_an_unknown_authority_is_refused(guarded: Bus) -> None:
    with pytest.raises(BusUnreachable, match="certificate"):
        await BusClient.dial(replace(guarded, ca=None).address, "test")
