"""One connection over the real ccxt.pro classes and loopback sockets: its data is complete, the venue's limits are
kept, and errors are clear."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from exchanges import profile_of
from exchanges.ccxt_adapter.venue import CcxtVenue
from exchanges.errors import Rejected
from exchanges.simulator import BINANCE_LAWS, Simulator
from exchanges.simulator import SimulatedVenue as Simulated
from exchanges.simulator.markets.catalog import DEFAULT_COINS
from tests.exchanges.ccxt_adapter.stream.support import carries, on_both
from tests.exchanges.support import CHANNELS, VENUES, opened, served, streaming
from tests.support import made_ids

# --- subscribing ------------------------------------------------------------------------------------------------------


async def test_twenty_coins_and_all_channels_share_one_connection(venue: CcxtVenue, simulated: Simulated) -> None:
    simulated.rate = 500
    async with streaming(venue, DEFAULT_COINS, CHANNELS) as running:
        await running.until(carries(simulated, 60))
        heard = running.heard
        for events in (heard.trades, heard.tickers, heard.candles):
            await running.until(lambda events=events: {event.coin for event in events} == set(DEFAULT_COINS))  # type: ignore[misc] # mypy cannot check a lambda with a default
        assert len(simulated.dials) == 1
        assert simulated.violations == []
        assert heard.bad == []
        assert heard.unavailable == []


@pytest.mark.parametrize("name", VENUES)
async def test_more_than_a_hundred_coins_share_one_connection(name: str) -> None:
    """The requests follow the venue's rules: ten topics each on Bybit, five messages a second on Binance."""
    async with Simulator(venues=(name,), rate=0, markets=145) as simulator, opened(name, simulator) as venue:
        made = simulator[name]
        coins = sorted({market.coin for market in made.markets.values()})
        assert len(coins) == 140
        async with streaming(venue, coins, ["trades", "ticker"]) as running:
            await running.until(carries(made, 280))
            for coin in coins:
                await made.trade(coin)
            await running.until(lambda: [trade.coin for trade in running.heard.trades] == coins)
        assert len(made.dials) == 1
        assert made.violations == []


@pytest.mark.parametrize("name", VENUES)
async def test_closing_ends_requests_that_wait_to_be_sent(name: str) -> None:
    """ccxt starts a task for each request. The task waits until the venue's limit of messages allows the request."""
    async with Simulator(venues=(name,), rate=0, markets=145) as simulator:
        before = asyncio.all_tasks()
        options = {"ws": {"cost": 1000}}  # the second message waits for a minute
        async with opened(name, simulator, options=options) as venue:
            coins = sorted({market.coin for market in simulator[name].markets.values()})
            async with streaming(venue, coins, ["trades", "ticker"]) as running:
                await running.until(lambda: any("Throttler.looper" in repr(task) for task in asyncio.all_tasks()))
        left = [repr(task) for task in asyncio.all_tasks() - before]
        assert [each for each in left if "send_message" in each or "Throttler" in each] == []


async def test_only_the_streams_beyond_binances_limit_are_refused() -> None:
    """The other streams continue, and no rule of the venue is broken. A limit of 103 streams is used in place of
    Binance's 1024.
    """
    limit = 103
    laws = {"binance": replace(BINANCE_LAWS, streams=limit)}
    options = {"subscriptionLimitByStream": {"spot": limit}}
    async with (
        Simulator(venues=("binance",), rate=0, markets=145, laws=laws) as simulator,
        opened("binance", simulator, options=options) as venue,
    ):
        made = simulator["binance"]
        coins = sorted({market.coin for market in made.markets.values()})
        async with streaming(venue, coins) as running:
            await running.until(lambda: len(running.heard.unavailable) == len(coins) - limit)
            await running.until(carries(made, limit))
            surplus = {coin for _, (coin,), _ in running.heard.unavailable}
            for coin in coins:
                await made.trade(coin)
            await running.until(lambda: {trade.coin for trade in running.heard.trades} == set(coins) - surplus)
        assert made.violations == []


def test_binances_limit_of_streams_is_fully_used() -> None:
    assert profile_of("binance").options["subscriptionLimitByStream"]["spot"] == BINANCE_LAWS.streams == 1024


async def test_one_unknown_symbol_does_not_affect_the_other_symbols() -> None:
    """Bybit refuses the whole request that contains the wrong topic."""
    async with Simulator(venues=("bybit",), rate=0) as simulator, opened("bybit", simulator) as venue:
        made = simulator["bybit"]
        await venue.load()
        gone = made.markets.pop("DOGEUSDT")
        coins = list(DEFAULT_COINS)
        async with streaming(venue, coins, CHANNELS) as running:
            await running.until(carries(made, 57))
            await running.until(lambda: len(running.heard.unavailable) == 3)
            told = {(channel, *coins) for channel, coins, _ in running.heard.unavailable}
            assert told == {(channel, gone.coin) for channel in CHANNELS}
            assert all("DOGEUSDT" in reason for _, _, reason in running.heard.unavailable)
            assert ("candles", "1m") in running.heard.refused
            coins.remove("DOGE")
            for coin in coins:
                await made.trade(coin, count=3)
            await running.until(lambda: len(running.heard.trades) == 57)
            assert all(running.heard.ids(coin) == made_ids(made, coin) for coin in coins)
        assert len(made.dials) == 1


async def test_a_stream_without_any_subscription_left_is_refused() -> None:
    async with Simulator(venues=("bybit",), rate=0) as simulator, opened("bybit", simulator) as venue:
        await venue.load()
        del simulator["bybit"].markets["BTCUSDT"]
        async with streaming(venue, ["BTC"]) as running:
            error = await running.ended()
        assert isinstance(error, Rejected)
        assert running.heard.unavailable[0][:2] == ("trades", ["BTC"])


async def test_a_coin_that_is_added_right_after_the_last_refusal_is_subscribed() -> None:
    """Every coin was refused, so the stream is about to end, but the feed has not noticed that yet when it adds a
    coin."""
    async with Simulator(venues=("bybit",), rate=0) as simulator, opened("bybit", simulator) as venue:
        await venue.load()
        made = simulator["bybit"]
        del made.markets["BTCUSDT"]
        async with streaming(venue, ["BTC"]) as running:
            loop, tell = asyncio.get_running_loop(), running.heard.on_unavailable
            added = loop.create_future()

            def add() -> None:
                try:
                    running.stream.add({"ETH": venue.market("ETH")})
                except RuntimeError as error:
                    added.set_exception(error)
                else:
                    added.set_result(None)

            def on_unavailable(channel: str, coins: list[str], reason: str, timeframe: str = "") -> None:
                tell(channel, coins, reason, timeframe)
                # two turns later, ccxt's last call has ended, but the stream has not noticed it yet
                loop.call_soon(loop.call_soon, add)

            running.heard.on_unavailable = on_unavailable  # type: ignore[method-assign] # the stream reads this attribute
            await added
            await running.until(carries(made, 1))
            await made.trade("ETH")
            await running.until(lambda: running.heard.ids("ETH") == made_ids(made, "ETH"))


async def test_several_timeframes_and_quotes_are_delivered(venue: CcxtVenue, simulated: Simulated) -> None:
    simulated.rate = 200
    quotes = ["quotes"] if venue.name == "binance" else []
    async with streaming(venue, ["BTC"], ["candles", *quotes], ["1m", "5m"]) as running:
        heard = running.heard
        await running.until(lambda: {candle.timeframe for candle in heard.candles} == {"1m", "5m"})
        await running.until(lambda: len(heard.quotes) >= 3 * len(quotes))
        assert all(0 < quote.bid <= quote.ask for quote in heard.quotes)
        assert simulated.violations == []


# --- delivering -------------------------------------------------------------------------------------------------------


def rows(count: int, first: int = 1) -> list[Any]:
    """Rows of Bybit's publicTrade topic."""
    now = 1_700_000_000_000
    return [
        {"i": str(first + number), "T": now, "p": "100.5", "v": "0.25", "S": "Buy", "s": "BTCUSDT", "BT": False}
        for number in range(count)
    ]


async def sent(simulated: Simulated, data: Any) -> None:
    frame = {"topic": "publicTrade.BTCUSDT", "ts": 1_700_000_000_000, "type": "snapshot", "data": data}
    simulated.send("publicTrade.BTCUSDT", json.dumps(frame))
    simulated.flush()


BAD_ROWS: list[Any] = [None, 7, [], {}, {"v": "many"}, {"v": None}, {"p": "-1"}, {"T": 5}, {"S": "?"}]


async def test_a_bad_row_of_a_frame_affects_no_other_row() -> None:
    """The other rows are delivered once and in order, wherever the bad row is and whatever its fault."""
    async with Simulator(venues=("bybit",), rate=0) as simulator, opened("bybit", simulator) as venue:
        made = simulator["bybit"]
        async with streaming(venue, ["BTC"]) as running:
            await running.until(carries(made, 1))
            heard, expected = running.heard, 0
            for bad in BAD_ROWS:
                for place in range(4):
                    good = rows(3, first=expected)
                    wrong = {**good[0], "i": "999999", **bad} if isinstance(bad, dict) and bad else bad
                    await sent(made, [*good[:place], wrong, *good[place:]])
                    expected += 3
                await running.until(lambda: len(heard.trades) + len(heard.bad) >= expected // 3 * 4)  # noqa: B023 - awaited here
                assert heard.ids("BTC") == list(range(expected)), bad
            assert len(heard.bad) == 4 * len(BAD_ROWS)
            assert not running.task.done()


@on_both
async def test_a_burst_is_delivered_completely_and_ccxts_caches_do_not_grow(
    venue: CcxtVenue, simulated: Simulated
) -> None:
    """The burst has 50,000 trades on five coins, with tickers and candles between them."""
    coins = list(DEFAULT_COINS)[:5]
    async with streaming(venue, coins, CHANNELS) as running:
        exchange, heard = running.exchange, running.heard
        await running.until(carries(simulated, 15))
        await simulated.burst(500, coins=coins)
        await running.until(lambda: len(heard.trades) == 500 and len(heard.tickers) >= 5 and len(heard.candles) >= 5)
        before = kept(exchange)
        await simulated.burst(49_500, coins=coins)
        await running.until(lambda: len(heard.trades) == 50_000, timeout=60)
        assert kept(exchange) == before
        for coin in coins:
            assert heard.ids(coin) == made_ids(simulated, coin)
        assert heard.bad == []


def kept(exchange: Any) -> dict[str, int]:
    """How much ccxt keeps: rows in its caches, and entries of its client."""
    (client,) = exchange.clients.values()
    return {
        "trades": sum(map(len, exchange.trades.values())),
        "tickers": len(exchange.tickers),
        "bidsasks": len(exchange.bidsasks),
        "candles": sum(len(store) for stores in exchange.ohlcvs.values() for store in stores.values()),
        "futures": len(client.futures),
        "callbacks": sum(len(future._callbacks or ()) for future in client.futures.values()),
        "subscriptions": len(client.subscriptions),
        "rejections": len(client.rejections),
        "order books": len(exchange.orderbooks),
    }


@on_both
async def test_malformed_frames_affect_no_other_frame(venue: CcxtVenue, simulated: Simulated) -> None:
    async with streaming(venue, ["BTC", "ETH"]) as running:
        await running.until(carries(simulated, 2))
        await simulated.burst(2_000, coins=["BTC", "ETH"], malformed=0.3)
        await running.until(lambda: len(running.heard.trades) == 2_000)
        for coin in ("BTC", "ETH"):
            assert running.heard.ids(coin) == made_ids(simulated, coin)
        assert running.heard.bad
        assert not running.task.done()


async def test_a_missing_channel_is_reported_unless_other_data_replaces_it() -> None:
    """Bitstamp streams no tickers and no candles: 24 h statistics come from its REST, candles are built from trades."""

    async def markets(request: web.Request) -> web.Response:
        pair = {
            "name": "BTC/USD", "market_symbol": "btcusd", "url_symbol": "btcusd", "base_decimals": 8,
            "counter_decimals": 2, "base_currency": "BTC", "counter_currency": "USD", "minimum_order": "10 USD",
            "minimum_order_value": "10", "trading": "Enabled", "market_type": "SPOT", "description": "Bitcoin",
            "instant_order_counter_decimals": 2, "instant_and_market_orders": "Enabled",
        }  # fmt: skip
        return web.json_response([pair])

    asked: list[Any] = []

    async def stream(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            asked.append(message.json())
            trade = {"id": 1, "timestamp": "1722866228", "microtimestamp": "1722866228000000", "type": 0}
            trade |= {"amount": 0.5, "amount_str": "0.5", "price": 60000, "price_str": "60000"}
            await socket.send_json({"event": "trade", "channel": "live_trades_btcusd", "data": trade})
        return socket

    async with (
        served(web.get("/api/v2/markets/", markets), web.get("/", stream)) as at,
        opened("bitstamp", at) as venue,
        streaming(venue, ["BTC"], CHANNELS) as running,
    ):
        await running.until(lambda: len(running.heard.trades) == 1)
        assert running.heard.unavailable == []
        assert running.heard.trades[0].price == 60000
        assert running.heard.candles == []
        assert len(asked) == 1
        async with streaming(venue, ["BTC"], ["candles"]) as without_trades:
            assert "refused every subscription" in str(await without_trades.ended())
            told = [(channel, coins) for channel, coins, _ in without_trades.heard.unavailable]
            assert told == [("candles", ["BTC"])]
