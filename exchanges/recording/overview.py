"""Shows what is in a recording, verifies that it is whole, and exports its rows as CSV."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as csv

from exchanges.recording.files import (
    RECENT,
    RecordedFile,
    UnreadableFile,
    checked_files,
    checksum,
    digest,
    hidden,
    manifest,
    opened,
    recorded_files,
    table,
)
from exchanges.recording.reader import bounds
from exchanges.recording.rows import CHANNELS


@dataclass(slots=True)
class ChannelOverview:
    """One channel of a recording; ``since`` and ``until`` in Unix ms."""

    rows: int = 0
    files: int = 0
    size: int = 0
    since: int = 0
    until: int = 0
    exchanges: set[str] = field(default_factory=set)
    coins: set[str] = field(default_factory=set)
    days: set[str] = field(default_factory=set)


def overview(folder: Path) -> dict[str, ChannelOverview]:
    """What each channel of a recording has, read from the files' metadata. Raises FileNotFoundError and ValueError."""
    found: dict[str, ChannelOverview] = {}
    for each in checked_files(folder):
        channel = found.setdefault(each.channel, ChannelOverview())
        with opened(each.path) as file:
            channel.rows += file.metadata.num_rows
            if not each.coin and "coin" in file.schema_arrow.names and each.channel != "gaps":
                rows = file.read(columns=["exchange", "coin"])
                channel.exchanges |= set(rows.column(0).unique().to_pylist())
                channel.coins |= set(rows.column(1).unique().to_pylist())
        channel.files += 1
        channel.size += each.path.stat().st_size
        channel.days |= {each.date} - {""}
        channel.exchanges |= {each.exchange} - {""}
        channel.coins |= {each.coin} - {""}
    for name, channel in found.items():
        channel.since, channel.until = bounds(folder, [name])
    return {name: found[name] for name in CHANNELS if name in found}


def holes(folder: Path) -> list[dict[str, Any]]:
    """The rows of the channel ``gaps``, oldest first."""
    tables = [table(each) for each in recorded_files(folder, ["gaps"])]
    rows: list[dict[str, Any]] = pa.concat_tables(tables).to_pylist() if tables else []
    return sorted(rows, key=lambda row: (row["from_ts"], row["seq"] or 0))


def verify(folder: Path) -> Iterator[str]:
    """Read every row and compare each file with the manifest; yields what is wrong, one line each.

    Raises FileNotFoundError if there is no folder, and ValueError if it has no recording.
    """
    files = checked_files(folder)
    entries = manifest(folder).entries
    for each in files:
        yield from _problems(each, entries.get(each.shown))
    there = {each.shown for each in files}
    for shown in entries:
        if shown not in there and not hidden(folder / shown).exists():
            yield f"{shown}: is gone, with {entries[shown]['rows']:,} rows"
    last: dict[tuple[str, str, str, bool], RecordedFile] = {}
    for each in sorted((each for each in files if each.first is not None), key=lambda each: each.first or 0):
        key = each.channel, each.exchange, each.coin, "/recent/" in each.shown
        before = last.get(key)
        if before is not None and (before.last or 0) >= (each.first or 0):
            yield f"{each.shown}: has rows that {before.shown} has too"
        last[key] = each


def _problems(each: RecordedFile, entry: dict[str, Any] | None) -> Iterator[str]:
    try:
        with opened(each.path, page_checksum_verification=True) as file:
            rows = file.read()
            numbers = rows.column("seq").drop_null().to_pylist()
    except UnreadableFile as error:
        yield str(error)
        return
    if numbers != sorted(set(numbers)):
        yield f"{each.shown}: its rows are not in their order"
    if entry is not None:
        changed = entry["sha256"] != digest(each.path)
    else:
        changed = bool(each.check) and each.check != checksum(each.path.read_bytes())
    if entry is not None and entry["rows"] != len(rows):
        yield f"{each.shown}: has {len(rows):,} rows, and the manifest says {entry['rows']:,}"
    elif changed:
        yield f"{each.shown}: was changed after it was written"
    elif entry is None and each.first is not None and f"/{RECENT}/" not in each.shown:
        yield f"{each.shown}: the manifest does not list it"


def export_csv(
    folder: Path, out: Path, channels: Collection[str] | None = None, coins: Collection[str] | None = None
) -> int:
    """Write the rows as CSV, to files such as ``out/trades/binance/BTC/2026-11-28.csv``; returns how many rows.

    Raises OSError, and ValueError if there is no recording, or if it lacks one of the channels or coins.
    """
    known = overview(folder)
    _check_known("channel", channels, list(known))
    _check_known("coin", coins, sorted({coin for channel in known.values() for coin in channel.coins}))
    count = 0
    for each in recorded_files(folder, channels or tuple(CHANNELS)):
        if each.coin and coins is not None and each.coin not in coins:
            continue
        rows = table(each)
        if coins is not None and "coin" in rows.schema.names and each.channel != "gaps":
            rows = rows.filter(pa.compute.is_in(rows.column("coin"), pa.array(sorted(coins))))
        path = (out / each.shown.replace("date=", "")).with_suffix(".csv")
        if len(rows):
            path.parent.mkdir(parents=True, exist_ok=True)
            csv.write_csv(_flat(rows), path)
            count += len(rows)
    return count


def _check_known(name: str, asked: Collection[str] | None, known: Collection[str]) -> None:
    unknown = [each for each in asked or () if each not in known]
    if unknown:
        raise ValueError(f"{name}: found {', '.join(unknown)}, allowed are those of the recording: {', '.join(known)}")


def _flat(rows: pa.Table) -> pa.Table:
    """The rows with each list as a text, its values with spaces between them: CSV has no lists."""
    for place, each in enumerate(rows.schema):
        if pa.types.is_list(each.type):
            texts = [" ".join(map(repr, values)) for values in rows.column(place).to_pylist()]
            rows = rows.set_column(place, each.name, pa.array(texts, pa.string()))
    return rows
