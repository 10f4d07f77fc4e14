"""What connections have subscribed to: one topic per stream name, shared by its subscribers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from exchanges.simulator.connections.client_connection import ClientConnection
from exchanges.simulator.markets.candles import candle_end
from exchanges.simulator.markets.market import Market

TopicKind = Literal["trades", "ticker", "candles", "quotes", "books", "other"]


@dataclass(slots=True)
class Topic:
    """``variant`` is the venue's own name of the channel. ``start`` is the opening time of the open candle.

    ``interval`` is a candle's length, or the time between two messages of a book, in ms; ``levels`` is how many levels
    of a book are sent, 0 for all.
    """

    stream: str
    kind: TopicKind
    market: Market | None
    variant: str
    interval: int = 0
    start: int = 0
    levels: int = 0
    subscribers: dict[ClientConnection, None] = field(default_factory=dict)

    @property
    def end(self) -> int:
        return candle_end(self.start, self.interval)
