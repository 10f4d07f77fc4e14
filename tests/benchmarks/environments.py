"""A virtual environment per peer, made when it is first asked for and kept in a folder for the next time."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import venv
from pathlib import Path

from tests.benchmarks.measure import Failed
from tests.benchmarks.readers import Reader

WITHIN = 300.0  # seconds for pip


def interpreter(reader: Reader, folder: Path) -> str:
    """The Python to run ``reader`` with. Raises Failed, with pip's last word, when its needs can't be installed."""
    if not reader.needs:
        return sys.executable
    version = "{}.{}".format(*sys.version_info)
    key = hashlib.sha256("\n".join((version, *reader.needs)).encode()).hexdigest()[:12]
    home = folder / f"{reader.client}-{key}"
    python = home / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    complete = home / "complete"
    if not complete.exists():
        venv.create(home, with_pip=True, clear=True)
        command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *reader.needs]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=WITHIN)
        except subprocess.CalledProcessError as problem:
            raise Failed((problem.stderr.strip().splitlines() or ["pip failed"])[-1]) from None
        except subprocess.TimeoutExpired:
            raise Failed(f"pip took longer than {WITHIN:g} s") from None
        complete.touch()
    return str(python)
