"""The types that a bot's author sees: precise, and strict code of theirs passes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def mypy(code: str, at: Path) -> subprocess.CompletedProcess[str]:
    """As a user runs it: in a folder of their own, where the project's configuration is not read."""
    (at / "bot.py").write_text(code)
    command = [sys.executable, "-m", "mypy", "--strict", "bot.py"]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=at)


def test_a_bots_code_passes_mypy_strict(tmp_path: Path) -> None:
    done = mypy(Path(__file__).with_name("user_code.py").read_text(), tmp_path)
    assert done.returncode == 0, done.stdout


def test_a_wrong_use_is_reported(tmp_path: Path) -> None:
    """So that the test above says something: the package is typed for its users."""
    wrong = "from feed import MarketFeed\nprice: int = MarketFeed().get_price('BTC')\n"
    done = mypy(wrong, tmp_path)
    assert done.returncode == 1
    assert "PriceTick | None" in done.stdout
