"""Defines the command line: its commands, their options and the defaults.

It imports only the standard library, so that --help is fast.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import Any, NoReturn

PROGRAM = "market-feed"
LEVELS = ("TRACE", "DEBUG", "INFO", "SUCCESS", "WARNING", "ERROR", "CRITICAL")
SIMULATED = ("bybit", "binance", "binance_us")
DEFAULT_PORT = 8765
BUS_PORT = 4222
FAULTS = """\
  cut  close-1008  shutdown-notice  stall  mute  partition  blocked-451  refuse-451  accept-then-drop
  rest-down[-503]  slow-rest-2  rest-behind-2  rest-frozen  behind-2  falling-behind-2  split-2
  halted[-ALL]  unlisted-DOGE  quoted-KRW  other-coin-DOGE  thousands-DOGE
  malformed-0.1  silent-DOGE  tradeless[-ALL]  late-0.1  doubled-0.1  missing-0.1  repeated-0.1
  skipping-20  leap-20  stamp-ahead-2  block-trades-0.1  late-close-2  lost-close
  book-lost-0.1  book-doubled-0.1  book-late-0.1  book-reordered-0.1  book-frozen-bids
  book-crossed  book-stale-2  book-restart  book-refused[-503]"""


class _Help(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=26)


class _Parser(argparse.ArgumentParser):
    """An argument parser that answers a mistake with one line, without the usage."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs, allow_abbrev=False, formatter_class=_Help)

    def error(self, message: str) -> NoReturn:
        message = message.replace("the following arguments are required:", "missing:")
        self.exit(2, f"{PROGRAM}: {message} (see `{self.prog} --help`)\n")


class _Version(argparse.Action):
    """Prints the version. Only this action imports importlib.metadata: that takes as long as the rest of --help."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        from importlib.metadata import PackageNotFoundError, version

        try:
            number = version("market-feed")
        except PackageNotFoundError:  # run from a checkout that is not installed
            number = "(not installed)"
        print(PROGRAM, number)
        parser.exit()


def number(low: float, high: float, what: str, *, above: bool = False) -> Callable[[str], float]:
    """Return an argument type: a finite number from ``low`` to ``high``; error messages describe it as ``what``.

    ``above``: the number must be greater than ``low``.
    """

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high or (above and value == low):
            raise argparse.ArgumentTypeError(f"found {text!r}, allowed is {what}")
        return value

    return read


def whole(low: int, high: int, what: str) -> Callable[[str], int]:
    """Return an argument type: a whole number from ``low`` to ``high``; error messages describe it as ``what``."""

    def read(text: str) -> int:
        if not (text.lstrip("-").isdecimal() and len(text) < 20 and low <= int(text) <= high):
            raise argparse.ArgumentTypeError(f"found {text!r}, allowed is {what}")
        return int(text)

    return read


def names(text: str) -> list[str]:
    """Read ``A,B``: names without blanks, each once, at least one."""
    found = [name.strip() for name in text.split(",")]
    if not all(found):
        raise argparse.ArgumentTypeError(f"found {text!r}, allowed are names with commas between them, such as BTC,ETH")
    return list(dict.fromkeys(found))


def coins(text: str) -> list[str]:
    """Read ``btc,ETH`` as coin symbols in upper case, each once."""
    return list(dict.fromkeys(name.upper() for name in names(text)))


seconds = number(0, 1e8, "a number of seconds above 0", above=True)
rate = number(0, 1e6, "a number of trades per second from 0 to 1000000")
speed = number(0, 1e6, "a factor from 0 (as fast as possible) to 1000000")
port = whole(0, 65535, "a port from 0 (any free one) to 65535")


hours = number(0, 1e6, "a number of hours above 0", above=True)
gigabytes = number(0, 1e6, "a number of gigabytes above 0", above=True)


def shard(text: str) -> tuple[int, int]:
    """Read ``1/4``: the first of four shards."""
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count) <= 1000):
        raise argparse.ArgumentTypeError(f"found {text!r}, allowed is I/N with I from 1 to N, and N up to 1000")
    return int(index), int(count)


def folder(text: str) -> str:
    """Read the name of a folder. An empty name is refused: it comes from a shell variable that is not set."""
    if not text:
        raise argparse.ArgumentTypeError("found '', allowed is the folder of a recording")
    return text


def replay_speed(text: str) -> float | None:
    """Read a speed: a factor above 0, or ``max``, for which it returns None."""
    return None if text == "max" else number(0, 1e6, "a factor above 0, or max", above=True)(text)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line; ``command`` in its result names the module that runs the command."""
    root = _Parser(
        prog=PROGRAM,
        description="Live prices, trades and candles from any ccxt.pro venue.",
        epilog="exit codes: 0 done, 2 wrong usage or settings, 3 no venue works, 130 interrupted",
    )
    root.add_argument("--version", action=_Version, nargs=0, help="show the version")
    commands = root.add_subparsers(title="commands", dest="command", metavar="COMMAND", required=True)

    def command(name: str, about: str, *, examples: str = "") -> argparse.ArgumentParser:
        return commands.add_parser(name, help=about, description=about[0].upper() + about[1:] + ".", epilog=examples)

    demo = command("demo", "the whole stack on an exchange inside this machine, no internet needed")
    demo.add_argument("--coins", type=coins, metavar="A,B", help="only these coins (default: all twenty)")
    demo.add_argument(
        "--faults", action="store_true", help="stall, cut and block the primary, to see failover and failback"
    )
    demo.add_argument("--serve", action="store_true", help="serve a page for a browser, and print its address")
    demo.add_argument(
        "--port", type=port, default=8000, help="port of the page (default: %(default)s; 0: any free one)"
    )
    demo.add_argument("--rate", type=rate, default=150.0, help="trades per second on each venue (default: %(default)g)")
    _common(demo)

    watch = command(
        "watch",
        "live prices as a table, as plain lines without a terminal, or as JSON lines",
        examples="examples:\n  market-feed watch BTC ETH\n  market-feed watch --exchange kraken --json | jq .price",
    )
    watch.add_argument(
        "coins", nargs="*", default=[], type=coins, metavar="COIN", help="only these (default: those of the settings)"
    )
    watch.add_argument(
        "--exchange", type=names, metavar="NAME", help="start on this venue; A,B: exactly these, in order"
    )
    watch.add_argument("--settings", metavar="FILE", help="settings file (default: ./settings.yaml if there is one)")
    _bus_url(watch)
    _metrics(watch)
    watch.add_argument("--book", action="store_true", help="show the order book of the first COIN named, too")
    watch.add_argument("--json", action="store_true", help="print every event as one JSON object per line on stdout")
    _common(watch)

    serve = command(
        "serve",
        "the feed for programs in any language: REST, WebSocket, Server-Sent Events, metrics",
        examples="examples:\n  market-feed serve BTC ETH\n  curl http://127.0.0.1:8000/v1/prices/BTC",
    )
    serve.add_argument(
        "coins", nargs="*", default=[], type=coins, metavar="COIN", help="only these (default: those of the settings)"
    )
    serve.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; one that is not loopback needs a token"
    )
    serve.add_argument("--port", type=port, default=8000, help="(default: %(default)s; 0: any free one)")
    serve.add_argument("--token-file", metavar="F", help="file with the token that every client has to send")
    serve.add_argument(
        "--origin",
        action="append",
        default=[],
        metavar="URL",
        help="let web pages of this origin use the server; may be repeated",
    )
    serve.add_argument(
        "--exchange", type=names, metavar="NAME", help="start on this venue; A,B: exactly these, in order"
    )
    serve.add_argument("--settings", metavar="FILE", help="settings file (default: ./settings.yaml if there is one)")
    _metrics(serve)
    _common(serve)

    bus = command(
        "bus",
        "run a bus on this machine, by which collectors reach any number of programs; `bus status` shows its state",
        examples="examples:\n  market-feed bus\n  market-feed bus status",
    )
    bus.add_argument("what", nargs="?", choices=("status",), metavar="status", help="show who publishes and who reads")
    bus.add_argument("--port", type=port, default=BUS_PORT, help="(default: %(default)s; 0: any free one)")
    bus.add_argument("--dir", metavar="DIR", help="folder for the data (default: in the folder for programs' state)")
    bus.add_argument(
        "--max-size", type=gigabytes, default=20.0, metavar="GB", help="most data to keep (default: %(default)g)"
    )
    _bus_url(bus)
    bus.add_argument("--settings", metavar="FILE", help="settings file (default: ./settings.yaml if there is one)")
    bus.add_argument("--seconds", type=seconds, metavar="N", help="end after N seconds")
    _logging(bus)

    collect = command(
        "collect",
        "publish exchanges' data on a bus; of several collectors of an exchange, one publishes and the others stand by",
        examples="examples:\n  market-feed collect --bus nats://127.0.0.1:4222\n"
        "  market-feed collect --shard 1/4 --exchange binance",
    )
    collect.add_argument(
        "coins", nargs="*", default=[], type=coins, metavar="COIN", help="only these (default: those of the settings)"
    )
    _bus_url(collect)
    collect.add_argument(
        "--exchange",
        type=names,
        metavar="A,B",
        help="collect these exchanges at the same time (default: those of the settings)",
    )
    collect.add_argument(
        "--shard",
        type=shard,
        default=(1, 1),
        metavar="I/N",
        help="collect part I of N of the coins (default: all coins)",
    )
    collect.add_argument("--name", help="name of this collector (default: machine and process)")
    collect.add_argument(
        "--ip", metavar="NAME", help="name of the IP: collectors with the same name share its limits (default: machine)"
    )
    collect.add_argument("--keep-hours", type=hours, metavar="H", help="hours that the bus keeps (default: 24)")
    collect.add_argument(
        "--keep-size", type=gigabytes, metavar="GB", help="GB that the bus keeps of each exchange (default: 2)"
    )
    collect.add_argument("--settings", metavar="FILE", help="settings file (default: ./settings.yaml if there is one)")
    _metrics(collect)
    collect.add_argument("--seconds", type=seconds, metavar="N", help="end after N seconds")
    _logging(collect)

    record = command(
        "record",
        "record what a feed delivers into a folder of Parquet files",
        examples="examples:\n  market-feed record ticks BTC ETH\n  market-feed record ticks --channels trades,books",
    )
    record.add_argument(
        "folder", type=folder, metavar="DIR", help="folder of the recording; an existing recording is continued"
    )
    record.add_argument(
        "coins", nargs="*", default=[], type=coins, metavar="COIN", help="only these (default: those of the settings)"
    )
    record.add_argument(
        "--exchange", type=names, metavar="NAME", help="start on this venue; A,B: exactly these, in order"
    )
    record.add_argument(
        "--channels", type=names, metavar="A,B", help="trades, ticker, candles, quotes, books (default: the settings')"
    )
    record.add_argument("--settings", metavar="FILE", help="settings file (default: ./settings.yaml if there is one)")
    record.add_argument(
        "--flush-seconds",
        type=seconds,
        metavar="N",
        help="write so often that a crash loses at most N seconds of data (default: 2)",
    )
    _metrics(record)
    _common(record)

    replay = command(
        "replay",
        "play a recording, shown as watch shows a live feed",
        examples="examples:\n  market-feed replay ticks BTC --speed 10\n"
        "  market-feed replay ticks --speed max --json | jq .price",
    )
    replay.add_argument("folder", type=folder, metavar="DIR", help="folder of the recording, or a raw capture file")
    replay.add_argument("coins", nargs="*", default=[], type=coins, metavar="COIN", help="only these (default: all)")
    replay.add_argument("--exchange", type=names, metavar="A,B", help="only data of these exchanges")
    replay.add_argument(
        "--speed", type=replay_speed, default=1.0, metavar="N", help="10: ten times as fast; max: no waiting"
    )
    replay.add_argument("--start", metavar="T", help="from this time on: Unix ms, or 2026-11-28T12:00:00Z")
    replay.add_argument("--end", metavar="T", help="until this time")
    replay.add_argument("--json", action="store_true", help="print every event as one JSON object per line on stdout")
    _common(replay)

    recording = command("recording", "show, verify, compact or export a recording, or import archives into it")
    parts = recording.add_subparsers(title="what to do", dest="action", metavar="ACTION", required=True)
    info = parts.add_parser("info", help="channels, coins, days, rows, holes, size")
    verify = parts.add_parser("verify", help="read every row, and compare each file with the manifest")
    compact = parts.add_parser("compact", help="merge the small files of each market's day")
    for each in (info, verify, compact):
        each.add_argument("folder", type=folder, metavar="DIR")
    for each in (info, verify):
        each.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    export = parts.add_parser("export", help="write a recording as CSV files")
    export.add_argument("folder", type=folder, metavar="DIR")
    export.add_argument("--csv", required=True, metavar="OUT", help="folder for the files")
    export.add_argument("--coins", type=coins, metavar="A,B", help="only these")
    export.add_argument("--channels", type=names, metavar="A,B", help="only these")
    archive = parts.add_parser(
        "import", help="read Binance's public archives of trades and candles (zip or CSV), which you have downloaded"
    )
    archive.add_argument("folder", type=folder, metavar="DIR")
    archive.add_argument("files", nargs="+", metavar="FILE", help="such as BTCUSDT-trades-2026-11-28.zip")
    archive.add_argument("--exchange", default="binance", help="exchange of the files (default: %(default)s)")
    archive.add_argument("--market", choices=("spot", "swap"), default="spot", help="(default: %(default)s)")

    check = command("check", "validate the settings, ask every venue by REST and WebSocket, and say what to do")
    check.add_argument("--settings", metavar="FILE", help="settings file (default: ./settings.yaml if there is one)")
    check.add_argument(
        "--exchange", type=names, metavar="A,B", help="ask these venues instead of those of the settings"
    )
    check.add_argument(
        "--timeout",
        type=seconds,
        default=15.0,
        metavar="N",
        help="seconds allowed for each venue (default: %(default)g)",
    )
    check.add_argument("--json", action="store_true", help="print the result as one JSON object on stdout")
    _logging(check)

    exchanges = command("exchanges", "the venues and what each supports")
    exchanges.add_argument(
        "words", nargs="*", default=[], metavar="WORD", help="only venues whose row contains every word"
    )

    simulate = command(
        "simulate",
        "the simulated exchange alone, for any client in any language",
        examples="examples:\n  market-feed simulate --rate 500\n"
        "  market-feed simulate --fault stall@20+5 --fault bybit:blocked-451@30+10 --fault cut@60\n\n"
        f"kinds of faults (docs/testing.md explains each):\n{FAULTS}",
    )
    simulate.add_argument("--port", type=port, default=DEFAULT_PORT, help="(default: %(default)s; 0: any free one)")
    simulate.add_argument("--venues", type=names, metavar="A,B", help="venues to imitate (default: binance,bybit)")
    simulate.add_argument(
        "--markets", type=whole(1, 100_000, "a whole number from 1 to 100000"), help="how many markets to list"
    )
    simulate.add_argument("--rate", type=rate, help="trades per second")
    simulate.add_argument(
        "--seed", type=whole(0, 2**63 - 1, "a whole number from 0"), help="the same seed gives the same trades"
    )
    simulate.add_argument("--replay", nargs="+", metavar="FILE", help="send the frames of capture files instead")
    simulate.add_argument("--speed", type=speed, help="speed of the replay (default: 1; 0: as fast as possible)")
    simulate.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="SPEC",
        help="[venue:]kind@start+seconds, see the kinds below; may be repeated",
    )
    simulate.add_argument("--seconds", type=seconds, metavar="N", help="end after N seconds")
    _logging(simulate)
    return root


def _common(command: argparse.ArgumentParser) -> None:
    command.add_argument("--seconds", type=seconds, metavar="N", help="end after N seconds of live data")
    command.add_argument(
        "--timeout",
        type=seconds,
        default=30.0,
        metavar="N",
        help="fail if no venue is live after N seconds (default: 30)",
    )
    _logging(command)


def _bus_url(command: argparse.ArgumentParser) -> None:
    command.add_argument("--bus", metavar="URL", help="nats://host:port (default: MARKET_FEED_BUS, or the settings')")


def _metrics(command: argparse.ArgumentParser) -> None:
    command.add_argument("--metrics-port", type=port, metavar="P", help="serve metrics for Prometheus on this port")


def _logging(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--log-level",
        type=str.upper,
        choices=LEVELS,
        metavar="LEVEL",
        help="least level of the stderr log (default: WARNING; ERROR with plain lines; INFO with --json and simulate)",
    )
