"""A sequence with an owner that fetches and delivers as the feed does."""

from __future__ import annotations

from dataclasses import dataclass, field

from exchanges.events import TradeEvent
from feed.trades.gaps import DELIVER, LATE, Filled, Gap, Outcome
from feed.trades.sequence import TradeSequence


def trade(trade_id: int | str, timestamp: int | None = None) -> TradeEvent:
    """A trade with this id; its time is 10 ms times the id by default."""
    at = int(trade_id) * 10 if timestamp is None else timestamp
    return TradeEvent("BTC", 100.0, 1.0, False, at, "sim", str(trade_id))


def trades(*ids: int) -> list[TradeEvent]:
    return [trade(n) for n in ids]


@dataclass
class Owner:
    """Carries out the sequence's outcomes as the feed does, and keeps what it delivers."""

    policy: TradeSequence
    delivered: list[TradeEvent] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    filled: list[Filled] = field(default_factory=list)
    late: list[TradeEvent] = field(default_factory=list)

    def stream(self, item: TradeEvent, now: float | None = 0.0) -> Outcome:
        outcome = self.policy.accept(item, now)
        if outcome is DELIVER:
            self.delivered.append(item)
        elif outcome is LATE:
            self.late.append(item)
        else:
            self.carry_out(outcome)
        return outcome

    def carry_out(self, outcome: Outcome) -> None:
        if outcome.gap:
            self.gaps.append(outcome.gap)
        self.delivered.extend(outcome.deliver)
        self.filled.extend(outcome.filled)

    def ended(self, answer: list[TradeEvent], now: float) -> None:
        """Take the only answer of the venue, one page, and end the fetch."""
        self.carry_out(self.policy.answered([answer], now))
        self.carry_out(self.policy.give_up(fetched_only=True))

    @property
    def ids(self) -> list[str]:
        return [item.trade_id for item in self.delivered]


def owner(*ids: int, numbered: bool = True, max_gap: float = 300, fetch: bool = True) -> Owner:
    """An owner that has already received these trades from the stream."""
    it = Owner(TradeSequence(numbered, max_gap, fetch=fetch))
    for item in trades(*ids):
        assert it.stream(item) is DELIVER
    return it
