"""The commands bus, bus status and collect, and the settings of a bus."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from feed import Settings, SettingsError, load_settings
from feed.sinks.bus.server import BusServer
from tests.bus.support import needs_bus
from tests.support import until

ROOT = Path(__file__).parents[3]
SECRET = "pass-w0rd-of-the-bus"


async def ran(*arguments: str, **environment: str) -> tuple[int, str, str]:
    """Run a command to its end, and return its exit code, stdout and stderr."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MARKET_FEED")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "feed", *arguments, stdout=PIPE, stderr=PIPE, cwd=ROOT, env={**clean, **environment}
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_collect_without_a_bus_says_where_the_bus_is_configured() -> None:
    code, _, err = await ran("collect")
    assert code == 2
    assert "--bus" in err
    assert "MARKET_FEED_BUS" in err


@pytest.mark.parametrize("url", ["http://127.0.0.1:4222", "127.0.0.1:4222", f"nats://me:{SECRET}@", "nats://a:b:c"])
async def test_an_invalid_address_is_a_usage_error_without_the_password(url: str) -> None:
    for command in (["collect", "--bus", url], ["watch", "--bus", url], ["bus", "status", "--bus", url]):
        code, _, err = await ran(*command)
        assert code == 2, command
        assert "nats://host:port" in err
        assert SECRET not in err
        assert "Traceback" not in err


@pytest.mark.parametrize("shard", ["0/4", "5/4", "a/b", "1", "1/0"])
async def test_an_invalid_shard_is_a_usage_error(shard: str) -> None:
    code, _, err = await ran("collect", "--bus", "nats://127.0.0.1:1", "--shard", shard)
    assert code == 2
    assert "I/N" in err


@needs_bus
async def test_a_bus_that_cannot_be_reached_is_reported() -> None:
    code, _, err = await ran("bus", "status", "--bus", f"nats://me:{SECRET}@127.0.0.1:1")
    assert code == 3
    assert "127.0.0.1:1" in err
    assert SECRET not in err


@needs_bus
async def test_a_port_that_is_in_use_is_reported(tmp_path: Path) -> None:
    async with BusServer(0, tmp_path / "one", 1.0) as server:
        code, _, err = await ran("bus", "--port", str(server.port), "--dir", str(tmp_path / "two"))
        assert code == 1
        assert "address already in use" in err


@needs_bus
async def test_a_second_server_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    command = ("bus", "--port", "0", "--dir", str(tmp_path), "--seconds", "1")
    async with BusServer(0, tmp_path, 1.0) as server:
        config = (tmp_path / "nats-server.conf").read_text()
        code, _, err = await ran(*command)
        assert code == 1
        assert f"another bus writes to {tmp_path}" in err
        assert (tmp_path / "nats-server.conf").read_text() == config
        assert is_open(server.url)
    code, _, _ = await ran(*command)
    assert code == 0


@needs_bus
async def test_bus_prints_a_line_for_the_settings_and_bus_status_describes_this_bus(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "feed", "bus", "--port", "0", "--dir", str(tmp_path), stdout=PIPE, cwd=ROOT
    )
    assert process.stdout is not None
    try:
        await process.stdout.readline()
        line = (await process.stdout.readline()).decode()
        file = tmp_path / "settings.yaml"
        file.write_text(line)
        address = load_settings(file).bus
        assert address is not None
        code, out, _ = await ran("bus", "status", "--settings", str(file))
        assert code == 0
        assert address.url in out
        assert "no collector is there" in out
    finally:
        process.terminate()
        await process.communicate()
    assert process.returncode == 0
    await until(lambda: not is_open(address.url))


@needs_bus
@pytest.mark.skipif(sys.platform != "linux", reason="on other systems the server of a killed program continues")
async def test_the_server_ends_too_if_the_bus_command_is_killed(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "feed", "bus", "--port", "0", "--dir", str(tmp_path), stdout=PIPE, cwd=ROOT
    )
    assert process.stdout is not None
    await process.stdout.readline()
    url = (await process.stdout.readline()).decode().removeprefix("bus: ").strip()
    assert is_open(url)
    process.kill()
    await process.communicate()
    await until(lambda: not is_open(url))


def is_open(url: str) -> bool:
    import socket

    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(url.rpartition(":")[2]))) == 0


def test_the_settings_accept_a_bus_in_short_and_in_full_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MARKET_FEED_BUS", raising=False)
    file = tmp_path / "settings.yaml"
    file.write_text("bus: nats://a:4222,tls://b\n")
    short = load_settings(file).bus
    assert short is not None
    assert list(short.address.servers) == ["nats://a:4222", "tls://b"]
    file.write_text(f"bus: {{url: nats://a, user: me, password: {SECRET}}}\n")
    full = load_settings(file)
    assert full.bus is not None
    assert full.bus.address.password == SECRET
    assert SECRET not in repr(full)
    assert SECRET not in repr(full.bus.address)
    monkeypatch.setenv("MARKET_FEED_BUS", "nats://c")
    assert (load_settings(file).bus or full.bus).url == "nats://c"
    monkeypatch.setenv("MARKET_FEED_BUS_TOKEN", "from the environment")
    assert (load_settings(file).bus or full.bus).address.token == "from the environment"
    assert Settings().bus is None


def test_a_wrong_bus_is_a_settings_error_without_secrets(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(f"bus: {{url: 'nats://me:{SECRET}@', token: [{SECRET}], what: 1}}\n")
    with pytest.raises(SettingsError) as raised:
        load_settings(file)
    assert len(raised.value.problems) == 3
    assert SECRET not in str(raised.value)
