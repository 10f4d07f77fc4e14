"""Turns a table of markets into bytes and back, for the disk and for a compact form in memory."""

from __future__ import annotations

import ctypes
from contextlib import suppress
from typing import Any

import msgspec

from exchanges.ccxt_adapter.markets.lazy_rows import Block, LazyRows, blocks_of, encoded
from exchanges.ccxt_adapter.markets.table import MarketTable


class _Packed(msgspec.Struct):
    """A table with its rows in blocks: only rows that are read are decoded."""

    loaded_at: float
    markets: list[Block]
    ids: dict[str | int | None, list[str]]
    currencies: list[Block]
    options: dict[str, Any]


_read_packed = msgspec.msgpack.Decoder(_Packed).decode


def written(table: MarketTable) -> bytes:
    """The table as bytes. Raises msgspec's errors for a value that cannot be encoded."""
    markets, currencies = _blocks(table.markets), _blocks(table.currencies)
    return encoded(_Packed(table.loaded_at, markets, table.ids, currencies, table.options))


def read(content: bytes) -> MarketTable:
    """The table in ``content``, with lazy rows. Raises msgspec.MsgspecError."""
    table = _read_packed(content)
    rows = LazyRows(table.markets)
    own = {symbol: symbol for symbol in rows}  # each symbol is kept in memory only once
    ids = {market_id: [own.get(each, each) for each in symbols] for market_id, symbols in table.ids.items()}
    return MarketTable(table.loaded_at, rows, ids, LazyRows(table.currencies), table.options)


def _blocks(rows: dict[str, Any]) -> list[Block]:
    return rows.packed.blocks if isinstance(rows, LazyRows) else blocks_of(rows)


def compacted(table: MarketTable) -> MarketTable:
    """A copy of the table in new memory, if its rows are lazy.

    The table's texts were made while thousands of rows were parsed, and would keep those rows' memory from being freed.
    """
    if not isinstance(table.markets, LazyRows):
        return table
    try:
        copy = read(written(table))
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError):
        return table
    return copy if copy == table else table


def give_back_memory() -> None:
    """Give freed memory back to the system: 20 MB after parsing a list of 3,000 markets, 3 MB after importing ccxt.

    Otherwise the C library keeps this memory; only glibc has a call that gives it back.
    """
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
