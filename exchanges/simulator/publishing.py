"""Sends a venue's messages to its subscribers, at once or with the lag of its stream."""

from __future__ import annotations

from abc import abstractmethod
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from time import monotonic
from typing import Any

from exchanges.simulator.connections.book_faults import BookFaults
from exchanges.simulator.connections.client_connection import ClientConnection
from exchanges.simulator.connections.topics import Topic
from exchanges.simulator.connections.websocket_frames import text_frame
from exchanges.simulator.lag import Held, LateStream
from exchanges.simulator.markets.market import Market, Trade


def _of(parity: int, connections: Iterable[ClientConnection]) -> Iterator[ClientConnection]:
    """The connections with even numbers (0) or with odd numbers (1)."""
    return (connection for connection in connections if connection.id % 2 == parity)


class Publishing(BookFaults):
    """Sends the events of one venue to its connections."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.event_time: int | None = None  # Unix ms; set only while past events are made
        self._late_stream = LateStream()

    @abstractmethod
    def trade_payloads(self, topic: Topic, market: Market, trades: list[Trade]) -> Sequence[str]:
        """The events that a topic of trades sends for these trades."""

    def send(self, stream: str, payload: str) -> None:
        """Queue an event for all subscribers of its stream; ``flush`` writes it."""
        self.send_all(stream, (payload,))

    def send_all(self, stream: str, payloads: Sequence[str]) -> None:
        """Queue several events for all subscribers of their stream; if the stream is late, they wait."""
        topic = self.topics.get(stream)
        if topic is None:
            return
        late = self._late_stream
        if not self.may_lag and not late.waiting:
            self.deliver(topic, payloads, topic.subscribers)
            return
        made = monotonic()
        for lane in late.lanes:
            parity = lane.parity
            if lane.held or self.stream_lag(parity) > 0:
                late.hold(parity, Held(made, stream, payloads))
            else:
                self.deliver(topic, payloads, _of(parity, topic.subscribers))

    def deliver(self, topic: Topic, payloads: Sequence[str], subscribers: Iterable[ClientConnection]) -> None:
        """Encode events once and queue them for ``subscribers``."""
        frames = [text_frame(payload) for payload in payloads]
        for connection in subscribers:
            self.queue(connection, frames)

    def keeps(self, topic: Topic) -> bool:
        """Whether a topic without subscribers is kept: on a late stream, so that the next subscriber is late too."""
        return self._late_stream.waiting or self.stream_lag(0) > 0

    def release(self, clock: float) -> None:
        """Deliver waiting messages that are due; a stream that has caught up drops topics without subscribers."""
        late = self._late_stream
        if not late.waiting:
            return
        for lane in late.lanes:
            for held in lane.due(clock, self.stream_lag(lane.parity)):
                topic = self.topics.get(held.stream)
                if topic is None or self.dumb or (topic.market is not None and self.withheld(topic.market)):
                    continue
                self.deliver(topic, held.payloads, _of(lane.parity, topic.subscribers))
        if not late.waiting and self.stream_lag(0) == 0:
            for stream in [stream for stream, topic in self.topics.items() if not topic.subscribers]:
                del self.topics[stream]

    def begin_late(self, topic: Topic) -> None:
        """Fill a topic of trades that is opened while the stream is late: its first events are the trades of the last
        seconds.
        """
        if topic.kind == "trades" and topic.market is not None:
            for lane in self._late_stream.lanes:
                lag = self.stream_lag(lane.parity)
                if lag > 0:
                    self._late_stream.insert(lane.parity, self._past(topic, topic.market, lag))

    def first_waiting(self, connection_id: int, stream: str) -> str | None:
        """The event that a late stream sends next to this connection; None if nothing waits."""
        late = self._late_stream
        return late.first(connection_id % 2, stream) if late.waiting else None

    def forget_held(self) -> None:
        self._late_stream.clear()

    def _past(self, topic: Topic, market: Market, lag: float) -> list[Held]:
        """The trades of the last ``lag`` seconds as this topic would have sent them."""
        clock, now = monotonic(), self.now()
        first = bisect_left(market.trades, now - lag * 1000, key=lambda trade: trade.timestamp)
        past = []
        try:
            for timestamp, trades in groupby(market.trades[first:], key=lambda trade: trade.timestamp):
                self.event_time = timestamp
                payloads = self.trade_payloads(topic, market, list(trades))
                past.append(Held(clock - (now - timestamp) / 1000, topic.stream, payloads))
        finally:
            self.event_time = None
        return past
