"""The command watch as users run it: with output as JSON, lines or a table, with pipes, signals and terminals."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import pty
import re
import signal
import struct
import sys
import termios
from typing import Any

import pytest

from exchanges.bus import payloads
from exchanges.simulator import Simulator
from tests.feed.cli.support import ENVIRONMENT, TIMEOUT, events, market_feed, ran
from tests.support import until

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


async def test_json_ends_after_the_given_seconds_with_the_feeds_last_event(settings: str) -> None:
    code, out, err = await ran("watch", "--settings", settings, "--json", "--seconds", "0.5")
    assert code == 0, err
    words = [event["event"] for event in events(out) if event["type"] == "status"]
    assert (words[0], words[-1]) == ("connecting", "closed")
    assert "connected" in words


async def test_json_has_each_trade_of_a_burst_once_in_order_and_unchanged(venue: Simulator, settings: str) -> None:
    async with market_feed("watch", "BTC", "--settings", settings, "--json") as running:
        await running.until('"type":"trade"')
        venue["binance"].paused = True
        burst = asyncio.create_task(venue["binance"].burst(20_000, coins=["BTC"]))
        trades: list[dict[str, Any]] = []
        while not burst.done() or int(trades[-1]["trade_id"]) != venue["binance"].trades["BTC"][-1].id:
            event = json.loads(await running.line())
            if event["type"] == "trade":
                trades.append(event)
    true = {trade.id: trade for trade in venue["binance"].trades["BTC"]}
    ids = [int(trade["trade_id"]) for trade in trades]
    assert len(ids) >= 20_000
    assert ids == list(range(ids[0], max(true) + 1))
    assert [(each["price"], each["quantity"], each["is_buyer_maker"], each["timestamp"]) for each in trades] == [
        (made.price, made.quantity, made.buyer_maker, made.timestamp) for made in map(true.__getitem__, ids)
    ]


async def test_a_reader_that_ends_early_causes_no_error(settings: str) -> None:
    """For example ``market-feed watch --json | head -1``."""
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
async def test_signals_end_the_command_cleanly(settings: str, number: int, code: int, flags: list[str]) -> None:
    async with market_feed("watch", "--settings", settings, *flags) as running:
        await running.until("connected")
        running.process.send_signal(number)
        ended, out, _ = await running.end()
    assert ended == code
    assert "closed" in out.splitlines()[-1]


async def test_a_signal_ends_the_command_even_if_its_reader_does_not_read(venue: Simulator, settings: str) -> None:
    """The pipe is full and nobody reads, so the output waits. Ctrl-C must not wait for the output."""
    async with market_feed("watch", "--settings", settings, "--json") as running:
        await running.until("connected")
        burst = asyncio.create_task(venue["binance"].burst(200_000))
        await asyncio.wait({burst}, timeout=3.0)
        running.process.send_signal(signal.SIGINT)
        await until(lambda: running.process.returncode is not None)  # wait() would read the pipes to their end
        assert running.process.returncode == 130
        burst.cancel()
        await asyncio.wait({burst})


async def test_a_signal_while_connecting_ends_the_command(venue: Simulator, settings: str) -> None:
    with venue["binance"].muted():
        async with market_feed("watch", "--settings", settings) as running:
            await running.until("connecting")
            running.process.send_signal(signal.SIGINT)
            assert (await running.end())[0] == 130


def test_status_details_of_any_type_are_written_as_one_line_of_json() -> None:
    details = {"exchange": "x", "sample": "\ud800", "error": ValueError("no"), "nan": float("nan"), "a\nb": {1: 2}}
    for each in ({"error": ValueError("no")}, details, {"sample": "\udfff"}, {"set": {1}}):
        line = payloads.status("error", each)
        assert b"\n" not in line
        assert json.loads(line)["event"] == "error"


# --- without a terminal


async def test_without_a_terminal_prices_are_printed_as_lines(settings: str) -> None:
    code, out, err = await ran("watch", "BTC", "--settings", settings, "--seconds", "2")
    assert code == 0, err
    lines = out.splitlines()
    prices = [line for line in lines if re.fullmatch(r"[\d:]{8} BTC +[\d,.]+ .* ms +binance", line)]
    assert 1 <= len(prices) <= 4
    assert [line.split()[1] for line in lines if line not in prices] == ["connecting", "connected", "closed"]
    assert "\x1b" not in out


async def test_without_a_terminal_an_order_book_is_printed_as_a_line(settings: str) -> None:
    async with market_feed("watch", "BTC", "--book", "--settings", settings) as running:
        line = await running.until("|")
    assert re.fullmatch(
        r"[\d:]{8} BTC +order book: [\d.]+ at [\d,.]+ \| [\d,.]+ for [\d.]+, 10 levels: [\d.]+ \| [\d.]+  binance\n",
        line,
    )


async def test_json_has_the_order_books_of_the_first_coin(settings: str) -> None:
    async with market_feed("watch", "BTC", "ETH", "--book", "--json", "--settings", settings) as running:
        book = json.loads(await running.until('"type":"book"'))
    assert (book["coin"], book["market"]) == ("BTC", "BTC/USDT")
    assert book["bids"][0][0] < book["asks"][0][0]


async def test_an_order_book_without_a_coin_is_a_usage_error(settings: str) -> None:
    code, out, err = await ran("watch", "--book", "--settings", settings)
    assert (code, out) == (2, "")
    assert "watch BTC --book" in err


async def test_a_very_short_run_shows_prices(settings: str) -> None:
    """The known prices are printed even if the command ends very soon."""
    code, out, err = await ran("watch", "BTC", "ETH", "--settings", settings, "--seconds", "0.01")
    assert code == 0, err
    lines = [line.split()[1] for line in out.splitlines()]
    assert {"BTC", "ETH"} & set(lines)
    assert lines[-1] == "closed"


# --- on a terminal


class Terminal:
    """A command that runs on a pseudo terminal."""

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
        except OSError:  # EIO: the command has closed its side
            asyncio.get_running_loop().remove_reader(self._master)
            self._closed.set()

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    async def until(self, text: str) -> None:
        """Wait until the command shows ``text`` after this call."""
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
        await terminal.until("not high enough for them")
        terminal.resize(100, 50)
        await terminal.until(" LIVE  binance")
        terminal.process.send_signal(signal.SIGINT)
        assert await terminal.end() == 130
    left = terminal.shown.rindex("\x1b[?1049l")
    assert "INJ" in terminal.shown[left:]
    assert terminal.shown.rindex("\x1b[?25h") > terminal.shown.rfind("\x1b[?25l")
    assert "Traceback" not in terminal.shown


async def test_without_rich_the_command_prints_lines_and_a_hint(settings: str) -> None:
    code = "import sys; sys.modules['rich'] = None; from feed.cli import main; sys.exit(main(sys.argv[1:]))"
    argv = [sys.executable, "-c", code, "watch", "BTC", "--settings", settings, "--seconds", "1"]
    async with Terminal(argv, 80, 24) as terminal:
        await terminal.until("market-feed[cli]")
        await terminal.until("BTC")
        assert await terminal.end() == 0
    assert "\x1b[?1049h" not in terminal.shown
