"""One market of a simulated venue: keeps its trades, and derives quotes, day stats, candles and the book from them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from copy import copy as shallow
from dataclasses import dataclass
from itertools import islice
from random import Random

from exchanges.simulator.markets.candles import (
    DAY,
    MINUTE,
    SimulatedCandle,
    candle_end,
    candle_start,
    copy,
    flat,
    merged,
)
from exchanges.simulator.markets.catalog import Listing
from exchanges.simulator.markets.history import PriceHistory
from exchanges.simulator.markets.order_book import BookState, Ground, SimulatedBook, Top
from exchanges.simulator.markets.price_model import PriceModel

TRADES_KEPT = 150_000  # trades kept per market: about 20 MB
CANDLES_KEPT = 7 * 1440


@dataclass(slots=True)
class Trade:
    """One trade. ``buyer_maker`` is True when the taker sold; ``timestamp`` is in Unix ms.

    The trades of a taker's order at one price have the same ``order``; together they are one aggregate trade.
    """

    id: int
    price: float
    quantity: float
    buyer_maker: bool
    timestamp: int
    order: int
    block: bool = False  # made outside the order book: no price, volume or candle includes it


class Market:
    """One market: its trades, its minute candles since the start, and the day before the start.

    ``book`` is its order book while somebody reads it. The market itself always has the best prices and sizes.
    """

    def __init__(self, listing: Listing, seed: str, shape: str, now: int) -> None:
        self.listing = listing
        self.id = listing.id
        self.coin, self.quote = listing.coin, listing.quote
        self.digits, self.lot_digits = listing.digits, listing.lot_digits
        self.scale, self.lot_scale = 10**listing.digits, 10**listing.lot_digits
        self.trades: list[Trade] = []
        self.recorded: dict[int, str] = {}  # trade id -> its payload as captured (replay)
        self.made = 0
        self.order = Random(seed).randint(10**8, 10**9)  # the first aggregate id
        self.first_id = Random(seed).randint(10**9, 4 * 10**9)  # the first id of trades for which a test gives no ids
        self.start_price = max(10, round(listing.price * self.scale))
        self.last_price, self.last_lots, self.last_sold, self.last_time = self.start_price, 1, False, now
        self.last_id: int | None = None
        self.typical = max(1, round(800 / listing.price * self.lot_scale))
        self.model = PriceModel(seed, self.start_price, self.typical)
        lots = listing.turnover / listing.price * self.lot_scale
        self.history = PriceHistory(shape, now - now % MINUTE, self.start_price, lots)
        # the candles since the start, by opening time; minutes without a trade are missing
        self.minutes: dict[int, SimulatedCandle] = {}
        self._candle = flat(-1, 0)
        self._past, self._past_minute = flat(0, 0), -1
        self.book: SimulatedBook | None = None
        self._seed = seed
        self._ground = Ground(seed, self.start_price, self.typical)
        self._ahead = 0  # the book's numbers are this much higher than the orders' numbers
        self._then: BookState | None = None  # the book of a past state of the market

    def make(self, count: int, now: int, ids: Iterable[int] | None = None) -> list[Trade]:
        """Make the model's next ``count`` trades, with ``ids`` or the next ids."""
        step = self.model.step
        first = self.next_id
        return self.record([(each, *step()) for each in ids or range(first, first + count)], now)

    def make_block(self, ticks: int, lots: int, sold: bool, now: int) -> Trade:
        """Make a block trade: it is listed among the trades, but no price, volume or candle includes it."""
        self.order += 1
        trade = Trade(self.next_id, ticks / self.scale, lots / self.lot_scale, sold, now, self.order, block=True)
        self.last_id = trade.id
        self.trades.append(trade)
        self.made += 1
        return trade

    @property
    def next_id(self) -> int:
        return self.first_id if self.last_id is None else self.last_id + 1

    def record(self, rows: Iterable[tuple[int, int, int, bool]], now: int) -> list[Trade]:
        """Add trades at ``now`` (Unix ms), given as (id, price in ticks, quantity in lots, taker sold).

        The ids must increase; one call makes one or several whole orders of takers.
        """
        if self.book is not None:
            rows = list(rows)
        candle = self._candle
        start = now - now % MINUTE
        if candle.start != start:
            candle = self._open_candle(start)
        scale, lot_scale, order = self.scale, self.lot_scale, self.order
        last_id, last, lots, seller = self.last_id, 0, 0, False  # a batch begins with a new order
        trades: list[Trade] = []
        for trade_id, ticks, lots, sold in rows:
            if ticks != last or sold is not seller:
                order, last, seller = order + 1, ticks, sold
                candle.trade(ticks, trade_id)
            trades.append(Trade(trade_id, ticks / scale, lots / lot_scale, sold, now, order))
            turnover = ticks * lots
            candle.lots += lots
            candle.turnover += turnover
            if not sold:
                candle.buy_lots += lots
                candle.buy_turnover += turnover
            last_id = trade_id
        if trades and last_id is not None:
            candle.count += len(trades)
            candle.last_id = last_id
            self.last_id, self.last_price, self.last_lots, self.last_sold = last_id, last, lots, seller
            self.last_time, self.order = now, order
            self.trades += trades
            self.made += len(trades)
            if self.book is not None:
                for trade, (trade_id, ticks, taken, sold) in zip(trades, rows, strict=True):
                    self.book.trade(self._top_after(ticks, trade_id, sold), taken, sold, trade.timestamp)
        return trades

    def _open_candle(self, start: int) -> SimulatedCandle:
        if start < self._past_minute:
            self._past_minute = -1  # the minute was computed already and has a new trade
        candle = self.minutes.get(start)
        if candle is None:
            candle = self.minutes[start] = flat(start, 0)
            if len(self.minutes) > CANDLES_KEPT:
                del self.minutes[next(iter(self.minutes))]
        if len(self.trades) > TRADES_KEPT * 5 // 4:
            del self.trades[:-TRADES_KEPT]
        self._candle = candle
        return candle

    def day(self, now: int) -> SimulatedCandle:
        """The last 24 hours (to the minute) as one candle; its open is the price 24 hours ago."""
        minute = now - now % MINUTE
        since = minute + MINUTE - DAY
        if minute != self._past_minute:
            before = self.history.since(since)
            past = before or flat(since, self.last_price)
            for start, candle in self.minutes.items():
                if since <= start < minute:
                    past.add(candle)
            self._past, self._past_minute = past, minute
        whole = copy(self._past)
        current = self.minutes.get(minute)
        if current is not None:
            whole.add(current)
        return whole

    def as_of(self, ms: int) -> Market:
        """This market as it was at ``ms`` (Unix ms), for reading only."""
        then = shallow(self)
        number = bisect_right(self.trades, ms, key=lambda trade: trade.timestamp)
        minute = ms - ms % MINUTE
        begun = bisect_left(self.trades, minute, hi=number, key=lambda trade: trade.timestamp)
        then.minutes = {start: candle for start, candle in self.minutes.items() if start < minute}
        if begun < number and minute in self.minutes:
            booked = (trade for trade in islice(self.trades, begun, number) if not trade.block)
            then.minutes[minute] = merged(map(self._candle_of, booked), minute, 0)
        then.trades = self.trades[:number]
        then._past_minute = -1
        then.last_id = then.trades[-1].id if then.trades else None
        last = next((trade for trade in reversed(then.trades) if not trade.block), None)
        then._then, then.book = None if self.book is None else self.book.as_of(ms), None
        then.order = self.trades[0].order - 1 if self.trades else self.order
        then.last_price, then.last_lots, then.last_sold = self.start_price, 1, False
        if last is not None:
            then.last_price, then.last_lots = round(last.price * self.scale), round(last.quantity * self.lot_scale)
            then.last_sold, then.last_time, then.order = last.buyer_maker, last.timestamp, last.order
        return then

    def _candle_of(self, trade: Trade) -> SimulatedCandle:
        """The candle of one trade."""
        ticks, lots = round(trade.price * self.scale), round(trade.quantity * self.lot_scale)
        bought = 0 if trade.buyer_maker else lots
        one = SimulatedCandle(
            trade.timestamp, ticks, ticks, ticks, ticks, lots, ticks * lots, 1, bought, ticks * bought
        )
        one.first_id = one.last_id = trade.id
        return one

    def best(self) -> tuple[int, int]:
        """Best bid and ask in ticks; the last trade was at one of them."""
        return (self.last_price, self.last_price + 1) if self.last_sold else (self.last_price - 1, self.last_price)

    def sizes(self) -> tuple[int, int]:
        """The lots at the best bid and ask, which change with every trade."""
        top = self._then.top if self._then is not None else self.book.top if self.book is not None else None
        return self._sizes(self.last_price, self.last_id or 0) if top is None else (top.bid_lots, top.ask_lots)

    def _sizes(self, ticks: int, trade_id: int) -> tuple[int, int]:
        mixed = (ticks * 2654435761 + trade_id * 40503) & 0xFFFFFFFF
        return 1 + self.typical * (mixed & 0xFF) // 32, 1 + self.typical * (mixed >> 8 & 0xFF) // 32

    def _top_after(self, ticks: int, trade_id: int, sold: bool) -> Top:
        """The top of the book after a trade."""
        return Top(ticks if sold else ticks - 1, ticks + 1 if sold else ticks, *self._sizes(ticks, trade_id))

    # -- the order book -----------------------------------------------------------------------------------------

    @property
    def update_id(self) -> int:
        """The number of the book's state."""
        if self._then is not None:
            return self._then.number
        return self.order + self._ahead if self.book is None else self.book.number

    def open_book(self, now: int, holes: bool = False) -> SimulatedBook:
        """From ``now`` (Unix ms) on, remember every change of the book; ``holes``: some numbers are left out."""
        if self.book is None:
            top = Top(*self.best(), *self.sizes())
            self.book = SimulatedBook(self._ground, self._seed, top, self.update_id, now, holes)
        return self.book

    def close_book(self) -> None:
        """Drop the book, which nobody reads any more; its numbers continue later."""
        if self.book is not None:
            self._ahead = self.book.number + 1 - self.order
            self.book = None

    def book_state(self, ms: int | None = None) -> BookState:
        """The order book's state now, or at ``ms`` (Unix ms); read the state before the book changes."""
        if self._then is not None:
            return self._then
        if self.book is not None:
            state = self.book.now() if ms is None else self.book.as_of(ms)
            if state is not None:
                return state
        if ms is not None:
            return self.as_of(ms).book_state()
        return BookState(self.update_id, self.last_time, Top(*self.best(), *self.sizes()), self._ground)

    def candle(self, start: int, interval: int, now: int) -> SimulatedCandle:
        """The candle of ``interval`` that opened at ``start``, as it stands at ``now``."""
        if interval and interval < MINUTE:
            end = start + interval
            found = [candle for candle in self._seconds(interval, start, min(end - 1, now)) if candle.start == start]
            return found[0] if found else flat(start, self.last_price)
        candles = self.candles(interval, start, candle_end(start, interval) - 1, now)
        return candles[0] if candles else flat(start, self.last_price)

    def candles(self, interval: int, since: int, until: int, now: int) -> list[SimulatedCandle]:
        """All candles that opened from ``since`` to ``until`` (both included), oldest first, without a hole."""
        if interval and interval < MINUTE:
            return self._seconds(interval, since, min(until, now))
        start = candle_start(max(since, self.history.start), interval)
        if start < since:
            start = candle_end(start, interval)
        candles, price = [], self._price_before(start)
        while start <= min(until, now):
            end = candle_end(start, interval)
            candle = merged(self._minutes(start, min(end, now + 1)), start, price)
            price = candle.close
            candles.append(candle)
            start = end
        return candles

    def _minutes(self, start: int, end: int) -> Iterator[SimulatedCandle]:
        history = self.history
        if start < history.end:
            until = (min(end, history.end) - history.start + MINUTE - 1) // MINUTE
            yield from history.candles((start - history.start) // MINUTE, until)
        for minute in range(max(start, history.end), end, MINUTE):
            candle = self.minutes.get(minute)
            if candle is not None:
                yield candle

    def _price_before(self, start: int) -> int:
        history = self.history
        if start <= history.start:
            return history.candles(0, 1)[0].open
        if start <= history.end:
            number = (start - history.start) // MINUTE
            return history.candles(number - 1, number)[0].close
        earlier = [candle for candle in self.minutes.values() if candle.start < start]
        return max(earlier, key=lambda candle: candle.start).close if earlier else self.start_price

    def _seconds(self, interval: int, since: int, until: int) -> list[SimulatedCandle]:
        """Candles shorter than a minute, made from the trades themselves, so there are none from before the start."""
        by_start: dict[int, SimulatedCandle] = {}
        first = bisect_left(self.trades, since, key=lambda trade: trade.timestamp)
        price = round(self.trades[first - 1].price * self.scale) if first else self.start_price
        for trade in islice(self.trades, first, None):
            start = candle_start(trade.timestamp, interval)
            if start > until:
                break
            if trade.block:
                continue
            one = self._candle_of(trade)
            by_start.setdefault(start, flat(start, one.close)).add(one)
        start = candle_start(max(since, self.history.end), interval)
        candles = []
        while start <= until:
            candle = by_start.get(start) or flat(start, price)
            price = candle.close
            candles.append(candle)
            start += interval
        return [candle for candle in candles if candle.start >= since]
