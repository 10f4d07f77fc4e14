"""MarketFeed, the class that programs use: its methods, arguments and defaults; other modules do the work."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from exchanges.foreign_text import Cleaner
from feed.channels import BOOKS, CANDLES, CHANNELS, PRICES, QUOTES, STATUS, TICKER, TRADES, Part
from feed.clock import Clock
from feed.errors import SettingsError
from feed.events import Candle, CoinConfig, FeedStatus, OrderBook, PriceTick, Quote, Ticker, TradeEvent
from feed.market_data.hub import MarketDataHub
from feed.policies.circuit_breaker import CircuitBreakerPolicy
from feed.queries import Queries
from feed.running.runner import FeedRunner
from feed.sessions.shared_venue import secrets_of
from feed.settings.arguments import coins_of, known_depth, known_timeframe, order_of, own, symbol
from feed.settings.file import load_settings
from feed.settings.schema import ExchangeConfig, Settings
from feed.settings.validation import check
from feed.subscriptions.dispatcher import Subscriber
from feed.subscriptions.observation import Observation, Take
from feed.subscriptions.queues import QUEUE_SIZE
from feed.subscriptions.status import StatusReporter
from feed.subscriptions.subscribing import Coins, Subscriptions
from feed.subscriptions.wanted_data import WantedData

if TYPE_CHECKING:
    from feed.replay.source import ReplaySource

CONNECT_TIMEOUT = 30  # seconds after which connect(), run() and start() give up


class MarketFeed:
    """Live prices, trades and candles of some coins, from the first venue of the order that delivers.

    ``coins``: symbols in any case, None for all coins of the settings; a coin that is not in the settings gets tier 3.
    ``exchange``: a name (that venue first, then the settings' order), a list (exactly that order; a single name means
    no failover), None for the settings' order. ``settings``: a path, a Settings, or None for ./settings.yaml when it
    exists, else the packaged defaults. Raises SettingsError, with one line per problem. If the settings name a
    ``recording``, the feed plays it, see ``from_recording``.

    Subscribe, then ``await connect()``; or use it as ``async with MarketFeed(...) as feed:``. Callbacks run in the
    event loop's thread. A plain function is called inline, at once; a coroutine function gets a queue of its own.

    Changing an event changes nothing that the feed knows or delivers later. All subscribers of a channel receive the
    same object, in the order in which they subscribed, so a callback that wants to change an event must copy it first
    (``dataclasses.replace``). Each subscriber gets its own copy of an order book, and of a status event's details.

    Methods that subscribe: ``coins`` None means all coins of the feed. ``on_full`` says what happens when the queue of
    a coroutine callback or an iterator is full: "drop_oldest" (counted, and reported as slow_callback), "latest" (only
    the newest event of each coin is kept at any time), or "error" (the subscription ends; an iterator raises
    SlowConsumerError). Iterators end when the feed disconnects; ``size`` is how many events an iterator's queue holds.
    All raise SettingsError for an unknown coin or timeframe or a wrong ``depth``, ValueError for an unknown ``on_full``
    or a ``size`` below 1, and TypeError for a callback that cannot be called. Subscribing and ``cancel()`` are safe
    from any thread.
    """

    def __init__(
        self,
        coins: Iterable[str] | None = None,
        exchange: str | Iterable[str] | None = None,
        *,
        settings: str | os.PathLike[str] | Settings | None = None,
    ) -> None:
        self._set_up(coins, exchange, settings, None)

    @classmethod
    def from_recording(
        cls,
        folder: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
        coins: Iterable[str] | None = None,
        exchange: str | Iterable[str] | None = None,
        *,
        speed: float | None = 1.0,
        start: float | str | datetime | None = None,
        end: float | str | datetime | None = None,
        settings: str | os.PathLike[str] | Settings | None = None,
    ) -> Self:
        """Make a feed that plays what a Recorder has written to ``folder``, or to several, when it connects.

        The events are those that were delivered then, in the same order each time; those of several folders are merged
        by the time of their receipt. ``coins`` and ``exchange``: some of the recording's, None for all. ``speed``: how
        many times as fast as it was recorded, None for as fast as the consumers take it. ``start`` and ``end``: Unix
        ms, ISO 8601 (UTC where no zone is named) or datetime. ``settings``: for example, how old a price may be for
        ``require_fresh``.

        ``now()`` and ``sleep()`` follow the recording's clock. At the end iterators end, ``run()`` returns and
        ``closed`` is reported; connecting again plays the recording again. Raises SettingsError, with one line per
        problem, and ImportError without the extra ``record``.
        """
        from feed.replay.source import ReplaySource

        feed = cls.__new__(cls)
        source = ReplaySource(folder, coins, exchange, speed, start, end)
        feed._set_up(source.coins, source.exchanges, settings, source)
        return feed

    def _set_up(
        self,
        coins: Iterable[str] | None,
        exchange: str | Iterable[str] | None,
        settings: str | os.PathLike[str] | Settings | None,
        source: ReplaySource | None,
    ) -> None:
        if isinstance(settings, Settings):
            check(settings)
            self._settings = settings
        elif settings is None or isinstance(settings, str | os.PathLike):
            self._settings = load_settings(settings)
        else:
            raise SettingsError([f"settings: found {settings!r}, allowed is a path, a Settings, or None"])
        if source is None and self._settings.recording is not None:
            from feed.replay.source import source_of

            source = source_of(self._settings, coins, exchange)
            coins = source.coins
        timeframe = default_timeframe = str(self._settings.candle_timeframe)
        if source is None:
            order = order_of(exchange, self._settings)
            clock, limits = Clock(), self._settings.circuit_breaker
            breaker = CircuitBreakerPolicy(limits.failures, limits.window, limits.cooldown)
        else:
            order = [ExchangeConfig(name) for name in source.exchanges]
            clock, breaker = source.clock, source.breaker
            if source.timeframes and timeframe not in source.timeframes:
                default_timeframe = source.timeframes[0]
        parts: dict[str, Part] = {CANDLES.name: default_timeframe, BOOKS.name: self._settings.book_depth}
        wanted = WantedData(coins_of(coins, self._settings), parts)
        for name in self._settings.channels if source is None else source.channels:
            if name in CHANNELS:
                wanted.add(CHANNELS[name])
        reporter = self._reporter = StatusReporter(clock, breaker, lambda: Cleaner(secrets_of(order, self._settings)))
        hub = self._hub = MarketDataHub(
            reporter.dispatcher, clock, self._settings.connection.max_price_ratio, wanted.depths
        )
        self._runner = FeedRunner(self._settings, order, source, hub, reporter, wanted)
        self._subscriptions = Subscriptions(reporter.dispatcher, wanted, self._runner.renew)
        self._queries = Queries(self._runner, hub, reporter, self._settings.staleness, wanted)
        self._wanted = wanted

    def __repr__(self) -> str:
        where = self._reporter.exchange or "no exchange yet"
        return f"<MarketFeed {self._reporter.state}, {where}, {len(self._wanted.coins)} coins>"

    # Events, as callbacks and as async iterators

    def subscribe_price(
        self, cb: Callable[[PriceTick], Any], coins: Coins = None, *, on_full: str = PRICES.on_full
    ) -> Subscriber:
        """Call ``cb(PriceTick)`` on every trade, and on every ticker that is newer than the coin's last tick.

        Returns a handle with ``cancel()``.
        """
        return self._subscriptions.subscribe(PRICES, cb, coins, on_full)

    def subscribe_trades(
        self, cb: Callable[[TradeEvent], Any], coins: Coins = None, *, on_full: str = TRADES.on_full
    ) -> Subscriber:
        """Call ``cb(TradeEvent)`` for every trade, once, in the venue's order per coin.

        Trades that an outage missed have ``backfilled`` set and come before the trades that followed them. Returns a
        handle with ``cancel()``.
        """
        return self._subscriptions.subscribe(TRADES, cb, coins, on_full)

    def subscribe_candles(
        self,
        cb: Callable[[Candle], Any],
        coins: Coins = None,
        timeframe: str = "1m",
        *,
        on_full: str = CANDLES.on_full,
    ) -> Subscriber:
        """Call ``cb(Candle)`` on every update of a candle; ``closed`` is True exactly once per candle.

        For several timeframes, subscribe once for each. Returns a handle with ``cancel()``.
        """
        return self._subscriptions.subscribe(CANDLES, cb, coins, on_full, known_timeframe(timeframe))

    def subscribe_past_candles(self, cb: Callable[[Candle], Any], coins: Coins = None) -> Subscriber:
        """Call ``cb(Candle)`` for each closed candle of the past that is fetched over REST.

        They are fetched for volatility after connecting, and by ``candles_history``; no stream delivers them. Returns a
        handle with ``cancel()``.
        """
        return self._subscriptions.subscribe_history(cb, coins)

    def subscribe_quotes(
        self, cb: Callable[[Quote], Any], coins: Coins = None, *, on_full: str = QUOTES.on_full
    ) -> Subscriber:
        """Call ``cb(Quote)`` on every change of the best bid or ask. Returns a handle with ``cancel()``."""
        return self._subscriptions.subscribe(QUOTES, cb, coins, on_full)

    def subscribe_books(
        self, cb: Callable[[OrderBook], Any], coins: Coins = None, depth: int = 20, *, on_full: str = BOOKS.on_full
    ) -> Subscriber:
        """Call ``cb(OrderBook)`` at each change among the best ``depth`` levels (1 to 1000) of a proven book.

        While a book is not proven, nothing is delivered: the status events ``book_unsynced`` and ``book_synced`` say
        so. Every subscriber has books of its own, whose lists it may change. Returns a handle with ``cancel()``.
        """
        return self._subscriptions.subscribe(BOOKS, cb, coins, on_full, known_depth(depth))

    def subscribe_tickers(
        self, cb: Callable[[Ticker], Any], coins: Coins = None, *, on_full: str = TICKER.on_full
    ) -> Subscriber:
        """Call ``cb(Ticker)`` with each of the venue's own 24 h summaries; a figure that the venue does not give is
        None.

        If the venue streams no tickers, they come over REST once a minute. Returns a handle with ``cancel()``.
        """
        return self._subscriptions.subscribe(TICKER, cb, coins, on_full)

    def subscribe_status(self, cb: Callable[[str, dict[str, Any]], Any]) -> Subscriber:
        """Call ``cb(event, details)`` on every status event of the feed.

        ``details`` has ``exchange``, ``at`` (Unix ms) and the event's own details, which docs/events.md lists.
        Returns a handle with ``cancel()``.
        """
        return self._subscriptions.dispatcher.subscribe(STATUS, cb, unpack=True)

    def prices(
        self, coins: Coins = None, *, on_full: str = PRICES.on_full, size: int = QUEUE_SIZE
    ) -> AsyncIterator[PriceTick]:
        """The ticks of ``subscribe_price``, for ``async for``; ends when the feed disconnects."""
        return self._subscriptions.iterate(PRICES, coins, on_full, size)

    def trades(
        self, coins: Coins = None, *, on_full: str = TRADES.on_full, size: int = QUEUE_SIZE
    ) -> AsyncIterator[TradeEvent]:
        """The trades of ``subscribe_trades``, for ``async for``."""
        return self._subscriptions.iterate(TRADES, coins, on_full, size)

    def candles(
        self, coins: Coins = None, timeframe: str = "1m", *, on_full: str = CANDLES.on_full, size: int = QUEUE_SIZE
    ) -> AsyncIterator[Candle]:
        """The candles of ``subscribe_candles``, for ``async for``."""
        return self._subscriptions.iterate(CANDLES, coins, on_full, size, known_timeframe(timeframe))

    def quotes(
        self, coins: Coins = None, *, on_full: str = QUOTES.on_full, size: int = QUEUE_SIZE
    ) -> AsyncIterator[Quote]:
        """The quotes of ``subscribe_quotes``, for ``async for``."""
        return self._subscriptions.iterate(QUOTES, coins, on_full, size)

    def books(
        self, coins: Coins = None, depth: int = 20, *, on_full: str = BOOKS.on_full, size: int = QUEUE_SIZE
    ) -> AsyncIterator[OrderBook]:
        """The books of ``subscribe_books``, for ``async for``; by default only the newest of each coin waits."""
        return self._subscriptions.iterate(BOOKS, coins, on_full, size, known_depth(depth))

    def tickers(
        self, coins: Coins = None, *, on_full: str = TICKER.on_full, size: int = QUEUE_SIZE
    ) -> AsyncIterator[Ticker]:
        """The tickers of ``subscribe_tickers``, for ``async for``."""
        return self._subscriptions.iterate(TICKER, coins, on_full, size)

    def events(
        self, *, on_full: str = "drop_oldest", size: int = QUEUE_SIZE
    ) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """The (event, details) pairs of ``subscribe_status``, for ``async for``."""
        return self._subscriptions.dispatcher.iterate(STATUS, None, on_full, size)

    def subscribe(
        self, channel: str, cb: Callable[[Any], Any], coins: Coins = None, *, on_full: str | None = None
    ) -> Subscriber:
        """Call ``cb(event)`` with every event of a channel: prices, trades, ticker, candles, quotes or books.

        This is for programs whose users name the channels. Candles have the settings' ``candle_timeframe``, books the
        settings' ``book_depth``; ``on_full`` None is the channel's own default. Returns a handle with ``cancel()``.
        Raises ValueError for another channel.
        """
        return self._subscriptions.subscribe_by_name(channel, cb, coins, on_full=on_full)

    def observe(self, channel: str, take: Take, coins: Coins = None, *, size: int = 500) -> Observation:
        """Call ``take(events, times)`` with all events of a channel, ``size`` at a time.

        This is for metrics and the like: it does not make the feed subscribe to the channel. ``channel``: trades,
        ticker, candles (of every timeframe), quotes or books (of every depth). ``times``: when each event was delivered
        here, after the callbacks that subscribed earlier, in seconds of ``time.monotonic``. Returns a handle with
        ``flush()``, which passes on the events collected so far and may be called from any thread, and ``cancel()``.
        Raises ValueError for another channel, SettingsError for an unknown coin.
        """
        return self._subscriptions.observe(channel, take, coins, size=size)

    # What is known now

    @property
    def coin_configs(self) -> list[CoinConfig]:
        """Copies of the feed's coins, in the order in which they were requested."""
        return [own(config) for config in self._wanted.coins]

    @property
    def channels(self) -> tuple[str, ...]:
        """The channels that the feed carries now: those of the settings, and those that were subscribed to."""
        return tuple(self._wanted.channels)

    @property
    def timeframes(self) -> tuple[str, ...]:
        """The timeframes of the candles that the feed carries now."""
        return tuple(self._wanted.timeframes)

    def now(self) -> float:
        """The time in Unix seconds: the machine's, or in a replay the recording's."""
        return self._hub.clock.now()

    def get_price(self, coin: str) -> PriceTick | None:
        """Return the coin's latest tick (price in quote currency), None before the first; ``coin`` in upper or lower
        case.

        It is a copy, so changing it changes nothing that the feed knows. It may be old: before an order, call
        ``require_fresh``. Raises SettingsError when ``coin`` is not a string.
        """
        return self._hub.prices.tick(symbol(coin))

    def get_all_prices(self) -> dict[str, PriceTick]:
        """Return the latest tick of each coin that has one, as copies, by coin in upper case."""
        return self._hub.prices.ticks

    @property
    def current_prices(self) -> dict[str, PriceTick]:
        """The same as ``get_all_prices()``."""
        return self.get_all_prices()

    def require_fresh(self, coin: str, max_age: float | None = None) -> PriceTick:
        """Return the coin's latest tick if a bot may act on it now; otherwise raise StaleDataError with the reason.

        ``max_age``: the most seconds since the price was made at the venue, that is the time since it was received plus
        the lag of its connection; by default the settings' ``coin_stale_after``. Without ``max_age`` the feed as a
        whole must not be stale either. Raises SettingsError when ``coin`` is not a string, or ``max_age`` not a number
        above 0.
        """
        return self._queries.require_fresh(coin, max_age)

    def get_book(self, coin: str, depth: int = 20) -> OrderBook | None:
        """Return the best ``depth`` levels (1 to 1000) of the coin's order book, fewer if it has fewer.

        It is a copy. None while the book is not proven: before its first synchronization, from ``book_unsynced`` to
        ``book_synced``, and while its connection has delivered no book for the settings' ``feed_stale_after``. The feed
        must carry the channel books. It keeps the levels of the deepest subscription; the channel in the settings
        counts as a subscription to ``book_depth`` levels.
        Raises SettingsError when ``coin`` is not a string, or ``depth`` not a whole number from 1 to 1000.
        """
        return self._queries.get_book(coin, depth)

    def require_fresh_book(self, coin: str, max_age: float | None = None, depth: int = 20) -> OrderBook:
        """Return what ``get_book`` returns if a bot may act on it now; otherwise raise StaleDataError with the reason.

        ``max_age``: seconds since the venue made the book's last change, as in ``require_fresh``. Raises SettingsError
        as ``get_book`` and ``require_fresh`` do.
        """
        return self._queries.require_fresh_book(coin, max_age, depth)

    @property
    def tradable(self) -> bool:
        """False while the circuit breaker is open: data continues, but too much has failed lately to trade on it."""
        return self._queries.tradable

    def volatility(self, coin: str, window: int = 60) -> float | None:
        """Return the standard deviation of the 1-minute log returns over the last ``window`` closed candles, in
        percent.

        Not annualized; None while there are too few candles. Needs the channel candles with the timeframe 1m, whose
        last hour is fetched after connecting; for a longer ``window``, call ``candles_history`` first. Raises
        ValueError for a ``window`` that is not a whole number from 3 to 1,500, and SettingsError, a ValueError too, for
        a ``coin`` that is not a string.
        """
        return self._hub.volatility.volatility(symbol(coin), window)

    @property
    def trades_delivered(self) -> dict[str, int]:
        """How many trades of each exchange were delivered since the feed was made. Safe from any thread."""
        return {name: count.simple + count.other for name, count in self._hub.trades.copy().items()}

    @property
    def status(self) -> FeedStatus:
        """The state of the feed at this moment, see FeedStatus; a new object at each access."""
        return self._queries.status

    def get_status(self) -> dict[str, Any]:
        """The status as a dict, with ``coins``, ``prices_cached`` and ``last_message_age`` (seconds or None)."""
        return self._queries.get_status()

    def get_health(self) -> dict[str, Any]:
        """Return a dict for a health check: ``status`` ("healthy", "degraded" or "failed") and the figures behind it.

        ``last_activity`` (ISO 8601, UTC, or None), ``error_count``, and ``metrics``: all that ``get_status()`` returns
        except ``coins`` and ``errors``, and ``off_book_trades`` (block trades and the like, which are not delivered).
        While the feed is connected, the metrics also have ``late_trades`` and ``lost_bars``, which could not be
        delivered.
        """
        return self._queries.get_health()

    async def candles_history(self, coin: str, timeframe: str = "1m", limit: int = 100) -> list[Candle]:
        """The newest ``limit`` candles (1 to 10,000) of a coin, oldest first, from the venue that carries it.

        All are closed except the last one, which is still open and has ``closed=False``. They fit the live stream of
        that timeframe: a candle that the stream has delivered is returned as it was delivered; a candle that has ended
        according to the venue's record is closed in the stream too before this returns; the next candle that the stream
        closes follows the last candle returned. After an outage a candle that is still being fetched may have
        ``closed=False`` too.

        ``timeframe``: any that the venue has over REST, prices in quote currency, volumes in base currency. Can be
        awaited in any event loop while the feed runs. Raises SettingsError for an unknown coin or timeframe, naming
        those allowed, and for a wrong ``limit``; FeedError when the feed is not connected, or the venue has no candles
        over REST or does not answer.

        In a replay: the candles that the recording has up to its clock's time, which may be fewer than ``limit``: those
        of the stream, and those that were fetched while the recorder ran.
        """
        return await self._runner.candles_history(coin, timeframe, limit)

    @property
    def history_timeframes(self) -> tuple[str, ...]:
        """The timeframes of past candles that the active exchange has; none before there is one."""
        return self._runner.history_timeframes

    # Connecting, and the coins

    async def connect(self, timeout: float | None = CONNECT_TIMEOUT) -> None:
        """Connect, and return when live data of the first venue that works is flowing.

        Raises NoExchangeAvailable, with one line per venue, when no venue delivers within ``timeout`` seconds, or none
        ever can; the feed is disconnected then. ``timeout=None`` retries for ever. Connecting twice makes one
        connection. Raises FeedError when disconnect() comes first, or when the feed runs in another thread, and
        SettingsError for a ``timeout`` that is not above 0.
        """
        await self._runner.connect(timeout)

    async def disconnect(self) -> None:
        """Close all connections and tasks within 5 s. Idempotent; subscriptions stay for the next ``connect()``."""
        await self._runner.disconnect()

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.disconnect()

    def run(self, timeout: float | None = CONNECT_TIMEOUT) -> None:
        """Connect, and block until ``stop()`` or Ctrl-C: for programs without asyncio.

        Raises what ``connect()`` raises, and FeedError where an event loop is running already or the feed is connected.
        """
        self._runner.run(timeout)

    def start(self, timeout: float | None = CONNECT_TIMEOUT) -> None:
        """Connect in a thread of its own and return when data flows; callbacks run in that thread.

        Methods that only read (``get_price``, ``require_fresh``, ``volatility``, ...) may be called from any thread.
        Raises what ``connect()`` raises, and FeedError when the feed is connected already.
        """
        self._runner.start(timeout)

    def stop(self) -> None:
        """End what ``run()`` or ``start()`` began, from any thread, and wait until the feed is closed. Idempotent.

        In a callback it does not wait. Raises FeedError when the end takes longer than 10 s.
        """
        self._runner.stop()

    async def wait_closed(self) -> None:
        """Return when the feed has ended: at a replay's end, or after ``disconnect()``.

        Raises FeedError when a failure has ended it.
        """
        await self._runner.wait_closed()

    async def add_coins(self, coins: str | Iterable[str]) -> None:
        """Add these coins without touching the streams of the others; a coin that the feed has already stays.

        Returns when each of them has data and a price, or is listed by no venue; at the latest after the settings'
        ``connect_timeout``, because a quiet coin may need longer until its first trade. While the feed is not
        connected, the coins are remembered for the next ``connect()``. Subscriptions without ``coins`` get the new
        coins at once; new subscriptions may name them. Raises SettingsError as the constructor does; nothing is added
        then.

        Can be awaited in any event loop while the feed runs, and while other calls run.
        """
        await self._runner.add_coins(coins)

    async def remove_coins(self, coins: str | Iterable[str]) -> None:
        """Stop delivering these coins, and forget their prices, candles and staleness.

        Their streams end with the connections that carry them. Events that wait in the queue of a coroutine callback or
        an iterator may still be delivered. Raises SettingsError for a coin that the feed does not have, and when no
        coin would be left; nothing is removed then. Can be awaited in any event loop while the feed runs, and while
        other calls run.
        """
        await self._runner.remove_coins(coins)

    def share_limits(self, parts: int) -> None:
        """Use one of ``parts`` equal parts of what the exchanges allow per IP: other programs use the other parts.

        Can be called at any time; raises ValueError for ``parts`` below 1.
        """
        self._runner.share_limits(parts)

    def resume_after(self, trades: Iterable[TradeEvent]) -> None:
        """Continue after these trades: the last trade of each exchange and coin that an earlier program received.

        The trades since then are a gap, as after an outage: they are fetched and delivered in order with
        ``backfilled``, and the gap is reported. Call it before ``connect()``; it affects only the next connect. Raises
        FeedError when the feed is connected already.
        """
        self._runner.resume_after(trades)

    async def sleep(self, seconds: float) -> None:
        """Sleep for ``seconds`` of the machine's time, or during a replay, of the recording's time.

        When a replay ends, the sleep ends too; a sleep that begins after that raises FeedError.
        """
        await self._runner.sleep(seconds)

    async def seek(self, at: float | str | datetime) -> None:
        """Continue a replay with the events from ``at`` on; ``at`` has the forms of ``start`` in from_recording.

        Prices and candles are forgotten, except the closed candles of the day before. Raises SettingsError for an
        invalid time, and FeedError if no replay runs.
        """
        await self._runner.seek(at)
