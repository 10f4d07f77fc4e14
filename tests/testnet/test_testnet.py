"""Smoke tests of the whole feed on the venues' testnets (``pytest -m testnet``), and the same tests on the simulator.

If a testnet can't be reached, its tests are skipped with the reason. The run on the simulator shows that the tests
work.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import cache

import pytest

from exchanges.simulator import Simulator
from feed import FeedState, MarketFeed, PriceTick, Settings
from feed.events import CoinConfig
from feed.settings import ExchangeConfig
from tests.support import Recorder, until

HOSTS = {"binance_testnet": "testnet.binance.vision", "bybit_testnet": "api-testnet.bybit.com"}
PROBE = 3.0  # seconds for a TCP connection to a testnet's host
COINS = ("BTC", "ETH")
PATIENCE = 60.0  # seconds, because testnets have few trades

CASES = [
    pytest.param((kind, name), id=f"{name}-{kind}", marks=[pytest.mark.testnet] if kind == "testnet" else [])
    for name in HOSTS
    for kind in ("simulator", "testnet")
]


@cache
def unreachable(host: str) -> str | None:
    """Why ``host`` can't be reached over HTTPS, or None if it can. The host is tried once for all tests."""

    async def probe() -> None:
        async with asyncio.timeout(PROBE):
            _, writer = await asyncio.open_connection(host, 443)
            writer.close()

    try:
        asyncio.run(probe())
    except TimeoutError:
        return f"{host} can't be reached: no answer within {PROBE:g} s"
    except (OSError, socket.gaierror) as error:
        return f"{host} can't be reached: {error}"
    return None


@dataclass
class Place:
    """A venue to connect to, real or simulated."""

    name: str
    settings: Settings

    def feed(self, coins: tuple[str, ...] = COINS) -> MarketFeed:
        return MarketFeed(coins, exchange=[self.name], settings=self.settings)


@pytest.fixture(params=CASES)
async def place(request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    kind, name = request.param
    coins = [CoinConfig(coin) for coin in COINS]
    if kind == "testnet":
        reason = await asyncio.to_thread(unreachable, HOSTS[name])
        if reason is not None:
            pytest.skip(reason)
        yield Place(name, Settings(coins=coins, exchanges=[ExchangeConfig(name)]))
        return
    spoken = name.removesuffix("_testnet")
    async with Simulator(venues=(spoken,), rate=100) as simulator:
        config = ExchangeConfig(name, rest_url=simulator.rest_url, ws_url=simulator.ws_url)
        yield Place(name, Settings(coins=coins, exchanges=[config]))


def believable(tick: PriceTick, name: str) -> bool:
    """Whether the tick is from this venue and has a plausible price and plausible 24 h statistics."""
    return tick.exchange == name and tick.price > 0 and tick.volume_24h > 0 and -100 < tick.change_24h < 10_000


async def test_prices_arrive_with_their_24_h_statistics(place: Place) -> None:
    feed = place.feed()
    got = Recorder(feed)
    async with feed:
        assert feed.status.connected
        assert feed.status.exchange == place.name
        await until(lambda: set(feed.get_all_prices()) == set(COINS), PATIENCE)
        assert all(believable(tick, place.name) for tick in feed.get_all_prices().values())
        assert all(believable(tick, place.name) for tick in got.prices)


async def test_trades_come_in_order_with_their_ids(place: Place) -> None:
    feed = place.feed()
    got = Recorder(feed)
    async with feed:
        await got.until(lambda: len(got.trades) >= 5, PATIENCE)
    assert all(trade.price > 0 and trade.quantity > 0 and trade.trade_id for trade in got.trades)
    for coin in COINS:
        mine = [trade for trade in got.trades if trade.coin == coin]
        assert [trade.timestamp for trade in mine] == sorted(trade.timestamp for trade in mine)
        assert len({trade.trade_id for trade in mine}) == len(mine)


async def test_candles_begin_at_whole_minutes_and_have_consistent_prices(place: Place) -> None:
    feed = place.feed()
    got = Recorder(feed)
    async with feed:
        await got.until(lambda: len(got.candles) >= 2, PATIENCE)
    for candle in got.candles:
        assert candle.timeframe == "1m"
        assert candle.timestamp % 60_000 == 0
        assert candle.low <= min(candle.open, candle.close) <= max(candle.open, candle.close) <= candle.high


async def test_disconnecting_leaves_nothing_open(place: Place) -> None:
    """Disconnecting takes less than five seconds, leaves no task, and may be repeated."""
    before = asyncio.all_tasks()
    feed = place.feed(("BTC",))
    for _ in range(2):
        await feed.connect(timeout=PATIENCE)
        assert feed.status.connected
        async with asyncio.timeout(5):
            await feed.disconnect()
        assert feed.status.state is FeedState.CLOSED
    await until(lambda: asyncio.all_tasks() <= before)


async def test_a_coin_that_is_not_listed_is_reported(place: Place) -> None:
    feed = place.feed(("BTC", "NOSUCHCOIN"))
    got = Recorder(feed)
    async with feed:
        assert [details["coin"] for details in got.details("coin_unavailable")] == ["NOSUCHCOIN"]
