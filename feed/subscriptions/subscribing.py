"""The methods of MarketFeed that deliver events: callbacks and async iterators, for all coins or some."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection
from typing import Any

from feed.channels import BOOKS, CANDLES, CHANNELS, OF_VENUES, PRICES, QUOTES, STATUS, TICKER, TRADES, Channel, Part
from feed.events import Candle, OrderBook, PriceTick, Quote, Ticker, TradeEvent
from feed.settings.arguments import known_depth, known_timeframe, watched
from feed.subscriptions.dispatcher import Dispatcher, Subscriber
from feed.subscriptions.observation import Observation, Take
from feed.subscriptions.wanted_data import WantedData

Coins = Collection[str] | None
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
        return self._subscribe(PRICES, cb, coins, on_full)

    def subscribe_trades(
        self, cb: Callable[[TradeEvent], Any], coins: Coins = None, *, on_full: str = "drop_oldest"
    ) -> Subscriber:
        """Call ``cb(TradeEvent)`` for every trade, once, in the venue's order per coin.

        Trades that an outage missed have ``backfilled`` set and come before the trades that followed them. Returns a
        handle with ``cancel()``.
        """
        return self._subscribe(TRADES, cb, coins, on_full)

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
        return self._subscribe(CANDLES, cb, coins, on_full, known_timeframe(timeframe))

    def subscribe_quotes(
        self, cb: Callable[[Quote], Any], coins: Coins = None, *, on_full: str = "drop_oldest"
    ) -> Subscriber:
        """Call ``cb(Quote)`` on every change of the best bid or ask. Returns a handle with ``cancel()``."""
        return self._subscribe(QUOTES, cb, coins, on_full)

    def subscribe_books(
        self, cb: Callable[[OrderBook], Any], coins: Coins = None, depth: int = 20, *, on_full: str = "latest"
    ) -> Subscriber:
        """Call ``cb(OrderBook)`` at each change among the best ``depth`` levels (1 to 1000) of a proven book.

        While a book is not proven, nothing is delivered: the status events ``book_unsynced`` and ``book_synced`` say
        so. Every depth has books of its own, whose lists the callback may change. Returns a handle with ``cancel()``.
        """
        return self._subscribe(BOOKS, cb, coins, on_full, known_depth(depth))

    def subscribe_tickers(
        self, cb: Callable[[Ticker], Any], coins: Coins = None, *, on_full: str = "drop_oldest"
    ) -> Subscriber:
        """Call ``cb(Ticker)`` with each of the venue's own 24 h summaries; a figure that the venue does not give is
        None.

        If the venue streams no tickers, they come over REST once a minute. Returns a handle with ``cancel()``.
        """
        return self._subscribe(TICKER, cb, coins, on_full)

    def subscribe_status(self, cb: Callable[[str, dict[str, Any]], Any]) -> Subscriber:
        """Call ``cb(event, details)`` on every status event of the feed.

        ``details`` has ``exchange`` and ``at`` (Unix ms) beside the event's own, which docs/events.md lists. Returns a
        handle with ``cancel()``.
        """
        return self._dispatcher.subscribe(STATUS, cb, unpack=True)

    def prices(
        self, coins: Coins = None, *, on_full: str = "drop_oldest", size: int = BUFFER
    ) -> AsyncIterator[PriceTick]:
        """The ticks of ``subscribe_price``, for ``async for``; ends when the feed disconnects."""
        return self._iterate(PRICES, coins, on_full, size)

    def trades(
        self, coins: Coins = None, *, on_full: str = "drop_oldest", size: int = BUFFER
    ) -> AsyncIterator[TradeEvent]:
        """The trades of ``subscribe_trades``, for ``async for``."""
        return self._iterate(TRADES, coins, on_full, size)

    def candles(
        self, coins: Coins = None, timeframe: str = "1m", *, on_full: str = "drop_oldest", size: int = BUFFER
    ) -> AsyncIterator[Candle]:
        """The candles of ``subscribe_candles``, for ``async for``."""
        return self._iterate(CANDLES, coins, on_full, size, known_timeframe(timeframe))

    def quotes(self, coins: Coins = None, *, on_full: str = "drop_oldest", size: int = BUFFER) -> AsyncIterator[Quote]:
        """The quotes of ``subscribe_quotes``, for ``async for``."""
        return self._iterate(QUOTES, coins, on_full, size)

    def books(
        self, coins: Coins = None, depth: int = 20, *, on_full: str = "latest", size: int = BUFFER
    ) -> AsyncIterator[OrderBook]:
        """The books of ``subscribe_books``, for ``async for``; by default only the newest of each coin waits."""
        return self._iterate(BOOKS, coins, on_full, size, known_depth(depth))

    def tickers(
        self, coins: Coins = None, *, on_full: str = "drop_oldest", size: int = BUFFER
    ) -> AsyncIterator[Ticker]:
        """The tickers of ``subscribe_tickers``, for ``async for``."""
        return self._iterate(TICKER, coins, on_full, size)

    def events(self, *, on_full: str = "drop_oldest", size: int = BUFFER) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """The (event, details) pairs of ``subscribe_status``, for ``async for``."""
        return self._dispatcher.iterate(STATUS, None, on_full, size)

    def subscribe(
        self, channel: str, cb: Callable[[Any], Any], coins: Coins = None, *, on_full: str | None = None
    ) -> Subscriber:
        """Call ``cb(event)`` with every event of a channel: prices, trades, ticker, candles, quotes or books.

        For programs that carry whatever channels somebody else names. Candles are those of the settings'
        ``candle_timeframe``, books have their ``book_depth``; ``on_full`` None is the channel's own default. Returns a
        handle with ``cancel()``. Raises ValueError for another channel.
        """
        row = _row(channel, tuple(CHANNELS))
        return self._subscribe(row, cb, coins, row.on_full if on_full is None else on_full)

    def observe(self, channel: str, take: Take, coins: Coins = None, *, size: int = 500) -> Observation:
        """Call ``take(events, times)`` with all events of a channel, ``size`` at a time, and ask for nothing more.

        For what counts a feed's events without being one of its users, as metrics do: the exchange is asked for no
        channel because of it. ``channel``: trades, ticker, candles (of every timeframe), quotes or books (of every
        depth). ``times``: when each event's turn came, in seconds of ``time.monotonic``, after the callbacks that
        subscribed earlier. Returns a handle with ``flush()``, which hands on what has come from any thread, and
        ``cancel()``. Raises ValueError for another channel, SettingsError for an unknown coin.
        """
        row = _row(channel, OF_VENUES)
        return self._dispatcher.observe(row.key(), take, watched(coins, self._wanted.coins), size)

    def _subscribe(
        self, channel: Channel, callback: Callable[..., Any], coins: Coins, on_full: str, part: Part | None = None
    ) -> Subscriber:
        keys = watched(coins, self._wanted.coins)
        name = self._wanted.key(channel, part)
        handle = self._dispatcher.subscribe(name, callback, keys, on_full=on_full)
        self._want(channel, part)
        return handle

    def _iterate(
        self, channel: Channel, coins: Coins, on_full: str, size: int, part: Part | None = None
    ) -> AsyncIterator[Any]:
        keys = watched(coins, self._wanted.coins)
        stream = self._dispatcher.iterate(self._wanted.key(channel, part), keys, on_full, size)
        self._want(channel, part)
        return stream

    def _want(self, channel: Channel, part: Part | None) -> None:
        if self._wanted.add(channel, part):
            self._renew()

    def _renew(self) -> None:
        """Renew the connections: more is wanted than they carry."""
        raise NotImplementedError("the feed that connects says how")


def _row(name: str, allowed: Collection[str]) -> Channel:
    if name not in allowed:
        raise ValueError(f"channel is {name!r}; allowed are {', '.join(allowed)}")
    return CHANNELS[name]
