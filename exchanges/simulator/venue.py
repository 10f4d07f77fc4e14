"""What all simulated venues share: markets, publishing, trades that they make, and trades that a test makes.

Each venue's protocol is in a package of its own.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from itertools import count as counted
from itertools import pairwise
from time import monotonic, time_ns
from typing import ClassVar

from exchanges.simulator.books.streams import BookStreams
from exchanges.simulator.connections.rest_answers import Body
from exchanges.simulator.connections.topics import Topic
from exchanges.simulator.connections.venue_laws import VenueLaws
from exchanges.simulator.errors import SimulatorError
from exchanges.simulator.faults import LISTING, Fault
from exchanges.simulator.listings import Listings
from exchanges.simulator.markets.candles import SimulatedCandle, candle_start
from exchanges.simulator.markets.catalog import DEFAULT_COINS, Listing
from exchanges.simulator.markets.market import Market, Trade
from exchanges.simulator.markets.price_model import Flow

CHUNK = 512  # this many trades of a burst are made between two writes


def unix_ms() -> int:
    return time_ns() // 1_000_000


class SimulatedVenue(BookStreams):
    """One simulated venue: ``markets`` by id, ``trades`` by coin (or "BTC/USDC"), and what tests look at.

    ``rate`` is the number of trades per second that the venue makes by itself; ``paused`` stops them.
    """

    TICKERS_EVERY: ClassVar[float]  # seconds between two tickers of a market
    CANDLES_EVERY: ClassVar[float]

    def __init__(
        self,
        name: str,
        listings: Sequence[Listing],
        *,
        seed: int,
        rate: float,
        laws: VenueLaws,
        start: int | None = None,
    ) -> None:
        super().__init__(name, f"{seed} {name} faults", laws)
        self.rate = rate
        self.paused = False
        self._ahead = 0  # ms by which the venue's clock is ahead of ours
        self.replay_clock = start  # Unix ms, set by a replay; None: real time
        self.grace = 0  # ms for which a quiet market's candle stays open after its end
        now = self.now()
        self.listings = Listings(name, seed, listings, now)
        self.trades: Mapping[str, Sequence[Trade]] = self._trades_by_coin()
        self.listed: Body | None = None  # the answer with all markets; valid until the list changes
        self._flow = Flow(f"{seed} {name} flow", [item.weight for item in listings])
        self._advanced: float | None = None
        self._ticker_due = self._candle_due = 0.0
        self._ticker_news: set[Market] = set()
        self._candle_news: set[Market] = set()
        self._shown_time: int | None = None  # Unix ms of the state that REST answers with now; None: the newest

    def _trades_by_coin(self) -> dict[str, Sequence[Trade]]:
        by_coin: dict[str, Sequence[Trade]] = {}
        for market in self.listings:
            by_coin.setdefault(market.coin, market.trades)
            by_coin.setdefault(f"{market.coin}/{market.quote}", market.trades)
        return by_coin

    @property
    def markets(self) -> dict[str, Market]:
        """The markets listed now, by id."""
        return self.listings.current

    @property
    def listed_markets(self) -> list[Market]:
        return list(self.markets.values())

    def relist(self) -> None:
        self.listings.change([fault for kind in LISTING for fault in self.each(kind)], self.now())
        self.trades, self.listed = self._trades_by_coin(), None
        for topic in self.topics.values():
            fresh = self.topic(topic.stream)
            if fresh is not None and fresh.market is not None:
                topic.market = fresh.market

    def withheld(self, market: Market) -> bool:
        return self.is_silent(market.coin) or not self.listings.is_traded(market)

    def trades_now(self, market: Market) -> bool:
        return self.listings.is_traded(market)

    def now(self) -> int:
        """The venue's time, Unix ms."""
        if self.event_time is not None:
            return self.event_time
        return unix_ms() + self._ahead if self.replay_clock is None else self.replay_clock

    def skip(self, seconds: float) -> None:
        """Put the venue's clock forward: candles that end meanwhile are closed at once."""
        self._ahead += round(seconds * 1000)
        self.roll(self.now())
        self.flush()

    @property
    def tape(self) -> Mapping[str, Sequence[Trade]]:
        """The earlier name of ``trades``."""
        return self.trades

    @property
    def trades_made(self) -> int:
        return sum(market.made for market in self.listings)

    def market(self, name: str) -> Market:
        """The market of a coin ("BTC", its first quote), a pair ("BTC/USDC") or an id ("BTCUSDC")."""
        return self.listings.find(name, self.name)

    # -- trades made by a test ----------------------------------------------------------------------------------

    async def trade(
        self,
        coin: str,
        ids: Iterable[int] | None = None,
        *,
        count: int | None = None,
        price: float | None = None,
        quantity: float | None = None,
        buyer_maker: bool | None = None,
    ) -> list[Trade]:
        """Make trades on ``coin`` now, one for each of ``ids`` or ``count``; the model supplies missing arguments.

        When this returns, the trades are in ``trades`` and in REST, and were sent to the subscribers. Ids must
        increase. For more than some thousand trades use ``burst``: a reader with more unread bytes than the venue
        allows is dropped.
        """
        market = self.market(coin)
        if self.listings.is_halted(market):
            raise SimulatorError(f"{market.id} is halted: no trades are made on it")
        rows = []
        for trade_id in self.next_ids(market, 1 if count is None else count) if ids is None else ids:
            ticks, lots, sold = market.model.step()
            if price is not None:
                ticks = round(price * market.scale)
                market.model.move_to(ticks)
            lots = lots if quantity is None else round(quantity * market.lot_scale)
            if ticks < 1 or lots < 1:
                least = f"{1 / market.scale:g} and {1 / market.lot_scale:g}"
                raise SimulatorError(f"{market.id}: price and quantity must be at least {least}")
            rows.append((trade_id, ticks, lots, sold if buyer_maker is None else buyer_maker))
        for before, after in pairwise([market.last_id or 0, *(row[0] for row in rows)]):
            if after <= before:
                raise SimulatorError(f"trade id {after} of {market.id} after {before}: ids must increase")
        now = self.now()
        self.roll(now)
        trades = market.record(rows, now)
        self._news(market)
        self.publish(market, trades)
        self.flush()
        return trades

    async def block_trade(self, coin: str, *, price: float | None = None, quantity: float | None = None) -> Trade:
        """Make a block trade on ``coin`` for ``trades``, REST and the stream; no price or volume includes the trade."""
        if not self.can_have(Fault("block-trades")):
            raise SimulatorError(f"{self.name} does not mark block trades")
        market, now = self.market(coin), self.now()
        trade = self._make_block(market, now, price, quantity)
        self.publish(market, [trade])
        self.flush()
        return trade

    def _make_block(self, market: Market, now: int, price: float | None = None, quantity: float | None = None) -> Trade:
        sold = self.dice.random() < 0.5
        far = market.last_price * (0.8 if sold else 1.2)
        ticks = round(far if price is None else price * market.scale)
        lots = market.typical * 50 if quantity is None else round(quantity * market.lot_scale)
        return market.make_block(ticks, lots, sold, now)

    def next_ids(self, market: Market, count: int) -> Sequence[int]:
        """The ids of the market's next trades."""
        fault, first = self.active("skipping"), market.next_id
        if fault is None:
            return range(first, first + count)
        ids, share = [], 1 / float(fault.argument or 2)
        for _ in range(count):
            first += self.dice.random() < share
            ids.append(first)
            first += 1
        return ids

    def _make(self, market: Market, count: int, now: int) -> list[Trade]:
        """The model's next trades, with block trades if the fault ``block-trades`` is active."""
        trades = market.make(count, now, self.next_ids(market, count))
        blocks = self.active("block-trades")
        if blocks is not None:
            chances = sum(self.dice.random() < float(blocks.argument or 0.0) for _ in range(count))
            trades += [self._make_block(market, now) for _ in range(chances)]
        return trades

    async def burst(self, count: int, *, coins: Iterable[str] | None = None, malformed: float = 0.0) -> None:
        """Make ``count`` trades as fast as the sockets take them, on ``coins`` in turn (default: the first twenty).

        Waits for slow readers, so that memory stays bounded; returns when all is written. ``malformed`` is the
        share of bad frames sent in addition.
        """
        first = list(self.markets.values())[: len(DEFAULT_COINS)]
        names = [market.coin for market in first] if coins is None else list(coins)
        markets = [self.market(name) for name in dict.fromkeys(names)]
        turn = counted()
        with self.malformed(malformed) if malformed else nullcontext():
            while count > 0:
                share, extra = divmod(min(CHUNK, count), len(markets))
                now = self.now()
                self.roll(now)
                offset = next(turn)
                for i in range(len(markets)):
                    market = markets[(offset + i) % len(markets)]
                    number = share + (1 if i < extra else 0)
                    if number:
                        self._news(market)
                        self.publish(market, self._make(market, number, now))
                count -= min(CHUNK, count)
                await self.drain()

    async def drain(self) -> None:
        """Write pending frames and wait until every reader has taken most of them; lets the loop run at least once."""
        self.flush(patient=True)
        for connection in self.connections:
            await connection.drain()
        await asyncio.sleep(0)

    # -- time goes on -------------------------------------------------------------------------------------------

    def advance(self) -> None:
        """Do everything that is due: the venue's own trades, closed candles, tickers, candles, and timeouts."""
        now, clock = self.now(), monotonic()
        self.roll(now)
        if self.rate > 0 and not self.paused:
            self._make_trades(clock, now)
        self._advanced = clock
        if clock >= self._ticker_due:
            self._ticker_due = clock + self.TICKERS_EVERY
            self.send_tickers(now)
        if clock >= self._candle_due:
            self._candle_due = clock + self.CANDLES_EVERY
            self.send_candles(now)
        self.send_books(clock, now)
        self.release(clock)
        self.enforce(clock)
        self.flush()

    def _make_trades(self, clock: float, now: int) -> None:
        if self._advanced is None:  # every market needs a first price
            places = enumerate(self.listings.places)
            orders = [(i, 1) for i, market in places if market is not None and market.coin in DEFAULT_COINS]
        else:
            orders = self._flow.orders(self.rate * min(1.0, clock - self._advanced))
        for index, number in orders:
            market = self.listings.places[index]
            if market is not None and self.listings.is_traded(market):
                self._news(market)
                self.publish(market, self._make(market, number, now))

    def _news(self, market: Market) -> None:
        self._ticker_news.add(market)
        self._candle_news.add(market)

    def note(self, market: Market) -> None:
        """Call this when a replay has added a trade to this market."""
        self._news(market)

    def roll(self, now: int, only: Market | None = None) -> None:
        """Send the final state of every candle that is over at ``now``, of all markets or of one."""
        for topic in self.topics_of("candles"):
            market = topic.market
            if market is None or (only is not None and market is not only):
                continue
            until = now if only is not None else max(now - self.grace, min(now, market.last_time))
            while until >= topic.end:
                if not self.dumb and not self.withheld(market):
                    self._close(topic, market, market.candle(topic.start, topic.interval, topic.end - 1))
                topic.start = topic.end

    def _close(self, topic: Topic, market: Market, candle: SimulatedCandle) -> None:
        """Send the final state of a candle, unless it is lost or late."""
        late = self.active("late-close")
        if self.active("lost-close"):
            return
        if late is None:
            self.send_candle(topic, market, candle, True)
        else:
            self.send_later(float(late.argument or 0.0), market, lambda: self.send_candle(topic, market, candle, True))

    def send_tickers(self, now: int) -> None:
        """Send the tickers of the markets that traded since the last call."""
        news, self._ticker_news = self._ticker_news, set()
        if self.dumb:
            return
        for topic in self.topics_of("ticker"):
            if topic.market is None:
                self.send_all_tickers(topic, [market for market in news if not self.withheld(market)], now)
            elif topic.market in news and not self.withheld(topic.market):
                self.send_ticker(topic, topic.market, now)

    def send_all_tickers(self, topic: Topic, markets: list[Market], now: int) -> None:
        """Send a topic of all markets' tickers, which only some venues have."""

    def send_candles(self, now: int) -> None:
        """Send the open candles of the markets that traded since the last call."""
        news, self._candle_news = self._candle_news, set()
        if self.dumb:
            return
        for topic in self.topics_of("candles"):
            if topic.market in news and not self.withheld(topic.market):
                self.send_candle(topic, topic.market, topic.market.candle(topic.start, topic.interval, now), False)

    def topics_of(self, kind: str) -> list[Topic]:
        return [topic for topic in self.topics.values() if topic.kind == kind]

    def open_topic(self, topic: Topic) -> None:
        if topic.kind == "candles":
            topic.start = candle_start(self.now(), topic.interval)
        elif topic.kind == "books":
            self.open_book(topic, monotonic(), self.now())
        self.begin_late(topic)

    # -- what REST shows ----------------------------------------------------------------------------------------

    def shown(self, market: Market) -> Market:
        """A market as REST shows it to the current request."""
        return market if self._shown_time is None else market.as_of(self._shown_time)

    def shown_now(self) -> int:
        return self.now() if self._shown_time is None else self._shown_time

    # -- the venue's own messages -------------------------------------------------------------------------------

    @abstractmethod
    def send_ticker(self, topic: Topic, market: Market, now: int) -> None: ...

    @abstractmethod
    def send_candle(self, topic: Topic, market: Market, candle: SimulatedCandle, closed: bool) -> None: ...

    def stop(self) -> None:
        """End every connection with a close frame, as a venue does when it shuts down."""
        self.forget_late()
        self.forget_held()
        for connection in self.connections:
            connection.close(1001, "going away")
