"""A recording's folder: where its files are, how they are named and opened, and what the manifest says about them.

``trades/binance/BTC/date=2026-11-28/<first>-<last>.parquet`` holds the rows with these numbers of one market's channel;
``trades/recent/date=2026-11-28/`` holds the last minutes of all coins; the recorder merges them into those files.
``manifest.jsonl`` has a line per change: a session that began or ended, files that were merged or imported.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from exchanges.recording.rows import CHANNELS

import pyarrow as pa  # isort: skip # the import of rows, above, says what to install if pyarrow is missing
import pyarrow.parquet as pq  # isort: skip

MANIFEST = "manifest.jsonl"
RECENT = "recent"
BY_COIN = ("trades", "ticker", "candles", "quotes", "books", "history", "prices")
"""Channels whose merged files lie in a folder per exchange and coin."""
SMALL = 1 << 20  # bytes; a smaller file is read in one piece, in a third of the time
FEW = 10_000  # rows; for fewer rows, several threads save no time
_TEMPORARY = ".part"
_DEVICES = frozenset({"CON", "PRN", "AUX", "NUL", *(f"{port}{n}" for port in ("COM", "LPT") for n in range(10))})


@dataclass(frozen=True, slots=True)
class RecordedFile:
    """One file of a recording; ``first`` and ``last`` are its rows' numbers, None if no recorder has numbered the rows.

    ``exchange`` and ``coin`` are "" if the file has rows of several exchanges and coins. ``shown`` is its path in the
    folder. ``check`` is the checksum in its name, if it has one.
    """

    path: Path
    shown: str
    channel: str
    exchange: str
    coin: str
    date: str
    first: int | None
    last: int | None
    check: str = ""


@dataclass(slots=True)
class RecorderRun:
    """One run of a recorder; times are in Unix ms. ``last`` is the number of its last row, None while the run has not
    ended.
    """

    began: int
    first: int
    channels: list[str]
    coins: list[str]
    timeframes: list[str]
    book_depth: int = 20
    ended: int | None = None
    last: int | None = None


@dataclass(slots=True)
class Manifest:
    """What the lines of the manifest say together."""

    sessions: list[RecorderRun] = field(default_factory=list)
    entries: dict[str, dict[str, Any]] = field(default_factory=dict)  # the files' entries by their paths in the folder
    gone: set[str] = field(default_factory=set)  # files whose rows are in other files now
    pending: dict[str, str] = field(default_factory=dict)  # file -> its temporary name
    steps: list[dict[str, Any]] = field(default_factory=list)  # steps of the recording machine's clock


class UnreadableFile(ValueError):
    """A file of a recording can't be read, or lacks a column; the text names the file."""


@contextmanager
def opened(path: Path, **options: Any) -> Iterator[pq.ParquetFile]:
    """A Parquet file, open for reading. Raises UnreadableFile, also if pyarrow raises an error inside the block."""
    try:
        _check(path)
        source = pa.BufferReader(path.read_bytes()) if path.stat().st_size <= SMALL else path
        with pq.ParquetFile(source, **options) as file:
            yield file
    except (OSError, KeyError, UnicodeDecodeError, pa.ArrowException) as error:
        raise UnreadableFile(f"{path}: can't be read: {' '.join(str(error).split())}") from error


def _check(path: Path) -> None:
    """Raise OSError if a path is no plain file: reading a pipe might wait for ever."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError("it is no plain file")


def table(each: RecordedFile) -> pa.Table:
    """All rows of a file. Raises UnreadableFile."""
    with opened(each.path) as file:
        return file.read(use_threads=file.metadata.num_rows > FEW)


def name_of(text: str) -> str:
    """The name of a coin's or exchange's folder, in characters that every system and reader accepts."""
    name = "".join(each if each.isalnum() or each in "-." else quote(each, safe="") for each in text)
    if name.startswith("."):
        name = f"%2E{name[1:]}"
    return f"%{ord(name[0]):02X}{name[1:]}" if name.upper() in _DEVICES else name


def place(channel: str, exchange: str, coin: str, date: str) -> str:
    """The folder of a channel's merged files, in the recording's folder."""
    of = f"/{name_of(exchange)}/{name_of(coin)}" if channel in BY_COIN else ""
    return f"{channel}{of}/date={date}"


def hidden(path: Path) -> Path:
    """The temporary name of a file that is not whole yet; readers skip names that begin with a dot."""
    return path.with_name(f".{path.name}{_TEMPORARY}")


def revealed(part: Path) -> Path:
    """The name that a file gets when it is whole."""
    return part.with_name(part.name.removeprefix(".").removesuffix(_TEMPORARY))


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def manifest(folder: Path) -> Manifest:
    """Read the manifest, without lines that a crash cut off; it is empty if there is no file.

    Raises ValueError for a line that no recorder writes, and if the file can't be read.
    """
    found, path = Manifest(), folder / MANIFEST
    try:
        _check(path)
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return found
    except OSError as error:
        raise ValueError(f"{path} can't be read: {error.strerror or error}") from None
    for line in lines:
        try:
            said = json.loads(line)
        except ValueError:
            continue
        if isinstance(said, dict):
            try:
                _take(found, said)
            except (TypeError, KeyError, AttributeError):
                told = line[:80].decode(errors="replace")
                raise ValueError(f"{path}: found {told}, allowed is what a recorder writes") from None
    return found


def _take(found: Manifest, said: dict[str, Any]) -> None:
    if "session" in said:
        known = {each.name for each in fields(RecorderRun)}  # a later version may have more fields
        found.sessions.append(RecorderRun(**{name: value for name, value in said["session"].items() if name in known}))
    elif "ended" in said and found.sessions:
        found.sessions[-1].ended, found.sessions[-1].last = said["ended"], said["last"]
    elif "step" in said:
        found.steps.append(said["step"])
    for entry in said.get("into", ()):
        found.entries[entry["file"]] = entry
        found.gone.discard(entry["file"])
        found.pending[entry["file"]] = entry["file"]
    for gone in said.get("from", ()):
        if gone not in {entry["file"] for entry in said.get("into", ())}:
            found.gone.add(gone)
        found.entries.pop(gone, None) if gone in found.gone else None
        found.pending.pop(gone, None) if gone in found.gone else None


def recorded_files(folder: Path, channels: Iterable[str] = tuple(CHANNELS)) -> list[RecordedFile]:
    """The files that together hold each row once, even if a crash has ended a merge between two steps."""
    said = manifest(folder)
    found = []
    for channel in channels:
        for path in _parquet_files(folder / channel):
            shown = path.relative_to(folder).as_posix()
            if shown not in said.gone:
                found.append(_described(path, shown, channel))
    there = {each.shown for each in found}
    for shown in said.pending:  # the file was written, but a crash came before it was renamed
        part = hidden(folder / shown)
        if shown not in there and shown.partition("/")[0] in channels and part.exists():
            found.append(_described(part, shown, shown.partition("/")[0]))
    return found


def checked_files(folder: Path) -> list[RecordedFile]:
    """Like ``recorded_files``. Raises FileNotFoundError without a folder, and ValueError if it holds no recording."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder")
    if not (files := recorded_files(folder)):
        raise ValueError(f"{folder} holds no recording: there is no file such as trades/*/*/date=*/*.parquet")
    return files


def _parquet_files(folder: Path) -> Iterator[Path]:
    for where, folders, names in os.walk(folder):
        folders.sort()
        yield from (Path(where, name) for name in sorted(names) if name.endswith(".parquet") and name[0] not in "._")


def _described(path: Path, shown: str, channel: str) -> RecordedFile:
    *folders, name = shown.split("/")[1:]
    date = next((each.removeprefix("date=") for each in folders if each.startswith("date=")), "")
    of = [unquote(each) for each in folders if not each.startswith("date=")]
    exchange, coin = of if len(of) == 2 else ("", "")
    first, _, rest = name.removesuffix(".parquet").partition("-")
    last, _, check = rest.partition(".")
    if not first.isdecimal() or not last.isdecimal():  # the file's rows have no numbers
        return RecordedFile(path, shown, channel, exchange, coin, date, None, None)
    return RecordedFile(path, shown, channel, exchange, coin, date, int(first), int(last), check)


def date_of(day: int) -> str:
    """The date of a day since 1970, as folders have it: 2026-11-28."""
    return datetime.fromtimestamp(day * 86_400, UTC).strftime("%Y-%m-%d")


def numbered_name(first: int, last: int) -> str:
    """A file's name by the numbers of its first and last row; names sort as the rows do."""
    return f"{first:012}-{last:012}.parquet"


def checked_name(first: int, last: int, check: str) -> str:
    """A file's name by its rows' numbers and its checksum, for files that the manifest does not list."""
    return f"{first:012}-{last:012}.{check}.parquet"


def checksum(data: bytes | memoryview) -> str:
    """The CRC-32 of a small file, in hexadecimal digits."""
    return f"{zlib.crc32(data):08x}"
