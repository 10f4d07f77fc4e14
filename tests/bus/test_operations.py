"""A full disk under the server loses no trade, and the files of docs/bus for systemd and containers are valid."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from exchanges.simulator import Simulator
from feed.sinks.bus.server import BusServer
from tests.bus.conftest import COINS
from tests.bus.support import (
    CollectorProcess,
    check_order,
    consumers,
    needs_bus,
    publisher,
    reader_settings,
)
from tests.support import until

FILES = Path(__file__).parents[2] / "docs" / "bus"
PROGRAM = "/opt/market-feed/bin/market-feed"


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of 64 MB; the test is skipped if no file system can be mounted."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
    if sys.platform != "linux" or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@contextmanager
def filled(folder: Path) -> Iterator[None]:
    """Fill the disk of this folder."""
    file = os.open(folder / "filler", os.O_WRONLY | os.O_CREAT)
    try:
        while True:
            os.write(file, bytes(65536))
    except OSError:
        yield
    finally:
        os.close(file)
        (folder / "filler").unlink()


@needs_bus
async def test_a_full_disk_loses_no_trade_after_a_restart_of_the_server(
    simulator: Simulator, settings_file: Path, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk") as disk:
        async with BusServer(0, disk / "bus", 1.0) as bus:
            collector = await CollectorProcess.start(bus.url, settings_file, "one", "--keep-size", "0.5")
            try:
                await publisher(bus.url, "binance")
                async with consumers(1, reader_settings(bus.url, ["binance"], COINS)) as (reader,):
                    await until(lambda: len(reader.trades) > 50)
                    with filled(disk):
                        await until(lambda: any("answer" in line for line in collector.log))
                    await bus.stop()
                    await bus.start()
                    count = len(reader.trades)
                    await until(lambda: len(reader.trades) > count + 500, 40)
                    for coin in COINS:
                        assert check_order(reader.ids["binance", coin]) == []
            finally:
                await collector.gone()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
def test_the_units_are_valid(tmp_path: Path) -> None:
    units = sorted(FILES.glob("*.service"))
    assert len(units) == 2
    for unit in units:
        text = unit.read_text("utf-8")
        assert PROGRAM in text
        (tmp_path / unit.name).write_text(text.replace(PROGRAM, sys.executable))
    command = ["systemd-analyze", "verify", "--man=no", *(str(tmp_path / unit.name) for unit in units)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_compose_file_is_valid() -> None:
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) is not None:
            whole = [*command, "-f", str(FILES / "compose.yaml")]
            if subprocess.run([*whole, "version"], capture_output=True, check=False).returncode == 0:
                break
    else:
        pytest.skip("no docker compose here")
    done = subprocess.run([*whole, "config"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "stop_grace_period: 10s" in done.stdout
