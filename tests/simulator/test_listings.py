"""Changes of a venue's list of markets: a market is halted or removed, or has another currency, coin or unit."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest

from exchanges.simulator import Simulator, SimulatorError
from tests.simulator.client import dial, get, until

BOTH = pytest.mark.parametrize("name", ["binance", "bybit"])
LIST = {"binance": "/api/v3/exchangeInfo", "bybit": "/v5/market/instruments-info"}
TICKER = {"binance": "/api/v3/ticker/24hr", "bybit": "/v5/market/tickers"}


def path_of(name: str) -> str:
    return "/ws" if name == "binance" else "/v5/public/spot"


def trades_of(name: str, market: str) -> str:
    return f"{market.lower()}@trade" if name == "binance" else f"publicTrade.{market}"


async def listed(sim: Simulator, name: str) -> dict[str, Any]:
    """Each market's row in the venue's list, by id."""
    found = await get(sim, LIST[name], **({} if name == "binance" else {"category": "spot"}))
    rows = found["symbols"] if name == "binance" else found["result"]["list"]
    return {row["symbol"]: row for row in rows}


async def ticker(sim: Simulator, name: str, market: str) -> Any:
    """The last price over REST, or None if the venue does not know the market."""
    found = await get(sim, TICKER[name], symbol=market, **({} if name == "binance" else {"category": "spot"}))
    rows = [found] if name == "binance" else found["result"].get("list", [])
    return float(rows[0]["lastPrice"]) if rows and "lastPrice" in rows[0] else None


@BOTH
@pytest.mark.parametrize("coin", ["BTC", "all"])
async def test_a_halted_market_is_listed_as_halted_and_does_not_trade(name: str, coin: str) -> None:
    states = {"binance": ("TRADING", "BREAK"), "bybit": ("Trading", "Closed")}[name]
    async with Simulator(rate=500, coins=["BTC", "ETH"], venues=(name,)) as sim:
        venue = sim[name]
        with venue.halted(coin):
            rows = await listed(sim, name)
            assert rows["BTCUSDT"]["status"] == states[1]
            assert rows["ETHUSDT"]["status"] == states[coin == "all"]
            made = len(venue.trades["BTC"])
            if coin == "BTC":
                await until(lambda: len(venue.trades["ETH"]) > 50)
            with pytest.raises(SimulatorError, match="halted"):
                await venue.trade("BTC")
            assert len(venue.trades["BTC"]) == made
        assert (await listed(sim, name))["BTCUSDT"]["status"] == states[0]
        await until(lambda: len(venue.trades["BTC"]) > made)


async def test_markets_can_be_halted_before_the_first_trade() -> None:
    async with Simulator(rate=500, coins=["BTC"], faults=["halted@0+0.3"]) as sim:
        assert sim["binance"].trades_made == 0
        await until(lambda: sim["binance"].trades_made > 10)


@BOTH
async def test_a_coin_that_is_not_listed_can_be_listed_later(name: str) -> None:
    async with Simulator(rate=0, coins=["BTC", "ETH"], venues=(name,)) as sim, dial(sim, path_of(name)) as client:
        venue = sim[name]
        with venue.unlisted("eth"):
            assert set(await listed(sim, name)) == {"BTCUSDT"}
            assert await ticker(sim, name, "ETHUSDT") is None
            with pytest.raises(SimulatorError, match="does not list 'ETH'"):
                await venue.trade("ETH")
            told = await client.subscribe(trades_of(name, "ETHUSDT"))
            assert told.get("success") is not True
        assert set(await listed(sim, name)) == {"BTCUSDT", "ETHUSDT"}
        if name == "bybit":
            assert (await client.subscribe(trades_of(name, "ETHUSDT")))["success"]
        await venue.trade("ETH", ids=[1])
        await client.first(lambda event: event.get("s") == "ETHUSDT" or "data" in event)


@BOTH
@pytest.mark.parametrize(("currency", "rate"), [("KRW", 1380), ("USDC", 1), ("USD", 1)])
async def test_a_venue_can_list_its_coins_in_another_currency_only(name: str, currency: str, rate: float) -> None:
    async with Simulator(rate=200, coins=["BTC", "BTC/USDC", "ETH"], venues=(name,)) as sim:
        venue = sim[name]
        with venue.quoted(currency):
            assert set(await listed(sim, name)) == {f"BTC{currency}", f"ETH{currency}"}
            assert await ticker(sim, name, "BTCUSDT") is None
            price = await ticker(sim, name, f"BTC{currency}")
            assert price == pytest.approx(60_000 * rate, rel=0.1)
            async with dial(sim, path_of(name)) as client:
                await client.subscribe(trades_of(name, f"ETH{currency}"))
                event = await client.first(lambda event: event.get("e") == "trade" or "data" in event)
            row = event if name == "binance" else event["data"][0]
            assert float(row["p"]) == pytest.approx(2600 * rate, rel=0.1)
        assert set(await listed(sim, name)) == {"BTCUSDT", "BTCUSDC", "ETHUSDT"}


@BOTH
async def test_another_coin_can_be_listed_under_the_same_ticker(name: str) -> None:
    async with Simulator(rate=0, coins=["DOGE"], venues=(name,)) as sim, dial(sim, path_of(name)) as client:
        await client.subscribe(trades_of(name, "DOGEUSDT"))
        for _ in range(2):
            with sim[name].other_coin("doge"):
                assert await ticker(sim, name, "DOGEUSDT") == pytest.approx(0.105 / 112, rel=0.1)
                known = len(client.frames)
                (trade,) = await sim[name].trade("DOGE")
                await until(lambda known=known: len(client.frames) > known)  # type: ignore[misc] # mypy cannot check a lambda with a default
                assert trade.price == pytest.approx(0.105 / 112, rel=0.1)
                assert f"{trade.price:f}"[:6] in client.frames[-1]
        assert await ticker(sim, name, "DOGEUSDT") == pytest.approx(0.105, rel=0.1)


@BOTH
async def test_a_coin_can_be_listed_in_units_of_a_thousand(name: str) -> None:
    async with Simulator(rate=0, coins=["DOGE"], venues=(name,)) as sim:
        with sim[name].thousands("doge"):
            assert set(await listed(sim, name)) == {"1000DOGEUSDT"}
            assert await ticker(sim, name, "1000DOGEUSDT") == pytest.approx(105, rel=0.1)
            assert (await sim[name].trade("1000DOGE"))[0].price == pytest.approx(105, rel=0.1)


async def test_faults_of_the_list_can_be_combined_and_end_in_any_order() -> None:
    async with Simulator(rate=0, coins=["BTC", "ETH", "DOGE"], venues=("binance",)) as sim:
        venue = sim["binance"]
        first, second = ExitStack(), ExitStack()
        first.enter_context(venue.quoted("KRW"))
        second.enter_context(venue.unlisted("ETH"))
        second.enter_context(venue.thousands("DOGE"))
        assert set(venue.markets) == {"BTCKRW", "1000DOGEKRW"}
        first.close()
        assert set(venue.markets) == {"BTCUSDT", "1000DOGEUSDT"}
        second.close()
        assert set(venue.markets) == {"BTCUSDT", "ETHUSDT", "DOGEUSDT"}


async def test_a_market_that_is_listed_again_continues_where_it_stopped() -> None:
    async with Simulator(rate=0, coins=["BTC"], venues=("binance",)) as sim:
        venue = sim["binance"]
        for number in (1, 2):
            with venue.quoted("KRW"):
                await venue.trade("BTC", count=1)
                assert len(venue.trades["BTC"]) == number
                assert len(venue.trades["BTC/KRW"]) == number
        assert len(venue.trades["BTC"]) == 0
