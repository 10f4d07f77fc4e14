"""Keeps and numbers the last events of a selection; decides how far a client may be behind, also after a reconnect."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager

from feed.sinks.server.messages import Selection

KEPT = 8192  # events kept: a client can be behind by this many and still continue
Key = tuple[str, str]
"""An event's channel and coin (a status event's name): a newer event with the same key replaces it."""


class EventLog:
    """Numbered events of ``selection``, the last KEPT of them.

    The first number is drawn between 2**40 and 2**52 (JavaScript's numbers are exact up to there). So a client's
    number shows whether it is from this log, from another log, or from an earlier run of the server.
    """

    def __init__(self, selection: Selection, start: int | None = None) -> None:
        self.selection = selection
        self.start = self.last = random.randrange(1 << 40, 1 << 52) if start is None else start
        self.users = 0  # clients that receive its events, or soon will
        self.idle_since = time.monotonic()  # when the log's last client left
        self._kept: list[tuple[int, bytes]] = []
        self._newest: dict[Key, tuple[int, bytes]] = {}

    @property
    def oldest(self) -> int:
        """The number of the oldest event that is kept, or will be."""
        return max(self.start, self.last - KEPT) + 1

    @contextmanager
    def used(self) -> Iterator[None]:
        """Keep the log: a log without clients is dropped after some time."""
        self.users += 1
        try:
            yield
        finally:
            self.users -= 1
            self.idle_since = time.monotonic()

    def add(self, key: Key, body: bytes) -> None:
        self.last += 1
        numbered = self.last, body
        if len(self._kept) < KEPT:
            self._kept.append(numbered)
        else:
            self._kept[(self.last - self.start - 1) % KEPT] = numbered
        self._newest[key] = numbered

    def holds(self, seq: int) -> bool:
        """Whether a client that has the event ``seq`` can continue without a loss."""
        return self.oldest - 1 <= seq <= self.last

    def after(self, seq: int, most: int = KEPT) -> list[tuple[int, bytes]]:
        """The kept events after ``seq``, oldest first, at most ``most`` of them."""
        first = max(seq + 1, self.oldest)
        end = min(self.last, first + most - 1) + 1
        return [self._kept[(number - self.start - 1) % KEPT] for number in range(first, end)]

    def newest_after(self, seq: int) -> list[tuple[int, bytes]]:
        """Of the events after ``seq``, the newest one of each key, in their order."""
        return sorted(event for event in self._newest.values() if event[0] > seq)
