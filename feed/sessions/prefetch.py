"""Loads the next venues' markets early, for a failover; decides how early. Renews lists of markets that are too old."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from math import inf
from typing import Any

from loguru import logger

from exchanges.errors import VenueError
from feed.sessions.session import Session

AFTER = 1.0  # seconds of data after which the next venue's markets are loaded in advance
AGAIN = 60.0  # seconds until a failed prefetch is tried again
ANSWER_WITHIN = 5.0  # seconds that a venue has for its markets before the next venue is asked too


class Prefetch:
    """Requests the markets of one venue after the other. ``dismiss`` runs a request; only the feed's end awaits it."""

    def __init__(self, dismiss: Callable[[Coroutine[Any, Any, None]], None]) -> None:
        self._dismiss = dismiss
        self._asked_at: dict[str, float] = {}  # venue -> when its markets were requested, monotonic seconds

    def hurry(self, others: Sequence[Session], now: float) -> None:
        """Load the markets of all other venues, which may be needed soon: the feed is silent."""
        for session in others:
            if not session.venue.loaded and now >= self._asked_at.get(session.name, -inf) + ANSWER_WITHIN:
                self._asked_at[session.name] = now
                self._dismiss(_loaded(session))

    def look(self, active: Session, order: Sequence[Session], now: float) -> None:
        """Load the markets of the venue after ``active`` in ``order``, and renew old lists, while the feed works."""
        if active.pool.flowing_for(now) <= AFTER:
            return
        place = order.index(active)
        for session in (*order[place:], *order[:place]):
            venue, last = session.venue, self._asked_at.get(session.name, -inf)
            if (venue.aged or not venue.loaded) and now >= last + AGAIN:
                self._asked_at[session.name] = last = now
                self._dismiss(_loaded(session))
            if session is not active and (venue.loaded or now < last + ANSWER_WITHIN):
                return  # the later venues are asked if this venue does not answer


async def _loaded(session: Session) -> None:
    """Load a venue's markets, or renew them; a failure is reported only when the venue is needed."""
    try:
        await (session.refresh() if session.venue.loaded else session.venue.load())
    except VenueError as error:
        logger.info("{}: its markets could not be loaded in advance: {}", error.exchange, error.reason)
