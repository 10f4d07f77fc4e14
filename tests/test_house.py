"""The order of the modules, read from the source: imports, names and logging."""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import resolve_name

import ccxt.pro
import pytest

from exchanges.names import ALIASES
from tests.house_tables import ROOT, TABLES

MANY = {"exchanges.venues", "feed.cli"}  # packages that may have more modules than MOST
MOST = 9  # the largest number of modules in a package, without subpackages and __init__
FLOORS = 6  # the longest chain of imports inside a package
PUBLIC_TWICE = {"Connection"}  # two classes: the settings of connections, and a venue's connection
WORDS = 5  # the smallest number of words in a module's first line
LONGEST = 350  # the largest number of lines of code in a module, without docstrings, comments and blank lines
USERS = ("feed.cli.", "feed.__main__", "feed.pytest_plugin")  # modules that use the library like any program


@dataclass(frozen=True)
class Module:
    """A module of this project. A package's own module is ``package.__init__``."""

    name: str
    tree: ast.Module

    @property
    def package(self) -> str:
        return self.name.rpartition(".")[0]


@cache
def modules() -> Mapping[str, Module]:
    found = {}
    for package in ("exchanges", "feed"):
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found[name] = Module(name, ast.parse(path.read_text(), str(path)))
    return found


def imported(module: Module) -> Iterator[str]:
    """Yield the full name of each module that this module imports, and of each name that it imports from a module."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), module.package)
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from (str(arg.value) for arg in node.args if isinstance(arg, ast.Constant))


def own(module: Module) -> set[str]:
    """This project's modules that the module imports."""
    targets = set()
    for name in imported(module):
        candidates = (name, f"{name}.__init__", name.rpartition(".")[0], f"{name.rpartition('.')[0]}.__init__")
        targets |= set([each for each in candidates if each in modules()][:1])
    return targets


def member(name: str, package: str) -> str:
    """Return the row of the table of ``package`` for the module ``name``, which is inside the package."""
    return name.removeprefix(f"{package}.").partition(".")[0]


def plain(package: str, rows: Sequence[str]) -> list[str]:
    """The rows of the table that are modules, not packages."""
    return [row for row in rows if row not in ("__init__", "__main__") and f"{package}.{row}" in modules()]


def at_fault(package: str, rule: str, names: Iterator[str]) -> None:
    found = sorted(names)
    assert not found, f"{package}: {rule}: {', '.join(found)}"


@pytest.mark.parametrize("package", TABLES)
def test_every_module_is_listed_in_its_packages_table(package: str) -> None:
    there = {member(name, package) for name in modules() if name.startswith(f"{package}.")}
    assert there - {"__init__"} == set(TABLES[package]) - {"__init__"}
    assert len(set(TABLES[package])) == len(TABLES[package])


def test_every_package_has_a_table() -> None:
    small = {"connections", "markets", "books", "binance", "bybit", "captures"}  # packages of the simulator
    packages = {name.removesuffix(".__init__") for name in modules() if name.endswith(".__init__")}
    assert packages - {f"exchanges.simulator.{each}" for each in small} == set(TABLES)


@pytest.mark.parametrize("package", TABLES)
def test_a_package_has_few_modules(package: str) -> None:
    assert package in MANY or len(plain(package, TABLES[package])) <= MOST


def code_lines(text: str) -> int:
    """The number of lines of code: blank lines, comments and docstrings do not count."""
    code: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT):
            code.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            code.difference_update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(code)


def test_no_module_is_long() -> None:
    paths = [path for package in ("exchanges", "feed", "tests") for path in (ROOT / package).rglob("*.py")]
    lines = {str(path.relative_to(ROOT)): code_lines(path.read_text("utf-8")) for path in paths}
    assert {name: count for name, count in lines.items() if count > LONGEST} == {}


def test_a_modules_first_line_says_what_it_does() -> None:
    """A maintainer finds the module to change by its first line, so each line has some words, and no two are equal."""
    first = {name: (ast.get_docstring(module.tree) or "").partition("\n")[0] for name, module in modules().items()}
    assert {name: line for name, line in first.items() if len(line.split()) < WORDS or not line.endswith(".")} == {}
    assert [line for line, count in Counter(first.values()).items() if count > 1] == []


def test_no_two_classes_have_the_same_name() -> None:
    places: dict[str, list[str]] = {}
    for name, module in modules().items():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(name)
    twice = {name: found for name, found in places.items() if len(found) > 1 and name not in PUBLIC_TWICE}
    assert twice == {}


@pytest.mark.parametrize("package", TABLES)
def test_the_chains_of_imports_in_a_package_are_short(package: str) -> None:
    """A chain is a sequence of modules of the package that import each other."""
    rows = plain(package, TABLES[package])
    floor: dict[str, int] = {}
    for row in rows:  # the rows above have been handled before
        below = {member(target, package) for target in own(modules()[f"{package}.{row}"])}
        floor[row] = 1 + max((floor.get(each, 0) for each in below), default=0)
    assert max(floor.values(), default=0) <= FLOORS, floor


@pytest.mark.parametrize("package", TABLES)
def test_a_module_imports_only_modules_above_it_in_the_table(package: str) -> None:
    """If all imports point upwards in the table, there is no cycle of imports."""
    place = {name: number for number, name in enumerate(TABLES[package])}
    for name, module in modules().items():
        if not name.startswith(f"{package}."):
            continue
        row = member(name, package)
        below = (
            target
            for target in own(module)
            if target.startswith(f"{package}.") and place[member(target, package)] >= place[row]
            if member(target, package) != row or module.package == package
        )
        at_fault(name, "imports what stands below it", below)


def test_exchanges_never_imports_feed() -> None:
    for name, module in modules().items():
        if name.startswith("exchanges."):
            at_fault(name, "imports", (each for each in imported(module) if each.partition(".")[0] == "feed"))


def test_the_simulator_imports_nothing_else_of_this_project() -> None:
    for name, module in modules().items():
        if name.startswith("exchanges.simulator."):
            at_fault(name, "imports", (each for each in own(module) if not each.startswith("exchanges.simulator.")))


def test_only_the_adapter_imports_ccxt() -> None:
    importers = {n for n, module in modules().items() if any(e.partition(".")[0] == "ccxt" for e in imported(module))}
    assert importers
    for name in importers - {"exchanges.names"}:  # exchanges.names may need ccxt.pro's list of exchanges
        assert name.startswith("exchanges.ccxt_adapter."), name


def test_the_feed_imports_the_interface_of_venues_alone() -> None:
    """Only sinks and replays need more: the formats of the bus and of recordings."""
    implementations = tuple(f"exchanges.{each}." for each in ("ccxt_adapter", "venues", "bus", "recording"))
    for name, module in modules().items():
        if name.startswith("feed.") and not name.startswith((*USERS, "feed.sinks.", "feed.replay.")):
            at_fault(name, "imports", (each for each in own(module) if each.startswith(implementations)))


def test_the_library_imports_neither_commands_nor_simulator_nor_fixtures() -> None:
    """Commands and fixtures for bots use the library like any other program."""
    for name, module in modules().items():
        if name.startswith("feed.") and not name.startswith(USERS):
            users = (each for each in own(module) if each.startswith(("feed.cli.", "exchanges.simulator.")))
            at_fault(name, "imports", users)


def library() -> Iterator[Module]:
    """The modules of the library: all except the commands, the simulator and the fixtures."""
    for name, module in modules().items():
        if not name.startswith((*USERS, "exchanges.simulator.")):
            yield module


def literals(tree: ast.Module) -> Iterator[str]:
    """The strings of a module, without docstrings."""
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            yield node.value


def test_no_module_of_feed_names_a_venue() -> None:
    """Only settings and profiles name venues."""
    known = set(ALIASES) | set(ccxt.pro.exchanges)  # without names that other tests register
    for module in library():
        if module.name.startswith("feed."):
            words = {word for text in literals(module.tree) for word in re.findall(r"\w+", text.lower())}
            at_fault(module.name, "names", iter(words & known))


def test_the_library_does_not_change_the_programs_log() -> None:
    """Only programs may add, remove or configure loguru's sinks, or enable the log of this project's packages."""
    for module in library():
        calls = (ast.unparse(node.func) for node in ast.walk(module.tree) if isinstance(node, ast.Call))
        forbidden = {f"logger.{each}" for each in ("add", "remove", "configure", "enable")}
        at_fault(module.name, "calls", (call for call in calls if call in forbidden))


def python(code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)


def test_importing_feed_imports_no_slow_packages() -> None:
    """Slow packages are ccxt (its import takes a second), the packages that ccxt needs, and the packages of extras."""
    told = python("import sys, feed; print(*{name.partition('.')[0] for name in sys.modules})").stdout.split()
    assert "feed" in told
    assert not {"ccxt", "aiohttp", "rich", "numpy"} & set(told)


SILENCE = """
import asyncio, sys
from loguru import logger
from feed import MarketFeed, Settings
from feed.settings import ExchangeConfig

async def fail():
    nowhere = ExchangeConfig("bybit", rest_url="http://127.0.0.1:1", ws_url="ws://127.0.0.1:1")
    feed = MarketFeed(["BTC"], settings=Settings(exchanges=[nowhere]))
    failed = asyncio.Event()
    feed.subscribe_status(lambda event, details: event == "error" and failed.set())
    connecting = asyncio.create_task(feed.connect())
    await failed.wait()
    connecting.cancel()
    await asyncio.wait({connecting})

asyncio.run(fail())
print("enabled:", file=sys.stderr)
logger.enable("feed")
asyncio.run(fail())
"""


def test_the_feed_logs_nothing_until_the_program_enables_its_log() -> None:
    silent, enabled = python(SILENCE).stderr.split("enabled:\n")
    assert silent == ""
    assert enabled != ""
