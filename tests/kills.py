"""Kills many recorders of one folder, one after the other, at random moments, and counts the lost rows.

``python -m tests.kills`` kills 1,000 recorders; the test suite kills only a few.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import signal
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from exchanges.recording.files import recorded_files
from tests.recordings import rows

BUSY = 0.5  # seconds by which a busy machine may delay the recorder beyond the flush interval


@dataclass
class Lost:
    """The result of the kills. A kill is ``listed`` if its time is in a hole that the recording lists.

    ``faults`` should be 0.
    """

    kills: int = 0
    rows: int = 0
    unreadable: int = 0
    old_lost: int = 0
    acknowledged_lost: int = 0
    repeated: int = 0
    unlisted: int = 0
    listed: int = 0

    @property
    def faults(self) -> int:
        return self.unreadable + self.old_lost + self.acknowledged_lost + self.repeated + self.unlisted


@dataclass(frozen=True)
class Killed:
    """A killed recorder: the numbers of its first and last trade, and the time of the kill (Unix s).

    The rows up to the number ``old`` must be on disk because of their age, and the rows up to the number ``kept``
    because the recorder reported that they are on disk.
    """

    first: int
    last: int
    old: int
    kept: int
    at: float


async def kill_once(folder: Path, first: int, wait: float, flush: float, files: float) -> Killed:
    """Start a recorder, and kill it ``wait`` seconds after its first line of output."""
    command = [sys.executable, "-m", "tests.recorder_process", str(folder), "--first", str(first)]
    process = await asyncio.create_subprocess_exec(
        *command,
        "--flush",
        str(flush),
        "--files",
        str(files),
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[1],
    )
    assert process.stdout is not None
    told: list[tuple[int, float]] = []
    kept = first
    try:
        end = None
        while end is None or time.time() < end:
            line = (await process.stdout.readline()).decode().split()
            assert line, "the recorder ended by itself"
            end = time.time() + wait if end is None else end
            if line[0] == "kept":
                kept = int(line[1])
            else:
                told.append((int(line[1]), float(line[2])))
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
        killed = time.time()
        rest = (await process.stdout.read()).decode().splitlines()
        await process.wait()
    for words in (line.split() for line in rest if line.count(" ") == 2):
        if words[0] == "kept":
            kept = int(words[1])
        else:
            told.append((int(words[1]), float(words[2])))
    old = max((number for number, at in told if at < killed - flush - BUSY), default=first)
    return Killed(first, max((number for number, _ in told), default=first), old, kept, killed)


def check(folder: Path, killed: list[Killed], lost: Lost) -> None:
    """Count the faults in the folder into which the killed recorders wrote."""
    lost.unreadable = lost.old_lost = lost.acknowledged_lost = lost.repeated = lost.unlisted = 0
    for path in folder.rglob("*.parquet"):
        try:
            pq.ParquetFile(path).read()
        except Exception as error:  # noqa: BLE001 - every error of a file is counted
            print(path, repr(error))
            lost.unreadable += 1
    found: defaultdict[str, list[int]] = defaultdict(list)
    for each in recorded_files(folder, ["trades"]):
        table = pq.ParquetFile(each.path).read(columns=["coin", "trade_id"])
        for coin, number in zip(table.column(0).to_pylist(), table.column(1).to_pylist(), strict=True):
            found[coin].append(int(number))
    lost.rows = sum(map(len, found.values()))
    for numbers in found.values():
        there = set(numbers)
        lost.repeated += len(numbers) - len(there)
        for run in killed:
            late = [number for number in range(run.first + 1, run.old + 1) if number not in there]
            if late:
                print(f"{run} lacks {late[0]} to {late[-1]}", flush=True)
            lost.old_lost += len(late)
            lost.acknowledged_lost += sum(number not in there for number in range(run.first + 1, run.kept + 1))
    holes = [(row["from_ts"], row["to_ts"]) for row in rows(folder, "gaps")] if (folder / "gaps").exists() else []
    newest = max((until for _, until in holes), default=0)  # the next recorder will list later kills
    deaths = [each.at * 1000 for each in killed if each.at * 1000 < newest]
    lost.unlisted += sum(not any(since <= at <= until for since, until in holes) for at in deaths)
    lost.listed = len(deaths)


async def kill_often(folder: Path, kills: int, *, flush: float, files: float, longest: float, seed: int) -> Lost:
    """Kill ``kills`` recorders; check the folder after every tenth kill and at the end."""
    draw = random.Random(seed)
    lost = Lost()
    killed: list[Killed] = []
    number = 0
    for turn in range(kills):
        killed.append(await kill_once(folder, number, draw.uniform(0.05, longest), flush, files))
        number, lost.kills = killed[-1].last + 1000, turn + 1
        if turn % 10 == 9 or turn == kills - 1:
            check(folder, killed, lost)
            print(lost, flush=True)
            if lost.faults:
                break
    return lost


if __name__ == "__main__":
    options = argparse.ArgumentParser()
    options.add_argument("--kills", type=int, default=1000)
    options.add_argument("--seed", type=int, default=random.randrange(10**6))
    args = options.parse_args()
    with tempfile.TemporaryDirectory() as where:
        told = asyncio.run(kill_often(Path(where), args.kills, flush=2.0, files=1.5, longest=4.0, seed=args.seed))
    print(f"seed {args.seed}: {told}")
    sys.exit(told.faults > 0)
