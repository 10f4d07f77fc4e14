"""A wrong command line causes exit code 2 and one clear line on stderr."""

from __future__ import annotations

import subprocess
import sys

import pytest

from exchanges.simulator.faults import allowed
from feed.cli import main
from feed.cli.arguments import FAULTS, parser


def refused(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """Return the one line on stderr with which the command refuses ``argv``."""
    try:
        code = main(argv)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else -1
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert err.startswith("market-feed: ")
    assert err.count("\n") == 1
    return err


@pytest.mark.parametrize("text", ["-1", "0", "nan", "inf", "1e99", "ten", "", "1,5"])
@pytest.mark.parametrize("command", ["demo", "watch", "simulate"])
def test_seconds_must_be_a_number_above_zero(command: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(capsys, command, f"--seconds={text}")
    assert "--seconds" in line
    assert "seconds above 0" in line
    assert repr(text) in line


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["demo", "--coins", ","], "names with commas between them"),
        (["demo", "--coins", ""], "names with commas between them"),
        (["demo", "--coins", "BTC,,ETH"], "names with commas between them"),
        (["watch", "BTC", ""], "names with commas between them"),
        (["watch", "--exchange", " "], "names with commas between them"),
        (["watch", "--exchange", "binanc"], "binance"),
        (["watch", "--settings", "nowhere.yaml"], "nowhere.yaml"),
        (["watch", "--log-level", "LOUD"], "WARNING"),
        (["simulate", "--port", "70000"], "port from 0"),
        (["simulate", "--port", "http"], "port from 0"),
        (["simulate", "--port", "1.5"], "port from 0"),
        (["simulate", "--rate", "-3"], "trades per second"),
        (["simulate", "--markets", "0"], "whole number from 1"),
        (["simulate", "--speed", "-1"], "factor from 0"),
        (["simulate", "--replay"], "--replay"),
        (["wach"], "watch"),
        ([], "COMMAND"),
        (["watch", "--jsonn"], "--jsonn"),
        (["watch", "--sec", "1"], "--sec"),
    ],
)
def test_a_wrong_argument_causes_one_line_that_says_what_is_allowed(
    argv: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert words in refused(capsys, *argv)


def test_every_problem_of_the_settings_is_reported_in_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: pytest.TempPathFactory
) -> None:
    file = f"{tmp_path}/s.yaml"
    with open(file, "w") as out:
        out.write("coins: []\nquote: {}")
    assert main(["watch", "--settings", file]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[:3] for line in lines] == [["market-feed", file, "coins"], ["market-feed", file, "quote"]]


def test_coins_may_be_separated_by_commas_or_blanks_and_written_in_any_case() -> None:
    args = parser().parse_args(["watch", "btc,eth", "SOL", "--seconds", "1.5", "--exchange", "okx,kraken"])
    assert args.coins == [["BTC", "ETH"], ["SOL"]]
    assert args.exchange == ["okx", "kraken"]
    assert args.seconds == 1.5
    assert parser().parse_args(["demo", "--coins", " btc, eth ,BTC"]).coins == ["BTC", "ETH"]


@pytest.mark.parametrize("argv", [["--help"], ["--version"], ["watch", "--help"], ["simulate", "--help"]])
def test_help_imports_neither_ccxt_nor_rich(argv: list[str]) -> None:
    code = f"""
import sys
from feed.cli import main
try:
    main({argv!r})
except SystemExit as end:
    assert not end.code
print(sorted({{'ccxt', 'rich', 'aiohttp'}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_help_of_simulate_lists_all_faults() -> None:
    assert sorted(FAULTS.split()) == sorted(allowed().split(", "))
