"""The order of the modules, read from the source: imports, names and logging."""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import resolve_name
from pathlib import Path

import ccxt.pro
import pytest

from exchanges.names import ALIASES

ROOT = Path(__file__).parents[1]

# A module imports only modules above it in its table. If the code wants another shape, the table changes first.

SPECIAL = sorted(
    path.stem for path in (ROOT / "exchanges" / "venues").glob("*.py") if "PROFILES = (" in path.read_text("utf-8")
)
BOOKS = sorted(path.stem for path in (ROOT / "exchanges" / "venues").glob("*_books.py"))
TABLES: Mapping[str, Mapping[str, str]] = {
    "exchanges": {
        "errors": "Disconnected (try again), Rejected and Blocked (try another venue)",
        "events": "TradeEvent, Candle, Quote, Ticker and the Listener: what both packages speak",
        "names": "the venues' names, without importing ccxt",
        "foreign_text": "what others send, made printable and free of secrets",
        "local_faults": "faults of this machine or program, told as such",
        "venue_time": "what time it is at a venue, whatever the local clock says",
        "normalize": "pure functions: ccxt rows to events",
        "venue": "the seam: what the feed asks of a venue, whatever stands behind it",
        "books": "order books: their levels, and what proves them",
        "venues": "what is special about each venue",
        "ccxt_adapter": "venues over ccxt.pro; the only importer of ccxt",
        "recording": "folders of Parquet files, and their rows in the order of delivery",
        "bus": "venues read from a bus, where collectors publish them",
        "registry": "a name becomes a venue",
        "__init__": "re-exports",
        "simulator": "loopback venues with the venues' laws; imports nothing of the rest",
    },
    "exchanges.books": {
        "sorted_levels": "one side as sorted lists",
        "order_book": "the two sides, sorted, inside their proven range",
        "proof": "a venue's row: what proves its books, and the verdict on a frame",
        "frame_proofs": "proofs of other numbers than each market's own",
        "checksum": "books in the venue's own words, for its checksums",
        "plausibility": "what holds of every book, whatever its venue",
        "diff_book": "a book of diffs joined to a REST snapshot",
        "delta_book": "a book of a snapshot and deltas in one stream",
        "snapshot_queue": "whose REST snapshot is next, within the venue's weight",
    },
    "exchanges.recording": {
        "rows": "events as columns, and columns as events",
        "books": "order books as snapshots and changes",
        "files": "names, what is there, the manifest",
        "writing": "files that are whole at any moment",
        "reader": "the rows in the order of delivery",
        "overview": "what is there, whether it is whole, and as CSV",
        "markets": "market ids without a list of markets",
        "captures": "raw capture files",
        "archives": "an exchange's public archives",
    },
    "exchanges.venues": {
        "coin_renames": "coins that were renamed",
        "units": "markets of 1000 units and more, as the coin itself",
        "frame_markets": "of which markets a frame speaks, in its topic and in its rows",
        "fast_decoder": "the most frequent frames, from text to events without ccxt",
        "binance_books": "frames of depth and snapshots at Binance",
        "bybit_books": "frames of depth at Bybit",
        "binance_frames": "which those are at Binance",
        "bybit_frames": "the same at Bybit",
        "joined_requests": "subscriptions that replace each other",
        "profile": "what can be special about a venue: ccxt id, ccxt options, limits, hooks",
        **dict.fromkeys(BOOKS, "what proves a venue's order books"),
        **dict.fromkeys(SPECIAL, "a venue's profile"),
        "find": "a venue's profile by its name",
    },
    "exchanges.ccxt_adapter": {
        "deferred_names": "what ccxt's base imports for other uses than a feed's",
        "ccxt_import": "ccxt without the exchanges that nobody asks for",
        "bans": "how long a venue wants to be left alone",
        "trade_ids": "a venue's trades, with what its profile says",
        "history_pages": "past candles over REST, page by page",
        "transport": "what carries the WebSockets: aiohttp, or picows where it can",
        "errors": "where ccxt's errors end",
        "markets": "one venue's markets: loaded once, kept on disk, found by coin",
        "books": "the order books of one connection",
        "stream": "one WebSocket connection",
        "instance": "ccxt's classes as a profile wants them: what is added, an instance made, and closed",
        "venue": "the venue: markets, REST answers, connections",
        "support": "what can be had from each venue",
    },
    "exchanges.ccxt_adapter.transport": {
        "proxies": "which proxy an address is asked through",
        "certificates": "which authorities a venue's certificate may be from",
        "name_lookup": "names looked up in threads that nobody waits for",
        "http_client": "aiohttp's session: proxies, redirects and bounds",
        "websocket": "a WebSocket over picows, as ccxt's client needs it",
        "dial": "such a WebSocket's dial, and its end when it is given up",
        "choose": "aiohttp or picows",
    },
    "exchanges.ccxt_adapter.markets": {
        "unreadable_rows": "a row of a list of markets that cannot be read costs itself alone",
        "worker": "work that would hold up the loop, in a thread",
        "lazy_rows": "rows that are made of their bytes when they are asked for",
        "table": "what a venue lists, apart from the ccxt instance that asked",
        "table_bytes": "such a table as bytes and back",
        "parts": "a long list loaded part by part",
        "disk_cache": "such tables on disk, between starts",
        "markets": "loaded once, kept, found by coin",
    },
    "exchanges.ccxt_adapter.books": {
        "pauses": "pauses that double",
        "delivery": "books told to the listener while they are proven",
        "snapshots": "a venue's REST snapshots, within its weight",
        "quotes": "the best bid and ask of proven books",
        "own_books": "books that we build ourselves",
        "verified_books": "books that ccxt builds, judged by their frames",
        "connection_books": "which of these a connection has",
    },
    "exchanges.ccxt_adapter.stream": {
        "row_caches": "the caches that ccxt fills and that deliver",
        "dial_rate": "how many sockets of a venue may be opened at once",
        "client_guard": "the guard around one ccxt client: bad frames, redirected dials, quiet futures",
        "channels": "which of ccxt's calls bring a channel, and what stands in for it",
        "row_handler": "how what one connection brings reaches the listener",
        "request_batching": "one request for all that a client asks for",
        "rejections": "whose request a venue has rejected",
        "connection": "one connection's life: what it subscribes to, until it ends",
    },
    "exchanges.bus": {
        "subjects": "names on the bus",
        "shards": "which collector carries which coin",
        "payloads": "events as JSON and back",
        "client": "one connection to the bus, and errors in its words",
        "collectors": "which collector publishes what, as they say it",
        "publishers": "which collector publishes, as a reader hears of it",
        "reader": "subjects of a stream, in order and each message once",
        "connection": "one exchange's subjects, live",
        "venue": "an exchange read from the bus",
    },
    "exchanges.simulator": {
        "errors": "SimulatorError",
        "faults": "what can go wrong, as it is written down",
        "markets": "markets, their trades and history",
        "connections": "what a client sees: WebSocket, REST, the laws",
        "listings": "what a venue lists, and how that changes",
        "lag": "a stream that is behind",
        "publishing": "what a venue sends, at once or late",
        "books": "order books on the way from a market to its readers",
        "venue": "what all venues share",
        "binance": "Binance's protocol",
        "bybit": "Bybit's protocol",
        "captures": "captured frames, and their replay",
        "control": "the simulator's own HTTP interface",
        "server": "one port behind which the venues live",
        "threaded": "the same in a thread of its own",
        "__init__": "re-exports",
    },
    "feed": {
        "errors": "what a program may see raised, under one root",
        "events": "the venues' events, the price tick made of them, the feed's state",
        "channels": "all channels of events in one table",
        "clock": "time as a seam",
        "settings": "what a feed can be told, and what is allowed",
        "policies": "decisions, pure",
        "subscriptions": "how events reach a program",
        "trades": "every trade once and in order",
        "candles": "each candle closed exactly once, from what a venue tells, its trades or its record",
        "market_data": "where the events of all connections meet",
        "sessions": "which venue is carried, over which connections",
        "replay": "recordings, played through a feed",
        "running": "a feed connected and ended",
        "queries": "what a bot may act on now: freshness, status, health",
        "market_feed": "the façade",
        "sinks": "what goes out of a feed to other programs, over its public API",
        "__init__": "re-exports",
        "pytest_plugin": "fixtures for the tests of a bot",
        "cli": "the commands",
        "__main__": "python -m feed",
    },
    "feed.running": {
        "forked": "what becomes of feeds in a forked child",
        "background": "programs without asyncio",
        "runner": "connecting, ending, and what runs between",
    },
    "feed.settings": {
        "timeframes": "how long candles are, and when they open",
        "yaml_scalars": "YAML's scalars as they were written",
        "schema": "the keys, their defaults, and what is allowed",
        "validation": "plain data held against that, every problem reported at once",
        "file": "settings.yaml, found and read",
        "arguments": "the arguments of MarketFeed, in the terms of the settings",
        "__init__": "re-exports",
    },
    "feed.policies": {
        "backoff": "how long to wait before the next dial",
        "rate_limit": "how many dials or requests a venue allows",
        "staleness": "which silence is worth telling, and which is the end",
        "lag": "how far a venue's data lies behind, by its stamps",
        "price_plausibility": "whether the first price of another market can be the same coin's",
        "standing_sides": "order books that do not follow the trades",
        "circuit_breaker": "when not to bet on the feed",
        "failover_decisions": "what is decided of venues, and the table of the moves",
        "failover": "which venue now and next",
    },
    "feed.subscriptions": {
        "wanted_data": "the coins, channels and timeframes that the program wants",
        "observation": "events handed on in batches, for what counts them",
        "queues": "what stands between a channel and a consumer that takes its time",
        "routes": "a coin's way to the subscribers of a channel",
        "dispatcher": "subscribers, kept apart",
        "status_events": "every status event in one table",
        "status": "status events: logged, counted, told; they move the state",
        "subscribing": "subscriptions to channels, and what they want of the venues",
    },
    "feed.trades": {
        "duplicates": "which trades came before",
        "gaps": "what is missing, and what was found for it",
        "leaps": "ids that are ahead, and what proves them",
        "wrong_ids": "ids that cannot be right, and the sequence without them",
        "wrong_stamps": "stamps that cannot be right",
        "open_gaps": "a coin's outage, its open gaps with the trades that wait, and what was given up",
        "sequence": "duplicates out, gaps found and filled, in order",
        "lost_subscription": "what tickers tell of trades that do not come",
        "backfiller": "gaps fetched over REST, what comes behind them held",
    },
    "feed.candles": {
        "stamp_check": "which rows and trades are stamped ahead of the time",
        "missing": "candles that were missed",
        "tracker": "one coin's candles of one timeframe as the venue streams them, each closed exactly once",
        "builder": "the same, built from trades",
        "overdue": "candles that are over, closed by a timer",
        "venue_candles": "every candle of one venue, over all its connections: tracked, built from trades, repaired",
        "delivered": "the candles delivered lately, and how history joins them",
    },
    "feed.market_data": {
        "price_cache": "each coin's latest tick",
        "volatility": "over closed minutes",
        "coin_markets": "from which market each coin's events are taken",
        "order_books": "each coin's proven book",
        "hub": "where the events of all connections come together",
        "listener_base": "what every connection's listener does",
        "connection_listener": "one connection's events, passed on to the hub",
        "book_listener": "the same of a connection for order books",
        "candle_history": "past candles, joined to those delivered",
    },
    "feed.sessions": {
        "coin_listing": "which of the wanted coins a venue lists, and as which market",
        "feed_context": "the parts of a feed with which its sessions work",
        "day_stats": "a venue's 24 h statistics over REST",
        "shared_venue": "one venue's rate limits and what its sessions share",
        "connections": "the connections over which a venue is carried",
        "session": "one venue carried until it fails",
        "session_tasks": "the tasks that carry the sessions",
        "prefetch": "markets loaded ahead of need",
        "supervisor": "which venue carries some coins, and what follows when it ends",
        "coin_routing": "which coins come from the active venue, and which from the next one that lists them",
    },
    "feed.replay": {
        "recorded_clock": "the recording's time",
        "recorded_status": "status events that are told again",
        "source": "what is played",
        "recorded_events": "market data that is delivered again",
        "player": "when it is played, and how fast",
    },
    "feed.sessions.connections": {
        "sharding": "coins spread over connections that carry only so much",
        "connection": "one of the connections of a venue, kept standing",
        "pool": "the connections of a venue, each with its part of the coins",
    },
    "feed.sinks": {
        "folder_lock": "one program per folder",
        "recorder": "everything that was delivered, in Parquet files",
        "metrics": "what a feed does, for Prometheus",
        "server": "one feed for programs in any language, over HTTP",
        "bus": "exchanges carried once, for any number of programs",
    },
    "feed.sinks.recorder": {
        "pending_rows": "events as rows that wait",
        "holes": "what a recording lacks",
        "merging": "small files into large ones",
        "writer": "the threads that write",
        "recorder": "the consumer of a feed",
    },
    "feed.sinks.server": {
        "messages": "what clients may ask, and how events are written",
        "event_log": "the last events of a selection, numbered",
        "access": "token, Origin and Host",
        "serve_page": "the page for people",
        "openapi": "the description of the REST interface",
        "broadcast": "events to all clients, none of which another waits for",
        "rest": "REST: state, candles, health, metrics",
        "streams": "WebSocket and Server-Sent Events",
        "app": "the port, its bounds and its end",
    },
    "feed.sinks.bus": {
        "lease": "which of several collectors publishes",
        "backlog": "what follows the bus's last events",
        "streams": "the bus's streams and their limits",
        "writer": "publishing in order, once, and refused when another one has begun",
        "publication": "an exchange's events as messages",
        "publisher": "the lease taken, held and handed over",
        "collector": "one exchange on the bus",
        "collectors": "all exchanges at once",
        "server": "a nats-server of our own",
    },
    "feed.cli": {
        "arguments": "the command line's grammar",
        "process": "signals, exit codes, the log",
        "reports": "what commands find and count",
        "screen": "what a terminal shows of a running feed",
        "check": "market-feed check",
        "exchanges": "market-feed exchanges",
        "simulate": "market-feed simulate",
        "watch": "market-feed watch",
        "serve": "market-feed serve",
        "collect": "market-feed collect",
        "bus": "market-feed bus",
        "record": "market-feed record",
        "replay": "market-feed replay",
        "recording": "market-feed recording",
        "demo": "market-feed demo",
        "__init__": "main()",
    },
    "feed.cli.reports": {
        "tables": "plain tables",
        "metrics": "--metrics-port",
        "collector_metrics": "collect --metrics-port",
        "diagnosis": "what a check found, and what to do",
        "bus_report": "what goes on on a bus",
    },
    "feed.cli.screen": {
        "stdout_writer": "writing to a pipe that may be slow or gone",
        "live_state": "what a screen shows, as data",
        "live_table": "that state as a table or as lines",
        "book_view": "one coin's order book, beside them",
        "outputs": "screen, lines or JSON over a feed",
    },
}
MANY = {"exchanges.venues", "feed.cli"}  # packages that may have more modules than the others
MOST = 9  # modules of a package, without its subpackages and its own __init__
FLOORS = 6  # the longest chain of imports inside a package
PUBLIC_TWICE = {"Connection"}  # users know the settings of connections, and the seam has a venue's connection
LONGEST = 350  # lines of code in a module: without docstrings, comments and blank lines
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
    """The full names of all modules, and names in modules, that the module imports anywhere."""
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


def plain(package: str, rows: Mapping[str, str]) -> list[str]:
    """The rows that are modules, not packages of their own."""
    return [row for row in rows if row not in ("__init__", "__main__") and f"{package}.{row}" in modules()]


def at_fault(package: str, rule: str, names: Iterator[str]) -> None:
    found = sorted(names)
    assert not found, f"{package}: {rule}: {', '.join(found)}"


@pytest.mark.parametrize("package", TABLES)
def test_every_module_stands_in_its_table(package: str) -> None:
    there = {member(name, package) for name in modules() if name.startswith(f"{package}.")}
    assert there - {"__init__"} == set(TABLES[package]) - {"__init__"}


def test_every_package_has_a_table() -> None:
    small = {"connections", "markets", "books", "binance", "bybit", "captures"}  # the simulator's
    packages = {name.removesuffix(".__init__") for name in modules() if name.endswith(".__init__")}
    assert packages - {f"exchanges.simulator.{each}" for each in small} == set(TABLES)


@pytest.mark.parametrize("package", TABLES)
def test_a_package_has_few_modules(package: str) -> None:
    assert package in MANY or len(plain(package, TABLES[package])) <= MOST


def code_lines(text: str) -> int:
    """How many lines hold code: neither blank, nor a comment, nor a docstring."""
    code: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT):
            code.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            code.difference_update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(code)


def test_no_module_is_long() -> None:
    paths = [path for package in ("exchanges", "feed") for path in (ROOT / package).rglob("*.py")]
    lines = {str(path.relative_to(ROOT)): code_lines(path.read_text("utf-8")) for path in paths}
    assert {name: count for name, count in lines.items() if count > LONGEST} == {}


def test_a_class_name_means_one_class() -> None:
    places: dict[str, list[str]] = {}
    for name, module in modules().items():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(name)
    twice = {name: found for name, found in places.items() if len(found) > 1 and name not in PUBLIC_TWICE}
    assert twice == {}


@pytest.mark.parametrize("package", TABLES)
def test_a_package_has_few_floors(package: str) -> None:
    """The longest chain of imports between its modules."""
    rows = plain(package, TABLES[package])
    floor: dict[str, int] = {}
    for row in rows:  # rows above come first
        below = {member(target, package) for target in own(modules()[f"{package}.{row}"])}
        floor[row] = 1 + max((floor.get(each, 0) for each in below), default=0)
    assert max(floor.values(), default=0) <= FLOORS, floor


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
    for name in importers - {"exchanges.names"}:  # exchanges.names asks ccxt.pro if nothing else lists its modules
        assert name.startswith("exchanges.ccxt_adapter."), name


def test_the_cli_is_a_user_like_any_other() -> None:
    """Nothing of the library imports the commands or the simulator; the fixtures for bots are users too."""
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


def test_feed_knows_no_venue_by_name() -> None:
    """Settings and profiles name venues, code does not."""
    known = set(ALIASES) | set(ccxt.pro.exchanges)  # not what other tests register
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
    """Neither ccxt, which takes a second, nor its packages or those of an extra."""
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


def test_the_feed_is_silent_until_its_user_enables_its_log() -> None:
    silent, enabled = python(SILENCE).stderr.split("enabled:\n")
    assert silent == ""
    assert enabled != ""
