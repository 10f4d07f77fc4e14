"""The pytest fixtures for tests of bots: pytest in a process of its own runs the documented example with them."""

from __future__ import annotations

import os
import py_compile
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from feed import pytest_plugin as plugin

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
EXAMPLE = ROOT / "docs" / "examples" / "test_my_bot.py"
LOADED = "import sys, feed.pytest_plugin; print(*{name.partition('.')[0] for name in sys.modules})"


def pytested(at: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run pytest in a directory of its own, with the fixtures, no other plugin, and warnings as errors."""
    options = ["-p", "feed.pytest_plugin", "-p", "no:cacheprovider", "-W", "error", "--strict-markers"]
    return run(at, [*options, *arguments], PYTHONPATH=str(ROOT), PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")


def run(at: Path, options: Sequence[str], **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "--rootdir", str(at), *options],
        cwd=at,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_documented_example_passes(tmp_path: Path) -> None:
    """The example has plain tests and coroutines, needs no plugin for coroutines, and leaves nothing open."""
    (tmp_path / EXAMPLE.name).write_text(EXAMPLE.read_text("utf-8"))
    ended = pytested(tmp_path, "-q")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "3 passed" in ended.stdout


COROUTINE = """
async def test_it(market_simulator, market_feed):
    async with market_feed:
        with market_simulator["binance"].stalled():
            async for event, details in market_feed.events():
                if event == "feed_stale":
                    break
"""


def installed(tmp_path: Path) -> str:
    """A PYTHONPATH with everything that pip installs: the entry point, the plugin's module and the packages."""
    site = tmp_path / "site"
    site.mkdir()
    info = site / "market_feed-0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: market-feed\nVersion: 0\n")
    points = PROJECT["project"]["entry-points"]["pytest11"]
    lines = [f"{name} = {value}\n" for name, value in points.items()]
    (info / "entry_points.txt").write_text("".join(["[pytest11]\n", *lines]))
    for source, target in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"].items():
        if "/" not in target:
            shutil.copy(ROOT / source, site / target)
    return f"{site}{os.pathsep}{ROOT}"


def test_with_an_installed_package_pytest_finds_the_fixtures(tmp_path: Path) -> None:
    """The fixtures work beside other plugins, here beside a plugin that runs coroutine tests."""
    at = tmp_path / "bot"
    at.mkdir()
    (at / "test_it.py").write_text(COROUTINE)
    options = ["-q", "-W", "error", "-p", "no:cacheprovider", "-o", "asyncio_mode=auto"]
    options += ["-o", "asyncio_default_fixture_loop_scope=function"]
    ended = run(at, options, PYTHONPATH=installed(tmp_path))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "1 passed" in ended.stdout


def test_pytest_describes_the_fixtures_and_the_mark(tmp_path: Path) -> None:
    told = pytested(tmp_path, "--fixtures").stdout
    for fixture in ("market_simulator", "market_feed_settings", "market_feed"):
        _, _, text = told.partition(f"\n{fixture} -- ")
        assert text.splitlines()[1].strip(), fixture
    assert "@pytest.mark.market_simulator(**arguments)" in pytested(tmp_path, "--markers").stdout


def test_a_mistake_in_the_mark_is_reported_by_the_simulator(tmp_path: Path) -> None:
    mark = "import pytest\n@pytest.mark.market_simulator(venues=['nasdaq'])\ndef test_it(market_simulator): pass\n"
    (tmp_path / "test_it.py").write_text(mark)
    ended = pytested(tmp_path, "-q")
    assert "unknown venue 'nasdaq'; allowed are binance" in ended.stdout
    assert ended.returncode == 1


def test_starting_pytest_imports_no_slow_package() -> None:
    """pytest loads the plugin at the start of every run in an environment with this package."""
    loaded = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, timeout=60, check=True)
    assert "pytest" in loaded.stdout.split()
    assert not {"ccxt", "aiohttp", "yaml", "msgspec", "exchanges"} & set(loaded.stdout.split())


def test_the_package_names_the_plugin_as_its_entry_point() -> None:
    module = PROJECT["project"]["entry-points"]["pytest11"]["market_feed"]
    included = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    (source,) = (source for source, target in included.items() if target == f"{module}.py")
    assert ROOT / source == Path(plugin.__file__)
    assert {"market_simulator", "market_feed_settings", "market_feed"} <= set(vars(plugin))


# --- a project with modules named feed or exchanges

OWN = {
    "feed.py": {
        "feed.py": "def mine(): return 1\n",
        "test_it.py": "from feed import mine\ndef test(): assert mine()\n",
    },
    "feed/__init__.py": {"feed/__init__.py": "", "feed/x.py": "X = 1\n", "test_it.py": "def test(): import feed.x\n"},
    "exchanges.py": {"exchanges.py": "Y = 1\n", "test_it.py": "from exchanges import Y\ndef test(): assert Y\n"},
    "exchanges/__init__.py": {
        "exchanges/__init__.py": "",
        "exchanges/names.py": "Z = 1\n",
        "test_it.py": "from exchanges.names import Z\ndef test(): assert Z\n",
    },
    "exchanges.pyc": {"exchanges.pyc": "Y = 1\n", "test_it.py": "from exchanges import Y\ndef test(): assert Y\n"},
    "exchanges/__init__.pyc": {
        "exchanges/__init__.pyc": "",
        "exchanges/names.pyc": "Z = 1\n",
        "test_it.py": "from exchanges.names import Z\ndef test(): assert Z\n",
    },
}


def project(tmp_path: Path, files: Mapping[str, str]) -> Path:
    at = tmp_path / "bot"
    for name, text in files.items():
        (at / name).parent.mkdir(parents=True, exist_ok=True)
        (at / name).write_text(text)
        if name.endswith(".pyc"):  # like a program that is shipped without its source
            source = (at / name).rename((at / name).with_suffix(".py"))
            py_compile.compile(str(source), str(at / name), doraise=True)
            source.unlink()
    return at


@pytest.mark.parametrize("own", OWN)
def test_a_project_with_a_module_named_feed_or_exchanges_can_run_its_tests(own: str, tmp_path: Path) -> None:
    at = project(tmp_path, OWN[own])
    ended = run(at, ["-q", "-p", "no:cacheprovider"], PYTHONPATH=installed(tmp_path))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "1 passed" in ended.stdout


@pytest.mark.parametrize("own", OWN)
def test_the_error_of_a_fixture_names_the_file_that_shadows_our_package(own: str, tmp_path: Path) -> None:
    at = project(tmp_path, {**OWN[own], "test_it.py": "def test(market_feed): pass\n"})
    ended = run(at, ["-q", "-p", "no:cacheprovider"], PYTHONPATH=installed(tmp_path))
    assert ended.returncode == 1
    package = "feed" if own.startswith("feed") else "exchanges"
    assert f"{at / own} shadows the package '{package}' of market-feed" in ended.stdout
    assert "Traceback" not in ended.stdout + ended.stderr


@pytest.mark.parametrize("own", [own for own in OWN if own.startswith("exchanges")])
@pytest.mark.parametrize(
    "line", ["from feed import MarketFeed", "import exchanges; from feed.settings.schema import Settings"]
)
def test_the_import_error_names_the_bots_file_that_shadows_our_package(own: str, line: str, tmp_path: Path) -> None:
    at = project(tmp_path, {**OWN[own], "bot.py": f"{line}\n"})
    ended = subprocess.run(
        [sys.executable, "bot.py"],
        cwd=at,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    last = ended.stderr.splitlines()[-1]
    assert ended.returncode == 1
    assert last.startswith(f"ImportError: {at / own} shadows the package 'exchanges' of market-feed")
