"""In the venues' real ccxt classes, an unreadable row of a list affects no other row."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from loguru import logger

from exchanges.ccxt_adapter.venue import CcxtVenue
from exchanges.errors import VenueError
from exchanges.simulator import Simulator
from tests.exchanges.support import VENUES, opened, served

LISTS: dict[str, Callable[[Any], list[Any]]] = {
    "binance": lambda answer: answer["symbols"] if isinstance(answer, dict) else answer,
    "bybit": lambda answer: answer["result"]["list"],
}
BAD: dict[str, Any] = {
    "null": None,
    "a text": "BTCUSDT",
    "a number": 7,
    "an empty object": {},
    "an array": ["BTC", "USDT"],
    "an object with only a symbol": {"symbol": "XYZUSDT"},
    "an object of wrong types": {"symbol": 5, "baseAsset": [], "quoteAsset": {}, "baseCoin": 1.5, "quoteCoin": None},
}


@asynccontextmanager
async def spoiled(
    name: str, spoil: Callable[[list[Any]], None], markets: int = 40, **access: Any
) -> AsyncIterator[CcxtVenue]:
    """A venue whose lists of markets and of tickers are changed by ``spoil``."""
    async with Simulator(venues=(name,), rate=0, markets=markets) as simulator, aiohttp.ClientSession() as session:

        async def answer(request: web.Request) -> web.Response:
            async with session.get(f"{simulator.rest_url}{request.path_qs}") as passed:
                good = await passed.json(content_type=None)
            spoil(LISTS[name](good))
            return web.Response(text=json.dumps(good), content_type="application/json")

        async with served(web.get("/{path:.*}", answer)) as at, opened(name, at, **access) as venue:
            yield venue


@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize("name", VENUES)
async def test_one_bad_row_affects_no_other_row(name: str, what: str) -> None:
    """The bad row is in the list of markets and in the list of 24 h statistics."""
    async with Simulator(venues=(name,), rate=0) as simulator, opened(name, simulator) as whole:
        await whole.load()
        markets = {coin: whole.market(coin) for coin in ("BTC", "ETH", "SOL")}
        count = len(whole._api.markets)
    async with spoiled(name, lambda rows: rows.insert(len(rows) // 2, BAD[what])) as venue:
        await venue.load()
        assert {coin: venue.market(coin) for coin in markets} == markets
        assert count <= len(venue._api.markets) <= count + 1
        tickers = await venue.fetch_tickers(markets)
        assert {ticker.coin for ticker in tickers} == set(markets)


@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("name", VENUES)
async def test_a_bad_row_is_found_in_a_list_with_fewer_rows_than_the_answer_has_fields(
    name: str, count: int, what: str
) -> None:
    """The list of rows must not be mistaken for the fields of the answer, nor for the list of a row's filters."""

    def spoil(rows: list[Any]) -> None:
        first = [row for row in rows if str(row["symbol"]) in ("BTCUSDT", "ETHUSDT", "SOLUSDT")][:count]
        rows[:] = [*first, BAD[what]]

    async with spoiled(name, spoil) as venue:
        await venue.load()
        assert count <= len(venue._api.markets) <= count + 1


@pytest.mark.parametrize("name", VENUES)
async def test_several_kinds_of_bad_rows_affect_no_other_row(name: str) -> None:
    def spoil(rows: list[Any]) -> None:
        for place, bad in enumerate(BAD.values()):
            rows.insert(5 * place, bad)

    async with spoiled(name, spoil) as venue:
        await venue.load()
        assert venue.market("BTC") == "BTC/USDT"
        assert len(venue._api.markets) >= 40


@pytest.mark.parametrize("name", VENUES)
async def test_a_list_of_only_bad_rows_is_an_error_of_the_venue(name: str) -> None:
    def spoil(rows: list[Any]) -> None:
        rows[:] = [None, {}, "x", {}]

    async with spoiled(name, spoil) as venue:
        with pytest.raises(VenueError):
            await venue.load()


async def test_a_market_whose_name_cannot_be_printed_is_left_out() -> None:
    def spoil(rows: list[Any]) -> None:
        rows.append({**rows[0], "symbol": "X\u202eYUSDT", "baseAsset": "X\u202eY"})
        rows.append({**rows[0], "symbol": "\x1b[2JUSDT", "baseAsset": "\x1b[2J"})

    async with spoiled("binance", spoil) as venue:
        await venue.load()
        assert all(symbol.isprintable() for symbol in venue._api.markets)
        assert venue.market("BTC") == "BTC/USDT"


def quoting(row: str, rows: list[Any]) -> None:
    rows.insert(3, row)


async def test_if_a_bad_row_quotes_a_secret_of_the_settings_the_log_does_not_show_it() -> None:
    """The log shows no part of the secret, even if the row is shortened in the middle of the secret."""
    key = "AKIA0123456789ABCDEFGHIJ"
    lines: list[str] = []
    sink = logger.add(lambda line: lines.append(str(line)), level=0)
    logger.enable("exchanges")
    try:
        for before in range(30, 90, 4):
            row = "x" * before + key
            async with spoiled("binance", partial(quoting, row), options={"apiKey": key}) as venue:
                await venue.load()
    finally:
        logger.disable("exchanges")
        logger.remove(sink)
    assert any("cannot be read" in line for line in lines)
    assert not any("AKIA0123" in line for line in lines)
