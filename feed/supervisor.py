"""Keeps one venue of the settings' order delivering: carries it, and decides what follows when it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from importlib import import_module
from typing import Any

from loguru import logger

from exchanges import Access, open_exchange
from exchanges.errors import Blocked, Disconnected, Refused, VenueError
from feed.backoff import Backoff
from feed.budget import DialBudget
from feed.desk import Desk, Report
from feed.errors import NoExchangeAvailable
from feed.session import Session, Wanted
from feed.settings import ExchangeConfig, Settings

RELEASE_TIMEOUT = 3.0  # seconds for closing all connections at the end


class Supervisor:
    """Runs until it is cancelled, and then leaves nothing open.

    ``ready`` is done with the first data, or fails with NoExchangeAvailable when no venue can ever deliver what is
    asked for; ``reasons`` says for each venue tried why it does not deliver.
    """

    def __init__(
        self, order: Sequence[ExchangeConfig], settings: Settings, wanted: Wanted, desk: Desk, report: Report
    ) -> None:
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ready.add_done_callback(lambda ready: ready.cancelled() or ready.exception())  # awaited or not
        self.reasons: dict[str, str] = {}
        self._settings = settings
        self._wanted = wanted
        self._desk = desk
        self._report = report
        self._order = order
        self._closing: set[asyncio.Task[Any]] = set()
        self._sessions: list[Session] = []
        self._active: Session | None = None
        self._due = {config.name: 0.0 for config in order}  # when each may be dialled again, monotonic seconds
        self._final: set[str] = set()  # venues for which trying again can't help

    @property
    def exchange(self) -> str:
        """The venue that delivers or is tried."""
        return self._active.venue.name if self._active else self._order[0].name

    def drop(self, reason: str) -> None:
        """End the connection that is carried; the next one follows."""
        if self._active:
            self._active.drop(reason)

    async def run(self) -> None:
        """Carry venues one after the other, for ever."""
        try:
            await asyncio.to_thread(import_module, "exchanges.adapter")  # ccxt takes a second: not the loop's
            self._open()
            while self._active:
                await self._desk.clock.sleep(max(0.0, self._due[self.exchange] - self._desk.clock.monotonic()))
                self._decide(self._active, await self._carried(self._active))
        finally:
            await self._release()

    async def _carried(self, session: Session) -> VenueError:
        """Carry a venue until it ends, and return why."""
        try:
            await session.carry()
        except VenueError as failure:
            return failure
        except Exception as error:  # noqa: BLE001 - a defect of ours must not end the feed in silence
            logger.exception("{}: the connection was given up over an unforeseen error", session.venue.name)
            return Disconnected(session.venue.name, f"unforeseen {error!r}")

    def _open(self) -> None:
        """Set up every venue of the order; one that can't be set up is told and left out."""
        for config in self._order:
            try:
                self._sessions.append(self._session(config))
            except Refused as refusal:
                self.reasons[config.name] = refusal.reason
                self._report("error", config.name, error=refusal.reason)
        if self._sessions:
            self._active = self._sessions[0]
        else:
            self.ready.set_exception(NoExchangeAvailable(self.reasons, None))

    def _decide(self, session: Session, failure: VenueError) -> None:
        """Tell what happened, and say which venue is next and when."""
        name = failure.exchange
        self.reasons[name] = failure.reason
        self._tell(failure, session.connected)
        if isinstance(failure, Refused | Blocked):
            self._final.add(name)
        else:
            self._final.discard(name)
        delay = session.backoff.delay_for(getattr(failure, "retry_after", None))
        self._due[name] = self._desk.clock.monotonic() + delay
        if not self.ready.done():
            if len(self._final) == len(self._sessions):
                self.ready.set_exception(NoExchangeAvailable(self.reasons, None))
            self._active = min(self._sessions, key=lambda each: self._due[each.venue.name])
        if self._active is session:
            self._report("reconnecting", name, attempt=session.backoff.attempt, delay=round(delay, 3))

    def _tell(self, failure: VenueError, was_connected: bool) -> None:
        if isinstance(failure, Blocked):
            self._report("exchange_blocked", failure.exchange, status=failure.status, reason=failure.reason)
        if was_connected:
            self._report("disconnected", failure.exchange, reason=failure.reason)
        elif not isinstance(failure, Blocked):
            self._report("error", failure.exchange, error=failure.reason)

    def _session(self, config: ExchangeConfig) -> Session:
        settings, connection = self._settings, self._settings.connection
        access = Access(
            market_type=config.market_type,
            quote=tuple(settings.quote),
            rest_url=config.rest_url,
            ws_url=config.ws_url,
            proxy=config.proxy,
            options=config.options,
            timeout=connection.connect_timeout,
        )
        venue = open_exchange(config.name, access)
        return Session(
            venue,
            self._wanted,
            self._desk,
            Backoff(
                connection.backoff_initial, connection.backoff_max, connection.backoff_jitter, connection.stable_after
            ),
            DialBudget(venue.profile.dials),
            self._report,
            connect_timeout=connection.connect_timeout,
            on_connected=self._connected,
            dismiss=self._dismiss,
        )

    def _connected(self) -> None:
        if not self.ready.done():
            self.ready.set_result(None)

    def _dismiss(self, closing: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(closing, name="closing a stream")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _release(self) -> None:
        """Close whatever is open, within RELEASE_TIMEOUT."""
        closing = [*self._closing, *(asyncio.create_task(session.venue.close()) for session in self._sessions)]
        if not closing:
            return
        _, late = await asyncio.wait(closing, timeout=RELEASE_TIMEOUT)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
