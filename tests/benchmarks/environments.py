"""A virtual environment for each peer, which is made at its first use and kept in a folder."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from tests.benchmarks.measure import Failed
from tests.benchmarks.readers import Reader

WITHIN = 300.0  # seconds for pip


def interpreter(reader: Reader, folder: Path) -> str:
    """Return the Python that runs ``reader``. Raises Failed with pip's last line if packages can't be installed."""
    if not reader.needs:
        return sys.executable
    base = _python(reader.python)
    key = hashlib.sha256("\n".join((base, *reader.needs)).encode()).hexdigest()[:12]
    home = folder / f"{reader.client}-{key}"
    python = home / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    complete = home / "complete"
    if not complete.exists():
        subprocess.run([base, "-m", "venv", "--clear", str(home)], check=True, capture_output=True, timeout=WITHIN)
        command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *reader.needs]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=WITHIN)
        except subprocess.CalledProcessError as problem:
            raise Failed((problem.stderr.strip().splitlines() or ["pip failed"])[-1]) from None
        except subprocess.TimeoutExpired:
            raise Failed(f"pip took longer than {WITHIN:g} s") from None
        complete.touch()
    return str(python)


def _python(oldest: tuple[int, int]) -> str:
    """Return this Python, or a newer Python of this machine if the reader needs it. Raises Failed if there is none."""
    if sys.version_info >= oldest:
        return sys.executable
    for minor in range(oldest[1], oldest[1] + 5):
        found = shutil.which(f"python3.{minor}")
        with suppress(OSError, subprocess.SubprocessError):
            if found and subprocess.run([found, "-c", ""], capture_output=True, timeout=WITHIN).returncode == 0:
                return found
    raise Failed(f"it needs Python {oldest[0]}.{oldest[1]} or newer, and there is no python3.{oldest[1]} here")
