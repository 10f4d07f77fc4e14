"""Receives one connection's events and passes them on; decides which events end a silence, and what a trial keeps."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from math import inf

from exchanges.events import Candle, Quote, Ticker, TradeEvent
from feed.candles.venue_candles import VenueCandles
from feed.channels import PRICES, TRADES
from feed.market_data.hub import MarketDataHub
from feed.market_data.listener_base import ListenerBase, ListenerContext
from feed.market_data.price_cache import Streamed
from feed.trades.backfiller import TradeBackfiller
from feed.trades.gaps import DELIVER, Outcome, TradeVerdict

TRIAL_CANDLES = 2  # closed candles kept of a trial, per coin and timeframe: the active venue may not have closed them
TRIAL_TRADES = 256  # trades kept of a trial, per coin: they may be newer than the active venue's last trades
TRIAL_MEMORY = 10 * 10**9  # ns for which these trades are kept; the last trade of each coin stays
OLD_TRADES = 3  # if this many trades in succession are withheld or not new, the lag is measured with them
SUBSCRIBED = 2.0  # seconds from a connection's first data until it has subscribed to all coins, if they are few
SUBSCRIBED_EACH = 0.01  # seconds to add per subscription: venues take subscriptions one request after another


def subscribed_within(subscriptions: int) -> float:
    """Seconds from a connection's first data until it has made this number of subscriptions."""
    return SUBSCRIBED + SUBSCRIBED_EACH * subscriptions


class _Path:
    """The objects that handle a coin's trades on one connection, found with one lookup."""

    __slots__ = ("price", "prices", "sequence", "trades")

    def __init__(self, coin: str, hub: MarketDataHub, backfiller: TradeBackfiller) -> None:
        self.sequence = backfiller.begin(coin)
        self.price = hub.prices[coin]
        self.prices = hub.dispatcher.route(PRICES.name, coin)
        self.trades = hub.dispatcher.route(TRADES.name, coin)


class ConnectionListener(ListenerBase):
    """The listener of a connection that carries trades, tickers, candles or quotes.

    ``subscriptions``: how many the connection makes.
    """

    def __init__(
        self,
        context: ListenerContext,
        backfiller: TradeBackfiller,
        candles: VenueCandles,
        *,
        delivering: bool,
        subscriptions: int,
    ) -> None:
        super().__init__(context, delivering=delivering)
        self._watched = context.silence_watch.heard
        self._backfiller = backfiller
        self._count = context.hub.trades[context.exchange]
        self._candles = candles
        self._looked_at = -inf  # monotonic seconds
        self._ticked: set[str] = set()  # coins that have had a ticker
        self._tried: dict[str, Streamed] = {}  # on trial: each coin's newest stamp since the last check
        self._old: dict[str, Streamed] = {}  # coin -> the stamp of its last withheld or repeated trade
        self._old_trades = 0
        self._paths: dict[str, _Path] = {}  # coin -> its path, for coins with a delivered trade
        self._learned: dict[str, Ticker] = {}  # the newest tickers of a trial
        # (coin, timeframe) -> the candles of a trial that were closed last
        self._closed_last: dict[tuple[str, str], deque[Candle]] = {}
        self._past: dict[str, deque[TradeEvent]] = {}  # coin -> the last trades of a trial
        # coin -> the stamp of the newest trade that was dropped from ``_past``; inf if the coin was subscribed to later
        self._dropped: dict[str, float] = {}
        self._watched_at = inf  # monotonic seconds of a trial's first data, or of the first data after a silence
        self._watched_from = 0.0  # the newest stamp that came within ``_watched_after`` after that first data, Unix ms
        self._watched_after = subscribed_within(subscriptions)  # seconds from that first data until nothing is missed

    def deliver(self, coins: Collection[str]) -> None:
        """End the trial, and deliver from now on.

        Of the trial's tickers only the 24 h statistics are used: their prices may be old.
        """
        super().deliver(coins)
        for ticker in self._learned.values():
            if self._admits(ticker.coin, ticker.market, ticker.last):
                self._hub.prices[ticker.coin].learn(ticker)
        self._learned.clear()
        for candles in self._closed_last.values():
            for candle in candles:
                if self._admits(candle.coin, candle.market, candle.close):
                    self._hub.on_candle(candle)
        self._closed_last.clear()
        past, self._past = self._past, {}
        for coin in self._backfiller.carried:
            if coin in coins and coin not in self.gone:
                self._go_on(coin, list(past.get(coin, ())))

    def _go_on(self, coin: str, past: list[TradeEvent]) -> None:
        """Deliver the trial's trades that are later than the old venue's last trade, without waiting for a fetch."""
        fresh = self._backfiller.went_on(coin, past, self._watched_since(coin))
        if fresh and not self._admits(coin, fresh[-1].market, fresh[-1].price):
            self._backfiller.doubt(coin)  # if a later trade is admitted, these are missing before it
        elif fresh:
            self._backfiller.catch_up(coin, fresh[:-1], self._now())
            self.on_trade(fresh[-1])

    def _watched_since(self, coin: str) -> float:
        """The venue's time (Unix ms) from which on every trade of the coin is kept.

        ``inf`` if the connection has just begun.
        """
        if self._now() - self._watched_at <= self._watched_after:
            return inf
        return max(self._watched_from, self._dropped.get(coin, 0))

    def has_traded(self, coin: str) -> bool:
        """Whether a trade of the coin was delivered."""
        return coin in self._paths

    def close(self, reason: str = "") -> None:
        super().close(reason)
        self._paths.clear()

    def revoke(self, coin: str) -> None:
        super().revoke(coin)
        if self._paths.pop(coin, None) is not None:
            self._backfiller.doubt(coin)  # from now on, this connection's trades are not delivered

    def forget(self, coins: Iterable[str]) -> None:
        super().forget(coins := list(coins))
        for coin in coins:
            self.lost_subscriptions.forget((coin,))
            self._learned.pop(coin, None)
            self._past.pop(coin, None)
            self._dropped.pop(coin, None)
            for key in [key for key in self._closed_last if key[0] == coin]:
                del self._closed_last[key]

    def readmit(self, coins: Iterable[str]) -> None:
        super().readmit(coins := list(coins))
        self._dropped.update(dict.fromkeys(coins, inf))

    def on_trade(self, trade: TradeEvent, number: int | None = None) -> bool:
        coin, now = trade.coin, self._now()
        try:
            path = self._paths[coin]
        except KeyError:
            if not self._begin(trade, now):
                return True
            path = self._paths[coin]
        sequence, prices = path.sequence, path.prices
        if number is not None and number == sequence.next_id and not sequence.open_gaps:
            # the most frequent case of accept(), without the call
            sequence.next_id, sequence.stamp = number + 1, trade.timestamp
        elif (outcome := sequence.accept(trade, now, number)) is not DELIVER:
            return self._settle(path, trade, outcome, now)
        elif (stamp := sequence.stamp) is not None and trade.timestamp < stamp:
            self._heard(coin, now)
            self._count.other += 1
            path.trades.publish(trade, now)
            return True
        # the same as _heard() while data flows, without the call
        self.last_data = self._watched[coin] = now
        hub = self._hub
        self._count.simple += 1
        if self._main:
            hub.last_message = now
        if (awaited := self._silence_watch.awaited) and coin in awaited:
            self.wake()
        # read the price first: a callback may change the trade
        if prices.reached or prices.wanted():
            tick = path.price.on_trade(trade, now)
            prices.publish(tick, path.trades.publish(trade, now))
        else:
            path.price.note(trade, now)
            path.trades.publish(trade, now)
        return True

    def _settle(self, path: _Path, trade: TradeEvent, outcome: Outcome, now: float) -> bool:
        """Carry out the verdict on a trade that cannot be delivered at once.

        A late or repeated trade does not count as new data of its coin or of the feed. But a repeated trade counts as
        data of its connection, because one of two connections may deliver nothing but repeated trades.
        """
        counts = outcome.verdict not in (TradeVerdict.DUPLICATE, TradeVerdict.LATE)
        if not counts:
            self._hub.other_messages += 1
            self._note_old(trade, now)
            if outcome.verdict is TradeVerdict.DUPLICATE:
                self.last_data = now
        else:
            self._heard(trade.coin, now)
        told = replace(trade)
        if self._backfiller.settle(told, outcome):
            path.prices.publish(path.price.on_trade(told, now), now)
        return counts

    def on_history(self, trades: list[TradeEvent]) -> None:
        """Take past trades, which do not end a silence and give no price."""
        past = trades[-1]
        if self.delivering and past.coin not in self.gone and self._admits(past.coin, past.market, past.price):
            self._backfiller.recall(trades, self._hub.clock.monotonic())

    def on_ticker(self, ticker: Ticker) -> None:
        if ticker.coin in self.gone:
            return
        now = self._now()
        self._heard(ticker.coin, now)
        self._ticked.add(ticker.coin)
        if not self.delivering and ticker.timestamp:
            tried = self._tried.get(ticker.coin)
            if tried is None or tried.by_ticker:
                self._tried[ticker.coin] = Streamed(now, ticker.timestamp, True)
        if self.delivering:
            if self._admits(ticker.coin, ticker.market, ticker.last):
                self.lost_subscriptions.note(ticker, self._backfiller.sequence, now)
                self._hub.on_ticker(ticker)
        elif self._open:
            self._learned[ticker.coin] = ticker

    def on_day_stats(self, ticker: Ticker) -> None:
        """Take the 24 h statistics of a ticker from REST, and its price if it has a stamp. This does not end a
        silence.
        """
        if ticker.coin in self.gone or (self.delivering and not self._admits(ticker.coin, ticker.market, ticker.last)):
            return
        if self.delivering and ticker.timestamp:  # the price may be old: the request may have waited for the dial
            self._hub.on_ticker(ticker, over_rest=True)
        elif self.delivering:  # the age of its price is not known
            self._hub.learn(ticker)
        elif self._open:
            self._learned[ticker.coin] = ticker

    def on_candle(self, candle: Candle, flagged: bool) -> None:
        if candle.coin in self.gone:
            return
        self._heard(candle.coin, self._now())
        if self._open:
            for decided in self._candles.on_candle(candle, flagged):
                self.on_decided(decided)

    def on_decided(self, candle: Candle) -> None:
        """Take a candle that is ready for delivery: tracked, built, or from the venue's record.

        It does not end a silence.
        """
        if self.delivering:
            if self._admits(candle.coin, candle.market, candle.close):
                self._hub.on_candle(candle)
        elif self._open and candle.closed:
            key = candle.coin, candle.timeframe
            self._closed_last.setdefault(key, deque(maxlen=TRIAL_CANDLES)).append(candle)

    def on_quote(self, quote: Quote) -> None:
        if quote.coin in self.gone:
            return
        self._heard(quote.coin, self._now())
        if self.delivering and self._admits(quote.coin, quote.market, (quote.bid + quote.ask) / 2):
            self._hub.on_quote(quote)

    def on_off_book(self, coin: str) -> None:
        """Take a block trade, which ends a silence but is not delivered."""
        if coin not in self.gone:
            self._heard(coin, self._now())
            self._hub.off_book_trades += self.delivering

    def on_source(self, source: str, reason: str, missed: Collection[str]) -> None:
        """See Listener; a new source does not end a silence."""
        if not self._open:
            return
        coins = [coin for coin in missed if coin not in self.gone]
        details = {"source": source, "reason": reason} | ({"coins": coins} if coins else {})
        self.tell("source", **details)
        for coin in coins if self.delivering else ():
            self._backfiller.doubt(coin)

    def on_unavailable(self, channel: str, coins: list[str], reason: str, timeframe: str = "") -> None:
        if channel == TRADES.name:
            self.lost_subscriptions.ignore(coins)
        super().on_unavailable(channel, coins, reason, timeframe)

    def look(self) -> None:
        """Measure the connection's lag from the data that came since the last call."""
        clock, after, self._looked_at = self._hub.clock, self._looked_at, self._now()
        if self.delivering:
            prices, exchange = self._hub.prices, self.exchange
            both = ((coin, prices.get(coin)) for coin in self._paths.keys() | self._ticked)
            found = [(c, came) for c, price in both if price is not None for came in price.streamed(exchange, after)]
        else:
            found, self._tried = list(self._tried.items()), {}
            self._shorten_past()
        if any(not came.by_ticker for _, came in found):
            self._old, self._old_trades = {}, 0
        elif self._old_trades >= OLD_TRADES:  # all trades are repeated or withheld: only their stamps show the lag
            found, self._old = [*found, *self._old.items()], {}
        delays: tuple[dict[str, float], dict[str, float]] = {}, {}
        for coin, came in found:
            delays[came.by_ticker][coin] = clock.running_at(came.at) - came.stamp / 1000
        now = clock.running()
        self.lag.look(now, now - clock.now(), *delays)

    def _note_old(self, trade: TradeEvent, now: float) -> None:
        """Note a trade that gives no price: it is withheld, repeated, or too late to be delivered in order."""
        self._old[trade.coin] = Streamed(now, trade.timestamp, False)
        self._old_trades += 1

    def _is_late(self, trade: TradeEvent, now: float) -> bool:
        """Whether a trade comes so late that it shows nothing about the venue's present state."""
        clock, least = self._hub.clock, self._hub.delays[self.exchange].seconds
        return least is not None and clock.running_at(now) - trade.timestamp / 1000 - least > self._silence

    def _shorten_past(self) -> None:
        oldest = int(self._hub.clock.now() * 1e9) - TRIAL_MEMORY
        for coin, trades in self._past.items():
            while len(trades) > 1 and trades[0].received_at < oldest:
                self._drop(coin, trades)

    def _drop(self, coin: str, trades: deque[TradeEvent]) -> None:
        self._dropped[coin] = max(self._dropped.get(coin, 0), trades.popleft().timestamp)

    def _begin(self, trade: TradeEvent, now: float) -> bool:
        """Make a path for a coin's first delivered trade; returns False if the trade is not delivered."""
        coin = trade.coin
        if coin in self.gone:
            return False
        if not self.delivering:
            self._tried[coin] = Streamed(now, trade.timestamp, False)
            self._heard(coin, now)
            if self._open:
                past = self._past.setdefault(coin, deque())
                past.append(trade)
                if len(past) > TRIAL_TRADES:
                    self._drop(coin, past)
                if now - self._watched_at <= self._watched_after:
                    self._watched_from = max(self._watched_from, trade.timestamp)
            return False
        if not self._admits(coin, trade.market, trade.price):
            self._backfiller.doubt(coin)  # if a later trade is admitted, this one is missing before it
            self._note_old(trade, now)
            if not self._is_late(trade, now):
                self._heard(coin, now)
            return False
        if self.last_data is None:
            self.first_data = now
            self.flowing.set()
        self._paths[coin] = _Path(coin, self._hub, self._backfiller)
        return True

    def _heard(self, coin: str, now: float) -> None:
        """Note that data of ``coin`` came at ``now``, monotonic seconds."""
        if not self._open:
            return
        if not self.delivering and (self.last_data is None or now - self.last_data > self._silence):
            self._past.clear()
            self._dropped.clear()
            self._watched_at, self._watched_from = now, 0.0
        super()._heard(coin, now)


class BuildingListener(ConnectionListener):
    """The listener of a connection from whose trades candles are built, because the venue streams none."""

    def build(self, number: int, timeframes: Sequence[str]) -> None:
        """Build candles of these timeframes; ``number`` is the number of this connection in VenueCandles."""
        self._number, self._timeframes = number, timeframes

    def on_trade(self, trade: TradeEvent, number: int | None = None) -> bool:
        own = replace(trade)  # a subscriber may change the trade
        counts = super().on_trade(trade, number)
        if counts and self._open:
            for candle in self._candles.on_trade(self._number, own, self._timeframes):
                self.on_decided(candle)
        return counts
