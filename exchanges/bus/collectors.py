"""Reads collectors' reports on the bus; decides when a collector counts as dead, and which events came late. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any

from exchanges.bus.client import Stored
from exchanges.bus.payloads import read_object

ALIVE = 3.0  # seconds for which a collector counts as alive after it was last heard
LATE = 1_000_000_000  # ns; an event is late if its delay is longer than the shortest delay by more than this
STEP = 3.0  # seconds; if all events are equally late for this long, a clock has stepped


class Lateness:
    """Recognizes events that came to the bus late, because their collector could not reach the bus before.

    A delay is the time from an event's receipt by the collector to its storage by the bus, in ns. Two clocks measure
    it, and they may differ. An event is late if its delay is much longer than the shortest one. If one of the clocks
    steps, all later delays grow equally.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Forget the delays: another collector publishes now, and it may have another clock."""
        self._least = inf
        self._since: float | None = None  # when the events became late
        self._low, self._high = inf, -inf  # the shortest and the longest delay since then

    def is_late(self, delay: int, now: float) -> bool:
        """Whether an event with this delay is late; ``now`` in seconds."""
        if delay - self._least <= LATE:
            self._least = min(delay, self._least)
            self._since = None
            return False
        if self._since is None:
            self._since, self._low, self._high = now, delay, delay
        self._low, self._high = min(delay, self._low), max(delay, self._high)
        if now - self._since > STEP:
            if self._high - self._low < LATE / 2:
                self.forget()
                self._least = delay
                return False
            self._since = None
        return True


@dataclass(slots=True)
class Shard:
    """One shard of an exchange's coins, as its publisher describes it.

    ``coins`` maps each coin to its market symbol. ``awaited`` are the coins whose first data the publisher waits for,
    None before the publisher has named its coins. ``heard`` is when the publisher's last report came, in Unix ns of the
    server's clock, 0 if none came; ``details`` is that report. ``history`` has the timeframes of past candles that the
    publisher can fetch; ``timeframes`` has those of the candles that it publishes.
    """

    name: str
    coins: Mapping[str, str] = field(default_factory=dict)
    awaited: frozenset[str] | None = None
    channels: tuple[str, ...] = ()
    timeframes: tuple[str, ...] = ()
    history: tuple[str, ...] = ()
    heard: int = 0
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def collector(self) -> str:
        return str(self.details.get("collector", ""))

    def fault(self, now: int) -> str:
        """Why the shard's coins are not available now, "" if they are; ``now``: the server's clock, Unix ns."""
        if not self.heard:
            return "no collector publishes it"
        if self.details.get("released"):
            return f"no collector publishes it since {self.collector} has ended"
        ago = (now - self.heard) / 1e9
        if ago > ALIVE:
            return f"its collector {self.collector} was last heard {ago:.0f} s ago"
        return f"its collector {self.collector} has only just started" if self.awaited is None else ""


def shards_of(register: Iterable[Stored]) -> dict[str, Shard]:
    """The shards in the register's keys (``lease`` and ``coins``), by name."""
    found: dict[str, Shard] = {}
    for stored in register:
        parts = stored.subject.split(".")
        shard = found.setdefault(parts[-1], Shard(parts[-1]))
        try:
            said = read_object(stored.data)
        except ValueError:  # a key that somebody has deleted
            continue
        if "coins" in parts[2:3]:
            coins = said.get("coins")
            shard.coins = {str(k): str(v) for k, v in coins.items()} if isinstance(coins, dict) else {}
            shard.awaited = frozenset(map(str, said.get("awaited", ())))
            shard.channels = tuple(map(str, said.get("channels", ())))
            shard.timeframes = tuple(map(str, said.get("timeframes", ())))
            shard.history = tuple(map(str, said.get("history", ())))
        else:
            shard.heard, shard.details = stored.at, said
    return found
