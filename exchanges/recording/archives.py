"""Imports Binance's public archives (daily or monthly; zip or CSV): trades, aggregated trades and candles.

Some of the files (https://github.com/binance/binance-public-data) have a header. Times are in ms; on spot they are in
µs since 2025. The files do not say when an event was received: ``received_at`` is the trade's own time, or the candle's
end.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv

from exchanges.recording.files import date_of, place, recorded_files
from exchanges.recording.markets import TIMEFRAMES, symbol_of
from exchanges.recording.rows import schema
from exchanges.recording.writing import replace, write_empty

DAY = 86_400_000  # ms
EARLIEST = 10**12  # ms: no market existed before 2001, so a smaller number is not a time in ms
MICROSECONDS = 10**14  # a time above this number is in µs
_TIMEFRAMES = "|".join((*TIMEFRAMES, "1mo"))  # a month is written in two ways
_NAME = re.compile(rf"(?P<market>\w+)-(?P<kind>trades|aggTrades|{_TIMEFRAMES})-\d{{4}}-\d{{2}}(?:-\d{{2}})?$", re.A)
_TRADES = ("id", "price", "quantity", "quote_quantity", "time", "is_buyer_maker", "is_best_match")
_AGGREGATED = ("id", "price", "quantity", "first_id", "last_id", "time", "is_buyer_maker", "is_best_match")
_CANDLES = (
    "open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume", "count", "taker_volume",
    "taker_quote_volume", "ignore",
)  # fmt: skip
_TYPES: dict[str, pa.DataType] = {
    "id": pa.string(), "price": pa.float64(), "quantity": pa.float64(), "time": pa.int64(),
    "is_buyer_maker": pa.bool_(), "open_time": pa.int64(), "close_time": pa.int64(), "open": pa.float64(),
    "high": pa.float64(), "low": pa.float64(), "close": pa.float64(), "volume": pa.float64(),
}  # fmt: skip
_AMOUNTS = ("quantity", "volume")
_TIMES = ("time", "open_time", "close_time")


def read_archive(folder: Path, path: Path, exchange: str, *, swap: bool = False) -> dict[str, Any]:
    """Add an archive's rows to a recording; returns ``channel``, ``coin``, ``days`` and ``rows``.

    All of its days are added, or none. An archive that is read again replaces its earlier rows. Raises ValueError,
    which names the file and what is allowed, and OSError.
    """
    name = path.name.removesuffix(".zip").removesuffix(".csv")
    match = _NAME.match(name)
    if match is None:
        allowed = (
            "a name such as BTCUSDT-trades-2026-11-28.zip, BTCUSDT-aggTrades-2026-11.zip or BTCUSDT-1m-2026-11-28.csv, "
            f"with the timeframes {_TIMEFRAMES.replace('|', ', ')}"
        )
        raise ValueError(f"{path}: found {path.name}, allowed is {allowed}")
    kind = match["kind"]
    try:
        coin, market = symbol_of(match["market"], swap=swap)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    is_candles = kind not in ("trades", "aggTrades")
    channel = "candles" if is_candles else "trades"
    columns = _CANDLES if is_candles else _TRADES if kind == "trades" else _AGGREGATED
    file_name = f"import-{kind}.parquet" if is_candles else "import.parquet"
    source = _Archive(exchange, coin, market, kind.replace("mo", "M") if is_candles else "")
    recorded = {
        (each.date, each.coin) for each in recorded_files(folder, [channel]) if each.first is not None and each.coin
    }

    def files(batches: Iterator[pa.RecordBatch]) -> Iterator[tuple[str, Iterator[pa.Table]]]:
        for day, tables in _by_day(source.tables(batches, kind)):
            date = date_of(day)
            if (date, coin) in recorded:
                told = f"{folder} has recorded {channel} of {coin} of {date} already"
                raise ValueError(f"{told}: import into another folder, and replay both")
            yield f"{place(channel, exchange, coin, date)}/{file_name}", tables

    try:
        with _opened(path, columns) as batches:
            entries = replace(folder, [], files(batches))
    except (pa.ArrowInvalid, zipfile.BadZipFile, UnicodeDecodeError, zlib.error, EOFError) as error:
        raise ValueError(f"{path}: not an archive of {kind}: {error}") from None
    except (ValueError, RuntimeError) as error:  # zipfile raises these for a password or an unknown compression
        raise ValueError(f"{path}: {error}") from None
    if not entries:
        raise ValueError(f"{path} has no rows")
    write_empty(folder, date_of(entries[0]["from"] // DAY))
    rows = sum(entry["rows"] for entry in entries)
    return {"channel": channel, "coin": coin, "days": len(entries), "rows": rows}


class _Archive:
    """Turns the rows of an archive into rows of a recording."""

    def __init__(self, exchange: str, coin: str, market: str, timeframe: str) -> None:
        self._same = {"exchange": exchange, "coin": coin, "market": market, "timeframe": timeframe}

    def tables(self, batches: Iterator[pa.RecordBatch], kind: str) -> Iterator[pa.Table]:
        for batch in batches:
            _check(batch)
            yield self._candles(batch) if self._same["timeframe"] else self._trades(batch, kind)

    def _trades(self, batch: pa.RecordBatch, kind: str) -> pa.Table:
        stamps = batch.column("time")
        ids = batch.column("id")
        if kind == "aggTrades":  # aggregated trades are numbered apart from trades
            ids = pc.binary_join_element_wise("a", ids, "")
        return self._table(
            "trades",
            batch,
            timestamp=_ms(stamps),
            received_at=_ns(stamps),
            trade_id=ids,
            backfilled=pa.repeat(False, len(batch)),
            priced=pa.repeat(True, len(batch)),
        )

    def _candles(self, batch: pa.RecordBatch) -> pa.Table:
        ends = batch.column("close_time")
        return self._table(
            "candles",
            batch,
            timestamp=_ms(batch.column("open_time")),
            received_at=pc.multiply(pc.add(_ms(ends), 1), 1_000_000),
            closed=pa.repeat(True, len(batch)),
        )

    def _table(self, channel: str, batch: pa.RecordBatch, **columns: Any) -> pa.Table:
        count = len(batch)
        arrays = []
        for each in schema(channel):
            if each.name in columns:
                array = columns[each.name]
            elif each.name in self._same:
                array = pa.repeat(self._same[each.name], count)
            elif each.name == "seq":
                array = pa.nulls(count, pa.int64())
            else:
                array = batch.column(each.name)
            arrays.append(array)
        return pa.Table.from_arrays(arrays, schema=schema(channel))


def _by_day(tables: Iterator[pa.Table]) -> Iterator[tuple[int, Iterator[pa.Table]]]:
    """Divide tables by day; a day's tables must be taken before the next day is requested.

    Raises ValueError if the times return to an earlier day, whose file would be written twice.
    """
    waiting: list[pa.Table] = []

    def next_table() -> pa.Table | None:
        return waiting.pop() if waiting else next(tables, None)

    def of_day(day: int, first: pa.Table) -> Iterator[pa.Table]:
        rows: pa.Table | None = first
        while rows is not None:
            days = pc.divide(rows.column("timestamp"), DAY)
            other = pc.index(pc.equal(days, day), False).as_py()
            count = len(rows) if other < 0 else other
            if count:
                yield rows.slice(0, count)
            if count < len(rows):
                waiting.append(rows.slice(count))
                return
            rows = next_table()

    day = 0
    while (rows := next_table()) is not None:
        if len(rows):
            before, day = day, rows.column("timestamp")[0].as_py() // DAY
            if day < before:
                raise ValueError("its times go back to an earlier day, allowed are times that only grow")
            yield day, of_day(day, rows)


def _check(batch: pa.RecordBatch) -> None:
    """Raise ValueError for a value that no trade and no candle can have, such as a price of 0."""
    for name, kind in _TYPES.items():
        if name in batch.schema.names:
            column = batch.column(name)
            if column.null_count:
                raise ValueError(f"found no {name} in one of its rows, allowed is a value in each")
            if pa.types.is_floating(kind):
                is_good = pc.and_(pc.is_finite(column), pc.greater_equal(column, 0.0))
                allowed = "0 or more" if name in _AMOUNTS else "a price above 0"
                if name not in _AMOUNTS:
                    is_good = pc.and_(is_good, pc.not_equal(column, 0.0))
            elif name in _TIMES:
                is_good, allowed = pc.greater_equal(column, EARLIEST), "Unix ms or µs"
            else:
                continue
            wrong = pc.index(is_good, False).as_py()
            if wrong >= 0:
                raise ValueError(f"found {name} {column[wrong]}, allowed is {allowed}")


def _ms(stamps: pa.Array) -> pa.Array:
    return pc.if_else(pc.greater(stamps, MICROSECONDS), pc.divide(stamps, 1000), stamps)


def _ns(stamps: pa.Array) -> pa.Array:
    return pc.if_else(pc.greater(stamps, MICROSECONDS), pc.multiply(stamps, 1000), pc.multiply(stamps, 1_000_000))


@contextmanager
def _opened(path: Path, columns: Sequence[str]) -> Iterator[Iterator[pa.RecordBatch]]:
    """The rows of an archive, a batch at a time."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith(".csv") and not name.startswith("__MACOSX/")]
            if len(names) != 1:
                raise ValueError(f"found {len(names)} CSV files in it, allowed is one")
            with archive.open(names[0]) as file:
                yield _batches(file, columns)
    else:
        with open(path, "rb") as file:
            yield _batches(file, columns)


def _batches(file: IO[bytes], columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    buffered = io.BufferedReader(file, 1 << 20) if not isinstance(file, io.BufferedReader) else file  # type: ignore[type-var] # as a raw file
    head = buffered.peek(4096)[:4096].split(b"\n", 1)[0].decode()
    if not head.strip():
        return
    count = head.count(",") + 1
    used = [name for name in columns if name in _TYPES]
    if count < len(columns) - 1:
        raise ValueError(f"found {count} columns ({head[:60]}), allowed are {', '.join(columns)}")
    names = [*columns, *(f"more{number}" for number in range(count))][:count]
    reader = csv.open_csv(
        buffered,
        read_options=csv.ReadOptions(column_names=names, skip_rows=0 if head[0].isdigit() else 1, block_size=1 << 22),
        convert_options=csv.ConvertOptions(include_columns=used, column_types={name: _TYPES[name] for name in used}),
    )
    yield from reader
