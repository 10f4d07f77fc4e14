"""The circuit breaker: decides when a bot must not trade; ``status_events.py`` says which events are failures.

Data continues while the breaker is open; only ``tradable`` changes. The breaker is open for exactly ``cooldown``
seconds, and ``tradable`` is False for that time and no longer, as the contract says ("False while the breaker is
open"). So a bot may trade while the breaker is half-open. That is safe: ``require_fresh`` still refuses every price
that is too old, and one failure opens the breaker again.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum


class BreakerState(Enum):
    CLOSED = "closed"  # a bot may trade
    OPEN = "open"  # too many failures, and the cooldown is not over
    HALF_OPEN = "half_open"  # the cooldown is over, data has not flowed for long enough yet


class BreakerSignal(Enum):
    """What changes the breaker's state."""

    FAILED = "failed"  # enough failures to open the breaker in its state
    COOLED = "cooled"  # the cooldown is over
    HEALTHY = "healthy"  # data has flowed for long enough without a failure


MOVES: dict[tuple[BreakerState, BreakerSignal], BreakerState] = {
    (BreakerState.CLOSED, BreakerSignal.FAILED): BreakerState.OPEN,
    (BreakerState.HALF_OPEN, BreakerSignal.FAILED): BreakerState.OPEN,
    (BreakerState.OPEN, BreakerSignal.COOLED): BreakerState.HALF_OPEN,
    (BreakerState.HALF_OPEN, BreakerSignal.HEALTHY): BreakerState.CLOSED,
}


@dataclass(frozen=True, slots=True)
class Transition:
    """``event`` is the status event's name; with circuit_open, ``seconds`` is the time from now to the cooldown's end:
    the caller reports the end in Unix ms.
    """

    event: str
    reason: str = ""
    seconds: float | None = None


class CircuitBreakerPolicy:
    """Opens for ``cooldown`` seconds after ``failures`` failures within ``window`` seconds; ``now`` is monotonic.

    The caller decides what counts as a failure, by the table in feed/subscriptions/status_events.py. Failures while
    the breaker is open change nothing: they do not prolong the cooldown, and do not count after it.

    While the breaker is half-open, the first failure opens it again. It closes when data has flowed for ``healthy_for``
    seconds, from the first piece to the last (by default a quarter of the window). That is longer than the life of a
    connection that drops after its first messages. A stall in between is itself a failure.
    """

    def __init__(self, failures: int, window: float, cooldown: float, healthy_for: float | None = None) -> None:
        self._window = window
        self._cooldown = cooldown
        self._healthy_for = window / 4 if healthy_for is None else healthy_for
        self._borne = {BreakerState.CLOSED: failures, BreakerState.HALF_OPEN: 1}  # state -> the failures that open it
        self.state = BreakerState.CLOSED
        self._failed: deque[float] = deque(maxlen=failures)
        self._until = 0.0  # the cooldown's end, while open
        self._healthy_since: float | None = None

    def __repr__(self) -> str:
        return f"<Breaker {self.state.value}>"

    @property
    def tradable(self) -> bool:
        return self.state is not BreakerState.OPEN

    @property
    def next_tick(self) -> float | None:
        """When tick() must be called; None while the state cannot change by time alone."""
        return self._until if self.state is BreakerState.OPEN else None

    def failure(self, reason: str, now: float) -> list[Transition]:
        """Note a failure; ``reason`` is reported if this failure opens the breaker."""
        told = self.tick(now)
        if self.state is BreakerState.OPEN:
            return told
        self._failed.append(now)
        recent = sum(now - at <= self._window for at in self._failed)
        if recent >= (borne := self._borne[self.state]):
            self._until = now + self._cooldown
            counted = f"{recent} failures within {self._window:g} s, last: {reason}" if borne > 1 else reason
            told.append(self._move(BreakerSignal.FAILED, counted))
        return told

    def data(self, now: float) -> list[Transition]:
        """Call this when data flows; cheap while the breaker is closed."""
        if self.state is BreakerState.CLOSED:
            return []
        told = self.tick(now)
        if self.state is BreakerState.HALF_OPEN:
            if self._healthy_since is None:
                self._healthy_since = now
            if now - self._healthy_since >= self._healthy_for:
                told.append(self._move(BreakerSignal.HEALTHY))
        return told

    def tick(self, now: float) -> list[Transition]:
        """Do what is due at ``now``; call this at ``next_tick``."""
        if self.state is BreakerState.OPEN and now >= self._until:
            return [self._move(BreakerSignal.COOLED)]
        return []

    def _move(self, signal: BreakerSignal, reason: str = "") -> Transition:
        self.state = MOVES[self.state, signal]
        self._failed.clear()
        self._healthy_since = None
        event = f"circuit_{self.state.value}"
        return Transition(event, reason, self._cooldown if self.state is BreakerState.OPEN else None)
