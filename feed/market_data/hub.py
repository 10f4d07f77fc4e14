"""Where the events of all connections meet: they are counted, checked, cached and published."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from exchanges.events import Candle, Quote, Ticker, TradeEvent
from feed.candles.delivered import DeliveredCandles
from feed.channels import CANDLES, HISTORY, PRICES, QUOTES, TICKER, TRADES
from feed.clock import Clock
from feed.market_data.coin_markets import CoinMarkets, KnownPrice
from feed.market_data.order_books import OrderBooks
from feed.market_data.price_cache import PriceCache
from feed.market_data.volatility import Volatility
from feed.policies.lag import LeastDelay
from feed.subscriptions.dispatcher import Dispatcher


class TradeCount:
    """How many trades of one venue were delivered: at once, and (``other``) after a gap or a trial."""

    __slots__ = ("other", "simple")

    def __init__(self) -> None:
        self.simple = self.other = 0


class MarketDataHub:
    """What the feed knows from all venues and connections; each ConnectionListener passes its events to this hub."""

    def __init__(
        self, dispatcher: Dispatcher, clock: Clock, max_price_ratio: float, depths: Sequence[int] = ()
    ) -> None:
        self.dispatcher = dispatcher
        self.clock = clock
        self.prices = PriceCache()
        self.markets = CoinMarkets(max_price_ratio, self.prices, clock, self._known_prices)
        self.books = OrderBooks(dispatcher, clock, depths)
        self._bids: dict[str, tuple[float, float]] = {}  # coin -> its last quote's bid, and when the quote came
        self.volatility = Volatility()
        self.trades: defaultdict[str, TradeCount] = defaultdict(TradeCount)  # venue -> its delivered trades
        self.other_messages = 0  # events of all connections, except trades that were delivered at once
        self.last_message: float | None = None  # when the last event of the active venue came, monotonic seconds
        self.bad_frames = 0
        self.off_book_trades = 0  # block trades and the like, which are not delivered
        self.delivered_candles = DeliveredCandles()
        self.delays: defaultdict[str, LeastDelay] = defaultdict(LeastDelay)  # venue -> delay

    @property
    def messages(self) -> int:
        """Events of all connections."""
        return self.other_messages + sum(count.simple for count in self.trades.copy().values())

    def forget(self, coins: Iterable[str]) -> None:
        """Drop everything about coins that were removed from the feed."""
        self.markets.forget(coins := list(coins))
        self.books.forget(coins)
        for coin in coins:
            self.prices.pop(coin, None)
            self._bids.pop(coin, None)
            self.volatility.forget(coin)
            self.delivered_candles.forget(coin)

    def on_trade(self, trade: TradeEvent) -> None:
        """Publish a trade that had to wait until the gap before it ended."""
        if not self.markets.takes(trade):
            return
        self.trades[trade.exchange].other += 1
        self.dispatcher.publish(TRADES.name, trade.coin, trade)

    def on_ticker(self, ticker: Ticker, *, over_rest: bool = False) -> None:
        """Publish a ticker, and a price tick if the ticker's price is new.

        ``over_rest``: the answer may have waited for the dial, and the price is as old as the answer.
        """
        now = self.clock.monotonic()
        if over_rest:
            now -= max(0.0, self.clock.now() - ticker.received_at / 1e9)
        tick = self.prices[ticker.coin].on_ticker(ticker, now, over_rest=over_rest)
        if tick is not None:
            self.dispatcher.publish(PRICES.name, tick.coin, tick)
        self.dispatcher.publish(TICKER.name, ticker.coin, ticker)

    def learn(self, ticker: Ticker) -> None:
        """Take a ticker whose price may be of any age: only its 24 h statistics are used."""
        self.prices[ticker.coin].learn(ticker)
        self.dispatcher.publish(TICKER.name, ticker.coin, ticker)

    def on_candle(self, candle: Candle) -> None:
        """Publish a candle or its state so far, unless a venue or connection has closed that candle already."""
        if not self.markets.takes(candle) or not self.delivered_candles.enter(candle):
            return
        if candle.closed:
            self.volatility.add(candle)
        self.dispatcher.publish(CANDLES.key(candle.timeframe), candle.coin, candle)

    def on_past_candle(self, candle: Candle) -> None:
        """Remember a fetched closed candle, and publish it to subscribers of past candles."""
        if self.markets.takes(candle):
            self.volatility.add(candle)
            self.dispatcher.publish(HISTORY, candle.coin, candle)

    def on_quote(self, quote: Quote) -> None:
        self._bids[quote.coin] = quote.bid, self.clock.monotonic()
        self.dispatcher.publish(QUOTES.name, quote.coin, quote)

    def _known_prices(self, coin: str) -> Iterator[KnownPrice]:
        """The coin's last price from each kind of event: ticks, quotes, books and candles."""
        clock, price = self.clock, self.prices.get(coin)
        if price is not None and (tick := price.tick) is not None:
            yield KnownPrice(0.0 if price.priced_at is None else clock.since(price.priced_at), tick.price)
        if (bid := self._bids.get(coin)) is not None:
            yield KnownPrice(clock.since(bid[1]), bid[0])
        mid, at = self.books.last_mid(coin)
        if mid is not None:
            yield KnownPrice(clock.since(at), mid)
        for candle in self.delivered_candles.newest_of(coin):
            yield KnownPrice(max(0.0, clock.now() - candle.received_at / 1e9), candle.close)
