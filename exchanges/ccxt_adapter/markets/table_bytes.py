"""A table of markets as bytes and back: what is kept on disk, and what is left in memory of a list that was parsed."""

from __future__ import annotations

import ctypes
from contextlib import suppress
from typing import Any

import msgspec

from exchanges.ccxt_adapter.markets.lazy_rows import Lazy, decoded, encoded, raw
from exchanges.ccxt_adapter.markets.table import MarketTable


class _Raw(msgspec.Struct):
    """A table whose rows are still bytes: decoded one by one they leave other threads their turn."""

    loaded_at: float
    markets: dict[str, msgspec.Raw]
    ids: dict[str | int | None, list[str]]
    currencies: dict[str, msgspec.Raw]
    options: dict[str, Any]


_read_raw = msgspec.msgpack.Decoder(_Raw).decode


def written(table: MarketTable) -> bytes:
    """The table as bytes. Raises what msgspec raises for a value that has no plain form."""
    plain = (table.loaded_at, raw(table.markets), table.ids, raw(table.currencies), table.options)
    return encoded(dict(zip(MarketTable.__struct_fields__, plain, strict=True)))


def read(content: bytes, lazy: bool) -> MarketTable:
    """The table that ``content`` is of, with lazy rows or plain ones. Raises msgspec.MsgspecError."""
    table = _read_raw(content)
    rows, currencies = Lazy(table.markets, decoded), Lazy(table.currencies, decoded)
    if lazy:
        return MarketTable(table.loaded_at, rows, table.ids, currencies, table.options)
    return MarketTable(table.loaded_at, rows.copy(), table.ids, currencies.copy(), table.options)


def compacted(table: MarketTable) -> MarketTable:
    """The same table in memory of its own, where its rows are lazy.

    Its texts were made while thousands of rows were parsed, and would keep the memory of all those from being freed.
    """
    if not isinstance(table.markets, Lazy):
        return table
    try:
        copy = read(written(table), lazy=True)
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError):
        return table
    return copy if copy == table else table


def give_back_memory() -> None:
    """Have what was freed leave the process: of a list of 3,000 markets that was parsed it is 20 MB.

    The C library keeps it otherwise; only glibc can be told not to.
    """
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
