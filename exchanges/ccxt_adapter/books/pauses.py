"""Computes the pauses between attempts to prove a book: each is twice as long as the last one, up to a limit."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf


def doubling(first: float, longest: float, *, at_once: bool = False) -> Iterator[float]:
    """Yield the seconds to wait before attempt 1, 2, ...: ``first``, then doubled each time, at most ``longest``.

    ``at_once``: the first attempt does not wait; ``first`` is the wait before the second one.
    """
    if at_once:
        yield 0.0
    pause = first
    while True:
        yield min(pause, longest)
        pause *= 2 if pause < longest else 1


class PausesOfBooks:
    """How long each book waits before it is synchronized again: not at all, unless it was lost shortly before.

    The second time it waits ``first`` seconds; each further time it waits twice as long, at most ``longest``. After
    ``steady`` seconds without a loss, the next time counts as the first again.
    """

    def __init__(self, first: float, longest: float, steady: float) -> None:
        self._first = first
        self._longest = longest
        self._steady = steady
        self._lost_at: dict[str, float] = {}  # name -> when it was lost last
        self._growing: dict[str, Iterator[float]] = {}

    def wait(self, name: str, now: float) -> float:
        """The seconds that this book waits if it is lost at ``now`` (monotonic seconds)."""
        if now - self._lost_at.get(name, -inf) >= self._steady:
            self._growing[name] = doubling(self._first, self._longest, at_once=True)
        self._lost_at[name] = now
        return next(self._growing[name])
