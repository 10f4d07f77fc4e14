"""The methods of MarketFeed that deliver events: callbacks and async iterators, for all coins or some."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping
from typing import Any, get_args

from exchanges.events import Candle, Quote, Ticker, TradeEvent
from feed.events import PriceTick
from feed.market_data.hub import candles
from feed.settings.arguments import known_timeframe, watched
from feed.settings.schema import Timeframe
from feed.subscriptions.dispatcher import Dispatcher, Subscriber
from feed.subscriptions.observation import Observation, Take
from feed.subscriptions.wanted_data import WantedData

Coins = Collection[str] | None
OBSERVED: Mapping[str, Collection[str]] = {  # a channel of the settings -> what the dispatcher calls it
    "trades": ("trades",),
    "ticker": ("tickers",),
    "candles": [candles(timeframe) for timeframe in get_args(Timeframe)],
    "quotes": ("quotes",),
}
BUFFER = 10_000  # events that an iterator or a coroutine callback may fall behind


class SubscribeMethods:
    """The part of MarketFeed that delivers events.

    Changing an event changes nothing that the feed knows or delivers later. All subscribers of a channel receive the
    same object, in the order in which they subscribed, so a callback that wants to change an event must copy it first
    (``dataclasses.replace``). Each subscriber gets its own copy of a status event's details.

    ``coins``: None means all coins of the feed. ``on_full`` says what happens when the queue of a coroutine callback
    or an iterator is full: "drop_oldest" (counted, and told as slow_callback), "latest" (only the newest event of each
    coin is kept at any time), or "error" (the subscription ends; an iterator raises SlowConsumerError). Iterators end
    when the feed disconnects; ``size`` is how many events an iterator's queue holds. All raise SettingsError for an
    unknown coin or timeframe, and ValueError for an unknown ``on_full`` or a ``size`` below 1. Subscribing and
    ``cancel()`` are safe from any thread.
    """

    def __init__(self, dispatcher: Dispatcher, wanted: WantedData) -> None:
        self._dispatcher = dispatcher
        self._wanted = wanted

    def subscribe_price(
        self, cb: Callable[[PriceTick], Any], coins: Coins = None, *, on_full: str = "drop_oldest"
    ) -> Subscriber:
        """Call ``cb(PriceTick)`` on every trade, and on every ticker that is newer than the coin's last tick.

        Returns a handle with ``cancel()``.
        """
        handle = self._subscribe("prices", cb, coins, on_full)
        self._ask_for_prices()
        return handle

    def subscribe_trades(
        self, cb: Callable[[TradeEvent], Any], coins: Coins = None, *, on_full: str = "drop_oldest"
    ) -> Subscriber:
        """Call ``cb(TradeEvent)`` for every trade, once, in the venue's order per coin.

        Trades that an outage missed have ``backfilled`` set and come before the trades that followed them. Returns a
        handle with ``cancel()``.
        """
        handle = self._subscribe("trades", cb, coins, on_full)
        self._ask(self._wanted.channels, "trades")
        return handle

    def subscribe_candles(
        self,
        cb: Callable[[Candle], Any],
        coins: Coins = None,
        timeframe: str = "1m",
        *,
        on_full: str = "drop_oldest",
    ) -> Subscriber:
        """Call ``cb(Candle)`` on every update of a candle; ``closed`` is True exactly once per candle.

        For several timeframes, subscribe once for each. Returns a handle with ``cancel()``.
        """
        handle = self._subscribe(candles(known_timeframe(timeframe)), cb, coins, on_full)
        self._ask_for_candles(timeframe)
        return handle

    def subscribe_quotes(
        self, cb: Callable[[Quote], Any], coins: Coins = None, *, on_full: str = "drop_oldest"
    ) -> Subscriber:
        """Call ``cb(Quote)`` on every change of the best bid or ask. Returns a handle with ``cancel()``."""
        handle = self._subscribe("quotes", cb, coins, on_full)
        self._ask(self._wanted.channels, "quotes")
        return handle

    def subscribe_tickers(
        self, cb: Callable[[Ticker], Any], coins: Coins = None, *, on_full: str = "drop_oldest"
    ) -> Subscriber:
        """Call ``cb(Ticker)`` with each of the venue's own 24 h summaries; a figure that the venue does not give is
        None.

        If the venue streams no tickers, they come over REST once a minute. Returns a handle with ``cancel()``.
        """
        handle = self._subscribe("tickers", cb, coins, on_full)
        self._ask(self._wanted.channels, "ticker")
        return handle

    def subscribe_status(self, cb: Callable[[str, dict[str, Any]], Any]) -> Subscriber:
        """Call ``cb(event, details)`` on every status event of the feed.

        ``details`` has ``exchange`` and ``at`` (Unix ms) beside the event's own, which docs/events.md lists. Returns a
        handle with ``cancel()``.
        """
        return self._dispatcher.subscribe("status", cb, unpack=True)

    def prices(
        self, coins: Coins = None, *, on_full: str = "drop_oldest", size: int = BUFFER
    ) -> AsyncIterator[PriceTick]:
        """The ticks of ``subscribe_price``, for ``async for``; ends when the feed disconnects."""
        stream = self._iterate("prices", coins, on_full, size)
        self._ask_for_prices()
        return stream

    def trades(
        self, coins: Coins = None, *, on_full: str = "drop_oldest", size: int = BUFFER
    ) -> AsyncIterator[TradeEvent]:
        """The trades of ``subscribe_trades``, for ``async for``."""
        stream = self._iterate("trades", coins, on_full, size)
        self._ask(self._wanted.channels, "trades")
        return stream

    def candles(
        self, coins: Coins = None, timeframe: str = "1m", *, on_full: str = "drop_oldest", size: int = BUFFER
    ) -> AsyncIterator[Candle]:
        """The candles of ``subscribe_candles``, for ``async for``."""
        stream = self._iterate(candles(known_timeframe(timeframe)), coins, on_full, size)
        self._ask_for_candles(timeframe)
        return stream

    def quotes(self, coins: Coins = None, *, on_full: str = "drop_oldest", size: int = BUFFER) -> AsyncIterator[Quote]:
        """The quotes of ``subscribe_quotes``, for ``async for``."""
        stream = self._iterate("quotes", coins, on_full, size)
        self._ask(self._wanted.channels, "quotes")
        return stream

    def tickers(
        self, coins: Coins = None, *, on_full: str = "drop_oldest", size: int = BUFFER
    ) -> AsyncIterator[Ticker]:
        """The tickers of ``subscribe_tickers``, for ``async for``."""
        stream = self._iterate("tickers", coins, on_full, size)
        self._ask(self._wanted.channels, "ticker")
        return stream

    def events(self, *, on_full: str = "drop_oldest", size: int = BUFFER) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """The (event, details) pairs of ``subscribe_status``, for ``async for``."""
        return self._dispatcher.iterate("status", None, on_full, size)

    def observe(self, channel: str, take: Take, coins: Coins = None, *, size: int = 500) -> Observation:
        """Call ``take(events, times)`` with all events of a channel, ``size`` at a time, and ask for nothing more.

        For what counts a feed's events without being one of its users, as metrics do: the exchange is asked for no
        channel because of it. ``channel``: trades, ticker, candles (of every timeframe) or quotes. ``times``: when each
        event's turn came, in seconds of ``time.monotonic``, after the callbacks that subscribed earlier. Returns a
        handle with ``flush()``, which hands on what has come from any thread, and ``cancel()``. Raises ValueError for
        another channel, SettingsError for an unknown coin.
        """
        if channel not in OBSERVED:
            raise ValueError(f"channel is {channel!r}; allowed are {', '.join(OBSERVED)}")
        return self._dispatcher.observe(OBSERVED[channel], take, watched(coins, self._wanted.coins), size)

    def _subscribe(self, channel: str, callback: Callable[..., Any], coins: Coins, on_full: str) -> Subscriber:
        keys = watched(coins, self._wanted.coins)
        return self._dispatcher.subscribe(channel, callback, keys, on_full=on_full)

    def _iterate(self, channel: str, coins: Coins, on_full: str, size: int) -> AsyncIterator[Any]:
        return self._dispatcher.iterate(channel, watched(coins, self._wanted.coins), on_full, size)

    def _ask_for_prices(self) -> None:
        if not {"trades", "ticker"} & set(self._wanted.channels):
            self._ask(self._wanted.channels, "ticker")

    def _ask_for_candles(self, timeframe: str) -> None:
        self._ask(self._wanted.timeframes, timeframe)
        self._ask(self._wanted.channels, "candles")

    def _ask(self, names: list[str], name: str) -> None:
        if name not in names:
            names.append(name)
            self._renew()

    def _renew(self) -> None:
        """Renew the connections: more is wanted than they carry."""
        raise NotImplementedError("the feed that connects says how")
