"""The venues' true events for the referee; old trades are dropped so that memory does not grow."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from math import isclose
from time import monotonic

from exchanges.simulator import Market, SimulatedVenue, Simulator, Trade
from exchanges.simulator.connections.trade_faults import Altered

KEPT = 12_000  # trades per market: more than a backfill's 300 s of the busiest coin
MINUTE = 60_000
TICKER_AGE = 3_000  # ms by which a ticker may be older than a trade; tickers come each second
HARMFUL = (
    "stall", "mute", "partition", "blocked", "refuse", "accept-then-drop", "rest-down", "slow-rest",
    "behind", "falling-behind", "split", "halted-ALL", "quoted-KRW",
)  # fmt: skip
LATE = ("behind", "falling-behind", "split")
LATE_FOR = 10.0  # seconds for which a delay of the stream still counts after its end
SHUNNED = 600.0  # seconds for which the feed does not use a venue that blocked it
REMEMBERED = 300.0  # seconds for which another venue may deliver a coin that this venue did not trade
QUOTES = ("USDT", "USDC", "USD")
BY_KIND = {"other-coin": "another coin", "thousands": "another unit", "quoted": "another currency"}


class Truth:
    """One venue of the soak. ``units``: coins that come from a market of several units, such as 1000DOGE."""

    def __init__(
        self, simulator: Simulator, venue: SimulatedVenue, units: Mapping[str, int] | None = None,
        quotes: Collection[str] = QUOTES,
    ) -> None:  # fmt: skip
        self.simulator = simulator
        self.venue = venue
        # the time since which no fault stops data or dials; None while a fault stops them
        self.well_since: float | None = monotonic()
        self.was_ill = False
        self._units = units or {}
        self._quotes = quotes
        self._coins = tuple(dict.fromkeys(market.coin for market in venue.markets.values()))
        self._right: dict[str, list[tuple[Market, int]]] = {}
        self._known = 0  # number of markets listed so far when ``_right`` was filled
        self._indexed = 0  # number of altered trades in the indexes below
        self._sent: dict[tuple[str, int], Altered] = {}  # market and id in the stream -> the altered trade
        self._leapt: set[tuple[str, int]] = set()  # market and true id of each trade that had another id in the stream
        self._stamps: dict[tuple[str, int], int] = {}  # market and stamp in the stream -> the true stamp
        self._blocked_at = -SHUNNED
        self._late_at = -LATE_FOR
        self._withheld_at: dict[str, float] = {}  # coin -> the last time at which this venue did not trade it

    def look(self, now: float) -> None:
        """Note the current faults."""
        kinds = [fault for fault in self.venue.faults if fault.startswith(HARMFUL)]
        if any(fault.startswith("blocked") for fault in kinds):
            self._blocked_at = now
        if kinds or now - self._blocked_at < SHUNNED:
            self.well_since, self.was_ill = None, True
        elif self.well_since is None:
            self.well_since = now
        if any(fault.startswith(LATE) for fault in self.venue.faults):
            self._late_at = now
        for coin in self._coins:
            if not self._offers(coin):
                self._withheld_at[coin] = now

    def late_lately(self, now: float) -> bool:
        """Whether a fault delayed the stream within the last LATE_FOR seconds.

        The stream's trades may then be older than the price that REST gave at the dial.
        """
        return now - self._late_at < LATE_FOR

    def _offers(self, coin: str) -> bool:
        is_traded = self.venue.listings.is_traded
        return any(is_traded(market) for market, _ in self._of(coin))

    def has_another(self, coin: str) -> bool:
        """Whether another coin has this coin's name on the venue."""
        return any(market.coin == coin and what == "another coin" for market, what in self._not_of(coin))

    def lacked(self, coin: str, now: float) -> bool:
        """Whether the venue did not trade the coin lately, so that another venue may deliver it."""
        return not self._offers(coin) or now - self._withheld_at.get(coin, -REMEMBERED) < REMEMBERED

    def prune(self) -> None:
        for market in self.venue.listings:
            if len(market.trades) > KEPT * 5 // 4:
                del market.trades[:-KEPT]

    # -- which markets are the coin's ---------------------------------------------------------------------------

    def _of(self, coin: str) -> list[tuple[Market, int]]:
        """The markets of the coin, each with its number of units."""
        if self._known != self.venue.listings.count:
            self._known = self.venue.listings.count
            self._right.clear()
        if coin not in self._right:
            self._right[coin] = self._find(coin)
        return self._right[coin]

    def _find(self, coin: str) -> list[tuple[Market, int]]:
        found = []
        for market in self.venue.listings:
            unit = self._units.get(coin, 1)
            name = coin if market.coin == coin else f"{unit}{coin}"
            right = market.coin == name and market.quote in self._quotes
            if right and "other-coin" not in self.venue.listings.brought_by(market):
                found.append((market, 1 if market.coin == coin else unit))
        return found

    def _not_of(self, coin: str) -> list[tuple[Market, str]]:
        """The markets that may be mistaken for the market of the coin, and a description of each."""
        right = {market for market, _ in self._of(coin)}
        found = []
        for market in self.venue.listings:
            if market not in right and market.coin.endswith(coin):
                kinds = self.venue.listings.brought_by(market)
                what = next((what for kind, what in BY_KIND.items() if kind in kinds), "another market")
                found.append((market, what))
        return found

    # -- trades -------------------------------------------------------------------------------------------------

    def trade(self, coin: str, number: int) -> Trade | None:
        """The coin's trade with this id, None if there is no such trade or if it is too old to be kept."""
        for market, unit in self._of(coin):
            trade = _at(market, number)
            if trade is not None:
                if unit == 1:
                    return trade
                return replace(trade, price=trade.price / unit, quantity=trade.quantity * unit)
        return None

    def mistaken(self, coin: str, number: int) -> str | None:
        """A description of the trade with this id, if it is not a trade of the coin."""
        return next((what for market, what in self._not_of(coin) if _at(market, number) is not None), None)

    def sent_as(self, coin: str, number: int) -> Trade | None:
        """The trade that the stream wrongly showed with this id or with another stamp."""
        self._index()
        for market, unit in self._of(coin):
            if (altered := self._sent.get((market.id, number))) is not None:
                sent = altered.sent
                return replace(sent, price=sent.price / unit, quantity=sent.quantity * unit)
        return None

    def leapt(self, coin: str, number: int) -> bool:
        """Whether the trade with this true id had another id in the stream."""
        self._index()
        return bool(self._leapt) and any((market.id, number) in self._leapt for market, _ in self._of(coin))

    def _index(self) -> None:
        for altered in self.venue.altered[self._indexed :]:
            self._sent[altered.market, altered.sent.id] = altered
            if altered.sent.id != altered.true.id:
                self._leapt.add((altered.market, altered.true.id))
            if altered.sent.timestamp != altered.true.timestamp:
                self._stamps[altered.market, altered.sent.timestamp] = altered.true.timestamp
        self._indexed = len(self.venue.altered)

    def between(self, coin: str, first: int, last: int) -> Iterator[Trade]:
        """The coin's kept trades from one id to another, without block trades and trades with a wrong id in the
        stream."""
        for market, _ in self._of(coin):
            trades = market.trades
            index = bisect_left(trades, first, key=lambda trade: trade.id)
            while index < len(trades) and trades[index].id <= last:
                if not trades[index].block and not self.leapt(coin, trades[index].id):
                    yield trades[index]
                index += 1

    def before(self, coin: str, number: int, since: int) -> int:
        """How many trades were made on the market of the trade ``number``, before it and after ``since`` (Unix ms)."""
        for market, _ in self._of(coin):
            trades = market.trades
            index = bisect_left(trades, number, key=lambda trade: trade.id)
            if index < len(trades) and trades[index].id == number:
                first = bisect_right(trades, since, hi=index, key=lambda trade: trade.timestamp)
                return sum(not trade.block for trade in trades[first:index])
        return 0

    # -- prices -------------------------------------------------------------------------------------------------

    def judge(self, coin: str, price: float, timestamp: int) -> str | None:
        """None if the coin had this price at this millisecond; otherwise a description of the price."""
        if any(_had(market, price * unit, timestamp) for market, unit in self._of(coin)):
            return None
        if self._ahead(coin, timestamp) is not None:
            return None
        for market, what in self._not_of(coin):
            if _had(market, price, timestamp):
                return what
        if any(_had(market, price, timestamp) for market, unit in self._of(coin) if unit != 1):
            return "another unit"
        for market, _ in self._of(coin):
            if any(trade.block and isclose(trade.price, price, rel_tol=1e-9) for trade in market.trades[-2000:]):
                return "off the book"
        return "wrong price"

    def age(self, coin: str, timestamp: int, at: int) -> float:
        """Seconds from the time of a price to ``at`` (Unix ms); a wrong stamp of the stream is replaced by the true
        stamp."""
        true = self._ahead(coin, timestamp)
        return (at - (timestamp if true is None else true)) / 1000

    def _ahead(self, coin: str, timestamp: int) -> int | None:
        """The true stamp of a trade that was sent with this wrong stamp."""
        self._index()
        found = (self._stamps.get((market.id, timestamp)) for market, _ in self._of(coin))
        return next((stamp for stamp in found if stamp is not None), None)

    def day_changes(self, coin: str, price: float, timestamp: int) -> list[tuple[float, float]]:
        """The lowest and the highest change in percent against 24 hours ago, on each of the coin's markets.

        The changes are those of ``price`` and of the trades in the last seconds before ``timestamp`` (Unix ms).
        """
        now = self.venue.now()
        found = []
        for market, unit in self._of(coin):
            trades = market.trades
            first = bisect_left(trades, timestamp - TICKER_AGE, key=lambda trade: trade.timestamp)
            last = bisect_right(trades, timestamp, lo=first, key=lambda trade: trade.timestamp)
            prices = [price * unit, *(trade.price for trade in trades[first:last])]
            scale = market.scale / market.day(now).open * 100
            found.append((min(prices) * scale - 100, max(prices) * scale - 100))
        return found

    def candles(self, coin: str, opened: int) -> list[tuple[float, ...]]:
        """Open, high, low, close and volume of a minute on each of the coin's markets."""
        found = []
        for market, unit in self._of(coin):
            candle = market.candle(opened, MINUTE, self.venue.now())
            prices = (each / market.scale / unit for each in (candle.open, candle.high, candle.low, candle.close))
            found.append((*prices, candle.lots / market.lot_scale * unit))
        return found


def _at(market: Market, number: int) -> Trade | None:
    trades = market.trades
    index = bisect_left(trades, number, key=lambda trade: trade.id)
    return trades[index] if index < len(trades) and trades[index].id == number else None


def _had(market: Market, price: float, timestamp: int) -> bool:
    """Whether this was the price of a trade in this millisecond, or the last price before the millisecond."""
    trades = market.trades
    first = bisect_left(trades, timestamp, key=lambda trade: trade.timestamp)
    last = bisect_right(trades, timestamp, lo=first, key=lambda trade: trade.timestamp)
    before = next((trades[i].price for i in range(first - 1, -1, -1) if not trades[i].block), None)
    if before is None:
        before = market.start_price / market.scale
    return isclose(price, before, rel_tol=1e-9) or any(
        isclose(trade.price, price, rel_tol=1e-9) for trade in trades[first:last] if not trade.block
    )
