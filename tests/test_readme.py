"""The README is true: its commands exist, and each whole program in README and docs/ runs on simulated venues."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

from exchanges.simulator import Simulator
from feed import Settings
from feed.cli.arguments import parser

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
PROGRAMS = {
    f"{path.name}-{number}": program
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    for number, program in enumerate(re.findall(r"```python\n(.*?)```", path.read_text("utf-8"), re.DOTALL))
    if "asyncio.run(" in program  # whole programs only, no excerpts
    if path.name not in ("server.md", "bus.md")  # two files named test_clients.py test the clients on these pages
}
SETUP = 'python3 -m venv .venv && .venv/bin/pip install -e ".[{extra}]" && .venv/bin/{command}'
HURRY = 4  # seconds to which every sleep in a program is set


@pytest.mark.parametrize(("extra", "command"), [("all", "market-feed demo"), ("dev", "pytest")])
def test_one_command_does_the_whole_setup(extra: str, command: str) -> None:
    """The command is one line, which ``.ci/run`` runs in a new environment."""
    assert SETUP.format(extra=extra, command=command) in README.splitlines()
    (line,) = re.findall(rf"grep -m1 '(\S*{command})\$' README.md", (ROOT / ".ci" / "run").read_text("utf-8"))
    assert line in SETUP.format(extra=extra, command=command)


@pytest.mark.parametrize("block", PROGRAMS.values(), ids=PROGRAMS)
async def test_every_program_of_the_readme_runs(block: str, tmp_path: Path) -> None:
    """The test changes only the length of sleeps. The program ends with exit code 0, an output and no warning."""
    quick = re.sub(r"asyncio\.sleep\(\d+\)", f"asyncio.sleep({HURRY})", block)
    async with Simulator(venues=("bybit", "binance"), rate=1000) as simulator:
        settings = tmp_path / "settings.yaml"
        settings.write_text(simulator.settings_yaml())
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-X", "dev", "-W", "error", "-c", quick),
            cwd=ROOT,
            env={**os.environ, "MARKET_FEED_SETTINGS": str(settings)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(60):
            out, err = await process.communicate()
    # a line "Executing ..." only shows that the machine is busy
    complaints = [line for line in err.decode().splitlines() if not line.startswith("Executing ")]
    assert (process.returncode, complaints) == (0, []), "\n".join(complaints)
    assert out.strip()


@pytest.mark.parametrize("command", sorted(set(re.findall(r"market-feed (\w+)", README))))
def test_every_command_in_the_readme_exists(command: str) -> None:
    with pytest.raises(SystemExit) as ended:
        parser().parse_args([command, "--help"])
    assert ended.value.code == 0


def test_the_settings_in_the_readme_are_valid(tmp_path: Path) -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    path = tmp_path / "settings.yaml"
    path.write_text(block)
    from feed import load_settings

    assert [exchange.name for exchange in load_settings(path).exchanges] == ["kraken", "binance"]
    assert load_settings(path).staleness == Settings().staleness
