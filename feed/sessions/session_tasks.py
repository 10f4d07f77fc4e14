"""The tasks that carry sessions, one at a time for each venue, and those that close old sessions."""

from __future__ import annotations

import asyncio
import traceback
from collections import defaultdict
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from loguru import logger

from exchanges.errors import Disconnected, VenueError
from feed.clock import Clock
from feed.sessions.feed_context import Closings
from feed.sessions.session import Session


class SessionTasks:
    """Carries sessions. ``carrying`` has the task of each venue; ``on_end`` is called when one of them has ended."""

    def __init__(self, clock: Clock, on_end: Callable[[], None], closings: Closings) -> None:
        self.carrying: dict[str, asyncio.Task[VenueError]] = {}
        self._clock = clock
        self._on_end = on_end
        self._ending: defaultdict[str, set[asyncio.Task[VenueError]]] = defaultdict(set)  # by venue, after stop()
        self._closings = closings

    def start(self, session: Session, since: Callable[[], Mapping[str, int]], *, trial: bool) -> None:
        """Carry a session as soon as its venue may be dialled; ``since`` returns Session.carry's argument then."""
        if session.name not in self.carrying:
            task = asyncio.create_task(self._carried(session, since, trial), name=f"market feed on {session.name}")
            task.add_done_callback(lambda task: self._on_end())
            self.carrying[session.name] = task

    def stop(self, name: str) -> None:
        """End a venue's session."""
        task = self.carrying.pop(name, None)
        if task is not None:
            task.cancel()
            self._ending[name].add(task)
            task.add_done_callback(self._ending[name].discard)
            self._closings.add_task(task)

    def take_ended(self) -> dict[str, VenueError]:
        """The venues whose sessions have ended by themselves since the last call, and why."""
        ended = {name: task for name, task in self.carrying.items() if task.done()}
        for name in ended:
            del self.carrying[name]
        cancelled = "cancelled from outside"
        return {n: Disconnected(n, cancelled) if t.cancelled() else t.result() for n, t in ended.items()}

    async def _carried(self, session: Session, since: Callable[[], Mapping[str, int]], trial: bool) -> VenueError:
        """Run a venue's session until it ends, and return the reason."""
        name, clean = session.name, session.venue.clean
        try:
            if ending := set(self._ending[name]):
                await asyncio.wait(ending)  # wait until the earlier run has ended
            while (wait := session.shared.dial_due - self._clock.monotonic()) > 0:
                await self._clock.sleep(wait)
            await session.carry(since(), trial=trial)
        except VenueError as failure:
            return failure
        except Exception as error:  # noqa: BLE001 - a defect of ours must not end the feed in silence
            told = clean.lines("".join(traceback.format_exception(error)))
            logger.error("{}: the connection was given up over an unforeseen error\n{}", name, told)
            return Disconnected(name, clean(f"unforeseen {error!r}"))


async def to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Await ``work`` to its end however often the wait is cancelled: an ending loop cancels twice."""
    task = asyncio.create_task(work, name="closing the feed")
    cancelled = False
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError
