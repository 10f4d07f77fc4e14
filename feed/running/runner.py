"""Connects and disconnects a feed, adds and removes its coins, checks which calls are allowed now, owns its task."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import inf
from typing import TYPE_CHECKING, Any

from loguru import logger

from feed.channels import PRICES, STATUS
from feed.errors import FeedError, NoExchangeAvailable, SettingsError
from feed.events import Candle, TradeEvent
from feed.market_data.candle_history import CandleHistory, HistorySource, check_limit
from feed.market_data.hub import MarketDataHub
from feed.running.background import Background, across
from feed.running.forked import register
from feed.sessions.coin_routing import CoinRouting
from feed.sessions.session import Session
from feed.settings.arguments import more_coins, one_of, seconds, some_of
from feed.settings.schema import ExchangeConfig, Settings
from feed.subscriptions.status import StatusReporter
from feed.subscriptions.wanted_data import WantedData

if TYPE_CHECKING:
    from feed.replay.player import Player
    from feed.replay.source import ReplaySource

LOOK_FOR_COINS = 0.05  # seconds between two checks whether added coins have data
CLOSE_TIMEOUT = 1.0  # seconds that coroutine callbacks have to finish what is queued for them
TURN = 0.5  # seconds between two checks by which the event loop shows that it runs


@dataclass(eq=False, repr=False)
class FeedRunner:
    """Runs a feed: over the venues of ``order``, or the recording ``source``."""

    settings: Settings
    order: Sequence[ExchangeConfig]
    source: ReplaySource | None
    hub: MarketDataHub
    reporter: StatusReporter
    wanted: WantedData

    def __post_init__(self) -> None:
        self.routing: CoinRouting | None = None  # None during a replay
        self.turned_at = 0.0  # when the event loop last ran the feed's own check, monotonic seconds
        self._clock = self.hub.clock
        self._dispatcher = self.reporter.dispatcher
        self._history = CandleHistory(self.hub, self.wanted, self._history_source)
        self._running: asyncio.Task[FeedError | None] | None = None  # the feed's task
        self._driver: CoinRouting | Player | None = None  # delivers the events
        self._waiting = 0  # how many connect() calls are running
        self._limit_parts = 1  # into how many parts the venues' limits are divided; the feed uses one
        self._before: list[TradeEvent] = []  # the last trades that an earlier program received
        self._left: list[object] = []  # tasks of closed loops: deleting them would cause warnings
        self._background: Background | None = None
        self._starting = threading.Lock()
        self._changing = threading.Lock()  # guards the list of coins
        register(self.leave_behind)

    @property
    def is_running(self) -> bool:
        """Whether the feed is connected, or about to be."""
        return self._task is not None

    @property
    def _task(self) -> asyncio.Task[FeedError | None] | None:
        """The feed's task while it runs."""
        running = self._running
        return None if running is None or running.done() else running

    def leave_behind(self) -> object:
        """Become a feed that is not connected, in a forked child. Returns the objects of the parent's connection.

        The feed may be connected again in this process.
        """
        theirs = self._running, self._driver, self._background, self._dispatcher.workers
        self._running = self._driver = self.routing = self._background = None
        self._starting, self._changing = threading.Lock(), threading.Lock()
        self._dispatcher.abandon()
        self.reporter.leave_behind()
        return theirs

    def _leave_closed_loop(self) -> None:
        """If the event loop was closed without disconnect(), drop its tasks, so that the feed can connect again."""
        if self.loop_closed:
            self.reporter.note("closed", self.reporter.exchange)
            self._left.append(self.leave_behind())
            self._waiting = 0

    @property
    def loop_closed(self) -> bool:
        """Whether the event loop was closed without ``disconnect()``."""
        task = self._task
        return task is not None and task.get_loop().is_closed()

    async def add_coins(self, coins: str | Iterable[str]) -> None:
        """See MarketFeed.add_coins."""
        self._leave_closed_loop()
        if (task := self._task) is None:
            self._enlist(coins)
        else:
            await across(task, lambda: self._added(coins))

    async def remove_coins(self, coins: str | Iterable[str]) -> None:
        """See MarketFeed.remove_coins."""
        self._leave_closed_loop()
        if (task := self._task) is None:
            await self._removed(coins)
        else:
            await across(task, lambda: self._removed(coins))

    def _enlist(self, coins: str | Iterable[str]) -> list[str]:
        with self._changing:
            new = more_coins(coins, self.settings, self.wanted.coins)
            self.wanted.coins = [*self.wanted.coins, *new]
        return [config.symbol for config in new]

    async def _added(self, coins: str | Iterable[str]) -> None:
        waiting = set(self._enlist(coins))
        refusals: dict[str, set[str]] = {coin: set() for coin in waiting}  # coin -> venues that have refused the coin
        driver = self._driver
        if not waiting or driver is None:
            return

        def on_status(event: str, details: dict[str, Any]) -> None:
            if event == "coin_unavailable" and details["coin"] in refusals:
                refusals[details["coin"]].add(details["exchange"])

        telling = self._dispatcher.subscribe(STATUS, on_status, unpack=True)
        try:
            self._history.forget(waiting)
            driver.renew()
            end = self._clock.monotonic() + self.settings.connection.connect_timeout
            while waiting and self._clock.monotonic() < end and driver is self._driver:
                await self._clock.sleep(LOOK_FOR_COINS)
                waiting &= {config.symbol for config in self.wanted.coins}
                waiting -= {coin for coin in waiting if driver.hears(coin) and self._is_priced(coin)}
                waiting -= {coin for coin in waiting if len(refusals[coin]) >= driver.venue_count}
        finally:
            telling.cancel()

    def _is_priced(self, coin: str) -> bool:
        """Whether the coin has a price, or no subscribed channel has prices.

        Its candles may come before its price.
        """
        return self.hub.prices.tick(coin) is not None or set(PRICES.needs).isdisjoint(self.wanted.channels)

    async def _removed(self, coins: str | Iterable[str]) -> None:
        with self._changing:
            gone = set(some_of(coins, self.wanted.coins))
            left = [config for config in self.wanted.coins if config.symbol not in gone]
            if not left:
                raise SettingsError(
                    ["coins: found all of the feed, allowed are all but one; disconnect() ends the feed"]
                )
            self.wanted.coins = left
        self.hub.forget(gone)
        if self._driver is not None:
            self._driver.forget(gone)
        self._history.forget(gone)

    def share_limits(self, parts: int) -> None:
        """See MarketFeed.share_limits."""
        if parts < 1:
            raise ValueError(f"parts is {parts!r}; allowed is a whole number from 1")
        self._limit_parts = parts
        if self.routing is not None:
            self.routing.share_limits(parts)

    def resume_after(self, trades: Iterable[TradeEvent]) -> None:
        """See MarketFeed.resume_after."""
        if self.is_running:
            raise FeedError("the feed is connected already; call resume_after() before connect()")
        self._before = list(trades)

    def renew(self) -> None:
        if self._driver is not None:
            self._driver.renew()

    async def connect(self, timeout: float | None) -> None:
        """See MarketFeed.connect."""
        seconds("timeout", timeout, "retrying for ever")
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            raise FeedError("connect() needs asyncio's event loop, and none is running here: use start()") from None
        self._leave_closed_loop()
        if self._elsewhere():
            raise FeedError("the feed runs in an event loop of another thread; stop() it first")
        while (task := self._task) is not None and task.cancelling():
            await asyncio.wait({task})  # disconnect() is running
        if task is None:
            self._begin(patient=timeout is None)
        driver = self._driver
        assert driver is not None
        self._waiting += 1
        try:
            async with asyncio.timeout(timeout):
                await asyncio.shield(driver.ready)
            self._waiting -= 1
        except BaseException as error:
            self._waiting -= 1
            if not self._waiting:  # another connect() may still be waiting for the same connection
                await self.disconnect()
            if not isinstance(error, TimeoutError):
                raise
            names = [config.name for config in self.order]
            reasons = {name: driver.reasons.get(name, "not reached in time") for name in names}
            raise NoExchangeAvailable(reasons, timeout) from None

    def _begin(self, *, patient: bool) -> None:
        self._dispatcher.reopen()
        self.turned_at = self._clock.monotonic()
        driver = self._driver = self._player() if self.source is not None else self._live(patient)
        self.routing = driver if isinstance(driver, CoinRouting) else None
        self._before = []

        def ended(running: asyncio.Task[FeedError | None]) -> None:  # runs even if the task never began
            self.reporter.note("closed", driver.exchange)
            failure = None if running.cancelled() else running.result()
            if self.source is not None:
                self.source.clock.end()  # tasks that sleep on the clock find the feed closed
            if not driver.ready.done():
                driver.ready.set_exception(failure or FeedError("disconnect() was called before any data came"))
            if not running.cancelled():  # the feed has ended by itself
                self._dispatcher.end_iterators(str(failure or ""))
                if self._background is not None:
                    self._background.end(failure)

        self._running = asyncio.create_task(self._run(driver), name="market feed")
        self._running.add_done_callback(ended)

    def _live(self, patient: bool) -> CoinRouting:
        return CoinRouting(
            self.order,
            self.settings,
            self.wanted,
            self.hub,
            self.reporter,
            patient=patient,
            parts=self._limit_parts,
            before=self._before,
        )

    def _player(self) -> Player:
        from feed.replay.player import Player

        assert self.source is not None
        self.turned_at = inf  # the recording's clock jumps, which does not mean that the loop hangs
        return Player(self.source, self.hub, self.reporter, self.wanted)

    async def wait_closed(self) -> None:
        """See MarketFeed.wait_closed."""
        if (task := self._task) is not None:
            await across(task, lambda: _ended(task))

    async def sleep(self, seconds: float) -> None:
        """See MarketFeed.sleep."""
        task = self._task
        if self.source is None or task is None:
            await self._clock.sleep(seconds)
        else:
            await across(task, lambda: self._clock.sleep(seconds))

    async def seek(self, at: float | str | datetime) -> None:
        """See MarketFeed.seek."""
        from feed.replay.player import Player
        from feed.replay.source import moment

        player, task = self._driver, self._task
        to = moment("at", at)
        if not isinstance(player, Player) or task is None or to is None:
            raise FeedError("no replay runs: seek() needs a connected feed that from_recording() has made")

        async def seek() -> None:
            player.seek(to)

        await across(task, seek)

    async def disconnect(self) -> None:
        """See MarketFeed.disconnect."""
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
            self._running = self._driver = self.routing = None
        await self._dispatcher.close(CLOSE_TIMEOUT)  # last: a coroutine callback may have called disconnect()

    def _elsewhere(self) -> bool:
        """Whether the feed runs in an event loop other than the running one."""
        task = self._task
        return task is not None and task.get_loop() is not asyncio.get_running_loop()

    def run(self, timeout: float | None) -> None:
        """See MarketFeed.run."""
        self._in_background(timeout).run()

    def start(self, timeout: float | None) -> None:
        """See MarketFeed.start."""
        self._in_background(timeout).start()

    def stop(self) -> None:
        """See MarketFeed.stop."""
        if self._background is not None:
            self._background.stop()

    def _in_background(self, timeout: float | None) -> Background:
        seconds("timeout", timeout, "retrying for ever")
        with self._starting:
            self._leave_closed_loop()
            started = self._background is not None and not self._background.ended
            if started or self.is_running:
                raise FeedError("the feed is connected already; stop() or disconnect() it first")
            self._background = Background(lambda: self.connect(timeout), self.disconnect)
            return self._background

    async def _run(self, driver: CoinRouting | Player) -> FeedError | None:
        """The feed's only task: all its other tasks run inside it and end with it. Returns what ended it."""
        failure: FeedError | None = None
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(driver.run(), name="market feed routing")
                if self.source is None:
                    group.create_task(self._guard(), name="market feed breaker")
                    group.create_task(self._history.warm(driver.ready), name="market feed history")
        except* FeedError as errors:
            failure = next(each for each in errors.exceptions if isinstance(each, FeedError))
            self.reporter.note("error", driver.exchange, error=str(failure))
        except* Exception as errors:  # noqa: BLE001 - a defect of this project: the end must not be silent
            dispatcher = self.reporter.dispatcher
            logger.critical("the feed ended because of an unforeseen error\n{}", dispatcher.traceback_of(errors))
            told = dispatcher.cleaner.redacted(repr(errors.exceptions[0]))
            failure = FeedError(f"the feed ended because of an unforeseen error: {told}")
            self.reporter.note("error", driver.exchange, error=str(failure))
        return failure

    def carrier(self, coin: str) -> Session | None:
        return None if self.routing is None else self.routing.carrier(coin)

    def _history_source(self, coin: str) -> HistorySource | None:
        session = self.carrier(coin)
        return None if session is None else HistorySource(session.venue, session.candles, session.venue_time)

    async def _guard(self) -> None:
        """Pass the time and the last data to the circuit breaker, and note that the loop runs."""
        while True:
            self.turned_at = self._clock.monotonic()
            due = self.reporter.breaker.next_tick
            await self._clock.sleep(TURN if due is None else min(TURN, max(0.0, due - self._clock.monotonic())))
            self._clock.look()
            self._dispatcher.look(self._clock.since)
            self.reporter.look(self.hub.last_message)

    @property
    def history_timeframes(self) -> tuple[str, ...]:
        """See MarketFeed.history_timeframes."""
        if self.source is not None:
            return tuple(self.source.timeframes)
        session = self.carrier(self.wanted.coins[0].symbol)
        return () if session is None else session.venue.timeframes

    async def candles_history(self, coin: str, timeframe: str, limit: int) -> list[Candle]:
        """See MarketFeed.candles_history."""
        symbol = one_of(coin, self.wanted.coins)
        if (task := self._task) is None:
            raise FeedError("the feed is not connected: await connect() or call start() first")
        if self.source is not None:
            return await self._recorded_history(symbol, timeframe, limit)
        return await across(task, lambda: self._history.candles(symbol, timeframe, limit))

    async def _recorded_history(self, coin: str, timeframe: str, limit: int) -> list[Candle]:
        source = self.source
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
