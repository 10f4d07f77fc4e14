"""Reads recordings in the order in which a feed delivered: column by column, a window of rows at a time."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import Any

from exchanges.events import Candle
from exchanges.recording.books import BookDecoder
from exchanges.recording.files import RecordedFile, checked_files, manifest, opened, recorded_files
from exchanges.recording.rows import MARKET_DATA, REPEATED, STAMPS, BookRow, events, schema

WINDOW = 4096  # the most rows of a file that are in memory at a time
MARGIN = 90 * 10**9  # ns: rows are read from this long before the start, because books need their last snapshot
PLAYED = (*MARKET_DATA, "history", "prices", "status")
_received = attrgetter("received_at")
_FIELDS = Candle.__slots__


@dataclass(frozen=True, slots=True)
class Hole:
    """Nothing was recorded between the row before this one and the row after it; ``reason`` says why."""

    received_at: int
    reason: str


@dataclass(frozen=True, slots=True)
class ClockStep:
    """The recording machine's clock was set back here by ``seconds``."""

    received_at: int
    seconds: float


Rows = tuple[list[int], list[Any], list[bool]]
"""Three lists: when each event came (Unix ns, never decreasing), the events, and whether each made a price tick."""


@dataclass(frozen=True, slots=True)
class RowSelection:
    """Which rows are read. Times are in Unix ns; ``coins`` and ``exchanges`` are None for all."""

    coins: Collection[str] | None = None
    exchanges: Collection[str] | None = None
    start: int | None = None
    end: int | None = None


class Recording:
    """One recording's folder. Raises FileNotFoundError if there is no folder, ValueError if it has no recording."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.files = [each for each in checked_files(self.folder) if each.channel in PLAYED]
        self.manifest = manifest(self.folder)
        self.sessions = self.manifest.sessions
        """The runs of recorders that wrote to the folder."""
        found = [market for each in self.files for market in _markets(each)]
        self.markets: dict[tuple[str, str], str] = {(exchange, coin): market for exchange, coin, market in found}
        if not self.markets:
            raise ValueError(f"{folder} holds no market data: it has status events at most")
        self.coins = list(dict.fromkeys(coin for _, coin in sorted(self.markets)))
        self.exchanges = list(dict.fromkeys(exchange for exchange, _ in sorted(self.markets)))
        self.channels = [channel for channel in MARKET_DATA if any(each.channel == channel for each in self.files)]

    def span(self) -> tuple[int, int]:
        """The times (Unix ns) of the first and the last row."""
        return _around(map(_span, self.files))

    def timeframes(self) -> list[str]:
        """The timeframes of the candles."""
        files = [each for each in self.files if each.channel == "candles"]
        return sorted({name for each in files for name in _column(each, "timeframe").unique().to_pylist()})

    def rows(self, wanted: RowSelection) -> Iterator[Rows]:
        """The rows in the order of delivery."""
        numbered = [each for each in self.files if each.first is not None]
        streams = [self._numbered(numbered, wanted)] if numbered else []
        streams += [_timed(_read(line, wanted)) for line in _lines(each for each in self.files if each.first is None)]
        yield from within(merged(streams), wanted)

    def candles(self, wanted: RowSelection) -> list[Candle]:
        """The past candles that were fetched, then the streams' candles and their updates in the order of delivery."""
        found: list[Candle] = []
        for channel in ("history", "candles"):
            lines = _lines([each for each in self.files if each.channel == channel])
            rows = [
                row for line in lines for _, items, _ in within(_timed(_read(line, wanted)), wanted) for row in items
            ]
            rows.sort(key=_received)
            found += rows if channel == "candles" else [Candle(*map(row.__getattribute__, _FIELDS)) for row in rows]
        return found

    def _numbered(self, files: Sequence[RecordedFile], wanted: RowSelection) -> Iterator[Rows]:
        """The rows that a recorder wrote, by their numbers, with a Hole where another run of the recorder begins."""
        decoder = BookDecoder()
        has_books = any(each.channel == "books" for each in files)
        marks: dict[int, Any] = {
            session.first: Hole(0, "nothing was recorded" if before.ended is not None else "the recorder was killed")
            for before, session in zip(self.sessions, self.sessions[1:], strict=False)
        }
        marks |= {each["seq"]: ClockStep(0, each["seconds"]) for each in self.manifest.steps if each["seconds"] < 0}
        due = sorted(marks)
        latest, ahead = 0, 0
        for seqs, items, priced in merged([_read(line, wanted) for line in _lines(files)]):
            start = 0
            ats: list[int] = []
            out: list[Any] = []
            flags: list[bool] = []
            while start < len(items):
                end = len(items) if not due else bisect_left(seqs, due[0], start)
                part = items[start:end]
                flags += priced[start:end]
                if part:
                    times = accumulate((each + ahead for each in map(_received, part)), max, initial=latest)
                    next(times)
                    ats += times
                    latest = ats[-1]
                    out += part
                start = end
                if due and start < len(items):
                    mark = marks[due.pop(0)]
                    if isinstance(mark, ClockStep):
                        ahead = max(ahead, latest - items[start].received_at)
                    if latest:
                        ats.append(latest)
                        out.append(mark)
                        flags.append(False)
            if has_books:
                decoded = [decoder.decode(each) if type(each) is BookRow else each for each in out]
                kept = [place for place, each in enumerate(decoded) if each is not None]
                ats, out, flags = [ats[n] for n in kept], [decoded[n] for n in kept], [flags[n] for n in kept]
            yield ats, out, flags


def merged(streams: Sequence[Iterator[Rows]]) -> Iterator[Rows]:
    """Merge streams whose first column only grows. Of rows with equal values, those of the earlier stream in
    ``streams`` come first.
    """
    if len(streams) == 1:
        yield from streams[0]
        return
    heads: list[Rows | None] = [next(stream, None) for stream in streams]
    while live := [head for head in heads if head is not None]:
        edge = min(head[0][-1] for head in live)
        keys: list[int] = []
        items: list[Any] = []
        priced: list[bool] = []
        for number, head in enumerate(heads):
            if head is None:
                continue
            count = bisect_right(head[0], edge)
            keys += head[0][:count]
            items += head[1][:count]
            priced += head[2][:count]
            left = (head[0][count:], head[1][count:], head[2][count:]) if count < len(head[0]) else None
            heads[number] = left or next(streams[number], None)
        order = sorted(range(len(keys)), key=keys.__getitem__)  # sorted() is fast here: the streams are sorted already
        if len(order) > 1:
            pick = itemgetter(*order)
            yield list(pick(keys)), list(pick(items)), list(pick(priced))
        elif order:
            yield keys, items, priced


def _lines(files: Iterable[RecordedFile]) -> list[list[RecordedFile]]:
    """Group the files whose rows follow one another: one market's files of a channel, and files not merged yet.

    Files without numbers follow one another if they have the same name: an archive has a file for each timeframe.
    """
    lines: defaultdict[tuple[Any, ...], list[RecordedFile]] = defaultdict(list)
    for each in files:
        name = each.path.name if each.first is None else ""
        lines[each.channel, each.exchange, each.coin, "/recent/" in each.shown, name].append(each)
    for line in lines.values():
        line.sort(key=lambda each: (each.first or 0, _span(each)[0] if each.first is None else 0, each.shown))
    return [lines[key] for key in sorted(lines)]


def _read(line: Sequence[RecordedFile], wanted: RowSelection) -> Iterator[Rows]:
    """The rows of files that follow one another, keyed by their numbers."""
    for each in line:
        if each.coin and wanted.coins is not None and each.coin not in wanted.coins:
            continue
        if each.exchange and wanted.exchanges is not None and each.exchange not in wanted.exchanges:
            continue
        repeated = [name for name in schema(each.channel).names if name in REPEATED]
        with opened(each.path, read_dictionary=repeated) as file:
            groups = [number for number in range(file.metadata.num_row_groups) if _is_wanted(file, number, wanted)]
            for batch in file.iter_batches(WINDOW, row_groups=groups) if groups else ():
                seqs, items, priced = events(each.channel, batch)
                if not (each.coin and each.exchange):
                    seqs, items, priced = _chosen(seqs, items, priced, each.channel, wanted)
                if items:
                    yield seqs, items, priced  # type: ignore[misc] # rows without numbers get their time next


def _chosen(
    seqs: list[int | None], items: list[Any], priced: list[bool], channel: str, wanted: RowSelection
) -> tuple[list[int | None], list[Any], list[bool]]:
    coins, exchanges = wanted.coins, wanted.exchanges
    if coins is None and exchanges is None:
        return seqs, items, priced
    kept = [
        place
        for place, each in enumerate(items)
        if (exchanges is None or each.exchange in exchanges)
        and (coins is None or channel == "status" or each.coin in coins)
    ]
    return [seqs[n] for n in kept], [items[n] for n in kept], [priced[n] for n in kept]


def _timed(stream: Iterator[Rows]) -> Iterator[Rows]:
    """Use the time of receipt as the key of rows that have no numbers."""
    latest = 0
    for _, items, priced in stream:
        times = list(accumulate(map(_received, items), max, initial=latest))[1:]
        latest = times[-1]
        yield times, items, priced


def within(stream: Iterator[Rows], wanted: RowSelection) -> Iterator[Rows]:
    """The rows between the wanted start and the wanted end."""
    for ats, items, priced in stream:
        first = 0 if wanted.start is None else bisect_left(ats, wanted.start)
        last = len(ats) if wanted.end is None else bisect_right(ats, wanted.end)
        if first == 0 and last == len(ats):
            yield ats, items, priced
        elif first < last:
            yield ats[first:last], items[first:last], priced[first:last]
        if last < len(ats):
            return


def _is_wanted(file: Any, number: int, wanted: RowSelection) -> bool:
    if wanted.start is None and wanted.end is None:
        return True
    bounds = _bounds(file.metadata.row_group(number))
    if bounds is None:
        return True
    early = wanted.start is not None and bounds[1] < wanted.start - MARGIN
    late = wanted.end is not None and bounds[0] > wanted.end + MARGIN
    return not (early or late)


def _bounds(group: Any) -> tuple[int, int] | None:
    """The first and last time (Unix ns) of a row group's rows, by the group's statistics; None without statistics."""
    for number in range(group.num_columns):
        column = group.column(number)
        if column.path_in_schema in STAMPS:
            stats = column.statistics
            if stats is None or not stats.has_min_max:
                return None
            unit = 1 if column.path_in_schema == "received_at" else 1_000_000
            return int(stats.min) * unit, int(stats.max) * unit
    return None


def _span(each: RecordedFile) -> tuple[int, int]:
    """The first and last time (Unix ns) of a file's rows; 0 and 0 for an empty file."""
    with opened(each.path) as file:
        return _around(_bounds(file.metadata.row_group(number)) for number in range(file.metadata.num_row_groups))


def _around(spans: Iterable[tuple[int, int] | None]) -> tuple[int, int]:
    """The first and the last time of several spans; 0 and 0 if all are empty or unknown."""
    known = [span for span in spans if span is not None and span[1]]
    return min((low for low, _ in known), default=0), max((high for _, high in known), default=0)


def bounds(folder: Path, channels: Iterable[str] = PLAYED) -> tuple[int, int]:
    """The times (Unix ms) of the first and the last row of a recording; 0 and 0 if it has no rows."""
    low, high = _around(map(_span, recorded_files(folder, channels)))
    return low // 1_000_000, high // 1_000_000


def newest(files: Iterable[RecordedFile]) -> int:
    """The time (Unix ms) of the newest row that a recorder wrote, from the last file of each channel; 0 for none."""
    last: dict[str, RecordedFile] = {}
    for each in files:
        before = last.get(each.channel)
        if each.last is not None and (before is None or each.last > (before.last or 0)):
            last[each.channel] = each
    return max((_span(each)[1] for channel, each in last.items() if channel != "gaps"), default=0) // 1_000_000


def _column(each: RecordedFile, name: str) -> Any:
    with opened(each.path) as file:
        return file.read(columns=[name]).column(name)


def _markets(each: RecordedFile) -> set[tuple[str, str, str]]:
    """(exchange, coin, market) of a file's rows."""
    if each.channel == "status":
        return set()
    names = ["exchange", "coin", "market"]
    with opened(each.path) as file:
        found = file.read(columns=names).group_by(names).aggregate([]).to_pylist()
    return {(row["exchange"], row["coin"], row["market"]) for row in found}
