"""The house's order, read from the source: who imports whom, who knows whom, and who keeps silent."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import resolve_name
from itertools import chain
from pathlib import Path

import pytest

from exchanges.names import exchange_names

ROOT = Path(__file__).parents[1]

# A module imports only modules above it in its table. If the code wants another shape, the table changes first.

EXCHANGES: Mapping[str, str] = {
    "errors": "Disconnected (try again), Rejected / Blocked (try another venue)",
    "events": "TradeEvent, Candle, Quote, Ticker and the Listener: what both packages speak",
    "names": "the venues' names, without importing ccxt",
    "foreign_text": "what others send, made printable and free of secrets",
    "proxies": "which proxy an address is asked through",
    "ban": "how long a venue wants to be left alone",
    "certificates": "which authorities a venue's certificate may be from",
    "name_lookup": "names looked up in threads that nobody waits for",
    "http_client": "aiohttp's session: proxies, redirects and bounds",
    "local_faults": "faults of this machine or program, told as such",
    "venue_time": "what time it is at a venue, whatever the local clock says",
    "normalize": "pure functions: ccxt rows to events",
    "frame_markets": "of which markets a frame speaks, in its topic and in its rows",
    "hotpath": "the hottest frames, from text to events without ccxt",
    "binance_frames": "which those are at Binance",
    "bybit_frames": "the same at Bybit",
    "profiles": "what can be special about a venue: ccxt id, ccxt options, limits, quirks",
    "venues": "the table of those that are special, a row each",
    "units": "markets of 1000 units and more, as the coin itself",
    "trades": "a venue's trades, with what its profile says",
    "candles": "bars, each closed exactly once",
    "overdue": "bars that are over, closed by a timer",
    "bars": "every bar of one venue, over all its connections: tracked, built from trades, mended",
    "past": "past bars over REST, page by page",
    "push": "the stores that ccxt fills and that deliver",
    "websocket": "a WebSocket over picows, as ccxt's client needs it",
    "dial": "such a WebSocket's dial, and its end when it is given up",
    "transport": "what carries the WebSockets: aiohttp, or picows where it can",
    "pace": "how many sockets of a venue may be opened at once",
    "fence": "the guard around one ccxt client: bad frames, redirected dials, quiet futures",
    "channels": "which of ccxt's calls bring a channel, and what stands in for it",
    "delivery": "how what one connection brings reaches the listener",
    "gather": "one request for all that a client asks for",
    "refusals": "whose request a venue has refused",
    "stream": "one connection's life: what it subscribes to, until it ends",
    "aside": "work that would hold up the loop, in a thread",
    "market_table": "what a venue lists, apart from the ccxt instance that asked",
    "market_cache": "such tables on disk, between starts",
    "markets": "one venue's markets: loaded once, kept, found by coin",
    "adapter": "one venue over its ccxt.pro class: markets, REST answers, streams; the only importer of ccxt",
    "support": "what can be had from each venue",
    "__init__": "open_exchange and the names",
    "simulator": "loopback venues with the venues' laws; imports nothing of the rest",
}
ADAPTER: Mapping[str, str] = {
    "ccxt_import": "ccxt without the exchanges that nobody asks for",
    "translation": "where ccxt's errors end",
    "unreadable_rows": "a row of a list of markets that cannot be read costs itself alone",
    "instance": "ccxt's classes as a profile wants them: what is added, an instance made, and closed",
    "__init__": "the venue",
}
SIMULATOR: Mapping[str, str] = {
    "errors": "SimulatorError",
    "answers": "REST answers",
    "frames": "WebSocket frames as a server sends them",
    "laws": "what a client may do, and the books kept about it",
    "bars": "candles and their times",
    "model": "the seeded price model",
    "catalog": "what a venue lists",
    "faults": "what can go wrong, as it is written down",
    "history": "the day before the start",
    "market": "one market: its trades and the figures that follow from them",
    "listings": "the markets that a venue lists at the moment",
    "capture": "raw capture files",
    "connection": "one client's WebSocket",
    "topics": "what connections subscribed to",
    "disturbances": "the faults while they last",
    "lag": "what a stream that is behind holds back",
    "sessions": "connections from the upgrade to the end, the laws on the way",
    "trade_faults": "what faults do to trades and candles on their way",
    "publishing": "what a venue sends, at once or as late as its stream is",
    "venue": "markets, trades, publishing: what all venues share",
    "binance_rows": "Binance's rows",
    "binance_rest": "Binance's REST",
    "binance": "Binance's streams",
    "bybit_rest": "Bybit's REST",
    "bybit": "Bybit's streams",
    "replay": "plays a capture on a venue",
    "control": "the simulator's own HTTP interface",
    "server": "one port behind which the venues live",
    "threaded": "the same in a thread of its own",
    "__init__": "re-exports",
}
FEED: Mapping[str, str] = {
    "errors": "what a program may see raised, under one root",
    "events": "the venues' events, the price tick made of them, the feed's state",
    "settings": "what a feed can be told, and what is allowed",
    "yaml_scalars": "YAML's scalars as they were written, and what they mean where a number or a switch stands",
    "validation": "plain data held against that, every problem reported at once",
    "settings_file": "settings.yaml, found and read",
    "forked": "what becomes of feeds in a forked child",
    "clock": "time as a seam",
    "backoff": "how long to wait before the next dial",
    "budget": "how many dials a venue allows",
    "lag": "how far a venue's data lies behind, by its stamps",
    "staleness": "which silence is worth telling, and which is the end",
    "breaker": "when not to bet on the feed",
    "volatility": "over closed minutes",
    "decisions": "what is decided of venues, and the table of the moves",
    "failover": "which venue now and next",
    "duplicates": "the ids by which a repeated trade is known",
    "gaps": "what is missing, and what was found for it",
    "leaps": "trades whose id is ahead of the sequence, or fits nowhere",
    "backfill": "every trade once and in order: duplicates out, gaps found and filled",
    "queues": "what stands between a channel and a consumer that takes its time",
    "routes": "a coin's way to the subscribers of a channel",
    "dispatch": "subscribers, kept apart",
    "prices": "each coin's latest tick",
    "price_plausibility": "whether another market's price can be the same coin's",
    "coin_markets": "from which market each coin is taken",
    "journal": "everything that happens, once: logged, counted, told; it moves the state",
    "tape": "a venue's trades in order: gaps fetched over REST, what comes behind them held",
    "shared_venue": "one venue's budgets of dials and REST requests",
    "ledger": "the bars delivered lately, and how history joins them",
    "hearsay": "what tickers tell of trades that do not come",
    "desk": "where the events of all connections come together",
    "listing": "which of the wanted coins a venue lists, and as what",
    "figures": "a venue's 24 h figures over REST",
    "wanted": "what the feed asks of a venue",
    "parts": "coins spread over connections that carry only so much",
    "leg": "one of the connections of a venue, kept standing",
    "session": "one venue carried until it fails",
    "prefetch": "markets loaded ahead of need",
    "strays": "coins that the active venue does not list",
    "supervisor": "which venue is carried, and what follows when it ends",
    "history": "what happened before the feed connected",
    "arguments": "what a program asks for, in the terms of the settings",
    "subscribing": "callbacks and iterators",
    "asking": "what is known now: prices, freshness, status, health",
    "background": "programs without asyncio",
    "market_feed": "the façade",
    "__init__": "re-exports",
    "pytest_plugin": "fixtures for the tests of a bot",
    "cli": "the commands",
    "__main__": "python -m feed",
}
CLI: Mapping[str, str] = {
    "arguments": "the command line's grammar",
    "process": "signals, exit codes, the log",
    "outlet": "writing to a pipe that may be slow or gone",
    "tables": "plain tables",
    "board": "what a screen shows, as data",
    "render": "the board as a table or as lines",
    "views": "screen, lines or JSON over a feed",
    "diagnosis": "what check knows of the machine, and what it advises",
    "check": "market-feed check",
    "exchanges": "market-feed exchanges",
    "simulate": "market-feed simulate",
    "watch": "market-feed watch",
    "demo": "market-feed demo",
    "__init__": "main()",
}
TABLES: Mapping[str, Mapping[str, str]] = {
    "exchanges": EXCHANGES,
    "exchanges.ccxt_adapter.venue": ADAPTER,
    "exchanges.simulator": SIMULATOR,
    "feed": FEED,
    "feed.cli": CLI,
}
USERS = ("feed.cli.", "feed.__main__", "feed.pytest_plugin")  # of the library, as any program is
TYPES_ONLY = {("exchanges.simulator.control", "exchanges.simulator.server")}  # against the order, for annotations


@dataclass(frozen=True)
class Module:
    """A module of the house. A package's own module is ``package.__init__``."""

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
    """The full name of everything that the module imports, anywhere in it: of a module, or of something in one."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), module.package)
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from (str(arg.value) for arg in node.args if isinstance(arg, ast.Constant))


def own(module: Module) -> set[str]:
    """The modules of the house that it imports."""
    targets = set()
    for name in imported(module):
        candidates = (name, f"{name}.__init__", name.rpartition(".")[0], f"{name.rpartition('.')[0]}.__init__")
        targets |= set([each for each in candidates if each in modules()][:1])
    return targets


def member(name: str, package: str) -> str:
    """The row of ``package``'s table that a module inside it belongs to."""
    return name.removeprefix(f"{package}.").partition(".")[0]


def at_fault(package: str, rule: str, names: Iterator[str]) -> None:
    found = sorted(names)
    assert not found, f"{package}: {rule}: {', '.join(found)}"


@pytest.mark.parametrize("package", TABLES)
def test_every_module_stands_in_its_table(package: str) -> None:
    there = {member(name, package) for name in modules() if name.startswith(f"{package}.")}
    assert there == set(TABLES[package])


@pytest.mark.parametrize("package", TABLES)
def test_a_module_imports_only_those_above_it(package: str) -> None:
    """So the imports are acyclic too."""
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
            if (name, target) not in TYPES_ONLY
        )
        at_fault(name, "imports what stands below it", below)


def test_exchanges_never_imports_feed() -> None:
    for name, module in modules().items():
        if name.startswith("exchanges."):
            at_fault(name, "imports", (each for each in imported(module) if each.partition(".")[0] == "feed"))


def test_the_simulator_stands_alone() -> None:
    for name, module in modules().items():
        if name.startswith("exchanges.simulator."):
            at_fault(name, "imports", (each for each in own(module) if not each.startswith("exchanges.simulator.")))


def test_only_the_adapter_imports_ccxt() -> None:
    importers = {n for n, module in modules().items() if any(e.partition(".")[0] == "ccxt" for e in imported(module))}
    assert importers
    for name in importers - {"exchanges.names"}:  # which asks ccxt.pro where nothing else lists its modules
        assert name.startswith("exchanges.ccxt_adapter.venue."), name


def test_the_cli_is_a_user_like_any_other() -> None:
    """Nothing of the library imports the commands or the simulator; the fixtures for bots are users too."""
    for name, module in modules().items():
        if name.startswith("feed.") and not name.startswith(USERS):
            users = (each for each in own(module) if each.startswith(("feed.cli.", "exchanges.simulator.")))
            at_fault(name, "imports", users)


def library() -> Iterator[Module]:
    """What an importing program gets: everything but the commands, the simulator and the fixtures."""
    for name, module in modules().items():
        if not name.startswith((*USERS, "exchanges.simulator.")):
            yield module


def literals(tree: ast.Module) -> Iterator[str]:
    """The strings of a module but for those that stand alone, which are documentation."""
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            yield node.value


def test_feed_knows_no_venue_by_name() -> None:
    """Settings and profiles name venues, code does not."""
    known = set(exchange_names()) | {"binance", "bybit"}
    for module in library():
        if module.name.startswith("feed."):
            words = {word for text in literals(module.tree) for word in re.findall(r"\w+", text.lower())}
            at_fault(module.name, "names", iter(words & known))


def test_the_library_leaves_the_programs_log_alone() -> None:
    """Sinks belong to the program: no add, remove or configure of loguru, and no enabling of our own names."""
    for module in library():
        calls = (ast.unparse(node.func) for node in ast.walk(module.tree) if isinstance(node, ast.Call))
        forbidden = {f"logger.{each}" for each in ("add", "remove", "configure", "enable")}
        at_fault(module.name, "calls", (call for call in calls if call in forbidden))


def python(code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)


def test_importing_feed_imports_nothing_heavy() -> None:
    """Neither ccxt, which takes a second, nor what belongs to it or to an extra."""
    told = python("import sys, feed; print(*{name.partition('.')[0] for name in sys.modules})").stdout.split()
    assert "feed" in told
    assert not {"ccxt", "aiohttp", "rich", "numpy"} & set(told)


DISTRIBUTIONS = {"yaml": "pyyaml"}  # of modules that are not called like theirs


def test_what_the_library_imports_is_declared() -> None:
    """What only comes along with another package may be gone with its next version."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = chain.from_iterable(project["optional-dependencies"].values())
    declared = {re.split(r"[^\w-]", each)[0].lower() for each in chain(project["dependencies"], extras)}
    for name, module in modules().items():
        tops = {each.partition(".")[0] for each in imported(module)} - {"feed", "exchanges"} - sys.stdlib_module_names
        at_fault(name, "imports", (top for top in tops if DISTRIBUTIONS.get(top, top) not in declared))


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


def test_the_feed_is_silent_until_its_user_enables_its_log() -> None:
    silent, enabled = python(SILENCE).stderr.split("enabled:\n")
    assert silent == ""
    assert enabled != ""
