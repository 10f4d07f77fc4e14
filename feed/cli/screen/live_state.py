"""Keeps what the screen shows: prices, rates, status events in words, and a remark if the clocks differ."""

from __future__ import annotations

import statistics
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from feed.events import FeedStatus, PriceTick, TradeEvent
from feed.subscriptions.status_events import KINDS

RATE_WINDOW = 5.0  # seconds over which the rates of trades and messages are measured
NOTES = 100  # lines kept
TOGETHER = 3.0  # seconds within which the same event of several coins is one line
AHEAD = 5.0  # ms; if data seems to arrive this much before it was sent, the clocks differ
LATE = 10_000.0  # ms; if data is later than this, the cause is not a slow network
_NO_WORDS = frozenset({"exchange", "at"})  # details that are not part of an event's text

WORDS: Mapping[str, str] = {event: kind.words for event, kind in KINDS.items()}
OTHERWISE: Mapping[str, str] = {event: kind.otherwise for event, kind in KINDS.items() if kind.otherwise}
WORDS_FOR_MANY: Mapping[str, str] = {event: kind.for_many for event, kind in KINDS.items() if kind.for_many}
"""Status event -> its text for several coins at once; the numbers of these coins are added up."""


def describe(event: str, details: Mapping[str, Any], words: Mapping[str, str] = WORDS) -> str:
    """Return the text for a status event, in one line."""
    shown = {name: "some" if value is None else value for name, value in details.items()}
    for texts in (words, OTHERWISE):
        try:
            return " ".join(texts[event].format_map(shown).split())
        except (KeyError, ValueError, TypeError):  # an event or a detail that is not in the table of texts
            continue
    text = ", ".join(f"{name} {value}" for name, value in details.items() if name not in _NO_WORDS)
    return " ".join(text.split())


@dataclass(slots=True)
class Note:
    """A line under the table. ``at``: local Unix seconds; ``event``: a status event, or a name from the program."""

    at: float
    event: str
    text: str
    details: dict[str, Any] = field(default_factory=dict)
    coins: int = 1

    def absorb(self, details: Mapping[str, Any]) -> None:
        """Add another coin to this line, or a higher count."""
        if self.event not in WORDS_FOR_MANY:
            self.text = describe(self.event, details)
            return
        self.coins += 1
        trades = (self.details.get("trades") or 0) + (details.get("trades") or 0)
        self.details |= {"coins": self.coins, "trades": trades}
        self.text = describe(self.event, self.details, WORDS_FOR_MANY)


@dataclass(slots=True)
class Row:
    """One coin as shown.

    ``direction`` of the last price change: 1 up, -1 down, 0 unknown; ``moved``: seconds since then. ``latency`` in ms.
    """

    coin: str
    price: float | None = None
    direction: int = 0
    moved: float = 1e9
    change_24h: float = 0.0
    volume_24h: float = 0.0
    rate: float = 0.0
    age: float | None = None
    latency: float | None = None
    venue: str = ""


@dataclass(slots=True)
class _Move:
    price: float
    direction: int
    at: float


@dataclass(slots=True)
class _PriceSample:
    at: float
    trades: Counter[str]
    messages: int


@dataclass
class LiveState:
    """Counts what the feed delivers, and keeps its status events as lines."""

    clock: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    notes: deque[Note] = field(default_factory=lambda: deque(maxlen=NOTES))
    _trades: Counter[str] = field(default_factory=Counter)
    _moves: dict[str, _Move] = field(default_factory=dict)
    _samples: deque[_PriceSample] = field(default_factory=deque)
    _since: float | None = None  # monotonic seconds: when the current connection was made; None without one

    def on_trade(self, trade: TradeEvent) -> None:
        self._trades[trade.coin] += 1

    def on_price(self, tick: PriceTick) -> None:
        last = self._moves.get(tick.coin)
        if last is None:
            self._moves[tick.coin] = _Move(tick.price, 0, -1e9)
        elif tick.price != last.price:
            last.direction = 1 if tick.price > last.price else -1
            last.price, last.at = tick.price, self.clock()

    def on_status(self, event: str, details: Mapping[str, Any]) -> None:
        if event == "connected":
            self._since = self.clock()
        elif event == "disconnected":
            self._since = None
        kin = self._kin(event, details)
        if kin is None:
            self.notes.append(Note(self.wall(), event, describe(event, details), dict(details)))
        else:
            kin.absorb(details)

    def _kin(self, event: str, details: Mapping[str, Any]) -> Note | None:
        """The recent line that this event joins, if any: one line is enough for a gap that all coins have."""
        for note in reversed(self.notes):
            if self.wall() - note.at > TOGETHER:
                return None
            if note.event == event and note.details.get("exchange") == details.get("exchange"):
                return note if event in WORDS_FOR_MANY or event == "bad_frame" else None
        return None

    def note(self, event: str, text: str) -> None:
        """Add a line."""
        self.notes.append(Note(self.wall(), event, text))

    def take_notes(self) -> list[Note]:
        """Return the lines added since the last call, and forget them."""
        taken = list(self.notes)
        self.notes.clear()
        return taken

    def sample(self, status: FeedStatus) -> None:
        """Remember the current counters, to compute rates from them; call it at every refresh."""
        now = self.clock()
        self._samples.append(_PriceSample(now, self._trades.copy(), status.messages_received))
        while now - self._samples[0].at > RATE_WINDOW:
            self._samples.popleft()

    @property
    def connected_for(self) -> float | None:
        """Seconds since the current connection was made."""
        return None if self._since is None else self.clock() - self._since

    @property
    def message_rate(self) -> float:
        """Messages per second."""
        first, last = self._ends()
        return max(0, last.messages - first.messages) / max(last.at - first.at, 1e-9) if last is not first else 0.0

    def rows(self, coins: list[str], prices: Mapping[str, PriceTick]) -> list[Row]:
        """Return one row per coin, in the order given."""
        return [self._row(coin, prices.get(coin)) for coin in coins]

    def _row(self, coin: str, tick: PriceTick | None) -> Row:
        if tick is None:
            return Row(coin)
        first, last = self._ends()
        seconds = last.at - first.at
        move = self._moves.get(coin)
        received = tick.received_at / 1e9
        return Row(
            coin,
            tick.price,
            move.direction if move else 0,
            self.clock() - move.at if move else 1e9,
            tick.change_24h,
            tick.volume_24h,
            (last.trades[coin] - first.trades[coin]) / seconds if seconds > 0 else 0.0,
            max(0.0, self.wall() - received) if received else None,
            received * 1000 - tick.timestamp if received and tick.timestamp else None,
            tick.exchange,
        )

    def _ends(self) -> tuple[_PriceSample, _PriceSample]:
        nothing = _PriceSample(self.clock(), Counter(), 0)
        return (self._samples[0], self._samples[-1]) if self._samples else (nothing, nothing)


def clock_remark(rows: list[Row]) -> str:
    """Return what the latencies show about the clocks; "" if they are plausible.

    Data can't arrive before it was sent, so latencies below zero prove that the clocks differ. Very late data may also
    come from a replay.
    """
    latencies = [row.latency for row in rows if row.latency is not None]
    middle = statistics.median(latencies) if latencies else 0.0
    if middle < -AHEAD:
        return f"clocks differ: the venue's is at least {-middle:.0f} ms ahead of this machine's"
    if middle > LATE:
        return "clocks differ, or this is a replay: the venue's times are long past"
    return ""
