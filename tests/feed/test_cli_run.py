"""The commands as a user runs them: processes, real ccxt classes, the simulator on loopback, pipes and terminals."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import platform
import pty
import re
import signal
import struct
import sys
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from exchanges.bus import payloads
from exchanges.simulator import Simulator
from feed.cli import demo, main
from feed.settings import Settings
from feed.settings.file import load_settings
from tests.support import until

TIMEOUT = 60.0
NOT_PASSED_ON = {"MARKET_FEED_SETTINGS", "COLUMNS", "LINES"}  # the runner's window is not the terminal's
ENVIRONMENT = {key: value for key, value in os.environ.items() if key not in NOT_PASSED_ON}


@pytest.fixture
async def venue() -> AsyncIterator[Simulator]:
    async with Simulator(0, ("binance",), rate=200.0) as simulator:
        yield simulator


@pytest.fixture
def settings(venue: Simulator, tmp_path: Path) -> str:
    """A settings file that points at the venue."""
    file = tmp_path / "settings.yaml"
    file.write_text(venue.settings_yaml() + "connection: {connect_timeout: 5}")
    return str(file)


class Running:
    """A command in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def line(self) -> str:
        assert self.process.stdout is not None
        return (await self.process.stdout.readline()).decode()

    async def until(self, text: str) -> str:
        """The first line that contains ``text``."""
        while line := await self.line():
            if text in line:
                return line
        raise AssertionError(f"ended without {text!r}: {await self.end()}")

    async def end(self) -> tuple[int, str, str]:
        """Exit code, the rest of stdout, and stderr, which never holds a traceback."""
        out, err = await self.process.communicate()
        assert b"Traceback" not in err
        assert b"ignored" not in err  # a warning in a destructor: something was left open
        assert self.process.returncode is not None
        return self.process.returncode, out.decode(), err.decode()


@asynccontextmanager
async def market_feed(*argv: str) -> AsyncIterator[Running]:
    """The command line ``argv``, killed if it is still there in the end; everything under one timeout."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-m", "feed", *argv, stdout=pipe, stderr=pipe, env=ENVIRONMENT, limit=1 << 20
    )
    try:
        async with asyncio.timeout(TIMEOUT):
            yield Running(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def ran(*argv: str) -> tuple[int, str, str]:
    async with market_feed(*argv) as running:
        return await running.end()


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


# --- watch --json


async def test_json_has_every_kind_of_event(settings: str) -> None:
    seen: list[dict[str, Any]] = []
    async with market_feed("watch", "btc", "ETH", "--settings", settings, "--json") as running:
        while {event["type"] for event in seen} != {"status", "price", "trade", "candle"}:
            seen.append(json.loads(await running.line()))
    assert {event["coin"] for event in seen if event["type"] != "status"} == {"BTC", "ETH"}
    assert all({"exchange", "at"} <= set(event["details"]) for event in seen if event["type"] == "status")
    trade = next(event for event in seen if event["type"] == "trade")
    assert {"price", "quantity", "is_buyer_maker", "timestamp", "trade_id", "received_at"} <= set(trade)
    assert {event["market"] for event in seen if event["type"] != "status"} == {"BTC/USDT", "ETH/USDT"}


async def test_json_ends_after_seconds_with_the_end_of_the_feed(settings: str) -> None:
    code, out, err = await ran("watch", "--settings", settings, "--json", "--seconds", "0.5")
    assert code == 0, err
    words = [event["event"] for event in events(out) if event["type"] == "status"]
    assert (words[0], words[-1]) == ("connecting", "closed")
    assert "connected" in words


async def test_json_gives_each_trade_of_a_burst_once_in_order_and_exact(venue: Simulator, settings: str) -> None:
    async with market_feed("watch", "BTC", "--settings", settings, "--json") as running:
        await running.until('"type":"trade"')
        venue["binance"].paused = True
        burst = asyncio.create_task(venue["binance"].burst(20_000, coins=["BTC"]))
        trades: list[dict[str, Any]] = []
        while not burst.done() or int(trades[-1]["trade_id"]) != venue["binance"].tape["BTC"][-1].id:
            event = json.loads(await running.line())
            if event["type"] == "trade":
                trades.append(event)
    tape = {trade.id: trade for trade in venue["binance"].tape["BTC"]}
    ids = [int(trade["trade_id"]) for trade in trades]
    assert len(ids) >= 20_000
    assert ids == list(range(ids[0], max(tape) + 1))
    assert [(each["price"], each["quantity"], each["is_buyer_maker"], each["timestamp"]) for each in trades] == [
        (made.price, made.quantity, made.buyer_maker, made.timestamp) for made in map(tape.__getitem__, ids)
    ]


async def test_a_reader_that_ends_early_causes_no_error(settings: str) -> None:
    """``market-feed watch --json | head -1``."""
    for flags in (["--json"], []):
        async with market_feed("watch", "--settings", settings, *flags) as running:
            assert await running.line()
            assert running.process.stdout is not None
            running.process.stdout._transport.close()  # type: ignore[attr-defined]  # the reader's end of the pipe
            assert await running.process.wait() == 0
            assert running.process.stderr is not None
            assert b"Traceback" not in await running.process.stderr.read()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
@pytest.mark.parametrize("flags", [["--json"], []])
async def test_signals_end_it_in_order(settings: str, number: int, code: int, flags: list[str]) -> None:
    async with market_feed("watch", "--settings", settings, *flags) as running:
        await running.until("connected")
        running.process.send_signal(number)
        ended, out, _ = await running.end()
    assert ended == code
    assert "closed" in out.splitlines()[-1]


async def test_a_signal_while_the_reader_sleeps_still_ends_it(venue: Simulator, settings: str) -> None:
    """The pipe is full, nobody reads, the output waits: Ctrl-C must not wait, too."""
    async with market_feed("watch", "--settings", settings, "--json") as running:
        await running.until("connected")
        burst = asyncio.create_task(venue["binance"].burst(200_000))
        await asyncio.wait({burst}, timeout=3.0)
        running.process.send_signal(signal.SIGINT)
        await until(lambda: running.process.returncode is not None)  # wait() would want the pipes read to their end
        assert running.process.returncode == 130
        burst.cancel()
        await asyncio.wait({burst})


async def test_a_signal_while_connecting_ends_it(venue: Simulator, settings: str) -> None:
    with venue["binance"].muted():
        async with market_feed("watch", "--settings", settings) as running:
            await running.until("connecting")
            running.process.send_signal(signal.SIGINT)
            assert (await running.end())[0] == 130


def test_any_details_make_a_json_line() -> None:
    details = {"exchange": "x", "sample": "\ud800", "error": ValueError("no"), "nan": float("nan"), "a\nb": {1: 2}}
    for each in ({"error": ValueError("no")}, details, {"sample": "\udfff"}, {"set": {1}}):
        line = payloads.status("error", each)
        assert b"\n" not in line
        assert json.loads(line)["event"] == "error"


# --- without a terminal


async def test_without_a_terminal_prices_are_lines(settings: str) -> None:
    code, out, err = await ran("watch", "BTC", "--settings", settings, "--seconds", "2")
    assert code == 0, err
    lines = out.splitlines()
    prices = [line for line in lines if re.fullmatch(r"[\d:]{8} BTC +[\d,.]+ .* ms +binance", line)]
    assert 1 <= len(prices) <= 4
    assert [line.split()[1] for line in lines if line not in prices] == ["connecting", "connected", "closed"]
    assert "\x1b" not in out


async def test_without_a_terminal_an_order_book_is_a_line_too(settings: str) -> None:
    async with market_feed("watch", "BTC", "--book", "--settings", settings) as running:
        line = await running.until("|")
    assert re.fullmatch(
        r"[\d:]{8} BTC +order book: [\d.]+ at [\d,.]+ \| [\d,.]+ for [\d.]+, 10 levels: [\d.]+ \| [\d.]+  binance\n",
        line,
    )


async def test_json_has_the_order_books_of_the_coin_that_is_to_be_shown(settings: str) -> None:
    async with market_feed("watch", "BTC", "ETH", "--book", "--json", "--settings", settings) as running:
        book = json.loads(await running.until('"type":"book"'))
    assert (book["coin"], book["market"]) == ("BTC", "BTC/USDT")
    assert book["bids"][0][0] < book["asks"][0][0]


async def test_an_order_book_of_no_coin_is_a_usage_error(settings: str) -> None:
    code, out, err = await ran("watch", "--book", "--settings", settings)
    assert (code, out) == (2, "")
    assert "watch BTC --book" in err


async def test_the_shortest_look_shows_prices(settings: str) -> None:
    """The last ones of all coins are there, whenever the end comes."""
    code, out, err = await ran("watch", "BTC", "ETH", "--settings", settings, "--seconds", "0.01")
    assert code == 0, err
    lines = [line.split()[1] for line in out.splitlines()]
    assert {"BTC", "ETH"} & set(lines)
    assert lines[-1] == "closed"


# --- exit codes


async def test_no_venue_is_3_and_a_line_per_venue(venue: Simulator, settings: str) -> None:
    with venue["binance"].blocked(451):
        code, _, err = await ran("watch", "--settings", settings, "--log-level", "critical", "--timeout", "3")
    assert code == 3
    assert [line.split(":")[0] for line in err.splitlines()] == ["market-feed"] * 2
    assert "binance: " in err.splitlines()[1]


async def test_a_coin_that_no_venue_lists_is_3_and_a_line(settings: str) -> None:
    code, _, err = await ran("watch", "NOSUCH", "--settings", settings, "--log-level", "critical")
    assert code == 3
    assert "NOSUCH" in err.splitlines()[1]


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["simulate", "--fault", "boom@1"], "boom"),
        (["simulate", "--venues", "kraken"], "kraken"),
        (["simulate", "--venues", "binance,binance_us", "--port", "0"], "binance_us"),
        (["watch", "--exchange", "nowhere"], "nowhere"),
        (["watch", "BTC/USDT"], r"coins\[0\].symbol: found 'BTC/USDT'"),
        (["check", "--exchange", "nowhere"], "nowhere"),
        (["check", "--settings", "nowhere.yaml"], "nowhere.yaml"),
    ],
)
async def test_what_cannot_be_done_is_2_and_a_line(argv: list[str], words: str) -> None:
    code, out, err = await ran(*argv)
    assert (code, out) == (2, "")
    assert re.fullmatch(f"market-feed: .*{words}.*\n", err)


async def test_a_port_in_use_is_2_and_a_line(venue: Simulator) -> None:
    code, out, err = await ran("simulate", "--port", str(venue.port))
    assert (code, out) == (2, "")
    assert re.fullmatch(f"market-feed: .*{venue.port}.*in use.*\n", err)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("flags", ["--json", ""])
async def test_a_full_disk_is_one_line(settings: str, flags: str) -> None:
    command = f"exec {sys.executable} -m feed watch --settings {settings} {flags} --log-level critical >/dev/full"
    shell = await asyncio.create_subprocess_shell(command, stderr=asyncio.subprocess.PIPE, env=ENVIRONMENT)
    async with asyncio.timeout(TIMEOUT):
        _, err = await shell.communicate()
    assert (shell.returncode, err) == (1, b"market-feed: No space left on device\n")


async def test_a_closed_output_ends_the_command_without_an_error(settings: str) -> None:
    command = f"exec {sys.executable} -m feed watch --settings {settings} --seconds 0.2 --log-level critical >&-"
    shell = await asyncio.create_subprocess_shell(command, stderr=asyncio.subprocess.PIPE, env=ENVIRONMENT)
    async with asyncio.timeout(TIMEOUT):
        _, err = await shell.communicate()
    assert (shell.returncode, err) == (0, b"")


# --- the other commands


async def test_simulate_prints_settings_that_watch_can_use(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    async with market_feed("simulate", "--port", "0", "--rate", "100") as simulating:
        lines = [await simulating.line() for _ in range(4)]
        file.write_text("".join(lines))
        assert [exchange.name for exchange in load_settings(file).exchanges] == ["binance", "bybit"]
        for name in ("binance", "bybit"):
            code, out, err = await ran(
                "watch", "--settings", str(file), "--exchange", name, "--json", "--seconds", "0.5"
            )
            assert code == 0, err
            assert {event.get("exchange", name) for event in events(out)} == {name}
        simulating.process.send_signal(signal.SIGINT)
        assert (await simulating.end())[:2] == (130, "")


async def test_simulate_ends_after_seconds() -> None:
    assert (await ran("simulate", "--port", "0", "--seconds", "0.1"))[0] == 0


async def test_check_says_which_venues_work(settings: str, tmp_path: Path, venue: Simulator) -> None:
    code, out, err = await ran("check", "--settings", settings)
    assert code == 0, err
    assert re.fullmatch(r"binance +20/20 +\d+ ms +\d+ ms +ok", out.splitlines()[1])
    with venue["binance"].blocked(403):
        code, out, err = await ran("check", "--settings", settings, "--timeout", "3")
    assert code == 3, err
    assert re.fullmatch(r"binance +0/20 +failed +failed +.*403.*", out.splitlines()[1])


async def test_check_asks_for_order_books_where_the_settings_have_the_channel(settings: str, venue: Simulator) -> None:
    with Path(settings).open("a") as file:  # noqa: ASYNC230 - a line of a test's own file
        file.write("\nchannels: [trades, books]\n")
    code, out, err = await ran("check", "--settings", settings)
    assert code == 0, err
    assert "first book" in out.splitlines()[0]
    assert re.fullmatch(r"binance +20/20 +\d+ ms +\d+ ms +\d+ ms +ok", out.splitlines()[1])
    with venue["binance"].books_refused():
        code, out, err = await ran("check", "--settings", settings, "--timeout", "3")
    assert code == 0, err
    assert re.fullmatch(r"binance +20/20 +\d+ ms +\d+ ms +failed +order books: none .*", out.splitlines()[1])


async def test_check_names_the_facts_and_what_to_do(settings: str, venue: Simulator) -> None:
    code, out, err = await ran("check", "--settings", settings)
    assert code == 0, err
    _, told, advice = out.split("\n\n")
    facts = dict(line.split(maxsplit=1) for line in told.splitlines())
    assert {"clock", "proxy", "certificates", "settings", "cache", "transport", "ccxt", "python"} < facts.keys()
    assert facts["clock"] == "binance agrees"
    assert facts["settings"] == settings
    assert facts["python"].startswith(platform.python_version())
    assert advice == "what to do: nothing, all of it works\n"
    with venue["binance"].blocked(451):
        code, out, _ = await ran("check", "--settings", settings, "--timeout", "3")
    assert code == 3
    head, first, *_ = out.split("\n\n")[2].splitlines()
    assert head == "what to do:"
    assert first == "- binance does not serve this place: put another exchange first, or name a `proxy:` for it"


async def test_check_prints_everything_as_json(settings: str, venue: Simulator) -> None:
    with venue["binance"].blocked(451):
        code, out, _ = await ran("check", "--settings", settings, "--json", "--timeout", "3")
    assert code == 3
    told = json.loads(out)
    assert not told["works"]
    assert told["settings"] == settings
    assert told["transport"] in ("aiohttp", "picows")
    assert {"market_feed", "python", "ccxt", "cache", "certificates"} < told.keys()
    (exchange,) = told["exchanges"]
    assert exchange["exchange"] == "binance"
    assert "451" in exchange["rest_reason"]
    assert told["advice"]


@pytest.mark.parametrize(
    ("status", "form"),
    [
        (451, r"HTTP 451 from https?://[^ ]+: Unavailable For Legal Reasons"),
        (403, r"HTTP 403 from https?://[^ ]+: Forbidden"),
        (429, r"HTTP 429: Too Many Requests"),
    ],
)
async def test_check_describes_a_refusal_as_the_troubleshooting_page_does(
    status: int, form: str, settings: str, venue: Simulator
) -> None:
    """The status stands first, whichever of ccxt's two forms the answer came in."""
    with venue["binance"].blocked(status):
        _, out, _ = await ran("check", "--settings", settings, "--json", "--timeout", "3")
    (exchange,) = json.loads(out)["exchanges"]
    assert re.match(form, exchange["rest_reason"])
    page = (Path(__file__).parents[2] / "docs" / "troubleshooting.md").read_text("utf-8")
    assert status == 403 or re.search(f"^{form}", page, re.M)


async def test_check_names_the_proxy_without_its_password(settings: str, tmp_path: Path) -> None:
    file = tmp_path / "proxied.yaml"
    proxied = "rest_url: 'http://venue.invalid', ws_url: 'ws://venue.invalid', proxy: 'http://me:secret@127.0.0.1:1'"
    file.write_text(f"exchanges: [{{name: binance, {proxied}}}]")
    code, out, err = await ran("check", "--settings", str(file), "--timeout", "5")
    assert code == 3, err
    assert "http://***@127.0.0.1:1 (settings)" in out
    assert "the proxy is not reached" in out
    assert "binance cannot be reached through its proxy" in out
    assert "secret" not in out + err


async def test_check_takes_the_first_failure_for_the_answer(tmp_path: Path, unused_tcp_port: int) -> None:
    """Nobody has to wait for attempts that fail alike."""
    where = f"127.0.0.1:{unused_tcp_port}"
    file = tmp_path / "settings.yaml"
    file.write_text(f"exchanges: [{{name: binance, rest_url: 'http://{where}', ws_url: 'ws://{where}'}}]")
    code, out, err = await ran("check", "--settings", str(file), "--timeout", "3600")
    assert code == 3, err
    assert re.fullmatch(rf"binance +0/20 +failed +failed +Cannot connect to host {where} .*", out.splitlines()[1])


async def test_exchanges_lists_venues_and_filters_them() -> None:
    code, out, err = await ran("exchanges")
    assert code == 0, err
    assert {"bybit", "binance", "binance_us", "kraken"} <= {line.split()[0] for line in out.splitlines()}
    code, out, _ = await ran("exchanges", "BINANCE", "us")
    assert code == 0
    assert "binance_us" in {line.split()[0] for line in out.splitlines()}
    assert "kraken" not in out
    assert (await ran("exchanges", "nosuchvenue"))[0] == 2


async def test_the_demo_shows_twenty_coins() -> None:
    code, out, err = await ran("demo", "--seconds", "3")
    assert code == 0, err
    assert {line.split()[1] for line in out.splitlines()} >= {coin.symbol for coin in Settings().coins}


async def test_the_demo_may_have_fewer_coins_but_no_others() -> None:
    code, out, err = await ran("demo", "--seconds", "1.5", "--coins", "btc,eth")
    assert code == 0, err
    assert {"BTC", "ETH"} <= {line.split()[1] for line in out.splitlines()}
    assert "SOL" not in out
    code, _, err = await ran("demo", "--coins", "NOSUCH", "--log-level", "critical")
    assert code == 3
    assert len(err.splitlines()) == 4


def test_the_demo_injects_faults_into_the_primary_and_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    quick = [(0.3, 0.3, faults, words) for _, _, faults, words in demo.FAULTS]
    monkeypatch.setattr(demo, "FAULTS", quick)
    monkeypatch.setattr(demo.HASTY_STALENESS, "feed_stale_after", 0.2)
    assert main(["demo", "--faults", "--coins", "BTC,ETH", "--seconds", "5"]) == 0
    happened = [line.split()[1] for line in capsys.readouterr().out.splitlines()]
    assert {"demo", "feed_stale", "disconnected", "connected", "closed"} <= set(happened)
    assert happened.count("demo") == len(demo.FAULTS)


# --- on a terminal


class Terminal:
    """A pseudo terminal with a command on it."""

    def __init__(self, argv: list[str], columns: int, lines: int) -> None:
        self._argv = argv
        self._size = (columns, lines)
        self._closed = asyncio.Event()
        self.shown = ""

    async def __aenter__(self) -> Terminal:
        self._master, slave = pty.openpty()
        os.set_blocking(self._master, False)
        self.resize(*self._size)
        self.process = await asyncio.create_subprocess_exec(
            *self._argv, stdin=slave, stdout=slave, stderr=slave, env=ENVIRONMENT | {"TERM": "xterm-256color"}
        )
        os.close(slave)
        asyncio.get_running_loop().add_reader(self._master, self._read)
        return self

    async def __aexit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_reader(self._master)
        os.close(self._master)
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()

    def _read(self) -> None:
        try:
            self.shown += os.read(self._master, 1 << 16).decode(errors="replace")
        except BlockingIOError:
            return
        except OSError:  # EIO: nobody has the other side open any more
            asyncio.get_running_loop().remove_reader(self._master)
            self._closed.set()

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    async def until(self, text: str) -> None:
        """Wait for ``text`` to be shown, from here on."""
        self.shown = ""
        await until(lambda: text in self.shown, TIMEOUT)

    async def end(self) -> int:
        async with asyncio.timeout(TIMEOUT):
            code = await self.process.wait()
            await self._closed.wait()
        return code


async def test_on_a_terminal_there_is_a_table_and_the_terminal_is_restored(settings: str) -> None:
    argv = [sys.executable, "-m", "feed", "watch", "--settings", settings]
    async with Terminal(argv, 80, 24) as terminal:
        await terminal.until("\x1b[?1049h")
        await terminal.until("INJ")
        terminal.resize(100, 12)
        await terminal.until("too low for them")
        terminal.resize(100, 50)
        await terminal.until(" LIVE  binance")
        terminal.process.send_signal(signal.SIGINT)
        assert await terminal.end() == 130
    left = terminal.shown.rindex("\x1b[?1049l")
    assert "INJ" in terminal.shown[left:]
    assert terminal.shown.rindex("\x1b[?25h") > terminal.shown.rfind("\x1b[?25l")
    assert "Traceback" not in terminal.shown


async def test_without_rich_there_are_lines_and_a_hint(settings: str) -> None:
    code = "import sys; sys.modules['rich'] = None; from feed.cli import main; sys.exit(main(sys.argv[1:]))"
    argv = [sys.executable, "-c", code, "watch", "BTC", "--settings", settings, "--seconds", "1"]
    async with Terminal(argv, 80, 24) as terminal:
        await terminal.until("market-feed[cli]")
        await terminal.until("BTC")
        assert await terminal.end() == 0
    assert "\x1b[?1049h" not in terminal.shown
