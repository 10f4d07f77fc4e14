"""Where the events of all connections come together: counted, cached, watched over, published."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from exchanges.events import Candle, Quote, Ticker, TradeEvent
from feed.backoff import Backoff
from feed.clock import Clock
from feed.dispatch import Dispatcher
from feed.prices import Prices
from feed.staleness import Watchdog
from feed.volatility import Volatility

Report = Callable[..., None]
"""report(event, exchange, **details): tells the log and the status subscribers."""

BAD_FRAME_PAUSE = 1.0  # seconds between two bad_frame events; what comes in between is counted


class Desk:
    """What the feed knows across venues and connections; every Intake hands its events in here."""

    def __init__(
        self, dispatcher: Dispatcher, watchdog: Watchdog, prices: Prices, volatility: Volatility, clock: Clock
    ) -> None:
        self.dispatcher = dispatcher
        self.watchdog = watchdog
        self.prices = prices
        self.volatility = volatility
        self.clock = clock
        self.messages = 0  # events delivered by all connections
        self.last_message: float | None = None  # monotonic seconds
        self.bad_frames = 0
        self.stirred = asyncio.Event()  # the watchdog should look at once: a connection stands, a silence has ended


class Intake:
    """The listener of one connection. It takes nothing once it is closed: an old connection may still drain."""

    def __init__(self, desk: Desk, exchange: str, backoff: Backoff, report: Report) -> None:
        self.exchange = exchange
        self.flowing = asyncio.Event()  # set with the first event
        self.open = True
        self._desk = desk
        self._backoff = backoff
        self._report = report
        self._bad_frames = BadFrames(exchange, report)

    def close(self) -> None:
        self.open = False
        self._bad_frames.close()

    def on_trade(self, trade: TradeEvent) -> None:
        if not self._heard(trade.coin):
            return
        desk = self._desk
        tick = desk.prices.on_trade(trade, desk.clock.monotonic())
        desk.dispatcher.publish("trades", trade.coin, trade)
        desk.dispatcher.publish("prices", trade.coin, tick)

    def on_ticker(self, ticker: Ticker) -> None:
        if self._heard(ticker.coin):
            self.on_figures(ticker)

    def on_figures(self, ticker: Ticker) -> None:
        """A ticker, over REST too: it prices a coin and tells its day, but it is no sign of life of the connection."""
        tick = self._desk.prices.on_ticker(ticker, self._desk.clock.monotonic())
        if tick is not None:
            self._desk.dispatcher.publish("prices", ticker.coin, tick)

    def on_candle(self, candle: Candle) -> None:
        if not self._heard(candle.coin):
            return
        if candle.closed:
            self._desk.volatility.add(candle)
        self._desk.dispatcher.publish(candles(candle.timeframe), candle.coin, candle)

    def on_quote(self, quote: Quote) -> None:
        if self._heard(quote.coin):
            self._desk.dispatcher.publish("quotes", quote.coin, quote)

    def on_bad_frame(self, sample: str) -> None:
        if self.open:
            self._desk.bad_frames += 1
            self._bad_frames.add(sample)

    def on_unavailable(self, channel: str, coins: list[str], reason: str) -> None:
        if self.open:
            for coin in coins:
                self._report("coin_unavailable", self.exchange, coin=coin, channel=channel, reason=reason)

    def _heard(self, coin: str) -> bool:
        """Note that data of ``coin`` came; False when this connection counts no more."""
        if not self.open:
            return False
        desk = self._desk
        now = desk.clock.monotonic()
        desk.messages += 1
        desk.last_message = now
        self._backoff.note_data(now)
        if desk.watchdog.note(coin, now):
            desk.stirred.set()
        if not self.flowing.is_set():
            self.flowing.set()
        return True


class BadFrames:
    """Tells bad frames at most once per BAD_FRAME_PAUSE: ``count`` is how many came since the last event."""

    def __init__(self, exchange: str, report: Report) -> None:
        self._exchange = exchange
        self._report = report
        self._count = 0
        self._sample = ""
        self._timer: asyncio.TimerHandle | None = None

    def add(self, sample: str) -> None:
        self._count += 1
        self._sample = sample
        if self._timer is None:
            self._tell()

    def close(self) -> None:
        """Tell what is left and stop."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._count:
            self._report("bad_frame", self._exchange, count=self._count, sample=self._sample)
            self._count = 0

    def _tell(self) -> None:
        self._timer = None
        if self._count:
            self._report("bad_frame", self._exchange, count=self._count, sample=self._sample)
            self._count = 0
            self._timer = asyncio.get_running_loop().call_later(BAD_FRAME_PAUSE, self._tell)


def candles(timeframe: str) -> str:
    """The dispatcher's channel of one timeframe."""
    return f"candles:{timeframe}"
