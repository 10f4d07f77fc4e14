"""Decides which gaps, outages and dropped events are holes of a recording, and after how long an open gap is one."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from exchanges.recording.rows import GapRow

UNFILLED = 10.0  # seconds after which an open gap is a hole; a feed holds trades for two seconds
_BEGINS = frozenset({"disconnected", "feed_stale"})
_ENDS = frozenset({"connected", "feed_recovered", "failover"})


class Holes:
    """Makes the rows of the channel gaps from status events.

    ``channels`` are the recorded channels. Times are in Unix ms.
    """

    def __init__(self, channels: Sequence[str]) -> None:
        self._channels = channels
        self._gaps: defaultdict[tuple[str, str], list[tuple[int, dict[str, Any]]]] = defaultdict(list)
        self._outages: dict[str, tuple[int, str]] = {}  # exchange -> when its outage began, and why

    def on_status(self, event: str, details: Mapping[str, Any]) -> list[GapRow]:
        """Take a status event; returns the holes that it completes."""
        exchange, at = details["exchange"], details["at"]
        if event == "gap":
            self._gaps[exchange, details["coin"]].append((at, dict(details)))
            return []
        if event == "gap_filled":
            return self._filled(exchange, details)
        if event in _BEGINS and "coins" not in details:
            began = at - int(details.get("seconds", 0) * 1000)
            self._outages.setdefault(exchange, (began, str(details.get("reason", "the feed was silent"))))
            return []
        if event in _ENDS:
            return self._ended(str(details.get("from", exchange)), at)
        return []

    def expired(self, now: int) -> list[GapRow]:
        """The gaps that were not filled in time."""
        found = []
        for (exchange, coin), gaps in list(self._gaps.items()):
            while gaps and now - gaps[0][0] > UNFILLED * 1000:
                found.append(_gap(exchange, coin, gaps.pop(0)[1], 0, "not filled"))
        return found

    def close(self, at: int) -> list[GapRow]:
        """End the recording: open gaps and outages are holes."""
        found = self.expired(at + int(UNFILLED * 1000) + 1)
        for exchange in list(self._outages):
            found += self._ended(exchange, at)
        return found

    def _filled(self, exchange: str, details: Mapping[str, Any]) -> list[GapRow]:
        gaps = self._gaps[exchange, details["coin"]]
        if not gaps:
            return []
        _, gap = gaps.pop(0)
        if details["complete"]:
            return []
        return [_gap(exchange, details["coin"], gap, details["trades"], "not filled as a whole")]

    def _ended(self, exchange: str, at: int) -> list[GapRow]:
        """Make the rows of an outage; missing trades are reported by gaps of their own."""
        outage = self._outages.pop(exchange, None)
        if outage is None:
            return []
        began, reason = outage
        channels = [channel for channel in self._channels if channel != "trades"]
        return [GapRow(channel, exchange, "", began, at, None, None, None, f"outage: {reason}") for channel in channels]


class Dropped:
    """Counts the events that a full queue did not take, by channel, exchange and coin."""

    def __init__(self) -> None:
        self.total = 0
        self._counts: Counter[tuple[str, str, str]] = Counter()
        self._spans: dict[tuple[str, str, str], tuple[int, int]] = {}

    def add(self, channel: str, exchange: str, coin: str, at: int) -> None:
        """Count one more event; ``at`` in Unix ms."""
        key = channel, exchange, coin
        self.total += 1
        self._counts[key] += 1
        first, last = self._spans.get(key, (at, at))
        self._spans[key] = min(first, at), max(last, at)

    def take(self, reason: str) -> list[GapRow]:
        """The rows for what was dropped since the last call."""
        counts, spans, self._counts, self._spans = self._counts, self._spans, Counter(), {}
        return [GapRow(*key, *spans[key], None, None, number, reason) for key, number in counts.items()]


def _gap(exchange: str, coin: str, gap: Mapping[str, Any], found: int, reason: str) -> GapRow:
    missing, first, last = gap.get("missing"), gap.get("from_id"), gap.get("to_id")
    began, ended = gap.get("from_ts"), gap.get("to_ts")
    return GapRow(
        "trades", exchange, coin,
        gap["at"] if began is None else began, gap["at"] if ended is None else ended,
        first, last, None if missing is None else max(0, missing - found), f"gap: {reason}",
    )  # fmt: skip
