"""The types that a bot's author sees are precise, and a bot's code passes mypy --strict."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def mypy(code: str, at: Path) -> subprocess.CompletedProcess[str]:
    """Run mypy as a user does: in another folder, where this project's configuration is not read."""
    (at / "bot.py").write_text(code)
    command = [sys.executable, "-m", "mypy", "--strict", "bot.py"]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=at)


def test_a_bots_code_passes_mypy_strict(tmp_path: Path) -> None:
    done = mypy(Path(__file__).with_name("user_code.py").read_text(), tmp_path)
    assert done.returncode == 0, done.stdout


def test_a_wrong_use_of_the_types_is_reported(tmp_path: Path) -> None:
    """Without this test, the other test would also pass if the package had no types."""
    wrong = "from feed import MarketFeed\nprice: int = MarketFeed().get_price('BTC')\n"
    done = mypy(wrong, tmp_path)
    assert done.returncode == 1
    assert "PriceTick | None" in done.stdout
