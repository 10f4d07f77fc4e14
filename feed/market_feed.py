"""MarketFeed, the class that programs use: one feed of prices, trades and candles over the venues of the settings."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterable
from datetime import datetime
from math import inf
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from loguru import logger

from feed.background import Background, across
from feed.channels import BOOKS, CANDLES, CHANNELS, PRICES, Part
from feed.clock import Clock
from feed.errors import FeedError, NoExchangeAvailable, SettingsError
from feed.events import Candle
from feed.forked import register
from feed.market_data.candle_history import CandleHistory, check_limit
from feed.market_data.hub import MarketDataHub
from feed.policies.circuit_breaker import CircuitBreakerPolicy
from feed.query_api import TURN, QueryMethods
from feed.sessions.session import Session
from feed.sessions.supervisor import Supervisor
from feed.settings.arguments import coins_of, more_coins, one_of, order_of, seconds, some_of
from feed.settings.file import load_settings
from feed.settings.schema import ExchangeConfig, Settings
from feed.settings.validation import check
from feed.subscriptions.status import StatusReporter
from feed.subscriptions.subscribing import SubscribeMethods
from feed.subscriptions.wanted_data import WantedData

if TYPE_CHECKING:
    from feed.replay.player import Player
    from feed.replay.source import Source

LOOK_FOR_COINS = 0.05  # seconds between two checks whether added coins have data
CLOSE_TIMEOUT = 1.0  # seconds that coroutine callbacks have to finish what is queued for them


class MarketFeed(SubscribeMethods, QueryMethods):
    """Live prices, trades and candles of some coins, from the first venue of the order that delivers.

    ``coins``: symbols in any case, None for all coins of the settings; a coin that is not in the settings gets tier 3.
    ``exchange``: a name (that venue first, then the settings' order), a list (exactly that order; a single name means
    no failover), None for the settings' order. ``settings``: a path, a Settings, or None for ./settings.yaml when it
    exists, else the packaged defaults. Raises SettingsError, with one line per problem.

    Subscribe, then ``await connect()``; or use it as ``async with MarketFeed(...) as feed:``. Callbacks run in the
    event loop's thread. A plain function is called inline, at once; a coroutine function gets a queue of its own.
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
        ms, ISO 8601 (UTC where no zone is named) or datetime. ``settings``: for what require_fresh allows.

        ``now()`` and ``sleep()`` follow the recording's clock. At the end iterators end, ``run()`` returns and
        ``closed`` is told; connecting again plays it again. Raises SettingsError, with one line per problem, and
        ImportError without the extra ``record``.
        """
        from feed.replay.source import Source

        feed = cls.__new__(cls)
        source = Source(folder, coins, exchange, speed, start, end)
        feed._set_up(source.coins, source.exchanges, settings, source)
        return feed

    def _set_up(
        self,
        coins: Iterable[str] | None,
        exchange: str | Iterable[str] | None,
        settings: str | os.PathLike[str] | Settings | None,
        source: Source | None,
    ) -> None:
        if isinstance(settings, Settings):
            check(settings)
            self._settings = settings
        elif settings is None or isinstance(settings, str | os.PathLike):
            self._settings = load_settings(settings)
        else:
            raise SettingsError([f"settings: found {settings!r}, allowed is a path, a Settings, or None"])
        self._source = source
        timeframe = default_timeframe = str(self._settings.candle_timeframe)
        if source is None:
            self._order = order_of(exchange, self._settings)
            self._clock, limits = Clock(), self._settings.circuit_breaker
            breaker = CircuitBreakerPolicy(limits.failures, limits.window, limits.cooldown)
        else:
            self._order = [ExchangeConfig(name) for name in source.exchanges]
            self._clock, breaker = source.clock, source.breaker
            if source.timeframes and timeframe not in source.timeframes:
                default_timeframe = source.timeframes[0]
        parts: dict[str, Part] = {CANDLES.name: default_timeframe, BOOKS.name: self._settings.book_depth}
        wanted = WantedData(coins_of(coins, self._settings), parts)
        for name in self._settings.channels if source is None else source.channels:
            if name in CHANNELS:
                wanted.add(CHANNELS[name])
        self._reporter = StatusReporter(self._clock, breaker)
        SubscribeMethods.__init__(self, self._reporter.dispatcher, wanted)
        hub = MarketDataHub(self._dispatcher, self._clock, self._settings.connection.max_price_ratio, wanted.depths)
        QueryMethods.__init__(self, hub, self._reporter, self._settings.staleness, wanted)
        self._history = CandleHistory(self._hub, wanted, self._carrier)
        self._driver: Supervisor | Player | None = None  # what brings the events
        self._waiting = 0  # connect() calls under way
        self._limit_parts = 1  # of which it uses one
        self._left: list[
            object
        ] = []  # what loops that were closed did not end; kept: its deletion would be complained of
        self._background: Background | None = None
        self._starting = threading.Lock()
        self._changing = threading.Lock()  # the list of coins
        register(self)

    def leave_behind(self) -> object:
        """This process is a fork: be a feed that is not connected. Returns the objects of the parent's connection.

        The feed may be connected again in this process.
        """
        theirs = self._running, self._driver, self._background, self._dispatcher.workers
        self._running = self._driver = self._supervisor = self._background = None
        self._starting, self._changing = threading.Lock(), threading.Lock()
        self._dispatcher.abandon()
        self._reporter.leave_behind()
        return theirs

    def _leave_closed_loop(self) -> None:
        """If the event loop was closed without disconnect(), drop its tasks, so that the feed can connect again."""
        if self._loop_closed:
            self._reporter.note("closed", self._reporter.exchange)
            self._left.append(self.leave_behind())
            self._waiting = 0

    def __repr__(self) -> str:
        where = self._reporter.exchange or "no exchange yet"
        return f"<MarketFeed {self._reporter.state}, {where}, {len(self._wanted.coins)} coins>"

    async def add_coins(self, coins: str | Iterable[str]) -> None:
        """Add these coins without touching the streams of the others; a coin that the feed has already stays.

        Returns when each of them has data and a price, or is listed by no venue, after the settings'
        ``connect_timeout`` at the latest: a quiet coin may need longer until its first trade. While the feed is not
        connected, the coins are remembered for the next ``connect()``. Subscriptions without ``coins`` get them at
        once, others may name them from now on. Raises SettingsError as the constructor does; nothing is added then.

        Can be awaited in any event loop while the feed runs, and beside other calls.
        """
        self._leave_closed_loop()
        running = self._running
        if running is None or running.done():
            self._enlist(coins)
        else:
            await across(running, lambda: self._added(coins))

    async def remove_coins(self, coins: str | Iterable[str]) -> None:
        """Deliver nothing more of these coins, and forget their prices, candles and staleness.

        Their streams end with the connections that carry them. Events that wait in the queue of a coroutine callback or
        an iterator may still be delivered. Raises SettingsError for a coin that the feed does not have, and when no
        coin would be left; nothing is removed then. Can be awaited in any event loop while the feed runs, and beside
        other calls.
        """
        self._leave_closed_loop()
        running = self._running
        if running is None or running.done():
            self._removed(coins)
        else:
            await across(running, lambda: self._remove(coins))

    def _enlist(self, coins: str | Iterable[str]) -> list[str]:
        with self._changing:
            new = more_coins(coins, self._settings, self._wanted.coins)
            self._wanted.coins = [*self._wanted.coins, *new]
        return [config.symbol for config in new]

    async def _added(self, coins: str | Iterable[str]) -> None:
        waiting = set(self._enlist(coins))
        refusals: dict[str, set[str]] = {coin: set() for coin in waiting}  # by which venues
        supervisor = self._driver
        if not waiting or supervisor is None:
            return

        def on_status(event: str, details: dict[str, Any]) -> None:
            if event == "coin_unavailable" and details["coin"] in refusals:
                refusals[details["coin"]].add(details["exchange"])

        telling = self.subscribe_status(on_status)
        try:
            self._history.forget(waiting)
            supervisor.renew()
            end = self._clock.monotonic() + self._settings.connection.connect_timeout
            while waiting and self._clock.monotonic() < end and supervisor is self._driver:
                await self._clock.sleep(LOOK_FOR_COINS)
                waiting &= {config.symbol for config in self._wanted.coins}
                waiting -= {coin for coin in waiting if supervisor.hears(coin) and self._is_priced(coin)}
                waiting -= {coin for coin in waiting if len(refusals[coin]) >= supervisor.venues}
        finally:
            telling.cancel()

    def _is_priced(self, coin: str) -> bool:
        """Whether the coin has a price, or no subscribed channel brings one: its candles may come before its price."""
        return self.get_price(coin) is not None or set(PRICES.needs).isdisjoint(self._wanted.channels)

    async def _remove(self, coins: str | Iterable[str]) -> None:
        self._removed(coins)

    def _removed(self, coins: str | Iterable[str]) -> None:
        with self._changing:
            gone = set(some_of(coins, self._wanted.coins))
            left = [config for config in self._wanted.coins if config.symbol not in gone]
            if not left:
                raise SettingsError(["coins: found all of the feed's, allowed is to leave one; disconnect() ends it"])
            self._wanted.coins = left
        self._hub.forget(gone)
        if self._driver is not None:
            self._driver.forget(gone)
        self._history.forget(gone)

    def share_limits(self, parts: int) -> None:
        """Use only one of so many ``parts`` of what the exchanges allow per IP: other programs use the others.

        Can be called at any time; raises ValueError for ``parts`` below 1.
        """
        if parts < 1:
            raise ValueError(f"parts is {parts!r}; allowed is a whole number from 1")
        self._limit_parts = parts
        if self._supervisor is not None:
            self._supervisor.share_limits(parts)

    # Connecting

    def _renew(self) -> None:
        if self._driver is not None:
            self._driver.renew()

    async def connect(self, timeout: float | None = 30) -> None:
        """Connect, and return when live data of the first venue that works is flowing.

        Raises NoExchangeAvailable, with one line per venue, when no venue delivers within ``timeout`` seconds, or none
        ever can; the feed is disconnected then. ``timeout=None`` retries for ever. Connecting twice makes one
        connection. Raises FeedError when disconnect() comes first, or when the feed runs in another thread.
        """
        seconds("timeout", timeout, "retrying for ever")
        self._leave_closed_loop()
        if self._elsewhere():
            raise FeedError("the feed runs in an event loop of another thread; stop() it first")
        while self._running is not None and self._running.cancelling() and not self._running.done():
            await asyncio.wait({self._running})  # a disconnect() is under way
        if self._running is None or self._running.done():
            self._begin(patient=timeout is None)
        supervisor = self._driver
        assert supervisor is not None
        self._waiting += 1
        try:
            async with asyncio.timeout(timeout):
                await asyncio.shield(supervisor.ready)
            self._waiting -= 1
        except BaseException as error:
            self._waiting -= 1
            if not self._waiting:  # another connect() may still be waiting for the same connection
                await self.disconnect()
            if not isinstance(error, TimeoutError):
                raise
            names = [config.name for config in self._order]
            reasons = {name: supervisor.reasons.get(name, "not reached in time") for name in names}
            raise NoExchangeAvailable(reasons, timeout) from None

    def _begin(self, *, patient: bool) -> None:
        self._dispatcher.reopen()
        self._turned_at = self._clock.monotonic()
        supervisor = self._driver = self._player() if self._source is not None else self._live(patient)
        self._supervisor = supervisor if isinstance(supervisor, Supervisor) else None
        if self._supervisor is not None:
            self._supervisor.share_limits(self._limit_parts)

        def ended(running: asyncio.Task[FeedError | None]) -> None:  # even if it was cancelled before its first step
            self._reporter.note("closed", supervisor.exchange)
            failure = None if running.cancelled() else running.result()
            if self._source is not None:
                self._source.clock.end()  # who sleeps on it finds the feed closed
            if not supervisor.ready.done():
                supervisor.ready.set_exception(failure or FeedError("disconnect() was called before any data came"))
            if failure is not None:
                self._dispatcher.end_iterators(str(failure))
                if self._background is not None:
                    self._background.fail(failure)
            elif not running.cancelled():  # a replay's end
                self._dispatcher.end_iterators()
                if self._background is not None:
                    self._background.end()

        self._running = asyncio.create_task(self._run(supervisor), name="market feed")
        self._running.add_done_callback(ended)

    def _live(self, patient: bool) -> Supervisor:
        reporter = self._reporter
        return Supervisor(
            self._order, self._settings, self._wanted, self._hub, reporter.note, reporter.aside, patient=patient
        )

    def _player(self) -> Player:
        from feed.replay.player import Player

        assert self._source is not None
        self._turned_at = inf  # the recording's clock leaps: that is no loop that hangs
        return Player(self._source, self._hub, self._reporter, self._wanted)

    async def wait_closed(self) -> None:
        """Return when the feed has ended: at a replay's end, or after ``disconnect()``.

        Raises FeedError when a failure has ended it.
        """
        running = self._running
        if running is not None and not running.done():
            await across(running, lambda: _ended(running))

    async def sleep(self, seconds: float) -> None:
        """Sleep for so many seconds of the machine's time, or in a replay of the recording's.

        A replay that is over wakes its sleepers; a sleep that begins after that raises FeedError.
        """
        running = self._running
        if self._source is None or running is None or running.done():
            await self._clock.sleep(seconds)
        else:
            await across(running, lambda: self._clock.sleep(seconds))

    async def seek(self, at: float | str | datetime) -> None:
        """Have a replay go on with the events of ``at`` (as ``start`` of from_recording) and later.

        Prices and candles are forgotten, but for the closed candles of the day before. Raises SettingsError for a time
        that is none, and FeedError where no replay runs.
        """
        from feed.replay.player import Player
        from feed.replay.source import moment

        player, running = self._driver, self._running
        to = moment("at", at)
        if not isinstance(player, Player) or running is None or running.done() or to is None:
            raise FeedError("no replay runs: seek() needs a feed from_recording() that is connected")

        async def seek() -> None:
            player.seek(to)

        await across(running, seek)

    async def disconnect(self) -> None:
        """Close all connections and tasks within 5 s. Idempotent; subscriptions stay for the next ``connect()``."""
        self._leave_closed_loop()
        running = self._running
        if running is None:
            return
        if self._elsewhere():
            await asyncio.to_thread(self.stop)
            if not running.done():
                raise FeedError("the feed runs in another event loop: disconnect() it there")
            return
        if not running.cancelling():  # a second caller waits for the same end
            running.cancel()
        await asyncio.wait({running})
        if self._running is running:
            self._running = self._driver = self._supervisor = None
        await self._dispatcher.close(CLOSE_TIMEOUT)  # here: a coroutine callback may disconnect, and is not waited for

    def _elsewhere(self) -> bool:
        """Whether the feed runs in an event loop other than the running one."""
        running = self._running
        return running is not None and not running.done() and running.get_loop() is not asyncio.get_running_loop()

    def run(self, timeout: float | None = 30) -> None:
        """Connect, and block until ``stop()`` or Ctrl-C: for programs without asyncio.

        Raises what ``connect()`` raises, and FeedError where an event loop is running already or the feed is connected.
        """
        self._in_background(timeout).run()

    def start(self, timeout: float | None = 30) -> None:
        """Connect in a thread of its own and return when data flows; callbacks run in that thread.

        The methods that ask (``get_price``, ``require_fresh``, ``volatility``, ...) may be called from any thread.
        Raises what ``connect()`` raises, and FeedError when the feed is connected already.
        """
        self._in_background(timeout).start()

    def stop(self) -> None:
        """End what ``run()`` or ``start()`` began, from any thread, and wait until the feed is closed. Idempotent.

        In a callback it does not wait. Raises FeedError when the end takes longer than 10 s.
        """
        if self._background is not None:
            self._background.stop()

    def _in_background(self, timeout: float | None) -> Background:
        seconds("timeout", timeout, "retrying for ever")
        with self._starting:
            self._leave_closed_loop()
            started = self._background is not None and not self._background.ended
            if started or (self._running is not None and not self._running.done()):
                raise FeedError("the feed is connected already; stop() or disconnect() it first")
            self._background = Background(lambda: self.connect(timeout), self.disconnect)
            return self._background

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.disconnect()

    async def _run(self, supervisor: Supervisor | Player) -> FeedError | None:
        """The feed's one task: whatever runs for it runs inside, and ends with it. Returns what ended it."""
        failure: FeedError | None = None
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(supervisor.run(), name="market feed supervisor")
                if self._source is None:
                    group.create_task(self._guard(), name="market feed breaker")
                    group.create_task(self._history.warm(supervisor.ready), name="market feed history")
        except* FeedError as errors:
            failure = next(each for each in errors.exceptions if isinstance(each, FeedError))
            self._reporter.note("error", supervisor.exchange, error=str(failure))
        except* Exception as errors:  # noqa: BLE001 - a defect of ours: the end must not be silent
            logger.opt(exception=errors).critical("the feed ended over an unforeseen error")
            failure = FeedError(f"the feed ended over an unforeseen error: {errors.exceptions[0]!r}")
            self._reporter.note("error", supervisor.exchange, error=str(failure))
        return failure

    def _carrier(self, coin: str) -> Session | None:
        return None if self._supervisor is None else self._supervisor.carrier(coin)

    async def _guard(self) -> None:
        """Have the circuit breaker look at the time and at the data, and note that the loop runs."""
        while True:
            self._turned_at = self._clock.monotonic()
            due = self._reporter.breaker.next_tick
            await self._clock.sleep(TURN if due is None else min(TURN, max(0.0, due - self._clock.monotonic())))
            self._clock.look()
            self._dispatcher.look(self._clock.since)
            self._reporter.look(self._hub.last_message)

    async def candles_history(self, coin: str, timeframe: str = "1m", limit: int = 100) -> list[Candle]:
        """The newest ``limit`` candles (1 to 10,000) of a coin, oldest first, from the venue that carries it.

        All are closed except the last one, which is still open and has ``closed=False``. They fit the live stream of
        that timeframe: a candle that the stream has delivered is returned as it was delivered; a candle that has ended
        by the venue's record is closed in the stream too before this returns; the next candle that the stream closes
        follows the last one returned. After an outage a candle that is still being fetched may have ``closed=False``
        too.

        ``timeframe``: any that the venue has over REST, prices in quote currency, volumes in base currency. Can be
        awaited in any event loop while the feed runs. Raises SettingsError for an unknown coin or timeframe, naming
        those allowed, and for a wrong ``limit``; FeedError when the feed is not connected, or the venue has no candles
        over REST or does not answer.
        """
        symbol = one_of(coin, self._wanted.coins)
        running = self._running
        if running is None or running.done():
            raise FeedError("the feed is not connected: await connect(), or start() it, first")
        if self._source is not None:
            return await self._recorded_history(symbol, timeframe, limit)
        return await across(running, lambda: self._history.candles(symbol, timeframe, limit))

    async def _recorded_history(self, coin: str, timeframe: str, limit: int) -> list[Candle]:
        source = self._source
        assert source is not None
        check_limit(limit)
        if timeframe not in source.timeframes:
            allowed = ", ".join(source.timeframes) or "none: the recording has no candles"
            raise SettingsError([f"timeframe: found {timeframe!r}, allowed in this recording are {allowed}"])
        return await asyncio.to_thread(source.history, coin, timeframe, limit, int(self._clock.now() * 1e9))


async def _ended(running: asyncio.Task[FeedError | None]) -> None:
    await asyncio.wait({running})
    failure = None if running.cancelled() else running.result()
    if failure is not None:
        raise failure
