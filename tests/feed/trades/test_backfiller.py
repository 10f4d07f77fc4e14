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

MARKETS = {"LTC": "LTC/USDT"}


def trade(number: int) -> TradeEvent:
    return TradeEvent("LTC", 100.0, 1.0, False, 1_000_000 + number * 100, "sim", str(number))


@pytest.mark.parametrize("consecutive", [False, True])
def test_trades_missed_while_a_coin_changes_its_connection_are_a_gap(consecutive: bool) -> None:
    limits = SimpleNamespace(consecutive_ids=consecutive)
    venue: Any = SimpleNamespace(name="sim", limits=limits, can_fetch_trades=True)
    sequences, requests = KnownSequences(), RateLimit(60, 60.0)

    def backfiller() -> TradeBackfiller:
        return TradeBackfiller(
            venue, Backfill(), lambda trade: None, lambda *told, **details: None, Clock(), requests, sequences
        )

    first, second = backfiller(), backfiller()
    first.resumed(MARKETS, {})
    assert all(first.sequence("LTC").accept(trade(number)) is DELIVER for number in (1, 2))
    second.resumed(MARKETS, {})
    gap = second.sequence("LTC").accept(trade(4)).gap
    assert gap is not None
    assert gap.fetch
