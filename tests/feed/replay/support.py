"""Short recordings that tests write."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from exchanges.events import TradeEvent
from feed import PriceTick
from feed.sinks.recorder.pending_rows import Status
from feed.sinks.recorder.writer import Plan, Writer

START = 1_764_288_000 * 10**9  # 2025-11-28T00:00:00Z, ns
SECOND = 10**9
STATE = {"exchange": "one", "reconnect_count": 0, "failover_count": 0, "errors": 0, "tradable": True}


def trade(coin: str, at: float, price: float, exchange: str = "one") -> TradeEvent:
    received = START + int(at * SECOND)
    return TradeEvent(
        coin, price, 1.0, False, received // 10**6, exchange, f"{coin}{at}", received, market=f"{coin}/USDT"
    )


def tick(of: TradeEvent) -> PriceTick:
    nan = float("nan")
    return PriceTick(of.coin, of.price, of.timestamp, nan, nan, of.exchange, of.received_at, of.market)


def priced(trades: Sequence[TradeEvent]) -> list[Any]:
    return [event for each in trades for event in (each, tick(each))]


def status(event: str, at: float, state: str, **details: Any) -> Status:
    tradable = details.pop("tradable", True)
    told = {"exchange": "one", "at": (START + int(at * SECOND)) // 10**6, **details}
    return Status(event, told, {**STATE, "state": state, "tradable": tradable})


def record(folder: Path, events: Sequence[Any], channels: Sequence[str] = ("trades",), at: float = 0.0) -> None:
    """Write events as a recorder does, in one session."""
    clock = START / 1e9 + at - time.time()
    plan = Plan(folder, channels, ["BTC", "ETH"], ["1m"], 20, 1000.0, 1000.0, 1_000_000)
    writer = Writer(plan, now=lambda: time.time() + clock)
    for event in events:
        writer.put(event)
    writer.close()
