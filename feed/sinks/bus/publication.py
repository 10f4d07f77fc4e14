"""Turns one exchange's events into messages for the bus, or keeps them for later while another collector publishes."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

from exchanges.bus.client import BusClient, BusError, Stored
from exchanges.bus.payloads import read, read_object, status, writer
from exchanges.bus.subjects import GAPS, MarketSubjects, channel_of, text
from feed.channels import BOOKS, CANDLES, CHANNELS, OF_VENUES, TRADES
from feed.events import Candle, TradeEvent
from feed.market_feed import MarketFeed
from feed.sinks.bus.backlog import Backlog, Continuation, follows
from feed.sinks.bus.lease import OwnData
from feed.sinks.bus.writer import BusWriter
from feed.subscriptions.status_events import StatusEvent


class Publication:
    """Subscribes to the channels of a feed on one exchange.

    ``live``: this collector publishes, so that each event goes to ``writer``. ``markets`` maps the coins with data
    to their market symbols.
    """

    def __init__(
        self, feed: MarketFeed, subjects: MarketSubjects, channels: Collection[str], name: str, *, consecutive: bool
    ) -> None:
        self.live = False
        self.writer = BusWriter()
        self.markets: dict[str, str] = {}
        self.data = OwnData()
        self.last_trade: TradeEvent | None = None
        self.channels = [channel for channel in OF_VENUES if channel in channels]
        self._feed = feed
        self._subjects = subjects
        self._name = name
        self._coins = [coin.symbol for coin in feed.coin_configs]
        self._unavailable = set[str]()
        self._backlog = Backlog(consecutive)
        self._candles: dict[tuple[str, str], Candle] = {}  # the last published candles
        self._closed: list[tuple[str, bytes, str]] = []  # closed candles that the bus's record lacks
        self._encode = {channel: writer(CHANNELS[channel].json_type) for channel in self.channels}
        self._subject: dict[tuple[str, str], str] = {}  # (channel, coin) -> subject
        self._number = 0  # number of messages without an id of their own
        self._now = time.monotonic
        feed.subscribe_status(self._on_status)
        take: dict[str, Callable[[Any], None]] = {TRADES.name: self._on_trade, CANDLES.name: self._on_candle}
        for channel in self.channels:
            feed.subscribe(channel, take.get(channel) or partial(self._on_latest, channel))

    def _on_trade(self, trade: TradeEvent) -> None:
        now = self._now()
        self.data.note(now)
        self._backlog.add_trade(trade, now)
        self.last_trade = trade
        self.markets[trade.coin] = trade.market
        if self.live:
            self._put_trade(trade)

    def _on_candle(self, candle: Candle) -> None:
        self.data.note(self._now())
        self._backlog.add_candle(candle)
        self.markets[candle.coin] = candle.market
        if self.live:
            self._put_candle(candle)

    def _on_latest(self, channel: str, event: Any) -> None:
        self.data.note(self._now())
        self._backlog.set_latest(channel, event)
        self.markets[event.coin] = event.market
        if self.live:
            self._put_latest(channel, event)

    def _on_status(self, event: str, details: dict[str, Any]) -> None:
        """Drop the latest state of an unproven book; note gaps that were not filled, and unavailable coins."""
        coin = details.get("coin")
        if not isinstance(coin, str):
            return
        if event == StatusEvent.COIN_UNAVAILABLE and "channel" not in details:
            self._unavailable.add(coin)
        if event == StatusEvent.BOOK_UNSYNCED and BOOKS.name in self.channels:
            channel = BOOKS.name
            self._backlog.drop_latest(channel, coin)
        elif (event == StatusEvent.GAP and not details["fetched"]) or (
            event == StatusEvent.GAP_FILLED and not details["complete"]
        ):
            channel = GAPS
            self._backlog.add_gap(coin)
        else:
            return
        if self.live:
            told = status(event, {**details, "collector": self._name})
            self.writer.put(self._to(channel, coin), told, self._next_name())

    def _put_trade(self, trade: TradeEvent) -> None:
        self.writer.put(*self._message_of(trade))

    def _message_of(self, trade: TradeEvent) -> tuple[str, bytes, str]:
        # two collectors use the same id for a trade, and the bus stores an id once
        name = f"{trade.market} {trade.trade_id}" if trade.trade_id else self._next_name()
        return self._to(TRADES.name, trade.coin), self._encode[TRADES.name](trade), name

    def _put_candle(self, candle: Candle) -> None:
        key = candle.coin, candle.timeframe
        if not follows(candle, self._candles.get(key)):
            return
        self._candles[key] = candle
        payload = self._encode[CANDLES.name](candle)
        name = f"{candle.market} {candle.timeframe} {candle.timestamp}" if candle.closed else self._next_name()
        self.writer.put(self._to(channel_of(CANDLES.name, candle.timeframe), candle.coin), payload, name)
        if candle.closed:
            self._closed.append((self._subjects.closed_candles(candle.timeframe, candle.coin), payload, name))

    def _put_latest(self, channel: str, event: Any) -> None:
        self.writer.put(self._to(channel, event.coin), self._encode[channel](event), self._next_name())

    def _to(self, channel: str, coin: str) -> str:
        try:
            return self._subject[channel, coin]
        except KeyError:
            subject = self._subject[channel, coin] = self._subjects.events(channel, coin)
            return subject

    def _next_name(self) -> str:
        self._number += 1
        return f"{self._name} {self._number}"

    def register(self, timeframe: str) -> dict[str, Any]:
        """The shard's entry in the register: coins and their markets, channels, timeframes.

        A coin without data is ``awaited`` until its data comes or the exchange says that it is not available.
        """
        return {
            "coins": dict(self.markets),
            "awaited": [coin for coin in self._coins if coin not in self.markets and coin not in self._unavailable],
            "channels": self.channels,
            "timeframes": [timeframe] if CANDLES.name in self.channels else [],
            "history": self._feed.history_timeframes,
        }

    def stop(self) -> None:
        """Stop, because another collector publishes: drop what was not stored."""
        self.live = False
        self.writer.clear()
        self._closed.clear()

    async def go_on(self, client: BusClient, timeframe: str) -> list[str]:
        """Publish what follows the bus's last events, and new events from now on; returns coins that may lack trades.

        Nobody else may publish meanwhile. Raises BusError.
        """
        subjects = self._subjects
        named = [
            subjects.events(channel_of(channel, timeframe), coin) for channel in self.channels for coin in self._coins
        ]
        found = self._after(await client.last(subjects.stream, named))
        # no await below: later events must be published after these
        for trade in found.trades:
            self._put_trade(trade)
        for candle in found.candles:
            self._put_candle(candle)
        for channel, each in found.latest:
            self._put_latest(channel, each)
        self.live = True
        return found.missed

    async def put_back(self, client: BusClient) -> None:
        """Publish trades again that the bus had confirmed and then lost in an outage.

        This can happen to a server that was killed or whose disk was full. Raises BusError.
        """
        last = await self._last_trades(client)
        waiting = self.writer.rewind()
        known = self._backlog.after(last, {}, {}).trades
        messages = [self._message_of(trade) for trade in known if trade.trade_id and trade.coin in last]
        self.writer.put_first([message for message in messages if message[2] not in waiting])

    async def resume(self, client: BusClient) -> list[TradeEvent]:
        """Take the last trades on the bus as this collector's own, so that the feed continues after them.

        Raises BusError.
        """
        last = await self._last_trades(client)
        for trade in last.values():
            self._backlog.add_trade(trade, self._now())
        return list(last.values())

    async def _last_trades(self, client: BusClient) -> dict[str, TradeEvent]:
        """The last trades on the bus, by coin. Raises BusError."""
        if TRADES.name not in self.channels:
            return {}
        last: dict[str, TradeEvent] = {}
        for each in await client.last(self._subjects.stream, [self._to(TRADES.name, coin) for coin in self._coins]):
            with contextlib.suppress(ValueError):  # a value that no collector has written
                last[text(each.subject.rpartition(".")[2])] = read("trade", each.data)
        return last

    def _after(self, stored: Collection[Stored]) -> Continuation:
        trades: dict[str, TradeEvent] = {}
        latest: dict[tuple[str, str], int] = {}
        self._candles.clear()
        for each in stored:
            *_, channel, coin = each.subject.split(".")
            coin = text(coin)
            with contextlib.suppress(ValueError):  # a value that no collector has written is ignored
                if channel == TRADES.name:
                    trades[coin] = read("trade", each.data)
                elif channel == BOOKS.name:
                    pass  # a book of this collector always replaces another collector's
                elif channel in self.channels:
                    latest[channel, coin] = int(read_object(each.data).get("timestamp") or 0)
                else:
                    candle: Candle = read("candle", each.data)
                    self._candles[coin, candle.timeframe] = candle
        return self._backlog.after(trades, dict(self._candles), latest)

    async def keep_closed(self, client: BusClient) -> None:
        """Write the candles that have closed into the bus's record of closed candles. Raises BusError."""
        while self._closed:
            subject, payload, name = self._closed[0]
            try:
                await client.store(subject, payload, {"Nats-Msg-Id": name})
            except BusError:
                del self._closed[:-1000]
                raise
            del self._closed[:1]

    async def drained(self, timeout: float) -> None:
        """Return when everything that was published is stored, or after ``timeout`` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self.writer.drained()
