"""Each venue's ccxt class, fed with frames in the shapes that the venue documents, through the whole feed."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from itertools import count
from time import time_ns
from types import SimpleNamespace

import pytest

from exchanges import Access, open_exchange
from feed import Candle, MarketFeed, PriceTick, Settings, TradeEvent
from feed.settings import Connection, ExchangeConfig
from tests.scenarios.support import nothing_left
from tests.support import Recorder
from tests.venues.market import (
    CHANNELS,
    COINS,
    LISTED,
    MINUTE,
    OLD_FACTOR,
    PRICES,
    REST_FACTOR,
    Bar,
    Day,
    Deal,
    rest_bar,
)
from tests.venues.wire import Topic, Wire, names, options, script, sends_old_bars, trade_id, venue

AHEAD = 20_000  # ms; however slow the machine, a trade must not be old when it comes, for then it may count as history
ROOM = 10_000  # ms that are left of the minute in which a test trades
QUIET = {"connecting", "connected"}  # what a feed tells to which nothing but data came


@pytest.fixture(params=names())
def name(request: pytest.FixtureRequest) -> str:
    """Each venue in turn; what the code can't do for it yet must fail."""
    venue_name: str = request.param
    missing: Mapping[str, str] = getattr(script(venue_name), "MISSING", {})
    reason = missing.get(request.node.originalname)
    if reason is not None:
        request.applymarker(pytest.mark.xfail(strict=True, reason=reason))
    return venue_name


class Market:
    """Makes what happens on the venue and remembers it."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        now = time_ns() // 1_000_000 + AHEAD
        if now % MINUTE > MINUTE - ROOM:
            now += ROOM
        self.minute = now - now % MINUTE
        self.now = now
        self.deals: list[Deal] = []
        self.days: dict[str, Day] = {}
        self._numbers = count(7_001)

    def before(self) -> None:
        """Trades and bars from before the subscription, which some venues send then."""
        for coin in COINS:
            opened = [self.minute - number * MINUTE for number in (3, 2, 1)]
            self.wire.old_bars[coin] = [rest_bar(coin, minute) for minute in opened]
            self.wire.history[coin] = [
                Deal(coin, number, PRICES[coin] * OLD_FACTOR, 0.5, bool(number % 2), self.now - 60_000 + number)
                for number in range(6_001, 6_006)
            ]

    async def trade(self, coin: str, *sides: bool, later: int = 0) -> None:
        """One message with a trade per side (True: the taker sold), ``later`` ms after the test's begin."""
        await self.wire.say("trades", coin, self.wire.script.trades(self._make(coin, sides, later)))

    def missed(self, coin: str, *sides: bool, later: int = 0) -> None:
        """Trades while nobody is connected: the venue's record has them."""
        self._make(coin, sides, later)

    def _make(self, coin: str, sides: Collection[bool], later: int) -> list[Deal]:
        deals = []
        for sold in sides:
            number = next(self._numbers)
            timestamp = self.now + later + number % 100
            deals.append(Deal(coin, number, PRICES[coin] + number % 7, 0.25 + number % 3, sold, timestamp))
        self.deals += deals
        return deals

    def record(self) -> None:
        """What the venue tells of the past from now on."""
        for coin in COINS:
            self.wire.history[coin] = [deal for deal in self.deals if deal.coin == coin]

    async def day(self, coin: str, later: int = 0) -> Day:
        last = PRICES[coin] + 20
        day = self.days[coin] = Day(coin, last, last / 1.05, 2_000.0, self.now + later)
        await self.wire.say("ticker", coin, self.wire.script.ticker(day))
        return day

    def prices(self, coin: str) -> set[float]:
        """Every price that the feed may tell."""
        days = [day.last for day in self.days.values() if day.coin == coin]
        return {*(deal.price for deal in self.deals if deal.coin == coin), *days, PRICES[coin] * REST_FACTOR}


class Contract:
    """A feed on one venue, what the venue made and what the feed told."""

    def __init__(self, wire: Wire, feed: MarketFeed) -> None:
        self.wire = wire
        self.feed = feed
        self.got = Recorder(feed)
        self.market = Market(wire)

    def native(self) -> bool:
        return "candles" not in self.wire.script.LACKS

    def topics(self, coins: Collection[str] = COINS) -> set[Topic]:
        """What the feed must subscribe to."""
        channels = CHANNELS if self.native() else CHANNELS[:-1]
        beside = {(channel, "") for channel in self.wire.script.LAWS.wanted}
        return {(channel, coin) for channel in channels for coin in coins} | beside

    def true(self) -> None:
        """Every trade once, in its coin's order and as it was, and no price that nobody made."""
        name = self.wire.name
        told: dict[str, list[tuple[object, ...]]] = defaultdict(list)
        made: dict[str, list[tuple[object, ...]]] = defaultdict(list)
        for trade in self.got.trades:
            told[trade.coin].append(_values(trade))
        for deal in self.market.deals:
            made[deal.coin].append(_made(name, deal))
        assert told == made
        for coin in COINS:
            assert {tick.price for tick in self.got.prices if tick.coin == coin} <= self.market.prices(coin)
        assert self.wire.violations == []

    async def arrived(self) -> None:
        await self.got.until(lambda: len(self.got.trades) >= len(self.market.deals))

    async def price_at(self, coin: str, timestamp: int) -> PriceTick:
        """The coin's tick of that time, once it came."""
        await self.got.until(lambda: any((tick.coin, tick.timestamp) == (coin, timestamp) for tick in self.got.prices))
        return next(tick for tick in self.got.prices if (tick.coin, tick.timestamp) == (coin, timestamp))


def _values(trade: TradeEvent) -> tuple[object, ...]:
    return (trade.price, trade.quantity, trade.is_buyer_maker, trade.timestamp, trade.trade_id, trade.exchange,
            trade.backfilled)  # fmt: skip


def at(wire: Wire, coins: Collection[str]) -> MarketFeed:
    """The seed's own use of the feed, but that the venue is on loopback."""
    rest_url, ws_url = f"http://{wire.address}", f"ws://{wire.address}"
    config = ExchangeConfig(wire.name, rest_url=rest_url, ws_url=ws_url, options=options(wire.name))
    settings = Settings(exchanges=[config], connection=Connection(backoff_initial=0.05))
    return MarketFeed(coins, exchange=wire.name, settings=settings)


def _made(name: str, deal: Deal) -> tuple[object, ...]:
    """What a trade must be told as."""
    if getattr(script(name), "TRADE_IDS", True):
        known_as = trade_id(name, deal.number)
    else:
        known_as = f"{deal.timestamp}-{deal.price!r}-{deal.quantity!r}-{'sell' if deal.sold else 'buy'}-1"
    return (deal.price, deal.quantity, deal.sold, deal.timestamp, known_as, name, False)


@asynccontextmanager
async def contract(name: str, *refused: str, history: bool = False) -> AsyncIterator[Contract]:
    """A feed that is connected, with one trade of each coin.

    ``refused`` coins get the venue's error; ``history``: it has trades from before the subscription.
    """
    async with venue(name) as wire:
        wire.refused.update(refused)
        feed = at(wire, ["BTC", "ETH", "SOL"])
        it = Contract(wire, feed)
        if history:
            it.market.before()
        connecting = asyncio.create_task(feed.connect())
        try:
            coins = [coin for coin in COINS if coin not in refused]
            await asyncio.wait({connecting, asked := asyncio.create_task(wire.until_asked(it.topics(coins)))},
                               return_when=asyncio.FIRST_COMPLETED)  # fmt: skip
            if connecting.done():
                await connecting
            await asked
            for coin in coins:
                await it.market.trade(coin, True)
            await connecting
            yield it
        finally:
            connecting.cancel()
            await asyncio.gather(connecting, return_exceptions=True)
            await feed.disconnect()


async def test_trades_arrive_once_each_in_order_and_as_they_were(name: str) -> None:
    """With several to a message, and heartbeats between them; afterwards nothing is left behind."""
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


async def test_trades_from_before_the_subscription_are_no_news(name: str) -> None:
    """Neither a live trade nor a price: the newest of them may be hours old on a quiet market."""
    if not script(name).SENDS_OLD_TRADES:
        pytest.skip("the venue sends no trades from before")
    async with contract(name, history=True) as it:
        for coin in COINS:
            await it.market.trade(coin, True, False)
        await it.arrived()
        it.true()


async def test_an_outage_loses_no_trade(name: str) -> None:
    """What the venue repeats at the new subscription and what its REST gives are joined, each trade once."""
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
            told = [_values(trade)[:-1] for trade in it.got.trades if trade.coin == coin]
            assert told == [_made(name, deal)[:-1] for deal in it.market.deals if deal.coin == coin]
        assert {trade.coin for trade in it.got.trades if trade.backfilled} == set(COINS)
        assert it.wire.violations == []


async def test_tickers_tell_the_day_and_the_price(name: str) -> None:
    async with contract(name) as it:
        lacks = it.wire.script.LACKS
        await it.arrived()
        for coin in COINS:
            day = await it.market.day(coin, later=2_000)
            if "timestamp" not in lacks:
                tick = await it.price_at(coin, day.timestamp)
                assert (tick.price, tick.exchange) == (day.last, name)
            await it.market.trade(coin, True, later=3_000)
            tick = await it.price_at(coin, it.market.deals[-1].timestamp)
            if "turnover" not in lacks:
                assert tick.volume_24h == pytest.approx(day.turnover)
            if "change" not in lacks:
                assert tick.change_24h == pytest.approx(day.change)
        it.true()


async def test_each_bar_is_closed_once(name: str) -> None:
    """Streamed by the venue, or built from its trades: the first bar seen is partial then, and REST tells it whole."""
    async with contract(name) as it:
        first = it.market.minute
        await (_stream_bars if it.native() else _trade_bars)(it)
        await it.got.until(lambda: len(_closed(it)) >= 2 * len(COINS))
        closed = _closed(it)
        assert sorted((bar.coin, bar.timestamp) for bar in closed) == [
            (coin, opened) for coin in COINS for opened in (first, first + MINUTE)
        ]
        whole = {bar.coin: bar for bar in closed if bar.timestamp == first + MINUTE}
        for coin in COINS:
            bar, price = whole[coin], PRICES[coin] + 100
            assert (bar.open, bar.high, bar.low, bar.close) == (price, price + 9, price - 9, price + 3)
            assert bar.volume == pytest.approx(4.0)
            assert (bar.timeframe, bar.exchange) == ("1m", name)
        assert it.wire.violations == []
        assert it.feed.status.bad_frames == 0


def _closed(it: Contract) -> list[Candle]:
    return [bar for bar in it.got.candles if bar.closed]


async def test_bars_from_before_the_subscription_are_no_news(name: str) -> None:
    """The last of them is the one that goes on; the others are closed, but not now."""
    if not sends_old_bars(name):
        pytest.skip("the venue sends no bars from before")
    async with contract(name, history=True) as it:
        await _stream_bars(it)
        await it.got.until(lambda: len(_closed(it)) >= 3 * len(COINS))
        first = it.market.minute
        for coin in COINS:
            bars = [bar for bar in it.got.candles if bar.coin == coin]
            assert bars[0].timestamp == first - MINUTE
            assert [bar.timestamp for bar in bars if bar.closed] == [first - MINUTE, first, first + MINUTE]
        assert it.feed.status.bad_frames == 0


async def _stream_bars(it: Contract) -> None:
    first = it.market.minute
    for coin in COINS:
        price = PRICES[coin] + 100
        bars = (
            Bar(coin, first, price, price, price, price, 1.0),
            Bar(coin, first, price, price + 1, price, price + 1, 2.0, closed=True),
            Bar(coin, first + MINUTE, price, price, price, price, 1.0),
            Bar(coin, first + MINUTE, price, price + 9, price, price, 2.0),
            Bar(coin, first + MINUTE, price, price + 9, price - 9, price + 3, 4.0, closed=True),
            Bar(coin, first + 2 * MINUTE, price, price, price, price, 1.0),
        )
        for bar in bars:
            await it.wire.say("candles", coin, it.wire.script.candle(bar))


async def _trade_bars(it: Contract) -> None:
    first, numbers = it.market.minute, count(8_001)
    for coin in COINS:
        price = PRICES[coin] + 100
        for minute, offset in ((1, 0), (1, 9), (1, -9), (1, 3), (2, 0)):
            deal = Deal(coin, next(numbers), price + offset, 1.0, False, first + minute * MINUTE + 30_000)
            await it.wire.say("trades", coin, it.wire.script.trades([deal]))


async def test_a_coin_that_is_refused_takes_no_other_along(name: str) -> None:
    async with contract(name, "ETH") as it:
        for coin in ("BTC", "SOL"):
            await it.market.trade(coin, True, False)
        await it.arrived()
        it.true()
        await it.got.until(lambda: any(each["coin"] == "ETH" for each in it.got.details("coin_unavailable")))
        assert it.feed.status.connected


async def test_the_subscriptions_of_twenty_coins_keep_the_laws(name: str) -> None:
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


async def test_trades_over_rest_are_those_of_the_stream(name: str) -> None:
    """The same ids, sides and times: what an outage missed is filled with them."""
    async with venue(name) as wire:
        market = Market(wire)
        market.before()
        access = Access(rest_url=f"http://{wire.address}", options=options(name))
        session = open_exchange(name, access)
        try:
            await session.load()
            for coin in COINS:
                told = await session.fetch_trades(coin, session.market(coin))
                assert [_values(trade) for trade in told] == [_made(name, deal) for deal in wire.history[coin]]
        finally:
            await session.close()


async def test_past_bars_over_rest_begin_where_they_were_asked_for(name: str) -> None:
    """However many are asked for: no request exceeds what the venue gives at once."""
    async with venue(name) as wire:
        session = open_exchange(name, Access(rest_url=f"http://{wire.address}", options=options(name)))
        since = time_ns() // 1_000_000 // MINUTE * MINUTE - 5 * MINUTE
        try:
            await session.load()
            for coin in COINS:
                rows = await session.fetch_candles(session.market(coin), "1m", since)
                assert [row[0] for row in rows[:3]] == [since + number * MINUTE for number in range(3)]
                for row in rows:
                    bar = rest_bar(coin, row[0])
                    assert row[1:] == pytest.approx([bar.open, bar.high, bar.low, bar.close, bar.volume])
        finally:
            await session.close()
        assert wire.missing == []


async def test_the_venues_own_ping_is_answered(name: str) -> None:
    """Where it is a message of the venue's own, not of the WebSocket's."""
    pong: object = getattr(script(name), "ANSWERED", None)
    if pong is None:
        pytest.skip("the venue sends none that wants an answer")
    async with contract(name) as it:
        await it.wire.say_all(it.wire.script.HEARTBEATS)
        await it.wire.until_told(pong)


def test_the_clients_own_ping_comes_in_time_and_is_answered(name: str) -> None:
    limit = script(name).LAWS.ping_within
    exchange = open_exchange(name)._api
    if limit is None:
        pytest.skip("the venue asks for no ping")
    assert exchange.streaming["keepAlive"] / 1000 < limit
    if getattr(exchange, "ping", None) is None:
        return  # it sends the WebSocket's own, which the library answers
    wire = Wire(name, None)  # type: ignore[arg-type] # it serves nobody here
    path = script(name).LAWS.paths.get("trades", "/")
    assert list(script(name).answer(exchange.ping(SimpleNamespace(url=f"wss://venue{path}")), wire))
