"""The markets that a venue lists, independent of a ccxt instance, so that they can be shared and kept on disk.

ccxt's ``set_markets_from_exchange`` copies the markets of another instance; a table can stand in for that instance.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import msgspec

from exchanges.ccxt_adapter.markets.lazy_rows import Lazy, LazyRows, blocks_of, packed, read

MarketId = str | int | None  # ccxt's ids are text, except in a few modules
MEANING = ("id", "contract", "contractSize")  # fields of a market on which a running stream relies


class _Named(msgspec.Struct):
    """The fields that are read from every market's row, with ccxt's names."""

    symbol: Any = None
    base: Any = None
    quote: Any = None
    id: Any = None
    contract: Any = None
    contractSize: Any = None

    @property
    def meaning(self) -> tuple[Any, ...]:
        return tuple(getattr(self, key) for key in MEANING)


class _Currency(msgspec.Struct):
    id: Any = None
    precision: Any = None


class MarketTable(msgspec.Struct):
    """The markets of one type of a venue, as ccxt has parsed them.

    ``markets`` are ccxt's rows by symbol, and ``currencies`` ccxt's rows by code; both may be lazy rows. ``ids`` maps
    each of the venue's ids to its symbols. ``options`` is what ccxt's module wrote into its own options while it loaded
    (kraken its names, hyperliquid its tokens). ``loaded_at`` is when the venue was asked, in Unix seconds.
    """

    loaded_at: float
    markets: dict[str, dict[str, Any]]
    ids: dict[MarketId, list[str]]
    currencies: dict[str, Any]
    options: dict[str, Any]


def taken_from(exchange: Any, options: Mapping[str, Any], loaded_at: float, *, lean: bool) -> MarketTable:
    """The table of a ccxt instance that has loaded its markets; ``options`` is a copy of its options before that.

    ``lean`` leaves out the venue's own rows (``info``), the largest part. A market whose name cannot be printed
    is left out: no settings name it, and it would be logged.
    """
    rows = {symbol: row for symbol, row in exchange.markets.items() if isinstance(symbol, str) and symbol.isprintable()}
    if lean:
        rows = {symbol: {**row, "info": {}} for symbol, row in rows.items()}
    return MarketTable(
        loaded_at,
        packed(rows),
        {
            market_id: symbols
            for market_id, listed in exchange.markets_by_id.items()
            if (symbols := [each["symbol"] for each in listed if each["symbol"] in rows])
        },
        packed(exchange.currencies),
        {key: value for key, value in exchange.options.items() if key not in options or options[key] != value},
    )


def joined(tables: Sequence[MarketTable], finer: Callable[[Any, Any], bool]) -> MarketTable:
    """The table of a list that was loaded in parts. If several parts have a currency, the row with the finest precision
    is taken, as in ccxt.

    ``finer``: whether the first of two precisions is the finer one. Raises ValueError for rows that were not packed.
    """
    packs = [
        (table.markets.packed, table.currencies.packed)
        for table in tables
        if isinstance(table.markets, LazyRows) and isinstance(table.currencies, LazyRows)
    ]
    if len(packs) < len(tables):
        raise ValueError("a part has rows that cannot be packed")
    ids: dict[MarketId, list[str]] = {}
    currencies: dict[str, Any] = {}
    precisions: dict[str, Any] = {}
    for table, (_, packed_currencies) in zip(tables, packs, strict=True):
        for market_id, symbols in table.ids.items():
            ids[market_id] = [*ids.get(market_id, ()), *symbols]
        rows = dict(packed_currencies.each())
        for code, row in read(table.currencies, _Currency):
            known = precisions.setdefault(code, row.precision)
            if code not in currencies or (None not in (known, row.precision) and finer(row.precision, known)):
                currencies[code], precisions[code] = rows[code], row.precision
    markets = LazyRows(block for rows, _ in packs for block in rows.blocks)
    named = LazyRows(blocks_of(dict(sorted(currencies.items()))))
    return MarketTable(tables[0].loaded_at, markets, ids, named, tables[-1].options)


def give(table: MarketTable, exchange: Any) -> None:
    """Set a ccxt instance's markets; all instances that get the same table share its rows."""
    rows, currencies = table.markets, table.currencies
    exchange.set_markets_from_exchange(
        SimpleNamespace(
            id=exchange.id,
            markets=rows,
            markets_by_id=Lazy(lambda: table.ids, lambda symbols: [rows[symbol] for symbol in symbols]),
            symbols=sorted(rows),
            ids=sorted(table.ids),  # the keys are all of one type, because ccxt has sorted them
            currencies=currencies,
            currencies_by_id=Lazy(lambda: _codes_by_id(currencies), currencies.get),
            baseCurrencies=Lazy(lambda: {row.base: row.base for _, row in read(rows, _Named)}, currencies.get),
            quoteCurrencies=Lazy(lambda: {row.quote: row.quote for _, row in read(rows, _Named)}, currencies.get),
            codes=sorted(currencies),
            options={},
        )
    )
    exchange.options.update(table.options)


def _codes_by_id(currencies: Mapping[str, Any]) -> dict[Any, str]:
    return {row.id: code for code, row in read(currencies, _Currency) if row.id is not None}


def sound(table: MarketTable) -> bool:
    """Whether there are markets, each with its own symbol as key. Raises msgspec.ValidationError for a wrong row."""
    return bool(table.markets) and all(row.symbol == symbol for symbol, row in read(table.markets, _Named))


def changed(before: MarketTable, after: MarketTable) -> Collection[str]:
    """The symbols whose market has changed its meaning; markets that are gone or halted do not count."""
    rows = {symbol: row.meaning for symbol, row in read(after.markets, _Named)}
    return {symbol for symbol, row in read(before.markets, _Named) if rows.get(symbol, row.meaning) != row.meaning}


def with_gone(table: MarketTable, before: MarketTable) -> MarketTable:
    """The table, and the markets that only ``before`` has: these are marked as not traded."""
    rows = table.markets
    gone = {symbol: {**before.markets[symbol], "active": False} for symbol in before.markets if symbol not in rows}
    if not gone:
        return table
    if isinstance(rows, LazyRows):
        return msgspec.structs.replace(table, markets=LazyRows([*rows.packed.blocks, *blocks_of(gone)]))
    return msgspec.structs.replace(table, markets={**rows, **gone})
