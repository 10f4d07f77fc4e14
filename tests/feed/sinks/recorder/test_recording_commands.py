"""The commands record, replay and recording of market-feed, run as processes and over real files."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from exchanges.recording.files import manifest
from exchanges.recording.overview import verify
from exchanges.recording.writing import write_small
from exchanges.simulator import Simulator
from feed.cli import main
from tests.feed.replay.support import START, priced, record, trade


def told(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "feed", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for part in range(3):  # three sessions: three files of each coin
        events = priced([trade("BTC" if n % 2 else "ETH", part * 100 + n / 10, 100.0 + n) for n in range(100)])
        record(tmp_path / "r", events, at=part * 100.0)
    return tmp_path / "r"


async def test_a_recorded_feed_is_replayed(tmp_path: Path) -> None:
    async with Simulator(0, ("binance",), 300) as simulator:
        settings = tmp_path / "settings.yaml"
        venue = f"{{name: binance, rest_url: '{simulator.rest_url}', ws_url: '{simulator.ws_url}'}}"
        settings.write_text(f"exchanges: [{venue}]\n")
        arguments = ["record", str(tmp_path / "r"), "BTC", "ETH", "--settings", str(settings), "--seconds", "2"]
        recorded = await asyncio.to_thread(told, *arguments)
    assert recorded.returncode == 0, recorded.stderr
    assert "recording trades, ticker, candles of 2 coins" in recorded.stdout
    replayed = await asyncio.to_thread(told, "replay", str(tmp_path / "r"), "--speed", "max", "--json")
    assert replayed.returncode == 0, replayed.stderr
    lines = [json.loads(line) for line in replayed.stdout.splitlines()]
    assert lines[-1]["event"] == "closed"
    assert {line["type"] for line in lines} >= {"price", "trade", "status"}
    assert len([line for line in lines if line["type"] == "trade"]) > 20
    plain = await asyncio.to_thread(told, "replay", str(tmp_path / "r"), "btc", "--speed", "10")
    assert "BTC" in plain.stdout
    assert "ETH" not in plain.stdout
    assert "closed" in plain.stdout


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
async def test_after_a_signal_the_whole_recording_is_on_disk(number: int, code: int, tmp_path: Path) -> None:
    async with Simulator(0, ("binance",), 300) as simulator, asyncio.timeout(60):
        settings = tmp_path / "settings.yaml"
        venue = f"{{name: binance, rest_url: '{simulator.rest_url}', ws_url: '{simulator.ws_url}'}}"
        settings.write_text(f"exchanges: [{venue}]\n")
        arguments = ["-m", "feed", "record", str(tmp_path / "r"), "BTC", "ETH", "--settings", str(settings)]
        process = await asyncio.create_subprocess_exec(
            sys.executable, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        assert b"recording trades" in await process.stdout.readline()
        process.send_signal(number)
        out, errors = await process.communicate()
    assert process.returncode == code
    assert b"Traceback" not in errors
    assert b"recorded " in out
    assert list(verify(tmp_path / "r")) == []
    assert not (tmp_path / "r" / "recorder.lock").exists()
    assert manifest(tmp_path / "r").sessions[-1].ended is not None


def test_info_lists_what_was_recorded(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recording", "info", str(folder)]) == 0
    text = capsys.readouterr().out
    assert "300" in text
    assert "2 holes:" in text
    assert "nothing was recorded" in text
    assert main(["recording", "info", str(folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["channels"]["trades"]["coins"] == ["BTC", "ETH"]
    assert found["channels"]["trades"]["rows"] == 300
    assert found["channels"]["trades"]["since"] == START // 10**6


def test_verify_finds_changed_and_missing_files(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recording", "verify", str(folder)]) == 0
    files = sorted(folder.glob("trades/one/BTC/*/*.parquet"))
    files[0].unlink()
    data = bytearray(files[1].read_bytes())
    data[len(data) // 3] ^= 1
    files[1].write_bytes(data)
    files[2].write_bytes(files[2].read_bytes()[:-50])
    capsys.readouterr()
    assert main(["recording", "verify", str(folder)]) == 1
    problems = capsys.readouterr().err
    assert f"{files[0].name}: is gone, with 50 rows" in problems
    assert files[1].name in problems
    assert f"{files[2].name}: can't be read" in problems


@pytest.mark.parametrize("is_merged", [False, True])
def test_verify_finds_each_byte_that_was_changed(is_merged: bool, tmp_path: Path) -> None:
    """The bytes are in data pages, page headers and the file's footer. They are found even if the manifest does not
    list the file."""
    record(tmp_path, priced([trade("BTC", n / 10, 100.0 + n) for n in range(50)]))
    path = next(tmp_path.glob("trades/one/BTC/*/*.parquet"))
    if not is_merged:
        rows = pq.ParquetFile(path).read()
        path.unlink()
        (tmp_path / "manifest.jsonl").unlink()
        write_small(tmp_path, "trades/recent/date=2025-11-28", 0, 49, rows)
        path = next(tmp_path.glob("trades/recent/*/*.parquet"))
    whole = path.read_bytes()
    assert list(verify(tmp_path)) == []
    for place in range(0, len(whole), 41):
        changed = bytearray(whole)
        changed[place] ^= 1 << place % 8
        path.write_bytes(changed)
        assert len(list(verify(tmp_path))) == 1, place
    for length in range(0, len(whole), 797):
        path.write_bytes(whole[:length])
        assert len(list(verify(tmp_path))) == 1, length
    path.write_bytes(whole + b"more")
    assert len(list(verify(tmp_path))) == 1


def test_a_failed_import_leaves_nothing_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = tmp_path / "BTCUSDT-trades-2025-11-28.csv", tmp_path / "ETHUSDT-trades-2025-11-28.csv"
    good.write_text("1,100.5,0.25,25.0,1764288000123456,True,True\n")
    bad.write_text(good.read_text() + "2,what,0.25,25.0,1764288000123456,True,True\n")
    assert main(["recording", "import", str(tmp_path / "r"), str(bad)]) == 2
    assert bad.name in capsys.readouterr().err
    assert not (tmp_path / "r").exists()
    assert main(["recording", "import", str(tmp_path / "r"), str(good), str(bad)]) == 2
    assert not list((tmp_path / "r").glob("*.lock"))
    assert [path.name for path in (tmp_path / "r" / "trades" / "binance").iterdir()] == ["BTC"]
    assert main(["recording", "verify", str(tmp_path / "r")]) == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["record"], "missing: DIR"),
        (["replay"], "missing: DIR"),
        (["recording"], "missing: ACTION"),
        (["recording", "export", "ticks"], "missing: --csv"),
        (["recording", "import", "ticks"], "missing: FILE"),
        (["recording", "import"], "missing: DIR, FILE"),
    ],
)
def test_the_error_names_missing_arguments(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert f"market-feed: {told} (see" in capsys.readouterr().err


def test_compact_merges_files_and_changes_no_row(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = told("replay", str(folder), "--speed", "max", "--json").stdout
    assert len(list(folder.glob("trades/**/*.parquet"))) == 6
    assert main(["recording", "compact", str(folder)]) == 0
    assert len(list(folder.glob("trades/**/*.parquet"))) == 2
    assert main(["recording", "verify", str(folder)]) == 0
    assert told("replay", str(folder), "--speed", "max", "--json").stdout == before


def test_export_writes_csv(folder: Path, tmp_path: Path) -> None:
    assert main(["recording", "export", str(folder), "--csv", str(tmp_path / "out"), "--coins", "btc"]) == 0
    files = sorted((tmp_path / "out").glob("trades/one/BTC/*/*.csv"))
    rows = [row for path in files for row in csv.DictReader(path.read_text().splitlines())]
    assert len(rows) == 150
    assert (rows[0]["coin"], rows[0]["price"]) == ("BTC", "101")
    assert not list((tmp_path / "out").glob("trades/one/ETH"))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--channels", "trade"], "channel: found trade, allowed are those of the recording: trades, "),
        (["--coins", "btc,doge"], "coin: found DOGE, allowed are those of the recording: BTC, ETH"),
    ],
)
def test_the_error_of_export_names_what_was_not_recorded(
    arguments: list[str], told: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["recording", "export", str(folder), "--csv", str(tmp_path / "out"), *arguments]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_import_reads_archives(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "BTCUSDT-trades-2025-11-28.csv"
    path.write_text("1,100.5,0.25,25.0,1764288000123456,True,True\n")
    assert main(["recording", "import", str(tmp_path / "r"), str(path)]) == 0
    assert "1 trades of BTC over 1 days" in capsys.readouterr().out
    assert main(["recording", "verify", str(tmp_path / "r")]) == 0


@pytest.mark.parametrize("command", [["recording", "info"], ["recording", "verify"], ["replay"]])
def test_the_error_names_a_folder_without_a_recording(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, str(tmp_path)]) == 2
    assert "holds no recording" in capsys.readouterr().err


@pytest.mark.parametrize("action", ["info", "verify", "compact", "export"])
@pytest.mark.parametrize("damage", ["cut", "columns", "manifest"])
def test_the_error_names_a_damaged_file(
    action: str, damage: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = max(folder.glob("trades/*/BTC/*/*.parquet"))
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:300])
    elif damage == "columns":
        path = folder / "trades" / "another.parquet"
        pq.write_table(pa.table({"x": [1]}), path)
    else:
        path = folder / "manifest.jsonl"
        path.write_text(path.read_text() + '{"session": {}}\n')
    more = ["--csv", str(tmp_path / "csv")] if action == "export" else []
    code = main(["recording", action, str(folder), *more])
    if damage != "columns" or action == "verify":  # the other commands do not read its columns
        assert code in (1, 2)
        assert path.name in capsys.readouterr().err


@pytest.mark.parametrize("command", [["recording", "info"], ["replay"], ["record"]])
@pytest.mark.parametrize("what", ["manifest", "trades"])
def test_the_error_names_a_pipe_in_place_of_a_file_and_no_command_waits_for_the_pipe(
    command: list[str], what: str, folder: Path, tmp_path: Path
) -> None:
    path = folder / "manifest.jsonl" if what == "manifest" else max(folder.glob("trades/*/BTC/*/*.parquet"))
    path.unlink()
    os.mkfifo(path)
    settings = tmp_path / "settings.yaml"
    settings.write_text("exchanges: [{name: binance, rest_url: 'http://127.0.0.1:9', ws_url: 'ws://127.0.0.1:9'}]\n")
    more = ["--settings", str(settings), "--timeout", "1"] if command == ["record"] else []
    ended = told(*command, str(folder), *more)
    assert ended.returncode != 0
    if command != ["record"] or what == "manifest":  # a recorder only reads the manifest
        assert path.name in ended.stderr
        assert "it is no plain file" in ended.stderr


@pytest.mark.parametrize("action", ["info", "verify", "compact", "export", "import"])
def test_the_error_names_a_missing_extra(action: str, folder: Path) -> None:
    more = {"export": ["--csv", "out"], "import": ["BTCUSDT-1m-2025-11-28.zip"]}.get(action, [])
    call = f"main({['recording', action, str(folder), *more]!r})"
    program = f"import sys; sys.modules['pyarrow'] = None; from feed.cli import main; sys.exit({call})"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert "pip install 'market-feed[record]'" in ended.stderr


def test_record_names_the_folder_that_it_cannot_write_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["record", str(tmp_path / "file"), "BTC"]) == 2
    assert "can't be written to" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["record", "", "BTC"])
    assert "allowed is the folder of a recording" in capsys.readouterr().err


def test_record_says_that_no_exchange_works(tmp_path: Path) -> None:
    settings = tmp_path / "settings.yaml"
    nowhere = "127.0.0.1:9"
    settings.write_text(f"exchanges: [{{name: binance, rest_url: 'http://{nowhere}', ws_url: 'ws://{nowhere}'}}]\n")
    arguments = ["record", str(tmp_path / "r"), "BTC", "--settings", str(settings), "--timeout", "1"]
    ended = told(*arguments)
    assert ended.returncode == 3
    assert "no exchange delivered data within 1 s" in ended.stderr


def test_the_error_names_a_wrong_speed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["replay", str(tmp_path), "--speed", "fast"])
    assert "a factor above 0, or max" in capsys.readouterr().err
