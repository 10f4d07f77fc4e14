"""Turns a table of markets into bytes and back, for the disk and for a compact form in memory."""

from __future__ import annotations

import ctypes
from contextlib import suppress
from typing import Any

import msgspec

from exchanges.ccxt_adapter.markets.lazy_rows import Lazy, decoded, encoded, raw
from exchanges.ccxt_adapter.markets.table import MarketTable


class _Raw(msgspec.Struct):
    """A table whose rows are still bytes: they are decoded one by one, so that other threads can run in between."""

    loaded_at: float
    markets: dict[str, msgspec.Raw]
    ids: dict[str | int | None, list[str]]
    currencies: dict[str, msgspec.Raw]
    options: dict[str, Any]


_read_raw = msgspec.msgpack.Decoder(_Raw).decode


def written(table: MarketTable) -> bytes:
    """The table as bytes. Raises msgspec's errors for a value that cannot be encoded."""
    plain = (table.loaded_at, raw(table.markets), table.ids, raw(table.currencies), table.options)
    return encoded(dict(zip(MarketTable.__struct_fields__, plain, strict=True)))


def read(content: bytes, lazy: bool) -> MarketTable:
    """The table in ``content``, with lazy rows or plain ones. Raises msgspec.MsgspecError."""
    table = _read_raw(content)
    rows, currencies = Lazy(table.markets, decoded), Lazy(table.currencies, decoded)
    if lazy:
        return MarketTable(table.loaded_at, rows, table.ids, currencies, table.options)
    return MarketTable(table.loaded_at, rows.copy(), table.ids, currencies.copy(), table.options)


def compacted(table: MarketTable) -> MarketTable:
    """A copy of the table in new memory, if its rows are lazy.

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
    """Give freed memory back to the system: 20 MB after parsing a list of 3,000 markets.

    The C library keeps it otherwise; only glibc can be told not to.
    """
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
