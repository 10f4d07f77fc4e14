"""Turns delivered events into rows that wait to be written: numbers them, and folds price ticks into other rows.

A price tick almost always repeats the trade before it or the ticker after it; then it is only a flag in that row. Any
other tick is a row of its own, so that a replay delivers every tick as it was.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import compress
from math import nan
from typing import Any

from exchanges.events import Candle, OrderBook, Quote, Ticker, TradeEvent
from exchanges.recording.books import BookEncoder
from exchanges.recording.rows import Columns, GapRow, PastCandle, StatusRow
from feed.events import PriceTick

DAY = 86_400 * 10**9  # ns
_NO_DAY = ("", nan, nan)
_CHANNEL: dict[type, str] = {Candle: "candles", PastCandle: "history", Quote: "quotes", GapRow: "gaps"}


@dataclass(slots=True)
class Status:
    """A status event as it was delivered, and what the feed's status was then."""

    event: str
    details: dict[str, Any]
    feed: dict[str, Any]


class _Batch:
    """Events of one channel, in the order of delivery, their numbers, and whether each made a price tick."""

    __slots__ = ("events", "priced", "seqs")

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.seqs: list[int] = []
        self.priced: list[bool] = []


class PendingRows:
    """The rows of each channel and day, by day since 1970; ``next_seq`` is the number of the next row."""

    def __init__(self, next_seq: int = 0) -> None:
        self.next_seq = next_seq
        self.parts: dict[tuple[str, int], Columns] = {}
        self._books = BookEncoder()
        self._day: dict[str, tuple[str, float, float]] = {}  # coin -> exchange, volume_24h, change_24h of its ticks
        self._trade: TradeEvent | None = None  # the last event, if it was a trade
        self._priced: list[bool] = []  # the last trade's flag is the last of these
        self._tick: PriceTick | None = None  # the last tick, whose ticker may come next

    def __len__(self) -> int:
        return sum(map(len, self.parts.values()))

    def add(self, events: Iterable[Any], today: int, *, settle: bool = False) -> None:
        """Take events in the order of delivery: market data, price ticks, Status, holes.

        ``today`` is the day of rows that have no time. ``settle``: do not wait for the ticker of the last tick.
        """
        batches: defaultdict[str, _Batch] = defaultdict(_Batch)
        trades = batches["trades"]
        for event in events:
            kind = type(event)
            if kind is TradeEvent:
                if self._tick is not None:
                    self._settle(batches)
                trades.events.append(event)
                trades.seqs.append(self.next_seq)
                trades.priced.append(False)
                self.next_seq += 1
                self._trade, self._priced = event, trades.priced
                continue
            trade, self._trade = self._trade, None
            if kind is PriceTick:
                if trade is not None and _is_of_trade(event, trade) and self._has_day(event):
                    self._priced[-1] = True
                    continue
                self._settle(batches)
                self._tick = event
            elif kind is Ticker:
                self._learn(event)
                made = self._tick is not None and self._is_of_ticker(self._tick, event)
                if not made:
                    self._settle(batches)
                self._tick = None
                self._put(batches["ticker"], event, made)
            else:
                self._settle(batches)
                channel, row = self._row(event)
                self._put(batches[channel], row)
        if settle:
            self._settle(batches)
        for channel, batch in batches.items():
            if batch.events:
                self._keep(channel, batch, today)

    def drop(self, channel: str, day: int) -> None:
        """Drop these rows: they are written."""
        del self.parts[channel, day]
        self._trade = None

    def _keep(self, channel: str, batch: _Batch, today: int) -> None:
        first, last = (_day(batch.events[place], today) for place in (0, -1))
        # rows are in order, so that all rows between are of that day too
        days = [first] * len(batch.events) if first == last else [_day(event, today) for event in batch.events]
        for day in sorted(set(days)):
            part = self.parts.setdefault((channel, day), Columns(channel))
            columns = batch.events, batch.seqs, batch.priced
            part.add(*(columns if first == last else ([*compress(each, [d == day for d in days])] for each in columns)))
            if self._priced is batch.priced and day == days[-1]:
                self._priced = part.values["priced"]

    def _put(self, batch: _Batch, event: Any, priced: bool = False) -> None:
        batch.events.append(event)
        batch.seqs.append(self.next_seq)
        batch.priced.append(priced)
        self.next_seq += 1

    def _row(self, event: Any) -> tuple[str, Any]:
        """The channel of an event that has nothing to do with prices, and its row."""
        kind = type(event)
        if kind is OrderBook:
            return "books", self._books.encode(event)
        if kind is Status:
            details = event.details
            told = json.dumps(details, default=str)
            return "status", StatusRow(event.event, details["exchange"], details["at"], told, json.dumps(event.feed))
        return _CHANNEL[kind], event

    def _settle(self, batches: defaultdict[str, _Batch]) -> None:
        """Make the waiting tick a row of its own: its ticker has not come."""
        tick, self._tick = self._tick, None
        if tick is not None:
            self._day[tick.coin] = tick.exchange, tick.volume_24h, tick.change_24h
            self._put(batches["prices"], tick)

    def _is_of_ticker(self, tick: PriceTick, ticker: Ticker) -> bool:
        return (
            tick.coin == ticker.coin
            and tick.price == ticker.last
            and tick.timestamp == (ticker.timestamp or ticker.received_at // 1_000_000)
            and tick.received_at == ticker.received_at
            and tick.exchange == ticker.exchange
            and tick.market == ticker.market
            and self._has_day(tick)
        )

    def _has_day(self, tick: PriceTick) -> bool:
        """Whether the tick's 24 h statistics are those of the last ticker."""
        exchange, volume, change = self._day.get(tick.coin, _NO_DAY)
        if exchange != tick.exchange:
            volume = change = nan
        one, other = tick.volume_24h, tick.change_24h
        return (one is volume or _same(one, volume)) and (other is change or _same(other, change))

    def _learn(self, ticker: Ticker) -> None:
        exchange, volume, change = self._day.get(ticker.coin, _NO_DAY)
        if exchange != ticker.exchange:
            volume = change = nan
        volume = volume if ticker.volume_24h is None else ticker.volume_24h
        change = change if ticker.change_24h is None else ticker.change_24h
        self._day[ticker.coin] = ticker.exchange, volume, change


def _is_of_trade(tick: PriceTick, trade: TradeEvent) -> bool:
    return (
        tick.coin == trade.coin
        and tick.price == trade.price
        and tick.timestamp == trade.timestamp
        and tick.received_at == trade.received_at
        and tick.exchange == trade.exchange
        and tick.market == trade.market
    )


def _same(one: float, other: float) -> bool:
    return one == other or (one != one and other != other)


def _day(row: Any, today: int) -> int:
    """The day of a row's receipt, counted from 1970."""
    received = getattr(row, "received_at", 0)
    return int(received // DAY) if received else today
