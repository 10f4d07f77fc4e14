"""A feed on one simulated venue, the venue's events, and the events that the feed must deliver."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from itertools import count
from time import time_ns
from typing import Any

from exchanges import Access
from exchanges.ccxt_adapter.venue import CcxtVenue, open_venue
from feed import MarketFeed, PriceTick, Settings, TradeEvent
from feed.settings.schema import Channel, Connection, ExchangeConfig
from tests.support import Recorder
from tests.venues.market import CHANNELS, COINS, MINUTE, OLD_FACTOR, PRICES, REST_FACTOR, Day, Deal, rest_candle
from tests.venues.wire import Topic, Wire, market_type, options, quotes, script, trade_id, venue, venue_name

# ms by which the venue's times are ahead: even on a slow machine, no trade is old enough to count as a past trade
AHEAD = 20_000
ROOM = 10_000  # ms that must be left of the minute in which a test trades


class Market:
    """Makes the venue's events and keeps them."""

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
        """Make trades and candles from before the subscription; some venues answer a subscription with them."""
        for coin in COINS:
            opened = [self.minute - number * MINUTE for number in (3, 2, 1)]
            self.wire.old_candles[coin] = [rest_candle(coin, minute) for minute in opened]
            self.wire.history[coin] = [
                Deal(coin, number, PRICES[coin] * OLD_FACTOR, 0.5, bool(number % 2), self.now - 60_000 + number)
                for number in range(6_001, 6_006)
            ]

    async def trade(self, coin: str, *sides: bool, later: int = 0) -> None:
        """Send one message with a trade per side (True: the taker sold), ``later`` ms after the test's start."""
        await self.wire.say("trades", coin, self.wire.script.trades(self._make(coin, sides, later)))

    def missed(self, coin: str, *sides: bool, later: int = 0) -> None:
        """Make trades that are not sent, because nobody is connected; ``record`` puts them into the venue's past
        trades."""
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
        """Let the venue send all trades so far as its past trades."""
        for coin in COINS:
            self.wire.history[coin] = [deal for deal in self.deals if deal.coin == coin]

    async def day(self, coin: str, later: int = 0) -> Day:
        last = PRICES[coin] + 20
        day = self.days[coin] = Day(coin, last, last / 1.05, 2_000.0, self.now + later)
        await self.wire.say("ticker", coin, self.wire.script.ticker(day))
        return day

    def prices(self, coin: str) -> set[float]:
        """Every price that the feed may deliver."""
        days = [day.last for day in self.days.values() if day.coin == coin]
        return {*(deal.price for deal in self.deals if deal.coin == coin), *days, PRICES[coin] * REST_FACTOR}


class Contract:
    """A feed on one venue, with the events that the venue makes and those that the feed delivers."""

    def __init__(self, wire: Wire, feed: MarketFeed) -> None:
        self.wire = wire
        self.feed = feed
        self.got = Recorder(feed)
        self.market = Market(wire)

    def symbol(self, coin: str) -> str:
        """The market symbol of the coin."""
        carrier = self.feed._runner.carrier(coin)
        assert carrier is not None
        return carrier.venue.market(coin)

    def native(self) -> bool:
        return "candles" not in self.wire.script.LACKS

    def topics(self, coins: Collection[str] = COINS) -> set[Topic]:
        """The topics that the feed must subscribe to."""
        channels = [channel for channel in CHANNELS if channel not in self.wire.script.LACKS]
        beside = {(channel, "") for channel in self.wire.script.LAWS.wanted}
        return {(channel, coin) for channel in channels for coin in coins} | beside

    def true(self) -> None:
        """Check that every trade came once, in its coin's order and unchanged, and that no price was invented."""
        name = self.wire.name
        told: dict[str, list[tuple[object, ...]]] = defaultdict(list)
        due: dict[str, list[tuple[object, ...]]] = defaultdict(list)
        for trade in self.got.trades:
            told[trade.coin].append(values(trade))
        for deal in self.market.deals:
            due[deal.coin].append(made(name, deal))
        assert told == due
        for coin in COINS:
            assert {tick.price for tick in self.got.prices if tick.coin == coin} <= self.market.prices(coin)
        events: list[Any] = [*self.got.trades, *self.got.prices, *self.got.candles]
        told_of = {(each.coin, each.market) for each in events}
        assert told_of <= {(coin, self.symbol(coin)) for coin in COINS}
        assert self.wire.violations == []

    async def arrived(self) -> None:
        await self.got.until(lambda: len(self.got.trades) >= len(self.market.deals))

    async def price_at(self, coin: str, timestamp: int) -> PriceTick:
        """Wait for the coin's tick of that time."""
        await self.got.until(lambda: any((tick.coin, tick.timestamp) == (coin, timestamp) for tick in self.got.prices))
        return next(tick for tick in self.got.prices if (tick.coin, tick.timestamp) == (coin, timestamp))


def values(trade: TradeEvent) -> tuple[object, ...]:
    return (trade.price, trade.quantity, trade.is_buyer_maker, trade.timestamp, trade.trade_id, trade.exchange,
            trade.backfilled)  # fmt: skip


def at(wire: Wire, coins: Collection[str], channels: Sequence[Channel] = CHANNELS) -> MarketFeed:
    """A feed as programs use it, over a venue on loopback."""
    rest_url, ws_url = f"http://{wire.address}", f"ws://{wire.address}"
    name = venue_name(wire.name)
    config = ExchangeConfig(name, market_type(wire.name), rest_url, ws_url, options=options(wire.name))
    settings = Settings(
        channels=list(channels),
        exchanges=[config],
        quote=list(quotes(wire.name)),
        connection=Connection(backoff_initial=0.05),
    )
    return MarketFeed(coins, exchange=name, settings=settings)


def session_at(wire: Wire) -> CcxtVenue:
    """The venue's adapter over the loopback server, without a feed."""
    access = Access(
        market_type(wire.name), quotes(wire.name), rest_url=f"http://{wire.address}", options=options(wire.name)
    )
    return open_venue(venue_name(wire.name), access)


def made(name: str, deal: Deal, *, by_rest: bool = False) -> tuple[object, ...]:
    """The fields of the event that must be delivered for a trade; some venues' REST has times in seconds only."""
    unit = 1_000 if by_rest and getattr(script(name), "REST_SECONDS", False) else 1
    timestamp = deal.timestamp // unit * unit
    if getattr(script(name), "TRADE_IDS", True):
        known_as = trade_id(name, deal.number)
    else:
        known_as = f"{deal.timestamp}-{deal.price!r}-{deal.quantity!r}-{'sell' if deal.sold else 'buy'}-1"
    return (deal.price, deal.quantity, deal.sold, timestamp, known_as, venue_name(name), False)


@asynccontextmanager
async def contract(name: str, *refused: str, history: bool = False) -> AsyncIterator[Contract]:
    """A feed that is connected, with one trade of each coin.

    ``refused`` coins get the venue's error; ``history``: the venue has trades from before the subscription.
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
