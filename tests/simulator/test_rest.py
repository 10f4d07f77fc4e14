"""The REST answers have the venues' formats and contain the trades that were made."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from exchanges.simulator import Simulator
from tests.simulator.client import get, until


async def test_binance_lists_trades_by_their_ids() -> None:
    async with Simulator(rate=0, venues=("binance",)) as sim:
        await sim["binance"].trade("BTC", ids=range(1, 1501))
        trades = sim["binance"].trades["BTC"]
        recent = await get(sim, "/api/v3/trades", symbol="BTCUSDT", limit=5)
        assert [row["id"] for row in recent] == [1496, 1497, 1498, 1499, 1500]
        old = await get(sim, "/api/v3/historicalTrades", symbol="BTCUSDT", fromId=100, limit=1000)
        assert [row["id"] for row in old] == list(range(100, 1100))
        assert len(await get(sim, "/api/v3/historicalTrades", symbol="BTCUSDT")) == 500
    for row, trade in zip(old, trades[99:], strict=False):
        assert (float(row["price"]), float(row["qty"])) == (trade.price, trade.quantity)
        assert (row["isBuyerMaker"], row["time"], row["isBestMatch"]) == (trade.buyer_maker, trade.timestamp, True)


async def test_binance_aggregate_trades_have_ids_of_their_own() -> None:
    async with Simulator(rate=0, venues=("binance",)) as sim:
        for ids in (range(1, 4), range(4, 6)):
            await sim["binance"].trade("BTC", ids=ids, price=60000, quantity=1, buyer_maker=True)
        rows = await get(sim, "/api/v3/aggTrades", symbol="BTCUSDT")
        assert [(row["f"], row["l"], row["q"]) for row in rows] == [(1, 3, "3.00000000"), (4, 5, "2.00000000")]
        assert rows[1]["a"] == rows[0]["a"] + 1
        again = await get(sim, "/api/v3/aggTrades", symbol="BTCUSDT", fromId=rows[1]["a"])
        assert again == rows[1:]
        assert await get(sim, "/api/v3/aggTrades", symbol="BTCUSDT", startTime=rows[0]["T"]) == rows


async def test_24_h_statistics_over_rest_equal_those_of_the_stream() -> None:
    async with Simulator(rate=0) as sim:
        await sim["binance"].trade("BTC", price=60123.45, count=3)
        await sim["bybit"].trade("BTC", price=60123.45, count=3)
        one = await get(sim, "/api/v3/ticker/24hr", symbol="BTCUSDT")
        two = await get(sim, "/api/v3/ticker/24hr", symbols='["ETHUSDT","BTCUSDT"]')
        every = await get(sim, "/api/v3/ticker/24hr")
        mini = await get(sim, "/api/v3/ticker/24hr", symbol="BTCUSDT", type="MINI")
        price = await get(sim, "/api/v3/ticker/price", symbol="BTCUSDT")
        quote = await get(sim, "/api/v3/ticker/bookTicker", symbol="BTCUSDT")
        theirs = (await get(sim, "/v5/market/tickers", category="spot", symbol="BTCUSDT"))["result"]["list"][0]
    assert one["lastPrice"] == price["price"] == mini["lastPrice"] == "60123.45000000"
    assert [row["symbol"] for row in two] == ["ETHUSDT", "BTCUSDT"]
    assert len(every) == 40
    assert float(quote["askPrice"]) - float(quote["bidPrice"]) == pytest.approx(0.01)
    change = float(one["lastPrice"]) - float(one["openPrice"])
    assert float(one["priceChange"]) == pytest.approx(change)
    assert float(one["priceChangePercent"]) == pytest.approx(100 * change / float(one["openPrice"]), abs=1e-3)
    assert float(one["lowPrice"]) <= 60123.45 <= float(one["highPrice"])
    assert float(one["quoteVolume"]) / float(one["volume"]) == pytest.approx(60_000, rel=0.2)
    assert one["closeTime"] - one["openTime"] == 86_400_000
    assert one["lastId"] - one["firstId"] + 1 == one["count"]
    change = float(theirs["lastPrice"]) / float(theirs["prevPrice24h"]) - 1
    assert float(theirs["price24hPcnt"]) == pytest.approx(change, abs=1e-4)
    assert all(isinstance(value, str) for value in theirs.values())


@pytest.mark.parametrize("interval", ["1m", "5m", "1h", "1d"])
async def test_binance_klines_end_with_the_candle_of_the_last_trades(interval: str) -> None:
    async with Simulator(rate=0, venues=("binance",)) as sim:
        trades = await sim["binance"].trade("BTC", count=20)
        rows = await get(sim, "/api/v3/klines", symbol="BTCUSDT", interval=interval, limit=3)
        first = await get(sim, "/api/v3/klines", symbol="BTCUSDT", interval="1m", startTime=rows[0][0], limit=2)
    assert rows[0][0] < rows[-1][0] <= trades[0].timestamp <= rows[-1][6]
    assert float(rows[-1][4]) == trades[-1].price
    assert all(len(row) == 12 for row in rows)
    if interval == "1m":
        assert rows[-1][8] == 20
        assert float(rows[-1][5]) == pytest.approx(sum(trade.quantity for trade in trades))
        assert first == rows[:2]
    for row in rows:
        assert float(row[3]) <= min(float(row[1]), float(row[4])) <= max(float(row[1]), float(row[4])) <= float(row[2])


ERRORS: list[tuple[str, dict[str, str | int], int]] = [
    ("trades", {"symbol": "NOPE"}, -1121),
    ("trades", {"symbol": "btc/usdt"}, -1100),
    ("trades", {}, -1102),
    ("trades", {"symbol": "BTCUSDT", "limit": "x"}, -1100),
    ("klines", {"symbol": "BTCUSDT", "interval": "7m"}, -1120),
    ("klines", {"symbol": "BTCUSDT"}, -1102),
    ("ticker/24hr", {"symbols": "BTCUSDT"}, -1100),
    ("ticker/24hr", {"symbols": '["NOPE"]'}, -1121),
]


@pytest.mark.parametrize(("path", "params", "code"), ERRORS)
async def test_binance_errors_have_binances_documented_form(path: str, params: dict[str, str | int], code: int) -> None:
    async with (
        Simulator(rate=0, venues=("binance",)) as sim,
        aiohttp.ClientSession() as session,
        session.get(f"{sim.rest_url}/api/v3/{path}", params=params) as response,
    ):
        assert response.status == 400
        body = await response.json()
        assert body["code"] == code
        assert body["msg"]


async def test_bybit_answers_have_bybits_documented_form() -> None:
    async with Simulator(rate=0, venues=("bybit",)) as sim:
        await sim["bybit"].trade("BTC", ids=range(1, 101))
        recent = await get(sim, "/v5/market/recent-trade", category="spot", symbol="BTCUSDT", limit=1000)
        rows = recent["result"]["list"]
        assert (recent["retCode"], recent["retMsg"]) == (0, "OK")
        assert [row["execId"] for row in rows] == [str(i) for i in range(100, 40, -1)]
        klines = await get(sim, "/v5/market/kline", category="spot", symbol="BTCUSDT", interval="1", limit=3)
        starts = [int(row[0]) for row in klines["result"]["list"]]
        assert starts == sorted(starts, reverse=True)
        assert len(starts) == 3
        assert (await get(sim, "/v5/market/time"))["result"]["timeSecond"].isdigit()
        for params in ({"symbol": "NOPE"}, {"symbol": "BTCUSDT", "interval": "7"}):
            wrong = await get(sim, "/v5/market/kline", category="spot", **params)
            assert wrong["retCode"] == 10001
        assert (await get(sim, "/v5/market/tickers", category="linear"))["retCode"] == 10001


async def test_three_thousand_markets_are_listed_at_once_and_compressed() -> None:
    async with (
        Simulator(rate=0, markets=3000) as sim,
        aiohttp.ClientSession(auto_decompress=False) as session,
    ):
        sizes: dict[str, int] = {}
        for path in ("/api/v3/exchangeInfo", "/v5/market/instruments-info?category=spot"):
            for encoding in ("gzip", "identity"):
                headers = {"Accept-Encoding": encoding}
                async with session.get(sim.rest_url + path, headers=headers) as response:
                    assert response.headers.get("Content-Encoding", "identity") == encoding
                    sizes[encoding] = len(await response.read())
            assert sizes["gzip"] < sizes["identity"] / 10
        listed: Any = await get(sim, "/api/v3/exchangeInfo")
        assert len(listed["symbols"]) == 3000


async def test_the_venue_makes_trades_at_its_rate() -> None:
    async with Simulator(rate=500, venues=("binance",)) as sim:
        venue = sim["binance"]
        await until(lambda: venue.trades_made > 200)
        assert all(venue.trades[coin] for coin in ("BTC", "INJ", "XRP"))
        venue.paused = True
        made = venue.trades_made
        await get(sim, "/api/v3/ping")
        assert venue.trades_made == made
        for market in venue.markets.values():
            ids = [trade.id for trade in market.trades]
            assert ids == list(range(ids[0], ids[0] + len(ids))) if ids else True


@pytest.mark.parametrize(
    ("path", "weight"),
    [
        ("ping", 1),
        ("exchangeInfo", 1),
        ("trades?symbol=BTCUSDT&limit=1000", 5),
        ("historicalTrades?symbol=BTCUSDT", 20),
        ("aggTrades?symbol=BTCUSDT", 20),
        ("klines?symbol=BTCUSDT&interval=1m&limit=99", 1),
        ("klines?symbol=BTCUSDT&interval=1m&limit=100", 2),
        ("klines?symbol=BTCUSDT&interval=1m&limit=500", 5),
        ("ticker/24hr?symbol=BTCUSDT", 1),
        ("ticker/24hr", 40),
        ("ticker/bookTicker?symbol=BTCUSDT", 2),
    ],
)
async def test_a_request_for_binances_perpetuals_has_the_documented_weight(path: str, weight: int) -> None:
    """The weights differ from those of spot, and the limit is 2,400 a minute instead of 6,000."""
    async with (
        Simulator(rate=0, venues=("binance_swap",)) as sim,
        aiohttp.ClientSession() as session,
        session.get(f"{sim.rest_url}/fapi/v1/{path}") as answer,
    ):
        assert answer.status == 200
        assert answer.headers["X-MBX-USED-WEIGHT-1M"] == str(weight)
