"""What every connection's listener does: delivers only admitted coins, reports bad frames at most once a second."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import partial

from exchanges.events import Candle, OrderBook, Quote, Ticker, TradeEvent
from feed.market_data.hub import MarketDataHub
from feed.policies.lag import ConnectionLag
from feed.policies.staleness import SilenceWatch
from feed.subscriptions.status import Report
from feed.trades.lost_subscription import LostSubscriptions

BAD_FRAME_PAUSE = 1.0  # seconds between two bad_frame events; bad frames in between are counted


@dataclass(frozen=True, slots=True)
class ListenerContext:
    """What the listeners of a session's connections share.

    ``main`` is False for connections that only carry coins which the active venue does not list: their data does not
    end the feed's staleness. ``silence``: after this many seconds without data a connection may have missed something.
    ``wake`` is called when data ends a silence that was reported.
    """

    hub: MarketDataHub
    silence_watch: SilenceWatch
    exchange: str
    report: Report
    wake: Callable[[], None]
    main: bool
    silence: float


class ListenerBase:
    """A listener that delivers nothing itself: its subclasses handle the channels.

    ``delivering`` is False while the connection is on trial. After ``close`` its events are ignored: an old connection
    may still have events to read.
    """

    def __init__(self, context: ListenerContext, *, delivering: bool) -> None:
        hub, exchange = context.hub, context.exchange
        self.delivering = delivering
        self.flowing = asyncio.Event()  # set with the first event
        self.first_data: float | None = None  # monotonic seconds
        self.last_data: float | None = None
        self.exchange = exchange
        self.turn = 0
        self.tell = partial(context.report, exchange=exchange)
        self.wake = context.wake
        self.lag = ConnectionLag(hub.delays[exchange])
        self.shows_life = True  # data of this connection ends the feed's staleness
        self.is_awaited = False  # True on trial, while the trial waits for its next data
        self.gone: set[str] = set()  # removed coins that the connection may still deliver
        self.refused: set[str] = set()  # coins for which the venue has refused a subscription
        self.lost_subscriptions = LostSubscriptions()
        self._open = True
        self._hub = hub
        self._silence_watch = context.silence_watch
        self._main = context.main
        self._silence = context.silence
        self._now = hub.clock.monotonic
        self._admitted: set[str] = set()  # coins that this connection may deliver
        self._bad_frames = BadFrames(self.tell)
        if delivering:
            hub.markets.begin(self)

    def deliver(self, coins: Collection[str]) -> None:
        """End the trial: deliver from now on. ``coins``: the coins to which the connection has subscribed."""
        self.delivering = True
        self._hub.markets.begin(self)

    def close(self, reason: str = "") -> None:
        """Stop delivering. ``reason``: what ended the connection; "" if the end is not to be reported."""
        self._open = self.delivering = False
        self._hub.markets.end(self)
        self._admitted.clear()
        self._bad_frames.close()

    def delivers(self, coin: str) -> bool:
        """See feed.market_data.coin_markets.AdmittedConnection."""
        return coin in self._admitted

    def revoke(self, coin: str) -> None:
        """See feed.market_data.coin_markets.AdmittedConnection."""
        self._admitted.discard(coin)

    def forget(self, coins: Iterable[str]) -> None:
        """Deliver nothing of these coins until ``readmit`` names them."""
        for coin in coins:
            self.gone.add(coin)
            self.revoke(coin)

    def readmit(self, coins: Iterable[str]) -> None:
        """Deliver these coins again after they were removed; the sequences of their trades must exist already."""
        self.gone.difference_update(coins)
        self.refused.difference_update(coins)

    def look(self) -> None:
        """Check for silence and lag; called about twice a second."""

    def has_all_of(self, other: ListenerBase) -> bool:
        """Whether this connection delivers all that the connection of ``other`` delivers."""
        return True

    def has_traded(self, coin: str) -> bool:
        """Whether a trade of the coin was delivered."""
        return False

    # Methods of Listener for channels that the connection does not carry

    def on_trade(self, trade: TradeEvent, number: int | None = None) -> object: ...

    def on_history(self, trades: list[TradeEvent]) -> None: ...

    def on_ticker(self, ticker: Ticker) -> None: ...

    def on_day_stats(self, ticker: Ticker) -> None: ...

    def on_candle(self, candle: Candle, flagged: bool) -> None: ...

    def on_decided(self, candle: Candle) -> None: ...

    def on_quote(self, quote: Quote) -> None: ...

    def on_book(self, book: OrderBook) -> None: ...

    def on_book_unsynced(self, coin: str, reason: str) -> None: ...

    def on_off_book(self, coin: str) -> None: ...

    def on_source(self, source: str, reason: str, missed: Collection[str]) -> None: ...

    def on_bad_frame(self, sample: str) -> None:
        """See Listener."""
        if self._open:
            self._hub.bad_frames += 1
            self._bad_frames.add(sample)

    def on_unavailable(self, channel: str, coins: list[str], reason: str, timeframe: str = "") -> None:
        """See Listener."""
        self.refused.update(coins)
        if self._open:
            details = {"channel": channel, "reason": reason} | ({"timeframe": timeframe} if timeframe else {})
            for coin in (coin for coin in coins if coin not in self.gone):
                self.tell("coin_unavailable", coin=coin, **details)

    def _admits(self, coin: str, market: str, price: float) -> bool:
        """Whether the coin's events are delivered from this connection."""
        if coin in self._admitted:
            return True
        if self._hub.markets.admit(self, coin, market, price):
            self._admitted.add(coin)
            return True
        return False

    def _heard(self, coin: str, now: float) -> None:
        """Note that data of ``coin`` came at ``now``, monotonic seconds."""
        if self.last_data is None:
            self.first_data = now
            self.flowing.set()
        self.last_data = now
        if not self.delivering:
            if self.is_awaited and self.shows_life:
                self.wake()
            return
        self._hub.other_messages += 1
        if not self.shows_life:
            return
        if self._main:
            self._hub.last_message = now
        if self._silence_watch.note(coin, now):
            self.wake()


class BadFrames:
    """Reports bad frames at most once per BAD_FRAME_PAUSE, with their number since the last report."""

    def __init__(self, tell: Callable[..., None]) -> None:
        self._tell = tell
        self._count = 0
        self._sample = ""
        self._timer: asyncio.TimerHandle | None = None

    def add(self, sample: str) -> None:
        self._count += 1
        self._sample = sample
        if self._timer is None:
            self._look()

    def close(self) -> None:
        """Report the bad frames that were not reported yet, and stop."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._report()

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(BAD_FRAME_PAUSE, self._look) if self._count else None
        self._report()

    def _report(self) -> None:
        if self._count:
            self._tell("bad_frame", count=self._count, sample=self._sample)
            self._count = 0
