"""The real ccxt.pro classes work against the simulator as they do against the venues."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import ccxt.pro
import pytest

from exchanges.simulator import Simulator
from tests.support import CCXT_ALONE

pytestmark = CCXT_ALONE

VENUES = ["binance", "bybit"]


def redirect(addresses: dict[str, Any], sim: Simulator) -> None:
    """Replace scheme and host of every address, as ``rest_url`` and ``ws_url`` of settings.yaml do."""
    for key, value in addresses.items():
        if isinstance(value, dict):
            redirect(value, sim)
        elif isinstance(value, str) and "://" in value:
            scheme, _, rest = value.partition("://")
            base = sim.ws_url if scheme.startswith("ws") else sim.rest_url
            addresses[key] = base + "/" + rest.partition("/")[2] if "/" in rest else base


@asynccontextmanager
async def connected(sim: Simulator, name: str) -> AsyncIterator[Any]:
    swap = name == "binance_swap"
    options = {
        "defaultType": "swap" if swap else "spot",
        "fetchMarkets": {"types": ["linear" if swap else "spot"]},
        "streamLimits": {"spot": 1, "linear": 1},
        "subscriptionLimitByStream": {"spot": 1024, "linear": 1024},
    }
    exchange = getattr(ccxt.pro, "binance" if swap else name)({"options": options})
    redirect(exchange.urls["api"], sim)
    try:
        yield exchange
    finally:
        await exchange.close()


@pytest.mark.parametrize("name", VENUES)
async def test_markets_tickers_and_candles_load(name: str) -> None:
    async with Simulator(rate=0) as sim, connected(sim, name) as exchange:
        await sim[name].trade("BTC", count=30)
        await exchange.load_markets()
        assert len(exchange.markets) == 40
        market = exchange.market("BTC/USDT")
        assert (market["active"], market["spot"], market["precision"]["price"]) == (True, True, 0.01)
        assert market["precision"]["amount"] == pytest.approx(1e-5)
        tickers = await exchange.fetch_tickers(["BTC/USDT", "DOGE/USDT"])
        last = sim[name].trades["BTC"][-1]
        assert tickers["BTC/USDT"]["last"] == last.price
        for ticker in tickers.values():
            assert ticker["low"] <= ticker["last"] <= ticker["high"]
            assert ticker["quoteVolume"] > 1e7
            assert abs(ticker["percentage"]) < 30
        candles = await exchange.fetch_ohlcv("BTC/USDT", "1m", limit=60)
        assert len(candles) == 60
        opened = last.timestamp - last.timestamp % 60_000  # the trade's minute may have ended by now
        candle = next(row for row in candles if row[0] == opened)
        assert candle[4] == last.price
        assert candle[5] == pytest.approx(sum(trade.quantity for trade in sim[name].trades["BTC"]))
        assert abs(await exchange.fetch_time() - last.timestamp) < 5000


@pytest.mark.parametrize("name", VENUES)
async def test_old_trades_over_rest_have_the_streams_ids(name: str) -> None:
    async with Simulator(rate=0) as sim, connected(sim, name) as exchange:
        made = await sim[name].trade("BTC", ids=range(1, 51))
        method = {"fetchTradesMethod": "publicGetTrades"} if name == "binance" else {}
        trades = await exchange.fetch_trades("BTC/USDT", limit=60, params=method)
        trades.sort(key=lambda trade: int(trade["id"]))  # ccxt sorts trades of one millisecond by their ids as text
        assert [(t["id"], t["price"], t["amount"], t["timestamp"], t["side"] == "sell") for t in trades] == [
            (str(m.id), m.price, m.quantity, m.timestamp, m.buyer_maker) for m in made
        ]
        old = await exchange.fetch_trades("BTC/USDT", limit=5)
        assert len(old) == 5


@pytest.mark.parametrize("name", VENUES)
async def test_trades_tickers_and_candles_are_watched_over_one_connection(name: str) -> None:
    async with Simulator(rate=0) as sim, connected(sim, name) as exchange:
        await exchange.load_markets()
        symbols = ["BTC/USDT", "ETH/USDT"]
        watching = asyncio.gather(
            exchange.watch_trades_for_symbols(symbols),
            exchange.watch_tickers(symbols),
            exchange.watch_ohlcv_for_symbols([[symbol, "1m"] for symbol in symbols]),
        )
        async with asyncio.timeout(10):
            while len(sim[name].topics) < 6:  # noqa: ASYNC110 - no event reports this
                await asyncio.sleep(0.01)
            (made,) = await sim[name].trade("BTC", price=60123.45, quantity=0.5, buyer_maker=False)
            trades, tickers, candles = await watching
        assert (trades[-1]["id"], trades[-1]["price"], trades[-1]["amount"]) == (str(made.id), 60123.45, 0.5)
        assert trades[-1]["side"] == "buy"
        assert trades[-1]["timestamp"] == made.timestamp
        assert tickers["BTC/USDT"]["last"] == 60123.45 or name == "bybit"
        assert "BTC/USDT" in candles or "ETH/USDT" in candles
        assert len(sim[name].dials) == 1
        assert sim[name].violations == []


async def test_binance_us_is_simulated_too() -> None:
    async with Simulator(rate=0, venues=("binance_us",)) as sim, connected(sim, "binanceus") as exchange:
        await exchange.load_markets()
        watching = asyncio.ensure_future(exchange.watch_trades("BTC/USDT"))
        async with asyncio.timeout(10):
            while not sim["binance_us"].topics:  # noqa: ASYNC110 - no event reports this
                await asyncio.sleep(0.01)
            (made,) = await sim["binance_us"].trade("BTC")
            assert (await watching)[-1]["id"] == str(made.id)


async def test_binances_swaps_are_simulated_too() -> None:
    async with Simulator(rate=0, venues=("binance_swap",)) as sim, connected(sim, "binance_swap") as exchange:
        venue = sim["binance_swap"]
        await exchange.load_markets()
        assert (exchange.market("BTC/USDT:USDT")["swap"], exchange.market("BTC/USDT:USDT")["active"]) == (True, True)
        symbols = ["BTC/USDT:USDT"]
        watching = asyncio.gather(
            exchange.watch_trades_for_symbols(symbols),
            exchange.watch_tickers(symbols),
            exchange.watch_bids_asks(symbols),
            exchange.watch_ohlcv_for_symbols([["BTC/USDT:USDT", "1m"]]),
        )
        async with asyncio.timeout(10):
            while len(venue.topics) < 4:  # noqa: ASYNC110 - no event reports this
                await asyncio.sleep(0.01)
            (made,) = await venue.trade("BTC", price=60123.45, quantity=0.5, buyer_maker=False)
            trades, tickers, quotes, candles = await watching
        assert (trades[-1]["id"], trades[-1]["price"], trades[-1]["amount"]) == (str(made.id), 60123.45, 0.5)
        assert tickers["BTC/USDT:USDT"]["last"] == 60123.45
        assert quotes["BTC/USDT:USDT"]["ask"] == 60123.45
        assert "BTC/USDT:USDT" in candles
        assert venue.violations == []


@pytest.mark.parametrize("name", [*VENUES, "binance_swap"])
async def test_watch_order_book_returns_the_true_book(name: str) -> None:
    """ccxt joins Binance's snapshot with the differences, and applies Bybit's deltas to Bybit's snapshot."""
    symbol = "BTC/USDT:USDT" if name == "binance_swap" else "BTC/USDT"
    # few changes on Bybit: ccxt keeps levels that left the depth, and they are wrong when the price returns to them
    rate = 10 if name == "bybit" else 200
    async with Simulator(rate=rate, venues=(name,), coins=["BTC"]) as sim, connected(sim, name) as exchange:
        venue = sim[name]
        await exchange.load_markets()
        async with asyncio.timeout(20):
            for _ in range(12):
                book = await exchange.watch_order_book(symbol)
                shown = [tuple(level) for level in book["bids"][:20]], [tuple(level) for level in book["asks"][:20]]
                # ccxt keeps no update number of Bybit, and the venue may be ahead of the frames that ccxt has read: the
                # book may be any of the venue's last 20 states
                numbers = [book["nonce"]] if name != "bybit" else sorted(venue._numbers[venue.market("BTC")])[-20:]
                states = [true for number in numbers if (true := venue.book_at("BTC", number, 20)) is not None]
                assert shown in [(true.bids, true.asks) for true in states]
        assert venue.violations == []


@pytest.mark.parametrize("name", [*VENUES, "binance_swap"])
async def test_fetch_order_book_returns_the_true_book(name: str) -> None:
    symbol = "BTC/USDT:USDT" if name == "binance_swap" else "BTC/USDT"
    async with Simulator(rate=0, venues=(name,)) as sim, connected(sim, name) as exchange:
        await exchange.load_markets()
        await sim[name].trade("BTC", count=3)
        book = await exchange.fetch_order_book(symbol, 50)
        true = sim[name].book_at("BTC", depth=50)
        assert true is not None
        assert [tuple(level) for level in book["bids"]] == true.bids
        assert [tuple(level) for level in book["asks"]] == true.asks


@pytest.mark.parametrize("name", VENUES)
async def test_a_market_that_is_not_listed_is_unknown_to_ccxt(name: str) -> None:
    async with Simulator(rate=0, coins=["BTC"]) as sim, connected(sim, name) as exchange:
        await exchange.load_markets()
        assert list(exchange.markets) == ["BTC/USDT"]


@pytest.mark.parametrize(("name", "status"), [("binance", 451), ("bybit", 403)])
async def test_a_block_raises_the_same_ccxt_error_as_at_the_venue(name: str, status: int) -> None:
    async with Simulator(rate=0) as sim, connected(sim, name) as exchange:
        with sim[name].blocked(status), pytest.raises(ccxt.BaseError) as raised:
            await exchange.load_markets()
        assert str(status) in str(raised.value)
