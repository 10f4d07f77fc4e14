"""Delivers recorded market data through the hub, so that the feed knows and publishes what the recorded feed did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from exchanges.events import Candle, OrderBook, PriceTick, Quote, Ticker, TradeEvent
from exchanges.recording.reader import RowSelection
from exchanges.recording.rows import PastCandle
from feed.channels import CANDLES, PRICES, QUOTES, TICKER, TRADES
from feed.market_data.hub import MarketDataHub, TradeCount
from feed.market_data.price_cache import Price
from feed.replay.recorded_clock import RecordedClock
from feed.subscriptions.routes import Route

if TYPE_CHECKING:
    from feed.replay.source import ReplaySource


class _RecordedPath:
    """The objects that a coin's trades of one exchange need, found with one lookup."""

    __slots__ = ("count", "price", "prices", "trades")

    def __init__(self, hub: MarketDataHub, coin: str, exchange: str) -> None:
        self.count: TradeCount = hub.trades[exchange]
        self.price: Price = hub.prices[coin]
        self.prices: Route = hub.dispatcher.route(PRICES.name, coin)
        self.trades: Route = hub.dispatcher.route(TRADES.name, coin)


class RecordedSource:
    """Takes the place of the connection over which an exchange's books came."""

    turn = 0

    def __init__(self) -> None:
        self.last_data: float | None = None

    def tell(self, event: str, **details: Any) -> None:
        """Do nothing: recorded status events are reported by RecordedStatus."""


class RecordedEvents:
    """Takes recorded events in their order; ``priced``: whether a price tick was made of the event."""

    def __init__(self, hub: MarketDataHub, clock: RecordedClock) -> None:
        self.heard: set[str] = set()
        self._hub = hub
        self._clock = clock
        self._paths: dict[tuple[str, str], _RecordedPath] = {}
        self._sources: dict[str, RecordedSource] = {}
        self.book_depth = 20

    def warm(self, source: ReplaySource, wanted: RowSelection) -> None:
        """Take the closed candles before the replay's start, which volatility needs."""
        self._paths.clear()
        self.book_depth = source.book_depth
        for candle in source.past_candles(wanted):
            self._hub.volatility.add(candle)

    def on_trade(self, trade: TradeEvent, priced: bool) -> None:
        key = trade.coin, trade.exchange
        try:
            path = self._paths[key]
        except KeyError:
            path = self._paths[key] = _RecordedPath(self._hub, *key)
            self.heard.add(trade.coin)
        now = self._clock.monotonic()
        path.count.simple += 1
        if priced:
            self._hub.last_message = now
            tick = path.price.on_trade(trade, now)
            path.prices.publish(tick, path.trades.publish(trade, now))
        else:
            path.trades.publish(trade, now)

    def on_ticker(self, ticker: Ticker, priced: bool) -> None:
        price, now = self._hub.prices[ticker.coin], self._heard(ticker.coin)
        if priced:
            self._hub.dispatcher.publish(PRICES.name, ticker.coin, price.repeat(ticker, now))
        else:
            price.learn(ticker)
        self._hub.dispatcher.publish(TICKER.name, ticker.coin, ticker)

    def on_price(self, tick: PriceTick, _: bool) -> None:
        """Take a tick that cannot be made again from its trade or ticker."""
        self._hub.prices[tick.coin].restore(tick, self._heard(tick.coin))
        self._hub.dispatcher.publish(PRICES.name, tick.coin, tick)

    def on_candle(self, candle: Candle, _: bool) -> None:
        self._heard(candle.coin)
        self._hub.delivered_candles.enter(candle)
        if candle.closed:
            self._hub.volatility.add(candle)
        self._hub.dispatcher.publish(CANDLES.key(candle.timeframe), candle.coin, candle)

    def on_past_candle(self, candle: PastCandle, _: bool) -> None:
        """Take a past candle that was fetched while the recorder ran."""
        self._hub.volatility.add(candle)

    def on_quote(self, quote: Quote, _: bool) -> None:
        self._heard(quote.coin)
        self._hub.dispatcher.publish(QUOTES.name, quote.coin, quote)

    def on_book(self, book: OrderBook, _: bool) -> None:
        source = self._sources.get(book.exchange)
        if source is None:
            source = self._sources[book.exchange] = RecordedSource()
        source.last_data = now = self._heard(book.coin)
        self._hub.books.replay(source, book, now, self.book_depth)

    def lose_books(self, exchange: str, coin: str | None, reason: str) -> None:
        """Drop the book of a coin, or of all coins: a recorded event says that it was not proven any more."""
        source = self._sources.get(exchange)
        if source is None:
            return
        if coin is None:
            self._hub.books.lose_all(source, reason)
        else:
            self._hub.books.lose(source, coin, reason)

    def _heard(self, coin: str) -> float:
        """Note that data of the coin comes now; returns the time, monotonic seconds."""
        now = self._clock.monotonic()
        self.heard.add(coin)
        self._hub.other_messages += 1
        self._hub.last_message = now
        return now
