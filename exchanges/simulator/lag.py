"""A stream that is behind: the venue's messages wait here in their order."""

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
    """The events for the connections of one kind of number: ``parity`` 1 for the odd ones, 0 for the even ones."""

    parity: int
    held: deque[Held]

    def due(self, now: float, lag: float) -> Iterator[Held]:
        """Take out, oldest first, what is ``lag`` seconds old at ``now``."""
        held = self.held
        while held and now - held[0].made >= lag:
            yield held.popleft()


class LateStream:
    """Holds events back, for the connections of odd and of even number apart: one half may be behind alone."""

    def __init__(self) -> None:
        self.lanes = (Lane(0, deque()), Lane(1, deque()))

    @property
    def waiting(self) -> bool:
        return any(lane.held for lane in self.lanes)

    def hold(self, parity: int, held: Held) -> None:
        self.lanes[parity].held.append(held)

    def insert(self, parity: int, past: Sequence[Held]) -> None:
        """Add events of the past to those that wait, in the order of their time."""
        lane = self.lanes[parity]
        lane.held = deque(sorted([*past, *lane.held], key=lambda held: held.made))

    def first(self, parity: int, stream: str) -> str | None:
        """The event of a stream that waits longest for these connections."""
        held = self.lanes[parity].held
        return next((each.payloads[0] for each in held if each.stream == stream and each.payloads), None)

    def clear(self) -> None:
        for lane in self.lanes:
            lane.held.clear()
