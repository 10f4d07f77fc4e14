"""The limits of each venue, with the length of a ban; ``sessions.py`` and each venue's ``rest.py`` enforce them.

The numbers come from the venues' documentation:
https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams and
https://bybit-exchange.github.io/docs/v5/ws/connect
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace


@dataclass(slots=True)
class VenueLaws:
    """One venue's limits; None means that the venue has no such rule. Times in seconds; tests may shorten them."""

    messages_per_second: int | None = None  # messages from the client, control frames included
    streams: int | None = None  # the most streams of a connection
    dials: int = 300  # upgrade attempts within ``dial_window``
    dial_window: float = 300.0
    session_limit: float | None = None  # a connection is cut after this time
    ping_every: float | None = None  # the time between two ping frames of the server
    pong_within: float = 60.0
    idle_limit: float | None = None  # a connection is closed after this time without a message
    args_per_request: int | None = None
    args_characters: int | None = None  # characters of all subscriptions of a connection
    rest_weight: int | None = None  # weight of REST requests within ``rest_window``
    rest_window: float = 60.0
    ban_after: int = 10  # if so many requests in a row were answered with 429, the next one begins a ban (418)
    ban_seconds: float = 120.0
    snapshot_age: float = 0.0  # a book over REST may be this much older than the stream
    patience: int = 8_000_000  # bytes that may wait for a slow reader before it is dropped


BINANCE_LAWS = VenueLaws(
    messages_per_second=5,
    streams=1024,
    dials=300,
    session_limit=86_400.0,
    ping_every=20.0,
    rest_weight=6000,
    snapshot_age=0.2,
)
BINANCE_SWAP_LAWS = VenueLaws(
    messages_per_second=10,
    streams=1024,
    dials=300,
    session_limit=86_400.0,
    ping_every=180.0,
    pong_within=600.0,
    rest_weight=2400,
    snapshot_age=0.2,
)
BYBIT_LAWS = VenueLaws(
    dials=500,
    idle_limit=600.0,
    args_per_request=10,
    args_characters=21_000,
    rest_weight=600,
    rest_window=5.0,
)
LAWLESS = VenueLaws(dials=1 << 62)  # nothing is limited except memory


def copy_of(laws: VenueLaws) -> VenueLaws:
    """A venue's own copy, which a test may change."""
    return replace(laws)


class Window:
    """Counts what happened within the last ``span`` seconds."""

    def __init__(self) -> None:
        self._events: deque[tuple[float, int]] = deque()
        self._sum = 0

    def add(self, now: float, span: float, weight: int = 1) -> int:
        """Note ``weight`` at ``now`` and return the sum of the window."""
        self._events.append((now, weight))
        self._sum += weight
        return self.sum(now, span)

    def sum(self, now: float, span: float) -> int:
        while self._events and self._events[0][0] <= now - span:
            self._sum -= self._events.popleft()[1]
        return self._sum

    def free_in(self, now: float, span: float) -> float:
        """Seconds until the oldest event leaves the window."""
        return max(0.0, self._events[0][0] + span - now) if self._events else 0.0


class Pace:
    """Judges how often a client sends messages. The exact time of a message is not known, only an interval.

    A message is read when the loop runs. If the loop was blocked, the messages that are read together afterwards may
    have come at any time meanwhile. The client counts as within the limit if that is possible.
    """

    def __init__(self) -> None:
        self._events: deque[float] = deque()  # the earliest times at which the last messages can have come

    def add(self, earliest: float, latest: float, limit: int, span: float) -> bool:
        """Note a message; returns whether more than ``limit`` must have come within ``span`` seconds."""
        times = self._events
        while len(times) > limit:
            times.popleft()
        at = max(earliest, times[-1]) if times else earliest
        if len(times) == limit:
            at = max(at, times[0] + span)
        times.append(min(at, latest))
        return at > latest
