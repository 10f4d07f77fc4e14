"""A table of markets is the same after writing and reading, and shares no objects with its source."""

from __future__ import annotations

from typing import Any

from exchanges.ccxt_adapter.markets.lazy_rows import packed
from exchanges.ccxt_adapter.markets.table import MarketTable
from exchanges.ccxt_adapter.markets.table_bytes import compacted


def table(**options: Any) -> MarketTable:
    rows = packed({"BTC/USDT": {"symbol": "BTC/USDT", "base": "BTC"}})
    return MarketTable(1.5, rows, {"BTCUSDT": ["BTC/USDT"]}, packed({"BTC": {"id": "BTC"}}), options)


def test_a_table_of_lazy_rows_is_copied_and_shares_no_memory_with_its_source() -> None:
    before = table(names={"a": 1})
    after = compacted(before)
    assert after == before
    assert after is not before
    assert after.ids["BTCUSDT"][0] is not before.ids["BTCUSDT"][0]


def test_a_table_that_would_be_read_back_differently_is_not_converted() -> None:
    for options in ({"pair": (1, 2)}, {"made": object()}):
        before = table(**options)
        assert compacted(before) is before
