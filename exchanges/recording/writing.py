"""Writes a recording's files (row groups, compression) and its manifest; a crash neither loses nor repeats a row.

Files that replace others are first written under names that nobody reads. Then a line of the manifest says which files
they replace. Only after that they get their names, and the old files are removed. ``recover`` finishes what a crash has
left between two steps.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

from exchanges.recording.files import (
    MANIFEST,
    checked_name,
    checksum,
    digest,
    hidden,
    manifest,
    recorded_files,
    revealed,
)
from exchanges.recording.rows import COUNTED, REPEATED, STAMPS, Columns

import pyarrow as pa  # isort: skip # the import of rows, above, says what to install if pyarrow is missing
import pyarrow.compute as pc  # isort: skip
import pyarrow.parquet as pq  # isort: skip

ROW_GROUP = 128 * 1024
ALWAYS = ("status", "gaps")
_changing = threading.Lock()  # only one thread of this process changes the manifest at a time


def write_small(folder: Path, place: str, first: int, last: int, rows: pa.Table) -> None:
    """Write a file of few rows. Its name has their numbers and its checksum, because the manifest does not list it.

    The file is complete or does not exist, also after a crash. Raises OSError.
    """
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, rows.schema, **_small_options(rows.schema)) as writer:
        writer.write_table(rows)
    data = memoryview(sink.getvalue())
    shown = f"{place}/{checked_name(first, last, checksum(data))}"
    path = folder / shown
    part = hidden(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with open(part, "wb", buffering=0) as file:
            while data:
                data = data[file.write(data) :]
            os.fsync(file.fileno())
        publish(folder, shown)
    except BaseException:
        _withdraw(folder, part)
        raise


@cache
def _small_options(schema: pa.Schema) -> dict[str, Any]:
    """How a file of few rows is written: without those parts of a merged file that take long and save little.

    Columns whose encoding already makes them small are not compressed, and only columns by which rows are chosen have
    statistics. zstd would not make these files smaller, and preparing zstd's state for each column of each file takes
    longer than everything else about the column.
    """
    names = schema.names
    encoded = {name for name in names if name in (*COUNTED, *REPEATED) or pa.types.is_boolean(schema.field(name).type)}
    is_flat = not any(pa.types.is_list(each.type) for each in schema)
    return {
        **_options(names),
        "compression": {name: "snappy" for name in names if name not in encoded} if is_flat else "snappy",
        "write_statistics": [name for name in names if name in STAMPS],
        "write_page_checksum": False,  # the name has a checksum of the whole file
    }


def _options(names: Sequence[str]) -> dict[str, Any]:
    return {
        "compression": "zstd",
        "use_dictionary": [name for name in names if name in REPEATED],
        "column_encoding": {name: "DELTA_BINARY_PACKED" for name in names if name in COUNTED},
        "write_page_checksum": True,
    }


def write(folder: Path, shown: str, parts: Iterable[pa.Table], *, temporary: bool = False) -> dict[str, Any]:
    """Write a file that is complete or does not exist, also after a crash, and return its entry in the manifest.

    ``parts`` are its rows, one table after the other. ``temporary``: the file keeps its temporary name, which no reader
    looks at, until ``publish``. Raises OSError.
    """
    path = folder / shown
    path.parent.mkdir(parents=True, exist_ok=True)
    part = hidden(path)
    summary = _Summary()
    try:
        with open(part, "wb") as file:
            _write_parts(file, map(summary.add, _row_groups(parts)))
            file.flush()
            os.fsync(file.fileno())
        entry = {"file": shown, **summary.entry, "bytes": part.stat().st_size, "sha256": digest(part)}
        if not temporary:
            publish(folder, shown)
    except BaseException:
        _withdraw(folder, part)
        raise
    return entry


def _write_parts(file: Any, parts: Iterator[pa.Table]) -> None:
    first = next(parts)
    with pq.ParquetWriter(file, first.schema, **_options(first.schema.names)) as writer:
        for rows in chain((first,), parts):
            writer.write_table(rows, row_group_size=ROW_GROUP)


def _row_groups(parts: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in fewer, larger tables: each has ROW_GROUP rows at least, except the last."""
    held: list[pa.Table] = []
    for rows in parts:
        held.append(rows)
        if sum(map(len, held)) >= ROW_GROUP:
            yield pa.concat_tables(held)
            held = []
    if held:
        yield pa.concat_tables(held)


class _Summary:
    """What the manifest says about a file's rows; times in Unix ms."""

    def __init__(self) -> None:
        self.entry: dict[str, Any] = {"rows": 0, "from": 0, "to": 0}

    def add(self, rows: pa.Table) -> pa.Table:
        """Count ``rows``, which are written next, and return them."""
        entry, names = self.entry, rows.schema.names
        stamps = next(name for name in STAMPS if name in names)
        unit = 1_000_000 if stamps == "received_at" else 1
        bounds = pc.min_max(rows.column(stamps)).as_py()
        low, high = (bounds["min"] or 0) // unit, (bounds["max"] or 0) // unit
        entry |= {"from": min(entry["from"], low) if entry["rows"] else low, "to": max(entry["to"], high)}
        if "trade_id" in names and len(rows):
            ids = rows.column("trade_id")
            entry |= {"first_id": entry.get("first_id", ids[0].as_py()), "last_id": ids[-1].as_py()}
        entry["rows"] += len(rows)
        return rows


def write_empty(folder: Path, date: str) -> None:
    """Write a file without rows for each channel that readers expect in every recording, unless the channel has files.

    ``date``: the day, such as 2026-11-28. Raises OSError.
    """
    for channel in ALWAYS:
        if not recorded_files(folder, [channel]):
            write(folder, f"{channel}/date={date}/empty.parquet", [Columns(channel).table()])


def replace(folder: Path, old: Sequence[str], new: Iterable[tuple[str, Iterable[pa.Table]]]) -> list[dict[str, Any]]:
    """Replace old files by new files, all of them or none; returns the new files' entries in the manifest.

    ``old`` has paths in the folder; ``new`` has such paths, each with its rows. Raises OSError.
    """
    entries: list[dict[str, Any]] = []
    try:
        for shown, rows in new:
            entries.append(write(folder, shown, rows, temporary=True))
        if entries:
            note(folder, {"into": entries, "from": list(old)} if old else {"into": entries})
    except BaseException:
        for entry in entries:
            _withdraw(folder, hidden(folder / entry["file"]))
        raise
    for entry in entries:
        publish(folder, entry["file"])
    for shown in old:
        (folder / shown).unlink(missing_ok=True)
    return entries


def _withdraw(folder: Path, part: Path) -> None:
    """Remove a file that was not finished, and the folders that were made for it."""
    part.unlink(missing_ok=True)
    for parent in part.parents:
        if parent == folder or next(parent.iterdir(), None) is not None:
            return
        parent.rmdir()


def recover(folder: Path) -> None:
    """Finish or undo what a crash has cut short. Raises OSError."""
    said = manifest(folder)
    for shown in said.gone:
        (folder / shown).unlink(missing_ok=True)
    for part in folder.glob("*/**/.*.part"):
        shown = revealed(part).relative_to(folder).as_posix()
        if shown in said.pending and digest(part) == said.entries[shown]["sha256"]:
            publish(folder, shown)
        part.unlink(missing_ok=True)


def publish(folder: Path, shown: str) -> None:
    """Give a temporary file its final name."""
    path = folder / shown
    os.replace(hidden(path), path)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make the names in a folder survive a power cut, if the system can do that."""
    if hasattr(os, "O_DIRECTORY"):
        number = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def note(folder: Path, line: Mapping[str, Any]) -> None:
    """Add a line to the manifest, and wait until it is on the disk. Raises OSError."""
    with _changing, open(folder / MANIFEST, "ab") as file:
        if file.tell() and not _ends_with_newline(folder / MANIFEST):
            file.write(b"\n")  # a crash left half a line, which is skipped
        file.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _ends_with_newline(path: Path) -> bool:
    with open(path, "rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
