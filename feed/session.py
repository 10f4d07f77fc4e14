"""One venue carried until it fails: its markets, its 24 h figures, its stream."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from loguru import logger

from exchanges import Subscription
from exchanges.errors import Disconnected, Refused, VenueError
from feed.desk import Desk, Intake, Report
from feed.events import CoinConfig

if TYPE_CHECKING:
    from exchanges.adapter import Venue
    from feed.backoff import Backoff
    from feed.budget import DialBudget

FIGURES_TIMEOUT = 3.0  # seconds that the 24 h figures may hold up the stream


class Wanted(Protocol):
    """What a session subscribes to; the feed may change it while a session runs."""

    @property
    def coins(self) -> Sequence[CoinConfig]: ...

    @property
    def channels(self) -> Sequence[str]: ...

    @property
    def timeframes(self) -> Sequence[str]: ...


class Session:
    """Carries one venue: ``carry`` runs until the connection is lost and raises why.

    ``connect_timeout``: seconds from the dial to the first data, at which ``on_connected`` is called. ``dismiss`` takes
    the closing of a stream off our hands: a dead peer may hold it up, the next dial must not wait for it.
    """

    def __init__(
        self,
        venue: Venue,
        wanted: Wanted,
        desk: Desk,
        backoff: Backoff,
        budget: DialBudget,
        report: Report,
        *,
        connect_timeout: float,
        on_connected: Callable[[], None],
        dismiss: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self.venue = venue
        self.backoff = backoff
        self.connected = False  # whether the connection carried last had delivered anything
        self._wanted = wanted
        self._desk = desk
        self._budget = budget
        self._report = report
        self._connect_timeout = connect_timeout
        self._on_connected = on_connected
        self._dismiss = dismiss
        self._dropped: asyncio.Future[NoReturn] | None = None
        self._figured: set[str] = set()  # coins whose 24 h figures were fetched

    def drop(self, reason: str) -> None:
        """End the connection that is carried, if there is one: ``carry`` raises Disconnected."""
        if self._dropped is not None and not self._dropped.done():
            self._dropped.set_exception(Disconnected(self.venue.name, reason))

    async def carry(self) -> NoReturn:
        """Connect, deliver, and raise VenueError when it is over."""
        venue, desk = self.venue, self._desk
        self.connected = False
        await desk.clock.sleep(self._budget.wait(desk.clock.monotonic()))
        self._report("connecting", venue.name)
        await venue.load()
        markets = self._markets()
        intake = Intake(desk, venue.name, self.backoff, self._report)
        await self._fetch_figures(markets, intake)
        self._budget.spend(desk.clock.monotonic())
        stream = venue.stream(Subscription(markets, self._wanted.channels, self._wanted.timeframes), intake)
        self._dropped = asyncio.get_running_loop().create_future()
        self._dropped.add_done_callback(lambda dropped: dropped.cancelled() or dropped.exception())  # told or not
        running = asyncio.create_task(stream.run(), name=f"stream {venue.name}")
        flowing = asyncio.create_task(intake.flowing.wait(), name=f"first data {venue.name}")
        try:
            await self._first_of(running, flowing, self._connect_timeout)
            self.connected = True
            self._report("connected", venue.name, coins=list(markets))
            self._on_connected()
            desk.watchdog.start(markets, desk.clock.monotonic())
            desk.stirred.set()
            await self._first_of(running, self._dropped, None)
            raise AssertionError("a stream ends by raising")
        finally:
            intake.close()
            desk.watchdog.lost()
            self.backoff.note_disconnect(desk.clock.monotonic())
            flowing.cancel()
            running.cancel()
            self._dropped.cancel()
            self._dismiss(_ended(running, flowing, stream.close()))

    async def _first_of(self, running: asyncio.Future[Any], other: asyncio.Future[Any], timeout: float | None) -> None:
        """Return when ``other`` is done; raise what ended the stream, or Disconnected after ``timeout`` seconds."""
        done, _ = await asyncio.wait({running, other}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if not done:
            raise Disconnected(self.venue.name, f"no data within {timeout:g} s of the dial")
        for future in (running, other):
            if future in done:
                future.result()

    def _markets(self) -> dict[str, str]:
        """Coin -> market symbol for what the venue lists; the others are told. Refused when there is none."""
        markets: dict[str, str] = {}
        missing: list[Refused] = []
        for coin in self._wanted.coins:
            try:
                markets[coin.symbol] = self.venue.market(coin.symbol, coin.markets.get(self.venue.name))
            except Refused as refusal:
                missing.append(refusal)
                self._report("coin_unavailable", self.venue.name, coin=coin.symbol, reason=refusal.reason)
        if not markets:
            raise (
                missing[0]
                if len(missing) == 1
                else Refused(self.venue.name, f"does not list {', '.join(coin.symbol for coin in self._wanted.coins)}")
            )
        return markets

    async def _fetch_figures(self, markets: Mapping[str, str], intake: Intake) -> None:
        """Fetch the 24 h figures once per coin, so that its first tick has them; without them the stream goes on."""
        missing = {coin: symbol for coin, symbol in markets.items() if coin not in self._figured}
        if not missing:
            return
        try:
            async with asyncio.timeout(FIGURES_TIMEOUT):
                tickers = await self.venue.fetch_tickers(missing)
        except (VenueError, TimeoutError) as error:
            logger.warning("{}: no 24 h figures by REST: {}", self.venue.name, error or "no answer in time")
            return
        for ticker in tickers:
            intake.on_figures(ticker)
            self._figured.add(ticker.coin)


async def _ended(running: asyncio.Future[Any], flowing: asyncio.Future[Any], closing: Awaitable[None]) -> None:
    """Wait until a stream is gone for good; what it still has to say does not matter any more."""
    await asyncio.gather(running, flowing, closing, return_exceptions=True)
