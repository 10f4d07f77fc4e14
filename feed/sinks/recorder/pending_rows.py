"""Delivered events as rows that wait to be written: numbered in the order of delivery, price ticks folded into them.

A price tick almost always repeats the trade before it or the ticker after it; then it is a flag of that row. Any other
tick is a row of its own, so that a replay delivers every tick as it was.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, field
from itertools import compress
from math import nan
from typing import Any

from exchanges.events import Candle, OrderBook, Quote, Ticker, TradeEvent
from exchanges.recording.books import BookEncoder
from exchanges.recording.rows import PRICED, PastCandle, PriceRow, StatusRow
from feed.events import PriceTick

_NO_DAY = ("", nan, nan)


@dataclass(slots=True)
class ChannelRows:
    """Rows of one channel, in the order of delivery."""

    events: list[Any] = field(default_factory=list)
    seqs: list[int] = field(default_factory=list)
    priced: list[bool] = field(default_factory=list)


@dataclass(slots=True)
class Status:
    """A status event as it was delivered, and what the feed's status was then."""

    event: str
    details: dict[str, Any]
    feed: dict[str, Any]


class PendingRows:
    """Rows by channel; ``next_seq`` is the number of the next one."""

    def __init__(self, next_seq: int = 0) -> None:
        self.next_seq = next_seq
        self.channels: dict[str, ChannelRows] = {}
        self._books = BookEncoder()
        self._day: dict[str, tuple[str, float, float]] = {}  # coin -> exchange, volume_24h, change_24h of its ticks
        self._trade: tuple[TradeEvent, ChannelRows, int] | None = None  # the last event if a trade; its place
        self._tick: PriceTick | None = None  # the last tick, whose ticker may come next

    def __len__(self) -> int:
        return sum(len(rows.events) for rows in self.channels.values())

    def add(self, events: Iterable[Any]) -> None:
        """Take events in the order of delivery: market data, price ticks, Status."""
        for event in events:
            kind = type(event)
            if kind is PriceTick:
                self._take_tick(event)
                continue
            if self._tick is not None and kind is not Ticker:
                self.settle()
            if kind is TradeEvent:
                rows = self._put("trades", event)
                self._trade = event, rows, len(rows.events) - 1
                continue
            self._trade = None
            if kind is Ticker:
                self._learn(event)
                made = self._tick is not None and self._is_of_ticker(self._tick, event)
                if not made:
                    self.settle()
                self._tick = None
                self._put("ticker", event, made)
            elif kind is Candle:
                self._put("candles", event)
            elif kind is PastCandle:
                self._put("history", event)
            elif kind is Quote:
                self._put("quotes", event)
            elif kind is OrderBook:
                self._put("books", self._books.encode(event))
            elif kind is Status:
                told = json.dumps(event.details, default=str)
                self._put("status", StatusRow(
                    event.event, event.details["exchange"], event.details["at"], told, json.dumps(event.feed)
                ))  # fmt: skip
            else:
                self._put("gaps", event)

    def settle(self) -> None:
        """Make the waiting tick a row of its own: its ticker has not come."""
        tick, self._tick = self._tick, None
        if tick is not None:
            self._day[tick.coin] = tick.exchange, tick.volume_24h, tick.change_24h
            self._put("prices", PriceRow(**asdict(tick)))

    def drop(self, channel: str, seqs: Collection[int] | None = None) -> None:
        """Drop the channel's rows with these numbers, or all of them: they are written."""
        rows = self.channels.pop(channel)
        self._trade = None
        chosen = [] if seqs is None else [seq not in seqs for seq in rows.seqs]
        if any(chosen):
            columns = (list(compress(column, chosen)) for column in (rows.events, rows.seqs, rows.priced))
            self.channels[channel] = ChannelRows(*columns)

    def _put(self, channel: str, event: Any, priced: bool = False) -> ChannelRows:
        rows = self.channels.get(channel)
        if rows is None:
            rows = self.channels[channel] = ChannelRows()
        rows.events.append(event)
        rows.seqs.append(self.next_seq)
        if channel in PRICED:
            rows.priced.append(priced)
        self.next_seq += 1
        return rows

    def _take_tick(self, tick: PriceTick) -> None:
        if self._trade is not None:  # it was the last event, so no other tick waits
            trade, rows, index = self._trade
            self._trade = None
            if _is_of_trade(tick, trade) and self._has_day(tick):
                rows.priced[index] = True
                return
        self.settle()
        self._tick = tick

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
