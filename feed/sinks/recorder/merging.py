"""Merges a recording's small files into one per market and day, up to a limit; each row is always in one file."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from exchanges.recording.files import (
    BY_COIN,
    RECENT,
    RecordedFile,
    numbered_name,
    opened,
    place,
    recorded_files,
    table,
)
from exchanges.recording.writing import replace

LARGEST = 8_000_000  # the most rows of a file


def merge_recent(folder: Path, may_go_on: Callable[[], bool] = lambda: True) -> None:
    """Move the rows of the last minutes to the files of their exchange and coin. Raises OSError."""
    recent = [each for each in recorded_files(folder) if f"/{RECENT}/" in each.shown and each.first is not None]
    for (channel, date), some in _grouped(recent, lambda each: (each.channel, each.date)).items():
        if may_go_on():
            rows = pa.concat_tables(map(table, some))
            replace(folder, [each.shown for each in some], _by_market(channel, date, rows))


def compact(folder: Path, before: str = "9999", may_go_on: Callable[[], bool] = lambda: True) -> int:
    """Merge each market's files of one day, for days before ``before`` (2026-11-28).

    Returns by how much the number of files has fallen. Raises OSError.
    """
    files = [
        each
        for each in recorded_files(folder)
        if each.first is not None and each.date < before and f"/{RECENT}/" not in each.shown
    ]
    spared = 0
    for _, some in _grouped(files, lambda each: each.shown.rpartition("/")[0]).items():
        for part in _bounded(sorted(some, key=lambda each: each.first or 0)):
            if len(part) > 1 and may_go_on():
                first, last = part[0].first or 0, max(each.last or 0 for each in part)
                shown = f"{part[0].shown.rpartition('/')[0]}/{numbered_name(first, last)}"
                replace(folder, [each.shown for each in part], [(shown, map(table, part))])
                spared += len(part) - 1
    return spared


def _bounded(files: Sequence[RecordedFile]) -> Iterator[list[RecordedFile]]:
    part: list[RecordedFile] = []
    rows = 0
    for each in files:
        with opened(each.path) as file:
            more = file.metadata.num_rows
        if part and rows + more > LARGEST:
            yield part
            part, rows = [], 0
        part.append(each)
        rows += more
    yield part


def _grouped(files: Iterable[RecordedFile], key: Callable[[RecordedFile], Any]) -> dict[Any, list[RecordedFile]]:
    groups: defaultdict[Any, list[RecordedFile]] = defaultdict(list)
    for each in files:
        groups[key(each)].append(each)
    return groups


def _by_market(channel: str, date: str, rows: pa.Table) -> Iterator[tuple[str, list[pa.Table]]]:
    """Divide these rows among the files to which they are written."""
    if channel not in BY_COIN:
        yield f"{place(channel, '', '', date)}/{_name(rows)}", [rows]
        return
    exchanges, coins = (rows.column(name).combine_chunks().dictionary_encode() for name in ("exchange", "coin"))
    markets = pc.add(pc.multiply(exchanges.indices, len(coins.dictionary)), coins.indices)
    order = pc.sort_indices(markets)  # the rows of one market keep their order
    rows = rows.take(order)
    start = 0
    for count in pc.value_counts(markets.take(order)).field("counts").to_pylist():
        part = rows.slice(start, count)
        start += count
        exchange, coin = part.column("exchange")[0].as_py(), part.column("coin")[0].as_py()
        yield f"{place(channel, exchange, coin, date)}/{_name(part)}", [part]


def _name(rows: pa.Table) -> str:
    numbers = rows.column("seq")
    return numbered_name(numbers[0].as_py(), numbers[-1].as_py())
