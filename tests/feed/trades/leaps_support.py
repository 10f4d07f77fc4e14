"""A feed of one coin whose venue sends wrong ids and stamps."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from exchanges.events import TradeEvent
from feed.trades.gaps import DELIVER, Filled, Gap, Outcome
from feed.trades.sequence import TradeSequence

HOUR = 3_600_000
FIRST = 5_000_000  # the id of the first trade
ASK_EACH = 0.3  # seconds


@dataclass
class Feed:
    """Handles one coin as the feed does, on a fake clock, with a venue that answers over REST."""

    policy: TradeSequence
    rest_lag: float = 0.0
    # the trades that REST has, each with the time at which it appears there
    record: list[tuple[float, TradeEvent]] = field(default_factory=list)
    now: float = 0.0
    asked_at: float = -10.0
    arrived: dict[float, float] = field(default_factory=dict)  # a trade's price, which is unique -> when the trade came
    delivered: list[TradeEvent] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    filled: list[Filled] = field(default_factory=list)
    longest: float = 0.0  # the longest wait of a streamed trade, in seconds

    def carry_out(self, outcome: Outcome) -> None:
        if outcome.gap is not None:
            self.gaps.append(outcome.gap)
        for item in outcome.deliver:
            self.deliver(item)
        self.filled.extend(outcome.filled)

    def deliver(self, item: TradeEvent) -> None:
        self.delivered.append(item)
        self.longest = max(self.longest, self.now - self.arrived.get(item.price, self.now))

    def stream(self, item: TradeEvent) -> None:
        self.arrived.setdefault(item.price, self.now)
        outcome = self.policy.accept(replace(item), self.now)
        if outcome is DELIVER:
            self.deliver(item)
        else:
            self.carry_out(outcome)

    def go_on_until(self, end: float) -> None:
        """Let time pass until ``end``; ask the venue while trades are missing, and deliver trades that waited long
        enough."""
        while True:
            due = []
            if self.policy.open_gaps.sought is not None:
                due.append((max(self.now, self.asked_at + ASK_EACH), "ask"))
            if (deadline := self.policy.open_gaps.deadline) is not None:
                due.append((max(self.now, deadline), "expire"))
            if not due or min(due)[0] > end:
                break
            self.now, what = min(due)
            if what == "ask":
                self.asked_at = self.now
                page = [replace(item) for at, item in self.record if at + self.rest_lag <= self.now]
                page.sort(key=lambda item: (item.timestamp, item.trade_id))
                self.carry_out(self.policy.answered([page], self.now))
            else:
                self.carry_out(self.policy.expire(self.now))
        self.now = end

    @property
    def prices(self) -> list[float]:
        return [item.price for item in self.delivered]


def good(number: int, at: int, price: float) -> TradeEvent:
    return TradeEvent("BTC", price, 1.0, False, at, "sim", str(number), at * 1_000_000)


def good_trades(pauses: list[int]) -> list[TradeEvent]:
    """Trades with consecutive ids, each ``pauses`` ms after the trade before, and each with a unique price."""
    times = [HOUR + sum(pauses[: n + 1]) for n in range(len(pauses))]
    return [good(FIRST + n, at, 100.0 + n) for n, at in enumerate(times)]


def run(feed: Feed, wire: list[TradeEvent], times: list[int]) -> None:
    for item, at in zip(wire, times, strict=True):
        feed.go_on_until(at / 1000)
        feed.stream(item)
    feed.go_on_until(feed.now + 10)
