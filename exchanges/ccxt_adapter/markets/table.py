"""The markets that a venue lists, independent of a ccxt instance, so that they can be shared and kept on disk.

ccxt hands markets from one instance to the next with ``set_markets_from_exchange``; a table is such a source.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import SimpleNamespace
from typing import Any

import msgspec

MarketId = str | int | None  # ccxt's ids are text, but for a few modules'
MEANING = ("id", "contract", "contractSize")  # of a market: what a stream that runs relies on


class MarketTable(msgspec.Struct):
    """The markets of one type of a venue, as ccxt has parsed them.

    ``markets`` are ccxt's rows by symbol, ``ids`` the symbols of each of the venue's ids, ``currencies`` ccxt's by
    code, ``options`` what the module noted in its own options while it loaded (kraken its names, hyperliquid its
    tokens), ``loaded_at`` when the venue was asked, Unix seconds.
    """

    loaded_at: float
    markets: dict[str, dict[str, Any]]
    ids: dict[MarketId, list[str]]
    currencies: dict[str, Any]
    options: dict[str, Any]


def taken_from(exchange: Any, options: Mapping[str, Any], loaded_at: float, *, lean: bool) -> MarketTable:
    """The table of a ccxt instance that has loaded its markets; ``options`` are a copy of those it had before.

    ``lean`` leaves out the venue's own answers (``info``), which are most of it. A market whose name cannot be printed
    is left out: it is in nobody's settings, and would be in the log.
    """
    rows = {symbol: row for symbol, row in exchange.markets.items() if isinstance(symbol, str) and symbol.isprintable()}
    if lean:
        rows = {symbol: {**row, "info": {}} for symbol, row in rows.items()}
    return MarketTable(
        loaded_at,
        rows,
        {
            market_id: symbols
            for market_id, listed in exchange.markets_by_id.items()
            if (symbols := [each["symbol"] for each in listed if each["symbol"] in rows])
        },
        dict(exchange.currencies),
        {key: value for key, value in exchange.options.items() if key not in options or options[key] != value},
    )


def give(table: MarketTable, exchange: Any) -> None:
    """Set a ccxt instance's markets; the rows are shared by all that are given the same table."""
    rows = table.markets
    exchange.set_markets_from_exchange(
        SimpleNamespace(
            id=exchange.id,
            markets=rows,
            markets_by_id={each: [rows[symbol] for symbol in symbols] for each, symbols in table.ids.items()},
            symbols=sorted(rows),
            ids=list(table.ids),
            currencies=table.currencies,
            currencies_by_id=exchange.index_by_safe(table.currencies, "id"),
            baseCurrencies={row["base"]: table.currencies.get(row["base"]) for row in rows.values()},
            quoteCurrencies={row["quote"]: table.currencies.get(row["quote"]) for row in rows.values()},
            codes=sorted(table.currencies),
            options={},
        )
    )
    exchange.options.update(table.options)


def changed(before: MarketTable, after: MarketTable) -> Collection[str]:
    """The symbols whose market means something else now; one that is gone or halted means nothing else."""
    rows = after.markets
    return {
        symbol
        for symbol, row in before.markets.items()
        if symbol in rows and any(row.get(key) != rows[symbol].get(key) for key in MEANING)
    }


def with_gone(table: MarketTable, before: MarketTable) -> MarketTable:
    """The table with the markets of ``before`` that it lacks, as not traded."""
    gone = {symbol: {**row, "active": False} for symbol, row in before.markets.items() if symbol not in table.markets}
    return msgspec.structs.replace(table, markets={**table.markets, **gone}) if gone else table
