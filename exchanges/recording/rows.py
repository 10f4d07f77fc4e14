"""Converts each channel's events into the columns of Arrow tables, and the tables into events."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from itertools import pairwise
from operator import attrgetter
from typing import Any, get_type_hints

try:
    import pyarrow as pa
except ImportError:
    raise ImportError("recordings need pyarrow: pip install 'market-feed[record]'") from None

from exchanges.events import Candle, PriceTick, Quote, Ticker, TradeEvent


@dataclass(slots=True)
class PastCandle(Candle):
    """A closed candle that was fetched over REST; no stream delivered it. ``received_at`` is when the answer came."""


@dataclass(slots=True)
class BookRow:
    """An order book: all of its levels, or, unless ``snapshot``, those that have changed; size 0 removes a level."""

    coin: str
    timestamp: int
    exchange: str
    received_at: int
    sequence: int | None
    market: str
    snapshot: bool
    bid_prices: list[float]
    bid_sizes: list[float]
    ask_prices: list[float]
    ask_sizes: list[float]


@dataclass(slots=True)
class StatusRow:
    """A status event; ``at`` in Unix ms, ``details`` as JSON. ``feed`` is the feed's state just after it, as JSON."""

    event: str
    exchange: str
    at: int
    details: str
    feed: str

    @property
    def received_at(self) -> int:
        """``at`` in Unix ns, as the events have it."""
        return self.at * 1_000_000


@dataclass(slots=True)
class GapRow:
    """A hole of a recording: what a channel lacks; times in Unix ms.

    ``exchange`` "" means all exchanges, ``coin`` "" all coins. Unknown ids and an unknown ``missing`` are None.
    """

    channel: str
    exchange: str
    coin: str
    from_ts: int
    to_ts: int
    from_id: int | None
    to_id: int | None
    missing: int | None
    reason: str


CHANNELS: Mapping[str, type] = {
    "trades": TradeEvent,
    "ticker": Ticker,
    "candles": Candle,
    "quotes": Quote,
    "books": BookRow,
    "history": PastCandle,
    "prices": PriceTick,  # price ticks that cannot be made again from a recorded trade or ticker
    "status": StatusRow,
    "gaps": GapRow,
}
MARKET_DATA = ("trades", "ticker", "candles", "quotes", "books")
PRICED = ("trades", "ticker")
"""Channels whose rows say in ``priced`` whether a price tick was made of the event."""
_TYPES: Mapping[Any, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    list[float]: pa.list_(pa.float64()),
}
REPEATED = ("coin", "exchange", "market", "timeframe", "event", "channel", "reason")
"""Columns with few different values."""
STAMPS = ("received_at", "at", "from_ts")
"""Columns with a row's time: the first that a channel has counts. ``received_at`` is in Unix ns, the others in ms."""
COUNTED = ("seq", "timestamp", "received_at", "at", "sequence")
"""Columns of whole numbers that grow from row to row."""


@cache
def schema(channel: str) -> pa.Schema:
    """The columns of a channel: the event's fields, and ``seq``, the row's number in the order of delivery.

    ``seq`` is null in rows that no recorder wrote.
    """
    hints = get_type_hints(CHANNELS[channel])
    columns = []
    for each in fields(CHANNELS[channel]):
        optional = hints[each.name] in (float | None, int | None)
        kind = (float if hints[each.name] == float | None else int) if optional else hints[each.name]
        columns.append(pa.field(each.name, _TYPES[kind], nullable=optional))
    columns.append(pa.field("seq", pa.int64()))
    if channel in PRICED:
        columns.append(pa.field("priced", pa.bool_(), nullable=False))
    return pa.schema(columns)


class Columns:
    """Rows of a channel that wait to be written, as plain values: the events themselves are not kept."""

    def __init__(self, channel: str) -> None:
        self.schema = schema(channel)
        self.values: dict[str, list[Any]] = {name: [] for name in self.schema.names}

    def __len__(self) -> int:
        return len(self.values["seq"])

    def add(self, events: Sequence[Any], seqs: Sequence[int | None], priced: Sequence[bool]) -> None:
        """Add a row for each event; ``priced`` is used only for the channels in PRICED."""
        given = {"seq": seqs, "priced": priced}
        for name, values in self.values.items():
            values += given[name] if name in given else map(attrgetter(name), events)

    def table(self) -> pa.Table:
        """The rows as a table."""
        arrays = [pa.array(self.values[each.name], each.type) for each in self.schema]
        return pa.Table.from_arrays(arrays, schema=self.schema)


def events(channel: str, batch: pa.RecordBatch) -> tuple[list[int | None], list[Any], list[bool]]:
    """The rows of a batch: their numbers, their events, and which of them made a price tick."""
    make: Callable[..., Any] = CHANNELS[channel]
    columns = [_values(batch.column(each.name)) for each in fields(CHANNELS[channel])]
    found = list(map(make, *columns))
    priced = _values(batch.column("priced")) if channel in PRICED else [False] * len(found)
    return _values(batch.column("seq")), found, priced


def _values(column: pa.Array) -> list[Any]:
    """The values of a column as Python's own; ``to_pylist`` takes ten times as long."""
    if pa.types.is_dictionary(column.type):
        words = column.dictionary.to_pylist()
        return [words[place] for place in _values(column.indices)]
    kind = column.type
    if column.null_count or not len(column):
        return list(column.to_pylist())
    if pa.types.is_boolean(kind):
        return list(map(bool, _values(column.cast(pa.uint8()))))
    if pa.types.is_string(kind):
        return _texts(column)
    code = _CODES.get(kind)
    if code is None:
        return list(column.to_pylist())
    view: Any = memoryview(column.buffers()[1]).cast(code)
    return list(view[column.offset : column.offset + len(column)])


_CODES: Mapping[pa.DataType, Any] = {pa.int64(): "q", pa.float64(): "d", pa.int32(): "i", pa.uint8(): "B"}


def _texts(column: pa.Array) -> list[str]:
    ends = memoryview(column.buffers()[1]).cast("i")[column.offset : column.offset + len(column) + 1].tolist()
    data = column.buffers()[2]
    if data is None:
        return [""] * len(column)
    text = bytes(memoryview(data)[ends[0] : ends[-1]])
    first = ends[0]
    if text.isascii():
        whole = text.decode("ascii")
        return [whole[a - first : b - first] for a, b in pairwise(ends)]
    return [text[a - first : b - first].decode() for a, b in pairwise(ends)]
