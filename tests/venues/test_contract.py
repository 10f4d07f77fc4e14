"""Each venue's ccxt class gets frames as the venue documents them; the tests check the events of a whole feed."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from itertools import count
from time import time_ns
from types import SimpleNamespace

import pytest

from exchanges import Access
from exchanges.ccxt_adapter.venue import open_venue
from feed import Candle, NoExchangeAvailable
from tests.scenarios.support import nothing_left
from tests.support import PATIENCE
from tests.venues.contract import Contract, Market, at, contract, made, session_at, values
from tests.venues.market import COINS, LISTED, MINUTE, PRICES, Day, Deal, VenueCandle, rest_candle
from tests.venues.wire import Wire, market_type, names, refuses_silently, script, sends_old_candles, venue, venue_name

QUIET = {"connecting", "connected"}  # status events of a feed without any problem


@pytest.fixture(params=names())
def name(request: pytest.FixtureRequest) -> str:
    """Each venue in turn. A test of a feature that the venue does not support yet must fail."""
    venue_name: str = request.param
    missing: Mapping[str, str] = getattr(script(venue_name), "MISSING", {})
    reason = missing.get(request.node.originalname)
    if reason is not None:
        request.applymarker(pytest.mark.xfail(strict=True, reason=reason))
    return venue_name


async def test_each_trade_arrives_once_in_order_and_unchanged(name: str) -> None:
    """Some messages have several trades, heartbeats come between them, and no task or connection is left at the end."""
    async with nothing_left(), contract(name) as it:
        for coin in COINS:
            await it.market.trade(coin, True, False, True)
            await it.wire.say_all(it.wire.script.HEARTBEATS)
            await it.market.trade(coin, False)
        for coin in COINS:
            await it.market.day(coin, later=2_000)
        for coin in COINS:
            await it.market.trade(coin, False, later=3_000)
        await it.arrived()
        it.true()
        assert set(it.got.events) == QUIET, it.got.status
        assert it.wire.missing == []


async def test_trades_from_before_the_subscription_are_not_delivered(name: str) -> None:
    """Old trades give no price, because on a quiet market even the newest trade may be hours old."""
    if not script(name).SENDS_OLD_TRADES:
        pytest.skip("the venue sends no trades from before")
    async with contract(name, history=True) as it:
        for coin in COINS:
            await it.market.trade(coin, True, False)
        await it.arrived()
        it.true()


async def test_an_outage_loses_no_trade(name: str) -> None:
    """Trades that are repeated at the new subscription and trades from REST are joined; each trade comes once."""
    async with contract(name) as it:
        await it.arrived()
        it.wire.cut()
        for coin in COINS:
            it.market.missed(coin, False, True, later=1_000)
        it.market.record()
        await it.wire.until_asked(it.topics())
        for coin in COINS:
            await it.market.trade(coin, True, False, later=2_000)
        await it.arrived()
        for coin in COINS:
            told = [trade for trade in it.got.trades if trade.coin == coin]
            deals = [deal for deal in it.market.deals if deal.coin == coin]
            assert [values(trade)[:-1] for trade in told] == [
                made(name, deal, by_rest=trade.backfilled)[:-1] for trade, deal in zip(told, deals, strict=True)
            ]
        assert {trade.coin for trade in it.got.trades if trade.backfilled} == set(COINS)
        assert it.wire.violations == []


async def test_tickers_give_the_24_h_statistics_and_the_price(name: str) -> None:
    if "ticker" in script(name).LACKS:
        pytest.skip("the venue streams no tickers")
    async with contract(name) as it:
        lacks = it.wire.script.LACKS
        await it.arrived()
        for coin in COINS:
            day = await it.market.day(coin, later=2_000)
            if "timestamp" not in lacks:
                tick = await it.price_at(coin, day.timestamp)
                assert (tick.price, tick.exchange) == (day.last, venue_name(name))
            await it.market.trade(coin, True, later=3_000)
            tick = await it.price_at(coin, it.market.deals[-1].timestamp)
            if "turnover" not in lacks:
                assert tick.volume_24h == pytest.approx(day.turnover)
            if "change" not in lacks:
                assert tick.change_24h == pytest.approx(day.change)
        it.true()


async def test_the_24_h_statistics_come_over_rest_if_the_venue_has_no_tickers(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The statistics come at the start and at intervals, while prices come from trades."""
    lacks = script(name).LACKS
    if "ticker" not in lacks:
        pytest.skip("the venue streams tickers")
    monkeypatch.setattr("feed.sessions.day_stats.EVERY", 0.05)

    async def told(it: Contract) -> None:
        day = vars(script(name))["rest_day"]("BTC", 0)
        expected = pytest.approx([math.nan if "turnover" in lacks else day.turnover, day.change], nan_ok=True)

        def known() -> bool:
            tick = it.feed.get_price("BTC")
            return tick is not None and [tick.volume_24h, tick.change_24h] == expected

        while not known():
            await it.market.trade("BTC", True, later=1_000)
            await it.arrived()
            await asyncio.sleep(0.01)  # new 24 h statistics appear only with the next trade

    async with contract(name) as it:
        await it.arrived()
        async with asyncio.timeout(PATIENCE):
            await told(it)
            monkeypatch.setattr(script(name), "rest_day", lambda coin, now: Day(coin, 90.0, 60.0, 5.0, now))
            await told(it)
        it.true()


@pytest.fixture
def stamped_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accept candles that are stamped minutes ahead of the clock, so that the tests need not wait for minutes."""
    monkeypatch.setattr("feed.candles.stamp_check.AHEAD", 5 * MINUTE)


@pytest.mark.usefixtures("stamped_ahead")
async def test_each_candle_is_closed_once(name: str) -> None:
    """Candles are streamed or built from trades. If they are built, the first candle is partial, and REST has the whole
    candle."""
    async with contract(name) as it:
        first = it.market.minute
        await (_stream_candles if it.native() else _trade_candles)(it)
        end = first + 2 * MINUTE  # on a slow machine a later candle may be over too
        await it.got.until(lambda: sum(candle.timestamp < end for candle in _closed(it)) >= 2 * len(COINS))
        closed = [candle for candle in _closed(it) if candle.timestamp < end]
        assert sorted((candle.coin, candle.timestamp) for candle in closed) == [
            (coin, opened) for coin in COINS for opened in (first, first + MINUTE)
        ]
        whole = {candle.coin: candle for candle in closed if candle.timestamp == first + MINUTE}
        for coin in COINS:
            candle, price = whole[coin], PRICES[coin] + 100
            assert (candle.open, candle.high, candle.low, candle.close) == (price, price + 9, price - 9, price + 3)
            assert candle.volume == pytest.approx(4.0)
            assert (candle.timeframe, candle.exchange, candle.market) == ("1m", venue_name(name), it.symbol(coin))
        assert it.wire.violations == []
        assert it.feed.status.bad_frames == 0


def _closed(it: Contract) -> list[Candle]:
    return [candle for candle in it.got.candles if candle.closed]


@pytest.mark.usefixtures("stamped_ahead")
async def test_candles_from_before_the_subscription_are_not_delivered_as_new(name: str) -> None:
    """The last of these candles is still open; the others were closed earlier."""
    if not sends_old_candles(name):
        pytest.skip("the venue sends no candles from before")
    async with contract(name, history=True) as it:
        await _stream_candles(it)
        await it.got.until(lambda: len(_closed(it)) >= 3 * len(COINS))
        first = it.market.minute
        for coin in COINS:
            candles = [candle for candle in it.got.candles if candle.coin == coin]
            assert candles[0].timestamp == first - MINUTE
            assert [candle.timestamp for candle in candles if candle.closed] == [first - MINUTE, first, first + MINUTE]
        assert it.feed.status.bad_frames == 0


async def _stream_candles(it: Contract) -> None:
    first = it.market.minute
    for coin in COINS:
        price = PRICES[coin] + 100
        candles = (
            VenueCandle(coin, first, price, price, price, price, 1.0),
            VenueCandle(coin, first, price, price + 1, price, price + 1, 2.0, closed=True),
            VenueCandle(coin, first + MINUTE, price, price, price, price, 1.0),
            VenueCandle(coin, first + MINUTE, price, price + 9, price, price, 2.0),
            VenueCandle(coin, first + MINUTE, price, price + 9, price - 9, price + 3, 4.0, closed=True),
            VenueCandle(coin, first + 2 * MINUTE, price, price, price, price, 1.0),
        )
        for candle in candles:
            await it.wire.say("candles", coin, it.wire.script.candle(candle))


async def _trade_candles(it: Contract) -> None:
    first, numbers = it.market.minute, count(8_001)
    for coin in COINS:
        price = PRICES[coin] + 100
        for minute, offset in ((1, 0), (1, 9), (1, -9), (1, 3), (2, 0)):
            deal = Deal(coin, next(numbers), price + offset, 1.0, False, first + minute * MINUTE + 30_000)
            await it.wire.say("trades", coin, it.wire.script.trades([deal]))


async def test_a_refused_coin_affects_no_other_coin(name: str) -> None:
    async with contract(name, "ETH") as it:
        for coin in ("BTC", "SOL"):
            await it.market.trade(coin, True, False)
        await it.arrived()
        it.true()
        if not refuses_silently(name):
            await it.got.until(lambda: any(each["coin"] == "ETH" for each in it.got.details("coin_unavailable")))
        assert it.feed.status.connected


async def test_an_error_that_names_no_subscription_ends_no_stream() -> None:
    """The error ends no market's stream. The additional request of this venue stays open too, although it never gets
    data."""
    async with contract("coinbase") as it:
        await it.arrived()
        for coin in COINS:
            await it.market.trade(coin, True)
            await it.market.day(coin)
        await it.arrived()
        await it.wire.say_all([{"type": "error", "message": "something else"}])
        for coin in COINS:
            await it.market.trade(coin, False, later=1_000)
        await it.arrived()
        it.true()
        assert it.feed.status.bad_frames == 1  # the frame with the error
        assert set(it.got.events) == {*QUIET, "bad_frame"}, it.got.status


async def test_connecting_fails_at_once_if_the_venue_refuses_every_coin() -> None:
    """The additional request of this venue is not refused, but it gets no data."""
    async with venue("coinbase") as wire:
        wire.refused.add("BTC")
        feed = at(wire, ["BTC"])
        with pytest.raises(NoExchangeAvailable, match="refused every subscription"):
            await feed.connect(timeout=PATIENCE)


async def test_the_subscriptions_of_twenty_coins_stay_within_the_limits(name: str) -> None:
    async with venue(name) as wire:
        feed = at(wire, LISTED)
        wanted = Contract(wire, feed).topics(LISTED)
        connecting = asyncio.create_task(feed.connect())
        try:
            await wire.until_asked(wanted)
            assert wire.violations == []
        finally:
            connecting.cancel()
            await asyncio.gather(connecting, return_exceptions=True)
            await feed.disconnect()


async def test_trades_over_rest_equal_those_of_the_stream(name: str) -> None:
    """Ids, sides and times must be equal, because outages are filled with trades over REST."""
    async with venue(name) as wire:
        market = Market(wire)
        market.before()
        session = session_at(wire)
        try:
            await session.load()
            for coin in COINS:
                told = await session.fetch_trades(coin, session.market(coin))
                assert {trade.market for trade in told} == {session.market(coin)}
                assert [values(trade) for trade in told] == [
                    made(name, deal, by_rest=True) for deal in wire.history[coin]
                ]
        finally:
            await session.close()


async def test_past_candles_over_rest_begin_at_the_requested_time(name: str) -> None:
    """No request asks for more candles than the venue allows."""
    async with venue(name) as wire:
        session = session_at(wire)
        since = time_ns() // 1_000_000 // MINUTE * MINUTE - 5 * MINUTE
        try:
            await session.load()
            for coin in COINS:
                candles = await session.fetch_candles(coin, session.market(coin), "1m", since)
                assert [each.timestamp for each in candles[:3]] == [since + number * MINUTE for number in range(3)]
                for each in candles:
                    candle = rest_candle(coin, each.timestamp)
                    values = [each.open, each.high, each.low, each.close, each.volume]
                    assert values == pytest.approx([candle.open, candle.high, candle.low, candle.close, candle.volume])
        finally:
            await session.close()
        assert wire.missing == []


async def test_the_venues_own_ping_is_answered(name: str) -> None:
    """The test runs for venues that send pings as messages."""
    pong: object = getattr(script(name), "ANSWERED", None)
    if pong is None:
        pytest.skip("the venue sends no ping that needs an answer")
    async with contract(name) as it:
        await it.wire.say_all(it.wire.script.HEARTBEATS)
        await it.wire.until_told(pong)


def test_the_client_sends_its_ping_in_time_and_accepts_the_answer(name: str) -> None:
    limit = script(name).LAWS.ping_within
    exchange = open_venue(venue_name(name), Access(market_type(name)))._api
    if limit is None:
        pytest.skip("the venue asks for no ping")
    assert exchange.streaming["keepAlive"] / 1000 < limit
    if getattr(exchange, "ping", None) is None:
        return  # the venue gets the WebSocket's own pings, which the library sends
    wire = Wire(name, None)  # type: ignore[arg-type] # this Wire serves nobody
    path = script(name).LAWS.paths.get("trades", "/")
    assert list(script(name).answer(exchange.ping(SimpleNamespace(url=f"wss://venue{path}")), wire))
