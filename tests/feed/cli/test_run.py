"""The commands as users run them: exit codes, check, exchanges, simulate and demo in processes of their own."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import re
import signal
import sys
from pathlib import Path

import pytest

from exchanges.simulator import Simulator
from feed.cli import demo, main
from feed.settings import Settings
from feed.settings.file import load_settings
from tests.exchanges.ccxt_adapter.transport.support import listening
from tests.feed.cli.support import ENVIRONMENT, TIMEOUT, events, market_feed, ran


async def test_if_no_venue_works_the_exit_code_is_3_and_each_venue_has_a_line(venue: Simulator, settings: str) -> None:
    with venue["binance"].blocked(451):
        code, _, err = await ran("watch", "--settings", settings, "--log-level", "critical", "--timeout", "3")
    assert code == 3
    assert [line.split(":")[0] for line in err.splitlines()] == ["market-feed"] * 2
    assert "binance: " in err.splitlines()[1]


async def test_the_exit_code_is_3_and_a_line_says_why_if_no_venue_lists_a_coin(settings: str) -> None:
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
async def test_for_an_impossible_request_the_exit_code_is_2_and_one_line_says_why(argv: list[str], words: str) -> None:
    code, out, err = await ran(*argv)
    assert (code, out) == (2, "")
    assert re.fullmatch(f"market-feed: .*{words}.*\n", err)


async def test_for_a_port_in_use_the_exit_code_is_2_and_one_line_says_why(venue: Simulator) -> None:
    code, out, err = await ran("simulate", "--port", str(venue.port))
    assert (code, out) == (2, "")
    assert re.fullmatch(f"market-feed: .*{venue.port}.*in use.*\n", err)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("flags", ["--json", ""])
async def test_a_full_disk_is_reported_in_one_line(settings: str, flags: str) -> None:
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


async def test_simulate_ends_after_the_given_seconds() -> None:
    assert (await ran("simulate", "--port", "0", "--seconds", "0.1"))[0] == 0


async def test_check_says_which_venues_work(settings: str, tmp_path: Path, venue: Simulator) -> None:
    code, out, err = await ran("check", "--settings", settings)
    assert code == 0, err
    assert re.fullmatch(r"binance +20/20 +\d+ ms +\d+ ms +ok", out.splitlines()[1])
    with venue["binance"].blocked(403):
        code, out, err = await ran("check", "--settings", settings, "--timeout", "3")
    assert code == 3, err
    assert re.fullmatch(r"binance +0/20 +failed +failed +.*403.*", out.splitlines()[1])


async def test_check_requests_order_books_if_the_settings_have_the_channel(settings: str, venue: Simulator) -> None:
    with Path(settings).open("a") as file:  # noqa: ASYNC230 - one line to the test's own file
        file.write("\nchannels: [trades, books]\n")
    code, out, err = await ran("check", "--settings", settings)
    assert code == 0, err
    assert "first book" in out.splitlines()[0]
    assert re.fullmatch(r"binance +20/20 +\d+ ms +\d+ ms +\d+ ms +ok", out.splitlines()[1])
    with venue["binance"].books_refused():
        code, out, err = await ran("check", "--settings", settings, "--timeout", "3")
    assert code == 0, err
    assert re.fullmatch(r"binance +20/20 +\d+ ms +\d+ ms +failed +order books: none .*", out.splitlines()[1])


async def test_check_prints_clock_proxy_and_other_facts_and_what_to_do(settings: str, venue: Simulator) -> None:
    code, out, err = await ran("check", "--settings", settings)
    assert code == 0, err
    _, told, advice = out.split("\n\n")
    facts = dict(line.split(maxsplit=1) for line in told.splitlines())
    assert {"clock", "proxy", "certificates", "settings", "cache", "transport", "ccxt", "python"} < facts.keys()
    assert facts["clock"] == "binance agrees"
    assert facts["settings"] == settings
    assert facts["python"].startswith(platform.python_version())
    assert advice == "what to do: nothing, everything works\n"
    with venue["binance"].blocked(451):
        code, out, _ = await ran("check", "--settings", settings, "--timeout", "3")
    assert code == 3
    head, first, *_ = out.split("\n\n")[2].splitlines()
    assert head == "what to do:"
    assert first == "- binance does not serve this location: put another exchange first, or name a `proxy:` for it"


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
async def test_check_describes_a_refusal_in_the_words_of_the_troubleshooting_page(
    status: int, form: str, settings: str, venue: Simulator
) -> None:
    """The HTTP status comes first, in both forms that ccxt's error text can have."""
    with venue["binance"].blocked(status):
        _, out, _ = await ran("check", "--settings", settings, "--json", "--timeout", "3")
    (exchange,) = json.loads(out)["exchanges"]
    assert re.match(form, exchange["rest_reason"])
    page = (Path(__file__).parents[3] / "docs" / "troubleshooting.md").read_text("utf-8")
    assert status == 403 or re.search(f"^{form}", page, re.M)


@pytest.mark.parametrize(
    ("answer", "advice"),
    [
        ("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>", "a page that asks for a login may answer in its place"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", "may answer in its place"),
        ("SSH-2.0-OpenSSH_9.6\r\n", "may answer in its place"),
        ("", "may answer in its place"),
        ("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", "fault of its own: put another exchange first"),
    ],
    ids=["a page", "half an answer", "another protocol", "nothing", "503"],
)
async def test_check_advises_what_to_do_if_the_answer_is_not_from_an_exchange(
    answer: str, advice: str, tmp_path: Path
) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer.encode())

    async with listening(talk) as at:
        file = tmp_path / "settings.yaml"
        file.write_text(f"exchanges: [{{name: binance, rest_url: 'http://{at}', ws_url: 'ws://{at}'}}]")
        code, out, err = await ran("check", "--settings", str(file), "--timeout", "5")
    assert code == 3, err
    assert advice in out.partition("what to do:")[2]


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


async def test_check_reports_the_first_failure_without_further_attempts(tmp_path: Path, unused_tcp_port: int) -> None:
    """Further attempts would fail in the same way, and the user would wait for them."""
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


async def test_the_demo_accepts_fewer_coins_but_no_other_coins() -> None:
    code, out, err = await ran("demo", "--seconds", "1.5", "--coins", "btc,eth")
    assert code == 0, err
    assert {"BTC", "ETH"} <= {line.split()[1] for line in out.splitlines()}
    assert "SOL" not in out
    code, _, err = await ran("demo", "--coins", "NOSUCH", "--log-level", "critical")
    assert code == 3
    assert len(err.splitlines()) == 4


def test_the_demo_injects_faults_into_the_primary_venue_and_reports_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    quick = [(0.3, 0.3, faults, words) for _, _, faults, words in demo.FAULTS]
    monkeypatch.setattr(demo, "FAULTS", quick)
    monkeypatch.setattr(demo.HASTY_STALENESS, "feed_stale_after", 0.2)
    assert main(["demo", "--faults", "--coins", "BTC,ETH", "--seconds", "5"]) == 0
    happened = [line.split()[1] for line in capsys.readouterr().out.splitlines()]
    assert {"demo", "feed_stale", "disconnected", "connected", "closed"} <= set(happened)
    assert happened.count("demo") == len(demo.FAULTS)
