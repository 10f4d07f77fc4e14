"""Measures how soon other libraries receive a trade of the same twenty coins, and their memory at that time.

Each library runs as a script of ``clients``, in a process and an environment of its own, like those that
``python -m tests.benchmarks`` makes.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.benchmarks.environments import interpreter
from tests.benchmarks.measure import ROOT, Failed
from tests.benchmarks.readers import READERS

PEERS = ("ccxt", "cryptofeed", "cryptofeed-2", "unicorn")
PATIENCE = 30.0  # seconds until the first trade
EVERY = 0.01  # seconds between two checks of the number of trades


@contextmanager
def trading(
    name: str, venue: str, urls: Sequence[str], coins: Sequence[str], cache: Path
) -> Iterator[tuple[int, float]]:
    """Run a peer until its first trade; yields its process id and the seconds since its start. Raises Failed."""
    reader = READERS[name]
    if venue not in reader.venues:
        raise Failed(f"knows no {venue}")
    if sys.version_info < reader.python:
        raise Failed("needs Python {}.{}".format(*reader.python))
    place = [venue, *urls, ",".join(coins), json.dumps(reader.options)]
    command = [interpreter(reader, cache), "-m", f"tests.benchmarks.clients.{reader.client}", *place]
    pipe = subprocess.PIPE
    begin = time.monotonic()
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True, cwd=ROOT) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            while time.monotonic() < begin + PATIENCE:
                process.stdin.write("look\n")
                process.stdin.flush()
                if not (line := process.stdout.readline()):
                    raise Failed("it ended")
                if json.loads(line)["trades"]:
                    yield process.pid, time.monotonic() - begin
                    return
                time.sleep(EVERY)
            raise Failed(f"no trade within {PATIENCE:g} s")
        except OSError as error:
            raise Failed(f"it ended: {error}") from None
        finally:
            process.kill()


def resident(process: int) -> float:
    """The resident memory of a process in MB."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6
