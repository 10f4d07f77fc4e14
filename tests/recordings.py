"""Helpers for tests of recordings: all events of a feed in one list, and a folder's rows as users read them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds

from exchanges.events import TradeEvent
from exchanges.venue import Limits
from feed import MarketFeed
from feed.sinks.recorder.writer import Plan
from tests.feed.memory_venue import MemoryVenue

OWN = ("slow_callback", "callback_error")  # status events about consumers, which differ in each feed


class Delivered:
    """All events of a feed, in the order of delivery."""

    def __init__(self, feed: MarketFeed) -> None:
        self.events: list[Any] = []
        keep = self.events.append
        feed.subscribe_status(lambda event, details: None if event in OWN else keep((event, details)))
        wanted = {"trades", "ticker", "candles", "quotes", "books"} & set(feed.channels)
        for channel in ("prices", *sorted(wanted)):
            feed.subscribe(channel, keep, on_full="drop_oldest")

    @property
    def shown(self) -> list[str]:
        """The events as text, in which NaN is equal to NaN."""
        return [repr(event) for event in self.events]

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def status(self) -> list[str]:
        return [event[0] for event in self.of(tuple)]


async def played(folder: Path | list[Path], *args: Any, speed: float | None = None, **options: Any) -> Delivered:
    """Play a recording to its end, and return what was delivered."""
    feed = MarketFeed.from_recording(folder, *args, speed=speed, **options)
    delivered = Delivered(feed)
    async with feed, asyncio.timeout(60):
        await feed.wait_closed()
    return delivered


async def until(condition: Callable[[], bool]) -> None:
    """Wait until the condition holds."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - no event can be awaited here
            await asyncio.sleep(0.005)


def rows(folder: Path, channel: str) -> list[dict[str, Any]]:
    """Return the rows that the folder now has for a channel, in the order of their ``seq``."""
    table = ds.dataset(folder / channel, format="parquet").to_table()
    return sorted(table.to_pylist(), key=lambda row: row["seq"])


def memory_venue(name: str, *coins: str) -> MemoryVenue:
    """A venue in memory; the test makes its trades."""
    return MemoryVenue(name, coins, Limits(consecutive_ids=True))


def trade_at(number: int, at: float) -> TradeEvent:
    """A trade that was received at ``at`` (Unix seconds), with this number as its price and id."""
    return TradeEvent("BTC", float(number), 1.0, False, int(at * 1000), "memory", str(number), int(at * 1e9))


def plan_for(folder: Path) -> Plan:
    """A plan to record trades of BTC: rows are written often, and files are merged only at the end."""
    return Plan(folder, ["trades"], ["BTC"], [], 20, 0.1, 1000.0, 10_000)
