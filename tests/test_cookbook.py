"""Every script of the cookbook runs unchanged on simulated venues, and prints its result."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from exchanges.simulator import ThreadedSimulator
from feed.sinks.bus.server import program
from tests.support import PATIENCE

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted((ROOT / "docs" / "cookbook").glob("*.py"))
AT_ONCE = 3
OUTAGE = "06_pause_on_outage"
BUS = "11_bots_and_collectors"
SAYS: Mapping[str, str] = {  # patterns for the whole output of each script
    "01_price_alert": r"(buy|sell) BTC at [\d,.]+, it was [\d,.]+\n",
    "02_momentum": r"(ETH [\d,.]+, mean [\d,.]+: (long|flat)\n){3}",
    "03_order_flow": r"((spike: [\d.e-]+ BTC at [\d,.]+, usual are [\d.]+\n)*imbalance [+-][01]\.\d\d\n){2}",
    "04_spread_monitor": r"((BTC|ETH|SOL): \d+\.\d{3} basis points over \d+ quotes\n){3}",
    "05_record_trades": r"recorded 200 trades\n",
    OUTAGE: r"trading\npaused: feed_stale, cancel all orders\ntrading again: (feed_recovered|connected)\n",
    "07_pair_ratio": r"ETH/BTC 0\.\d{6}, [+-]\d+\.\d deviations\n",
    "08_position_size": r"((BTC|ETH|SOL): \d+\.\d{4} \(moves \d+\.\d\d% an hour\)\n){3}",
    "09_two_venues": r"(bybit [\d,.]+, binance [+-][\d,.]+\n){5}",
    "10_without_asyncio": r"(BTC [\d,.]+ on bybit\n)(ETH [\d,.]+ on bybit\n)healthy\n",
    BUS: r"(bot \d+ trades at [\d,.]+ \((bybit|binance)\)\n){10}",
    "12_cost_of_two_btc": r"2 BTC cost [\d,.]+, \d+\.\d\d basis points above the middle\n",
    "13_record_a_day": r"recorded \d{2,} events, dropped 0, see `market-feed recording info ticks`\n",
    "14_backtest": r"backtest: profit [+-]\d+\.\d\d live: profit [+-]\d+\.\d\d\n",
}

Ended = tuple[int, str, str]


def started(script: Path, settings: str, at: Path, **environment: str) -> subprocess.Popen[str]:
    at.mkdir()
    (at / "settings.yaml").write_text(settings)
    return subprocess.Popen(
        [sys.executable, "-W", "error", str(script)],
        cwd=at,
        env={**os.environ, "PYTHONPATH": str(ROOT), "MARKET_FEED_SETTINGS": str(at / "settings.yaml"), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> Ended:
    try:
        out, err = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        err += "did not end by itself"
    # a line "Executing ..." only shows that the machine is busy
    complaints = [line for line in err.splitlines() if not line.startswith("Executing ")]
    return process.returncode, out, "\n".join(complaints)


def through_an_outage(script: Path, simulator: ThreadedSimulator, at: Path) -> Ended:
    """Run a script; after its first line of output, stall the exchange until the script prints a second line."""
    process = started(script, simulator.settings_yaml() + "staleness: {feed_stale_after: 0.5}\n", at)
    assert process.stdout is not None
    first = process.stdout.readline()
    with simulator["bybit"].stalled():
        second = process.stdout.readline()
    code, out, err = ended(process)
    return code, first + second + out, err


def note_publishing(collector: subprocess.Popen[str], publishing: threading.Event) -> None:
    """Set ``publishing`` when the collector logs that it publishes; return when the collector has ended."""
    assert collector.stderr is not None
    with collector.stderr as log:
        for line in log:
            if "publishes from now on" in line:
                publishing.set()


def over_a_bus(script: Path, settings: str, at: Path) -> Ended:
    """Run a script that needs a bus and two collectors, as the first lines of the script say."""
    if program() is None:
        return 0, "", ""  # the test is skipped
    at.mkdir()
    (at / "collect.yaml").write_text(settings)
    command = [sys.executable, "-m", "feed"]
    bus = subprocess.Popen(
        [*command, "bus", "--port", "0", "--dir", str(at / "bus")], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    collectors: list[subprocess.Popen[str]] = []
    publishing = threading.Event()
    try:
        assert bus.stdout is not None
        bus.stdout.readline()
        url = bus.stdout.readline().removeprefix("bus: ").strip()
        for name in ("one", "two"):
            more = ["--name", name, "--bus", url, "--settings", str(at / "collect.yaml")]
            collectors.append(
                subprocess.Popen([*command, "collect", *more], cwd=ROOT, stderr=subprocess.PIPE, text=True)
            )
            threading.Thread(target=note_publishing, args=(collectors[-1], publishing)).start()
        assert publishing.wait(PATIENCE)  # a busy machine needs a long time to start the collectors
        return ended(started(script, settings, at / "bots", MARKET_FEED_BUS=url))
    finally:
        for process in (*collectors, bus):
            process.terminate()
            process.wait(30)
        if bus.stdout is not None:
            bus.stdout.close()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, tuple[Path, Future[Ended]]]]:
    """Run all scripts, three at a time; yield each script's folder and a future of its exit code and output."""
    base = tmp_path_factory.mktemp("cookbook")
    with (
        ThreadedSimulator(venues=("bybit", "binance"), rate=1000) as simulator,
        ThreadedSimulator(venues=("bybit",), rate=100) as failing,
        ThreadPoolExecutor(AT_ONCE) as pool,
    ):

        def run(script: Path) -> Ended:
            at = base / script.stem
            if script.stem == OUTAGE:
                return through_an_outage(script, failing, at)
            if script.stem == BUS:
                return over_a_bus(script, failing.settings_yaml(), at)
            return ended(started(script, simulator.settings_yaml(), at))

        yield {script.stem: (base / script.stem, pool.submit(run, script)) for script in SCRIPTS}


@pytest.mark.parametrize("name", SAYS)
def test_a_script_does_its_task_and_ends(runs: Mapping[str, tuple[Path, Future[Ended]]], name: str) -> None:
    """The script ends with 0, without a warning, and its output has the expected form."""
    if name == BUS and program() is None:
        pytest.skip("no nats-server: pip install 'market-feed[bus]'")
    at, run = runs[name]
    code, out, err = run.result()
    assert (code, err) == (0, "")
    assert re.fullmatch(SAYS[name], out), out
    if name == "05_record_trades":
        rows = [json.loads(line) for line in (at / "trades.jsonl").read_text().splitlines()]
        assert len({(row["coin"], row["trade_id"]) for row in rows}) == 200


def test_every_script_is_short_and_listed() -> None:
    assert [script.stem for script in SCRIPTS] == sorted(SAYS)
    listed = (ROOT / "docs" / "cookbook.md").read_text("utf-8")
    for script in SCRIPTS:
        assert len(script.read_text("utf-8").splitlines()) <= 25, script
        assert f"(cookbook/{script.name})" in listed
