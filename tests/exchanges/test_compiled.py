"""A program packed by PyInstaller, Nuitka or zipapp works, although its ccxt has no source or is in a zip file."""

from __future__ import annotations

import os
import py_compile
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import cache_from_source, find_spec
from pathlib import Path
from zipfile import ZIP_STORED, ZipFile

import pytest

from exchanges.names import exchange_names

ROOT = Path(__file__).parents[2]
NAMES = "from exchanges.names import exchange_names; import ccxt, sys; print(ccxt.__file__, *exchange_names())"
FEED = """
import asyncio, sys
from exchanges.simulator import Simulator
from feed import MarketFeed, load_settings

async def main():
    async with Simulator(venues=("binance", "bybit"), rate=50) as simulator:
        with open(sys.argv[1], "w") as file:
            file.write("coins: [BTC]\\n" + simulator.settings_yaml())
        async with MarketFeed(settings=load_settings(sys.argv[1])) as feed:
            import ccxt
            print(ccxt.__file__, feed.status.exchange, feed.get_price("BTC") is not None)

asyncio.run(main())
"""


def compiled(package: str, target: Path) -> Path:
    """A folder with the package's compiled modules and its other files, without source."""
    spec = find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations
    (folder,) = (Path(each) for each in spec.submodule_search_locations)
    for source in folder.rglob("*"):
        place = source.relative_to(folder)
        if source.is_dir() or "__pycache__" in place.parts or place.parts[0] == "test":
            continue
        at = target / package / place
        at.parent.mkdir(parents=True, exist_ok=True)
        if source.suffix != ".py":
            shutil.copy(source, at)
        elif os.path.exists(cached := cache_from_source(str(source))):
            shutil.copy(cached, at.with_suffix(".pyc"))
        else:
            py_compile.compile(str(source), str(at.with_suffix(".pyc")), doraise=True)
    return target


@pytest.fixture(scope="module")
def without_source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    target = tmp_path_factory.mktemp("compiled")
    yield compiled("ccxt", target)
    shutil.rmtree(target)  # the copy is removed, because it has tens of megabytes


def python(code: str, *arguments: str, path: Path, at: Path) -> str:
    command = [sys.executable, "-c", code, *arguments]
    found = {**os.environ, "PYTHONPATH": os.pathsep.join((str(path), str(ROOT)))}
    ended = subprocess.run(command, cwd=at, env=found, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_a_feed_runs_on_a_compiled_ccxt_without_source(without_source: Path, tmp_path: Path) -> None:
    told = python(FEED, str(tmp_path / "settings.yaml"), path=without_source, at=tmp_path).split()
    assert told == [str(without_source / "ccxt" / "__init__.pyc"), "binance", "True"]


def test_all_venues_are_known_without_source(without_source: Path, tmp_path: Path) -> None:
    where, *names = python(NAMES, path=without_source, at=tmp_path).split()
    assert where.endswith(".pyc")
    assert names == exchange_names()


def test_all_venues_are_known_from_a_zip_file(without_source: Path, tmp_path: Path) -> None:
    archive = tmp_path / "ccxt.zip"
    with ZipFile(archive, "w", ZIP_STORED) as file:
        for each in (without_source / "ccxt").rglob("*"):
            file.write(each, each.relative_to(without_source))
    where, *names = python(NAMES, path=archive, at=tmp_path).split()
    assert where.startswith(str(archive))
    assert names == exchange_names()


def test_the_default_settings_are_found_in_a_zip_file(tmp_path: Path) -> None:
    """In a zip file, such as zipapp makes, the package's files have no path."""
    archive = tmp_path / "app.pyz"
    with ZipFile(archive, "w", ZIP_STORED) as file:
        for package in ("feed", "exchanges"):
            for each in (ROOT / package).rglob("*.py"):
                file.write(each, each.relative_to(ROOT))
        file.write(ROOT / "settings.yaml", "feed/settings.yaml")
    code = "import feed; print(feed.__file__, *(coin.symbol for coin in feed.load_settings().coins))"
    where, *coins = python(code, path=archive, at=tmp_path).split()
    assert where.startswith(str(archive))
    assert coins[:2] == ["BTC", "ETH"]
    assert len(coins) == 20


def test_a_program_packed_without_the_settings_gets_an_error_that_says_how_to_pack_them(tmp_path: Path) -> None:
    """PyInstaller does not pack data files by itself."""
    archive = tmp_path / "app.pyz"
    with ZipFile(archive, "w", ZIP_STORED) as file:
        for package in ("feed", "exchanges"):
            for each in (ROOT / package).rglob("*.py"):
                file.write(each, each.relative_to(ROOT))
    code = """
import feed
for made in (feed.load_settings, feed.Settings, lambda: feed.MarketFeed(["BTC"])):
    try:
        made()
    except feed.SettingsError as error:
        print(error)
"""
    told = python(code, path=archive, at=tmp_path).splitlines()
    assert len(told) == 3
    assert all(
        "feed/settings.yaml is missing in this program" in line and "--collect-data feed" in line for line in told
    )
