"""Markets come from a list on disk or from the venue's answer, and both give the same markets."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import ccxt.pro
import msgspec
import pytest

from exchanges.ccxt_adapter.markets.disk_cache import AGED, VARIABLE, MarketCache
from exchanges.ccxt_adapter.markets.lazy_rows import Lazy
from exchanges.ccxt_adapter.markets.loading_in_parts import ROWS
from exchanges.ccxt_adapter.venue import CcxtVenue
from exchanges.errors import Disconnected, Rejected, VenueError
from exchanges.simulator import Simulator
from tests.addresses import pointed
from tests.exchanges.support import opened, streaming
from tests.support import CCXT_ALONE

pytestmark = CCXT_ALONE

COINS = ("BTC", "ETH", "SOL/USDC")


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    return tmp_path


@pytest.fixture
def venue_name() -> str:
    return "binance"


@pytest.fixture
async def simulator(venue_name: str) -> AsyncIterator[Simulator]:
    async with Simulator(venues=(venue_name,), rate=0, coins=COINS) as simulator:
        yield simulator


def kept(simulator: Simulator, **options: Any) -> AbstractAsyncContextManager[CcxtVenue]:
    """The simulator's venue; its list is kept on disk, which is not the default for a loopback address."""
    (name,) = simulator.venues
    return opened(name, simulator, options={"market_cache": True, **options})


def asked(simulator: Simulator) -> int:
    """How many requests the venue has answered."""
    (venue,) = simulator.venues.values()
    return len(venue.rest_calls)


async def loaded_once(simulator: Simulator) -> None:
    async with kept(simulator) as venue:
        await venue.load()
        assert not venue.aged


def cache_of(venue: CcxtVenue) -> MarketCache:
    cache = venue._markets.cache
    assert cache is not None
    return cache


def row_count(rows: dict[str, Any]) -> int:
    """How many of the lazy rows have been decoded."""
    assert isinstance(rows, Lazy)
    return len(dict.keys(rows))


async def rewritten(simulator: Simulator, without: str = "", age: float = 0.0, **row: Any) -> None:
    """Rewrite the list on disk: make it ``age`` seconds older, remove a symbol, and change values of BTC's market."""
    async with kept(simulator) as venue:
        await venue.load()
        cache = cache_of(venue)
    table = cache.read()
    assert table is not None
    markets = {symbol: each for symbol, each in table.markets.items() if symbol != without}
    markets["BTC/USDT"] = {**markets["BTC/USDT"], **row}
    ids = {market_id: symbols for market_id, symbols in table.ids.items() if without not in symbols}
    cache.write(msgspec.structs.replace(table, loaded_at=table.loaded_at - age, markets=markets, ids=ids))
    assert cache.read() is not None


@pytest.mark.parametrize("venue_name", ["binance", "bybit"])
async def test_a_second_start_streams_without_a_request_for_markets(simulator: Simulator, venue_name: str) -> None:
    await loaded_once(simulator)
    before = asked(simulator)
    async with kept(simulator) as venue, streaming(venue, ["BTC"]) as running:
        assert asked(simulator) == before
        made = simulator[venue_name]
        await running.until(lambda: [len(each.subscriptions) for each in made.connections] == [1])
        await made.trade("BTC", count=3)
        await running.until(lambda: len(running.heard.trades) == 3)
        assert [ticker.coin for ticker in await venue.fetch_tickers({"BTC": "BTC/USDT"})] == ["BTC"]


def by_id(exchange: Any) -> dict[str, list[str]]:
    return {key: [row["symbol"] for row in rows] for key, rows in exchange.markets_by_id.items()}


@pytest.mark.parametrize("venue_name", ["binance", "bybit"])
@pytest.mark.parametrize("count", [40, 2 * ROWS + 50])
async def test_a_list_from_disk_equals_what_ccxt_makes_of_the_venues_answer(venue_name: str, count: int) -> None:
    """Only ``info``, the venue's raw row, may differ, because nobody reads it. The long list is parsed in parts."""
    async with Simulator(venues=(venue_name,), rate=0, markets=count) as simulator:
        await loaded_once(simulator)
        await same_as_ccxts(simulator, venue_name)


async def same_as_ccxts(simulator: Simulator, venue_name: str) -> None:
    plain = getattr(ccxt.pro, venue_name)({"options": {"fetchMarkets": {"types": ["spot"]}}})
    plain.has["fetchCurrencies"] = False
    plain.urls = pointed(plain.urls, simulator.rest_url, simulator.ws_url)
    await plain.load_markets()
    await plain.close()
    async with kept(simulator) as venue:
        await venue.load()
        api = venue._api
        assert venue._markets._from_disk
        assert api.markets == {symbol: {**row, "info": {}} for symbol, row in plain.markets.items()}
        for name in ("symbols", "ids", "codes", "currencies", "currencies_by_id"):
            assert getattr(api, name) == getattr(plain, name), name
        assert set(api.baseCurrencies) == set(plain.baseCurrencies)
        assert set(api.quoteCurrencies) == set(plain.quoteCurrencies)
        assert by_id(api) == by_id(plain)
        assert list(api.markets) == list(plain.markets)


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("venue_name", ["binance", "bybit"])
async def test_only_the_rows_of_subscribed_coins_are_decoded(
    simulator: Simulator, venue_name: str, again: bool
) -> None:
    """A feed needs few of a venue's markets. The list is fetched or found on disk, and then it is renewed."""
    if again:
        await loaded_once(simulator)
    async with kept(simulator) as venue, streaming(venue, ["BTC"]) as running:
        made = simulator[venue_name]
        await running.until(lambda: [len(each.subscriptions) for each in made.connections] == [1])
        await made.trade("BTC", count=3)
        await running.until(lambda: len(running.heard.trades) == 3)
        assert [ticker.coin for ticker in await venue.fetch_tickers({"BTC": "BTC/USDT"})] == ["BTC"]
        assert venue._markets._from_disk is again
        assert len(venue._api.markets) == len(COINS)
        assert row_count(venue._api.markets) == 1
        assert not await venue.refresh()
        assert row_count(venue._api.markets) == 0
        assert row_count(venue._api.markets_by_id) == row_count(venue._api.currencies) == 0
        assert venue.market("SOL/USDC"[:3]) == "SOL/USDC"
        assert row_count(venue._api.markets) == 1


async def test_the_venue_is_asked_for_a_coin_that_is_missing_in_the_list(simulator: Simulator) -> None:
    """The coin may be newer than the list. A coin that the venue does not list either is refused after one request."""
    await rewritten(simulator, without="ETH/USDT")
    before = asked(simulator)
    async with kept(simulator) as venue:
        await venue.load({"BTC": None})
        assert asked(simulator) == before
        await venue.load({"BTC": None, "ETH": None, "NOPE": None})
        assert venue.market("ETH") == "ETH/USDT"
        with pytest.raises(Rejected, match="does not list NOPE"):
            venue.market("NOPE")
        await venue.load({"NOPE": None})
        assert asked(simulator) == before + 1
    async with kept(simulator) as venue:  # the list with the coin was written to disk
        await venue.load({"ETH": None})
        assert asked(simulator) == before + 1


async def test_the_venue_is_asked_for_an_override_that_is_missing_in_the_list(simulator: Simulator) -> None:
    await rewritten(simulator, without="ETH/USDT")
    async with kept(simulator) as venue:
        await venue.load({"ETH": "ETH/USDT"})
        assert venue.market("ETH", "ETH/USDT") == "ETH/USDT"


async def test_a_missing_coin_is_not_refused_while_the_venue_does_not_answer(simulator: Simulator) -> None:
    """Both attempts fail with an outage, because the old list does not count as fresh after the first failure."""
    await rewritten(simulator, without="ETH/USDT")
    (made,) = simulator.venues.values()
    async with kept(simulator) as venue:
        with made.partition():
            for _ in range(2):
                with pytest.raises(Disconnected):
                    await venue.load({"ETH": None})
        await venue.load({"ETH": None})
        assert venue.market("ETH") == "ETH/USDT"


async def test_an_old_list_is_renewed_and_the_changes_are_reported(simulator: Simulator) -> None:
    await rewritten(simulator, age=AGED + 60, id="OLDID")
    async with kept(simulator) as venue:
        await venue.load()
        assert venue.aged
        assert await venue.refresh() == {"BTC/USDT"}
        assert not venue.aged
        assert await venue.refresh() == set()
    async with kept(simulator) as venue:
        await venue.load()
        assert not venue.aged


async def test_a_delisted_market_is_refused_and_existing_streams_continue(
    simulator: Simulator, venue_name: str
) -> None:
    await loaded_once(simulator)
    async with kept(simulator) as venue, streaming(venue, ["ETH"]) as running:
        async with Simulator(venues=(venue_name,), rate=0, coins=("BTC",)) as later:
            venue.access = replace(venue.access, rest_url=later.rest_url)
            assert await venue.refresh() == set()
        with pytest.raises(Rejected, match="does not list ETH"):
            venue.market("ETH")
        made = simulator[venue_name]
        await running.until(lambda: [len(each.subscriptions) for each in made.connections] == [1])
        await made.trade("ETH")
        await running.until(lambda: len(running.heard.trades) == 1)
        async with asyncio.timeout(10):
            stream = venue.connect(running.stream.wanted, running.heard, lambda: None)
            await stream.close()


@pytest.mark.parametrize("option", [{"market_cache": False}, {}])
async def test_no_list_is_kept_on_disk_if_the_cache_is_off_or_for_a_loopback_address(
    simulator: Simulator, venue_name: str, folder: Path, option: dict[str, bool]
) -> None:
    async with opened(venue_name, simulator, options=option) as venue:
        await venue.load()
    assert os.listdir(folder) == []


async def test_another_file_is_used_for_options_that_change_the_list(simulator: Simulator, folder: Path) -> None:
    await loaded_once(simulator)
    async with kept(simulator, fetchMarkets={"types": ["spot", "linear"]}) as venue:
        assert cache_of(venue).read() is None


async def test_values_that_a_ccxt_class_sets_while_it_loads_are_kept_for_streams(simulator: Simulator) -> None:
    """Some modules (kraken, hyperliquid) later need names that are only set while they load."""
    async with kept(simulator) as venue:
        await venue.load()
        cache = cache_of(venue)
    table = cache.read()
    assert table is not None
    cache.write(msgspec.structs.replace(table, options={"noted": {"BTC": 1}}))
    async with kept(simulator) as venue, streaming(venue, ["BTC"]) as running:
        assert venue._api.options["noted"] == {"BTC": 1}
        assert running.exchange.options["noted"] == {"BTC": 1}


async def test_a_cancelled_caller_does_not_cancel_the_load_for_other_callers(simulator: Simulator) -> None:
    async with kept(simulator) as venue:
        waiting = [asyncio.create_task(venue.load()) for _ in range(2)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert venue.loaded
        assert asked(simulator) == 1


async def test_a_venue_can_be_closed_while_it_loads(simulator: Simulator) -> None:
    (made,) = simulator.venues.values()
    with made.slow_rest(30):
        async with kept(simulator) as venue:
            waiting = asyncio.create_task(venue.load())
            while not made.rest_calls:  # noqa: ASYNC110 - no event reports this
                await asyncio.sleep(0.005)
        async with asyncio.timeout(5):
            with pytest.raises((asyncio.CancelledError, VenueError)):
                await waiting
