"""Holds the messages of a simulated stream back, in their order, while a fault makes the stream late."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Held(NamedTuple):
    """Events of one stream: ``made`` is when they happened, in monotonic seconds."""

    made: float
    stream: str
    payloads: Sequence[str]


@dataclass(slots=True)
class Lane:
    """The events for connections with odd numbers (``parity`` 1) or even numbers (0)."""

    parity: int
    held: deque[Held]

    def due(self, now: float, lag: float) -> Iterator[Held]:
        """Remove and return the events that are ``lag`` seconds old at ``now``, oldest first."""
        held = self.held
        while held and now - held[0].made >= lag:
            yield held.popleft()


class LateStream:
    """Holds events back, separately for connections with odd and with even numbers, because only one half may be
    late.
    """

    def __init__(self) -> None:
        self.lanes = (Lane(0, deque()), Lane(1, deque()))

    @property
    def waiting(self) -> bool:
        return any(lane.held for lane in self.lanes)

    def hold(self, parity: int, held: Held) -> None:
        self.lanes[parity].held.append(held)

    def insert(self, parity: int, past: Sequence[Held]) -> None:
        """Add past events to the waiting events, sorted by their times."""
        lane = self.lanes[parity]
        lane.held = deque(sorted([*past, *lane.held], key=lambda held: held.made))

    def first(self, parity: int, stream: str) -> str | None:
        """The oldest event of a stream that still waits for these connections."""
        held = self.lanes[parity].held
        return next((each.payloads[0] for each in held if each.stream == stream and each.payloads), None)

    def clear(self) -> None:
        for lane in self.lanes:
            lane.held.clear()
