"""A venue in maintenance, a halted coin and a new coin are used as soon as they trade, without the user's help."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from exchanges.ccxt_adapter.markets.disk_cache import VARIABLE
from exchanges.simulator import Simulator
from feed import MarketFeed, NoExchangeAvailable
from feed.cli.check import _ask
from feed.sessions import coin_listing
from feed.settings import Connection, Staleness
from tests.scenarios.support import fronted
from tests.support import Recorder, settings_for, until

COINS = ("BTC", "ETH")
LISTS = ("/api/v3/exchangeInfo", "/v5/market/instruments-info")


class Lists:
    """A simulator whose market lists mark the coins in ``halted`` as halted and leave out those in ``unlisted``."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self.name = next(iter(simulator.venues))
        self.venue = simulator[self.name]
        self.halted: set[str] = set()
        self.unlisted: set[str] = set()
        self.asked = 0
        self.asked_at: list[float] = []

    async def answer(self, request: web.Request) -> web.StreamResponse | None:
        if request.path not in LISTS:
            return None
        self.asked_at.append(asyncio.get_running_loop().time())
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session,
            session.get(f"{self.simulator.rest_url}{request.path_qs}") as passed,
        ):
            answer = await passed.json()
        rows: Any = answer["symbols"] if "symbols" in answer else answer["result"]["list"]
        rows[:] = [row for row in rows if self._coin(row) not in self.unlisted]
        for row in rows:
            if self._coin(row) in self.halted:
                row["status"] = "BREAK" if "baseAsset" in row else "Closed"
        return web.Response(text=json.dumps(answer), content_type="application/json")

    @staticmethod
    def _coin(row: Any) -> str:
        return str(row.get("baseAsset") or row["baseCoin"])

    @contextmanager
    def maintenance(self, *coins: str) -> Iterator[None]:
        """While the context lasts, the market list marks these coins (or all coins) as halted."""
        self.halted.update(coins or COINS)
        try:
            yield
        finally:
            self.halted.clear()


@asynccontextmanager
async def listed(venue: str, seed: int = 1, rate: float = 60) -> AsyncIterator[tuple[Lists, str]]:
    async with Simulator(venues=(venue,), rate=rate, coins=COINS, seed=seed) as simulator:
        lists = Lists(simulator)
        async with fronted(simulator, lists.answer) as address:
            yield lists, address


@pytest.fixture(params=["binance", "bybit"])
async def venue(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Lists, str]]:
    async with listed(request.param) as found:
        yield found


def feed_over(*venues: tuple[Lists, str], coins: tuple[str, ...] = COINS, **changes: Any) -> MarketFeed:
    """A feed over these venues, in this order."""
    settings = settings_for(*(lists.simulator for lists, _ in venues), coins=coins)
    for config, (_, address) in zip(settings.exchanges, venues, strict=True):
        config.rest_url = f"http://{address}"
    settings.connection = Connection(
        connect_timeout=3, backoff_initial=0.05, backoff_max=0.2, stable_after=0.5, failback_after=1
    )
    for name, value in changes.items():
        setattr(settings, name, value)
    return MarketFeed(settings=settings)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coin_listing, "FIRST", 0.3)
    monkeypatch.setattr("feed.policies.failover.REFUSED_FIRST", 0.3)
    monkeypatch.setattr("exchanges.ccxt_adapter.markets.markets.PAUSE", 0.2)


async def test_a_venue_in_maintenance_at_the_start_delivers_when_the_maintenance_is_over(
    venue: tuple[Lists, str],
) -> None:
    lists, _ = venue
    feed = feed_over(venue)
    got = Recorder(feed)
    with lists.maintenance():
        connecting = asyncio.create_task(feed.connect(None))
        told = await got.until_event("coin_unavailable")
        assert "has halted" in told["reason"]
        await until(lambda: len(lists.asked_at) >= 3)
        assert not connecting.done()
    await connecting
    await got.until(lambda: {trade.coin for trade in got.trades} == set(COINS))
    await feed.disconnect()


async def test_connect_retries_a_venue_in_maintenance_but_not_a_venue_that_lists_none_of_the_coins(
    venue: tuple[Lists, str],
) -> None:
    lists, _ = venue
    with lists.maintenance():
        feed = feed_over(venue)
        with pytest.raises(NoExchangeAvailable, match="has halted BTC, ETH"):
            await feed.connect(4)
        assert len(lists.asked_at) >= 2
    with pytest.raises(NoExchangeAvailable, match="does not list any of NOPE, NONE"):
        async with asyncio.timeout(20):
            await feed_over(venue, coins=("NOPE", "NONE")).connect(60)


async def test_a_coin_that_is_halted_at_the_start_comes_when_it_trades_again(venue: tuple[Lists, str]) -> None:
    lists, _ = venue
    feed = feed_over(venue)
    got = Recorder(feed)
    with lists.maintenance("ETH"):
        async with feed:
            told = await got.until_event("coin_unavailable")
            assert told["coin"] == "ETH"
            assert "has halted ETH (ETH/USDT" in told["reason"]
            await until(lambda: len(lists.asked_at) >= 3)
            assert not got.ids("ETH")
            lists.halted.clear()
            await got.until(lambda: bool(got.ids("ETH")))
            assert "disconnected" not in got.events
            assert len(got.details("coin_unavailable")) == 1


async def test_a_coin_that_is_added_before_it_is_listed_comes_when_the_list_has_it(venue: tuple[Lists, str]) -> None:
    lists, _ = venue
    lists.unlisted.add("ETH")
    feed = feed_over(venue, coins=("BTC",))
    got = Recorder(feed)
    async with feed:
        asked = len(lists.asked_at)
        await feed.add_coins(["ETH"])
        assert len(lists.asked_at) > asked
        told = got.details("coin_unavailable")
        assert [each["coin"] for each in told] == ["ETH"]
        assert "does not list ETH" in told[0]["reason"]
        lists.unlisted.clear()
        await got.until(lambda: bool(got.ids("ETH")))
        assert not got.details("disconnected")


async def test_a_coin_that_is_added_after_it_was_listed_comes_at_once(
    venue: tuple[Lists, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list at the feed's start did not have the coin, so the list is requested again, once for all added coins."""
    lists, _ = venue
    monkeypatch.setattr(coin_listing, "FIRST", 600.0)
    lists.unlisted.add("ETH")
    feed = feed_over(venue, coins=("BTC",))
    got = Recorder(feed)
    async with feed:
        lists.unlisted.clear()
        await feed.add_coins(["ETH"])
        assert feed.get_price("ETH") is not None
        assert "coin_unavailable" not in got.events


async def test_the_list_is_requested_only_at_intervals_even_if_a_coin_is_added_often(
    venue: tuple[Lists, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lists, _ = venue
    monkeypatch.setattr("exchanges.ccxt_adapter.markets.markets.PAUSE", 0.5)
    lists.unlisted.add("ETH")
    feed = feed_over(venue, coins=("BTC",))
    async with feed:
        for _ in range(4):
            await feed.add_coins(["ETH"])
            await feed.remove_coins(["ETH"])
    pauses = [after - before for before, after in zip(lists.asked_at, lists.asked_at[1:], strict=False)]
    assert pauses
    assert min(pauses) >= 0.25  # half of PAUSE, because the earlier request may take longer to arrive


@pytest.mark.parametrize("venue_name", ["binance", "bybit"])
async def test_the_feed_returns_to_a_preferred_venue_that_was_in_maintenance_at_the_start(venue_name: str) -> None:
    other = "bybit" if venue_name == "binance" else "binance"
    async with listed(venue_name) as first, listed(other, 2) as second:
        feed = feed_over(first, second)
        got = Recorder(feed)
        with first[0].maintenance():
            async with feed:
                assert feed.status.exchange == other
                first[0].halted.clear()
                await got.until(lambda: feed.status.exchange == venue_name and got.prices[-1].exchange == venue_name)


@pytest.mark.parametrize(("preferred", "next_one"), [("binance", "bybit"), ("bybit", "binance")])
@pytest.mark.parametrize("coin_stale_after", [2, 1])
async def test_a_coin_that_is_halted_later_comes_from_the_next_venue_until_it_trades_again(
    preferred: str, next_one: str, coin_stale_after: float
) -> None:
    """The connection stays, the other coins continue, and later the venue's trades of the coin are complete again.

    This holds even if a coin becomes stale sooner than the feed.
    """
    async with listed(preferred, rate=100) as first, listed(next_one, 2) as second:
        lists = first[0]
        limits = Staleness(feed_stale_after=1.5, coin_stale_after=coin_stale_after, reconnect_after=4)
        feed = feed_over(first, second, staleness=limits)
        got = Recorder(feed)
        async with feed:
            await got.until(lambda: bool(got.ids("ETH")))
            with lists.maintenance("ETH"), lists.venue.silent("ETH"):
                told = await got.until_event("coin_unavailable")
                assert (told["coin"], told["exchange"]) == ("ETH", preferred)
                assert "has halted ETH" in told["reason"]
                await got.until(lambda: got.trades[-1].exchange == next_one)
                assert {trade.coin for trade in got.trades if trade.exchange == next_one} == {"ETH"}
            seen = len(got.trades)
            await got.until(lambda: ("ETH", preferred) in {(trade.coin, trade.exchange) for trade in got.trades[seen:]})
            await until(lambda: not second[0].venue.connections)
            seen = len(got.prices)
            await got.until(lambda: {tick.coin for tick in got.prices[seen:]} == set(COINS))
            assert {tick.exchange for tick in got.prices[seen:]} == {preferred}
            assert not {"disconnected", "failover"} & set(got.events)
            ids = [int(trade.trade_id) for trade in got.trades if (trade.coin, trade.exchange) == ("ETH", preferred)]
            assert ids == sorted(set(ids))


async def test_a_coin_with_data_is_not_reported_as_unavailable_if_the_market_list_marks_it_as_halted() -> None:
    async with listed("binance") as first:
        lists = first[0]
        feed = feed_over(first, coins=(*COINS, "NOPE"))
        got = Recorder(feed)
        with lists.maintenance("ETH"):
            lists.halted.clear()
            async with feed:
                await got.until(lambda: bool(got.ids("ETH")))
                lists.halted.add("ETH")
                asked = len(lists.asked_at)
                await until(lambda: len(lists.asked_at) >= asked + 2)
                seen = len(got.ids("ETH"))
                await got.until(lambda: len(got.ids("ETH")) > seen + 3)
                assert {each["coin"] for each in got.details("coin_unavailable")} == {"NOPE"}


async def test_the_market_list_is_requested_again_if_the_list_on_disk_marks_coins_as_halted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The coins may trade again by now, so the list is requested at the start and at each retry."""
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    async with listed("binance") as first:
        lists, _ = first
        feed = feed_over(first)
        feed._settings.exchanges[0].options["market_cache"] = True
        with lists.maintenance():
            for _ in range(2):
                asked = len(lists.asked_at)
                connecting = asyncio.create_task(feed.connect(None))
                await until(lambda asked=asked: len(lists.asked_at) >= asked + 2)  # type: ignore[misc] # mypy refuses a lambda with a default
                await feed.disconnect()
                await asyncio.gather(connecting, return_exceptions=True)
        assert os.listdir(tmp_path)
        await feed.connect()
        assert feed.get_price("BTC")
        await feed.disconnect()


async def test_check_distinguishes_halted_and_unlisted_coins(venue: tuple[Lists, str]) -> None:
    lists, _ = venue
    lists.unlisted.add("BTC")
    with lists.maintenance("ETH"):
        settings = feed_over(venue)._settings
        finding = await _ask(settings.exchanges[0], settings, timeout=5)
        assert "has halted ETH" in finding.remark()
        assert "BTC" in finding.remark()
        assert "has halted BTC" not in finding.remark()
