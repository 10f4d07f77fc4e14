"""Simulates Bybit's order book streams: a snapshot at the subscription, then deltas, as often as the venue sends them.

As documented at https://bybit-exchange.github.io/docs/v5/websocket/public/orderbook
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from exchanges.simulator.books.book_stream import SIDES, BookStream, Told
from exchanges.simulator.bybit.rest import BybitRest
from exchanges.simulator.connections.client_connection import ClientConnection
from exchanges.simulator.connections.topics import Topic
from exchanges.simulator.markets.candles import fixed
from exchanges.simulator.markets.market import Market
from exchanges.simulator.markets.order_book import SimulatedBook

SPOT_DEPTHS = {1: 10, 50: 20, 200: 200, 1000: 200}  # levels -> ms between two messages
REPEATED_AFTER = 3.0  # seconds without a change after which a single level is sent again
_UPDATE = re.compile(r'"u":(\d+)')


def book_topic(stream: str, market: Market, depth: str) -> Topic | None:
    """The topic ``orderbook.<depth>.<symbol>``; None for a depth that does not exist."""
    levels = int(depth) if depth.isdecimal() else 0
    if levels not in SPOT_DEPTHS:
        return None
    return Topic(stream, "books", market, f"orderbook.{depth}", SPOT_DEPTHS[levels], levels=levels)


def levels_text(market: Market, levels: Iterable[tuple[int, int]]) -> str:
    """Levels as Bybit writes them: ``[["61837.63","0.02"],...]``."""
    rows = (f'["{fixed(ticks, market.digits)}","{fixed(lots, market.lot_digits)}"]' for ticks, lots in levels)
    return f"[{','.join(rows)}]"


class BybitBooks(BybitRest):
    """``u`` is one higher in each message; ``seq`` is the number of the book's state.

    Nothing is sent about a level that is pushed out of the stream's depth; the level is sent again when it is back.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._updates: dict[str, int] = {}  # stream -> its last u, which grows even without readers

    def begin_book(self, stream: BookStream, book: SimulatedBook) -> None:
        """Send the first state. Existing readers get it too, because the stream shows another market now."""
        topic = stream.topic
        place = list(SPOT_DEPTHS).index(topic.levels) + 1
        self._advance(stream, self._updates.get(topic.stream, place * 10**11) + 1)
        text = self._snapshot_of(stream, stream.top_levels(book, topic.levels, None, False), self.now())
        if topic.subscribers:
            self.send(topic.stream, text)

    def _advance(self, stream: BookStream, update: int) -> None:
        stream.update = self._updates[stream.topic.stream] = update

    def book_message(self, stream: BookStream, book: SimulatedBook, clock: float, now: int) -> str | None:
        market, levels = stream.market, stream.topic.levels
        fault, crossed = self.book_fault("book-frozen", market), self.book_fault("book-crossed", market) is not None
        frozen = None if fault is None else str(fault.argument)
        if levels == 1:
            return self._one_level(stream, book, clock, now, frozen, crossed)
        if stream.is_current(book):
            return None
        told = stream.window_changes(book, levels, frozen, crossed)
        if not told:
            return None
        self._advance(stream, stream.update + 1)
        return self._message(stream, told, "delta", now)

    def _one_level(
        self, stream: BookStream, book: SimulatedBook, clock: float, now: int, frozen: str | None, crossed: bool
    ) -> str | None:
        before = {side: dict(stream.window[side]) for side in SIDES}
        told = stream.top_levels(book, 1, frozen, crossed)
        if {"bids": dict(told.bids), "asks": dict(told.asks)} != before:
            self._advance(stream, stream.update + 1)
        elif clock - stream.sent_at < REPEATED_AFTER:
            return None
        stream.sent_at = clock
        return self._snapshot_of(stream, told, now)

    def _snapshot_of(self, stream: BookStream, told: Told, now: int) -> str:
        stream.window = {"bids": dict(told.bids), "asks": dict(told.asks)}
        return self._message(stream, told, "snapshot", now)

    def _message(self, stream: BookStream, told: Told, kind: str, now: int) -> str:
        market, update = stream.market, stream.update
        self.remember_update(market, update, told.number)
        produced = now if market.book is None else market.book.ms
        return (
            f'{{"topic":"{stream.topic.stream}","ts":{now},"type":"{kind}","data":{{"s":"{market.id}",'
            f'"b":{levels_text(market, told.bids)},"a":{levels_text(market, told.asks)},'
            f'"u":{update},"seq":{told.number}}},"cts":{min(produced, now)}}}'
        )

    def book_snapshot(self, connection: ClientConnection, topic: Topic) -> None:
        """Send a new subscriber the last state of the stream, so that the next message follows it."""
        stream = self.book_streams[topic.stream]
        market, now, update = stream.market, self.now(), stream.update
        told = Told(
            stream.number,
            sorted(stream.window["bids"].items(), reverse=True),
            sorted(stream.window["asks"].items()),
        )
        waiting = self.first_waiting(connection.id, topic.stream)
        if waiting is not None and (found := _UPDATE.search(waiting)) is not None:
            late = int(found[1]) - 1  # the stream is delayed: the snapshot must come just before its next message
            state = None if market.book is None else market.book.at(self.number_of(market, late))
            if state is not None:
                update = late
                bids, asks = (state.levels(side, topic.levels) for side in SIDES)
                told = Told(state.number, bids, asks)
        text = (
            f'{{"topic":"{topic.stream}","ts":{now},"type":"snapshot","data":{{"s":"{market.id}",'
            f'"b":{levels_text(market, told.bids)},"a":{levels_text(market, told.asks)},'
            f'"u":{update},"seq":{told.number}}},"cts":{now}}}'
        )
        self.reply(connection, text)

    def rest_update(self, market: Market) -> int:
        """The last ``u`` of the stream of 200 levels, if it has one."""
        return self._updates.get(f"orderbook.200.{market.id}", market.update_id)

    def restart_books(self) -> None:
        for name, stream in self.book_streams.items():
            if stream.market.book is None or self.topics.get(name) is not stream.topic:
                continue
            self._advance(stream, 1)
            told = stream.top_levels(stream.market.book, stream.topic.levels, None, False)
            text = self._snapshot_of(stream, told, self.now())
            if not self.dumb and not self.withheld(stream.market):
                self.send(name, text)
        self.flush()
