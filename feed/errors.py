"""The errors that the feed raises, all derived from FeedError."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

LONGEST = 500  # the most characters of an event in a message


class FeedError(Exception):
    """Base class of every error that the feed raises."""


class SettingsError(FeedError, ValueError):
    """Wrong settings or arguments. ``problems`` has a line per problem: its place, what was found, what is allowed."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__(list(problems))
        self.problems = list(problems)

    def __str__(self) -> str:
        return "\n".join(self.problems)


class NoExchangeAvailable(FeedError, ConnectionError):
    """No venue delivered data within ``timeout`` seconds; ``reasons`` maps each venue to the reason.

    ``timeout`` is None if every venue has refused before the time was over. This error is also a ConnectionError.
    """

    def __init__(self, reasons: Mapping[str, str], timeout: float | None) -> None:
        super().__init__(dict(reasons), timeout)
        self.reasons = dict(reasons)
        self.timeout = timeout

    def __str__(self) -> str:
        within = "" if self.timeout is None else f" within {self.timeout:g} s"
        lines = [f"no exchange delivered data{within}:"]
        lines += [f"  {name}: {reason}" for name, reason in self.reasons.items()]
        return "\n".join(lines)


class StaleDataError(FeedError):
    """A bot must not act on the coin's price: it is too old, missing, in doubt, or the circuit breaker is open.

    ``age`` is the price's age in seconds, None if there is no price; ``limit`` the age allowed, in seconds. ``reason``
    says what is wrong.
    """

    def __init__(self, coin: str, age: float | None, limit: float, reason: str = "") -> None:
        super().__init__(coin, age, limit, reason)
        self.coin = coin
        self.age = age
        self.limit = limit
        self.reason = reason

    def __str__(self) -> str:
        if self.reason:
            return f"{self.coin}: {self.reason}"
        if self.age is None:
            return f"{self.coin}: no price yet (allowed age {self.limit:g} s)"
        return f"{self.coin}: price is {self.age:.3f} s old, allowed are {self.limit:g} s"


class SlowConsumerError(FeedError):
    """A consumer with the policy "error" fell behind: ``size`` events were waiting when ``event`` of ``coin`` came."""

    def __init__(self, channel: str, coin: Hashable, event: Any, size: int) -> None:
        super().__init__(channel, coin, event, size)
        self.channel = channel
        self.coin = coin
        self.event = event
        self.size = size

    def __str__(self) -> str:
        dropped = _shortened(self.event)
        return f"{self.channel}: too slow, {self.size} events were waiting when the next was dropped: {dropped}"

    def __repr__(self) -> str:
        return f"SlowConsumerError({self.channel!r}, {self.coin!r}, {_shortened(self.event)}, {self.size})"


def _shortened(event: Any) -> str:
    """The event as text, without most of an order book's thousand levels."""
    text = repr(event)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
