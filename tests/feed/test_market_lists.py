"""A feed over market lists kept on disk: an old list is renewed while data flows, and its changes take effect."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from exchanges import Access
from exchanges.ccxt_adapter.markets.disk_cache import AGED, VARIABLE
from exchanges.ccxt_adapter.venue import open_venue
from exchanges.simulator import Simulator
from feed import MarketFeed, Settings
from feed.cli.check import _ask
from tests.support import Recorder, settings_for

KEPT = {"market_cache": True}


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))


def lists_asked_for(simulator: Simulator) -> int:
    return [path for _, path in simulator["binance"].rest_calls].count("/api/v3/exchangeInfo")


def settings_of(simulator: Simulator) -> Settings:
    settings = settings_for(simulator)
    settings.exchanges[0].options.update(KEPT)
    return settings


async def old_list(simulator: Simulator, **btc: Any) -> None:
    """Write an old list to disk, with a different market of BTC."""
    at = Access(rest_url=simulator.rest_url, ws_url=simulator.ws_url, options=KEPT)
    venue = open_venue("binance", at)
    await venue.load()
    await venue.close()
    cache = venue._markets.cache
    assert cache is not None
    table = cache.read()
    assert table is not None
    markets = {**table.markets, "BTC/USDT": {**table.markets["BTC/USDT"], **btc}}
    cache.write(msgspec.structs.replace(table, markets=markets, loaded_at=time.time() - AGED - 60))


async def test_an_old_list_starts_the_feed_and_is_renewed_while_data_flows() -> None:
    async with Simulator(venues=("binance",), rate=20, coins=["BTC", "ETH"]) as simulator:
        await old_list(simulator)
        feed = MarketFeed(settings=settings_of(simulator))
        recorder = Recorder(feed)
        async with feed:
            assert lists_asked_for(simulator) == 1  # the request that fetched the list on disk
            await recorder.until(lambda: lists_asked_for(simulator) == 2)
            seen = len(recorder.trades)
            await recorder.until(lambda: len(recorder.trades) > seen + 20)
        assert "disconnected" not in recorder.events


async def test_a_market_that_differs_from_the_list_replaces_the_connection() -> None:
    async with Simulator(venues=("binance",), rate=20, coins=["BTC", "ETH"]) as simulator:
        await old_list(simulator, contractSize=10.0)
        feed = MarketFeed(settings=settings_of(simulator))
        recorder = Recorder(feed)
        async with feed:
            lost = await recorder.until_event("disconnected")
            assert lost["reason"] == "the venue has changed markets that were wanted"
            await recorder.until_event("connected", count=2)


async def test_check_asks_the_venue_even_if_its_list_is_on_disk() -> None:
    """The command must find out whether the venue answers."""
    async with Simulator(venues=("binance",), rate=20, coins=["BTC", "ETH"]) as simulator:
        settings = settings_of(simulator)
        for asked in (1, 2):
            finding = await _ask(settings.exchanges[0], settings, timeout=10)
            assert finding.remark() == "ok"
            assert lists_asked_for(simulator) >= asked
