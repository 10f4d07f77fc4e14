"""A coin that moves between two connections of one venue: trades that both missed are a gap."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from exchanges.events import TradeEvent
from feed.clock import Clock
from feed.policies.rate_limit import RateLimit
from feed.settings import Backfill
from feed.trades.backfiller import KnownSequences, TradeBackfiller
from feed.trades.gaps import DELIVER
from tests.support import until

MARKETS = {"LTC": "LTC/USDT"}


def trade(number: int) -> TradeEvent:
    return TradeEvent("LTC", 100.0, 1.0, False, 1_000_000 + number * 100, "sim", str(number))


class World:
    """A venue whose REST answers with the trades in ``record``, and the reports and trades of its backfillers."""

    def __init__(self, consecutive: bool) -> None:
        limits = SimpleNamespace(consecutive_ids=consecutive, older_trades=False)
        self.venue: Any = SimpleNamespace(
            name="sim", limits=limits, can_fetch_trades=True, fetch_trades=self.fetch_trades
        )
        self.sequences, self.requests = KnownSequences(), RateLimit(60, 60.0)
        self.told: list[str] = []
        self.delivered: list[str] = []
        self.record: list[TradeEvent] = []
        self.asked = 0

    async def fetch_trades(self, *asked: Any) -> list[TradeEvent]:
        self.asked += 1
        return self.record

    def backfiller(self) -> TradeBackfiller:
        def deliver(trade: TradeEvent) -> None:
            self.delivered.append(trade.trade_id)

        def report(event: str, exchange: str, **details: Any) -> None:
            self.told.append(event)

        return TradeBackfiller(self.venue, Backfill(), deliver, report, Clock(), self.requests, self.sequences)


@pytest.mark.parametrize("consecutive", [False, True])
def test_trades_missed_while_a_coin_changes_its_connection_are_a_gap(consecutive: bool) -> None:
    world = World(consecutive)
    first, second = world.backfiller(), world.backfiller()
    first.resumed(MARKETS)
    assert all(first.sequence("LTC").accept(trade(number)) is DELIVER for number in (1, 2))
    second.resumed(MARKETS)
    gap = second.sequence("LTC").accept(trade(4)).gap
    assert gap is not None
    assert gap.fetch


@pytest.mark.parametrize("consecutive", [False, True])
async def test_when_the_newer_of_two_backfillers_leaves_a_coin_the_older_backfiller_fetches_the_gap(
    consecutive: bool,
) -> None:
    world = World(consecutive)
    first, second = world.backfiller(), world.backfiller()
    first.resumed(MARKETS)
    assert first.begin("LTC").accept(trade(1)) is DELIVER
    second.resumed(MARKETS)
    later = trade(3)
    second.settle(later, second.begin("LTC").accept(later))
    second.flush()
    assert world.told == ["gap"]
    world.record = [trade(1), trade(2), later]
    await until(lambda: world.told == ["gap", "gap_filled"])
    assert world.delivered == ["2", "3"]
    first.close()
