"""Pauses that double: between attempts to have a book proven again."""

from __future__ import annotations

from collections.abc import Iterator


def doubling(first: float, longest: float, *, at_once: bool = False) -> Iterator[float]:
    """Yield the seconds to wait before attempt 1, 2, ...: ``first``, doubled by each, ``longest`` at most.

    ``at_once``: the first attempt does not wait; ``first`` is the wait before the second one.
    """
    if at_once:
        yield 0.0
    pause = first
    while True:
        yield min(pause, longest)
        pause *= 2 if pause < longest else 1
