"""A long list of markets gives the same result whether it is parsed part by part or as a whole."""

from __future__ import annotations

import operator
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from exchanges.ccxt_adapter.markets.lazy_rows import packed
from exchanges.ccxt_adapter.markets.loading_in_parts import ROWS
from exchanges.ccxt_adapter.markets.table import MarketTable, joined
from exchanges.errors import VenueError
from exchanges.simulator import Simulator
from tests.exchanges.ccxt_adapter.markets.test_unreadable_rows import spoiled
from tests.exchanges.support import VENUES, opened, served

COUNT = 2 * ROWS + 50


def table(at: float, currencies: dict[str, Any], **ids: list[str]) -> MarketTable:
    rows = {symbol: {"symbol": symbol} for symbols in ids.values() for symbol in symbols}
    return MarketTable(at, packed(rows), dict(ids.items()), packed(currencies), {"noted": at})


def test_a_currency_has_the_finest_precision_of_its_markets_as_in_ccxt() -> None:
    first = table(1.0, {"B": {"precision": 0.1}, "A": {"precision": None}, "C": {"precision": 0.1}}, X=["x"], Y=["y"])
    second = table(2.0, {"A": {"precision": 0.1}, "B": {"precision": 0.01}, "C": {"precision": 1.0}}, Y=["z"])
    found = joined([first, second], operator.lt)
    assert found.currencies == {"A": {"precision": None}, "B": {"precision": 0.01}, "C": {"precision": 0.1}}
    assert list(found.currencies) == ["A", "B", "C"]
    assert found.ids == {"X": ["x"], "Y": ["y", "z"]}
    assert list(found.markets) == ["x", "y", "z"]
    assert (found.loaded_at, found.options) == (1.0, {"noted": 2.0})


@pytest.mark.parametrize("name", VENUES)
async def test_rows_that_cannot_be_packed_are_loaded_unpacked(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At present no venue sends rows that cannot be packed."""
    monkeypatch.setattr("exchanges.ccxt_adapter.markets.table.packed", dict)
    async with Simulator(venues=(name,), rate=0, markets=COUNT) as simulator, opened(name, simulator) as venue:
        await venue.load()
        assert len(venue._api.markets) == COUNT
        assert venue.market("BTC") == "BTC/USDT"


@pytest.mark.parametrize("name", VENUES)
async def test_the_venue_is_asked_once_for_all_parts(name: str) -> None:
    async with Simulator(venues=(name,), rate=0, markets=COUNT) as simulator, opened(name, simulator) as venue:
        await venue.load()
        assert len(venue._api.markets) == COUNT
        assert len(simulator[name].rest_calls) == 1


@pytest.mark.parametrize("place", [0, ROWS, COUNT - 1])
@pytest.mark.parametrize("name", VENUES)
async def test_a_bad_row_of_any_part_affects_no_other_row(name: str, place: int) -> None:
    def spoil(rows: list[Any]) -> None:
        rows[place] = {"symbol": 5, "baseAsset": [], "quoteAsset": {}, "baseCoin": 1.5, "quoteCoin": None}

    async with spoiled(name, spoil, markets=COUNT) as venue:
        await venue.load()
        assert COUNT - 1 <= len(venue._api.markets) <= COUNT


@pytest.mark.parametrize("name", VENUES)
async def test_a_venue_that_does_not_answer_is_not_asked_a_second_time(name: str) -> None:
    asked = 0

    async def refused(request: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        return web.Response(status=503, text="overloaded")

    answer: Callable[[web.Request], Awaitable[web.Response]] = refused
    async with served(web.get("/{path:.*}", answer)) as at, opened(name, at) as venue:
        with pytest.raises(VenueError):
            await venue.load()
        assert asked == 1
