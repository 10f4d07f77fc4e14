"""What the feed delivers: the venues' events, the price tick made of them, and the feed's own state."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from exchanges.events import Candle, OrderBook, PriceTick, Quote, Ticker, TradeEvent

__all__ = ["Candle", "CoinConfig", "FeedState", "FeedStatus", "OrderBook", "PriceTick", "Quote", "Ticker", "TradeEvent"]


@dataclass(slots=True)
class CoinConfig:
    """A coin to watch: ``symbol`` such as BTC, ``tier`` from 1, the most important, and a ``name`` for people.

    ``markets``: its market symbol on venues where it differs, e.g. ``{"kraken": "BTC/USD"}``.
    """

    symbol: str
    tier: int = 3
    name: str = ""
    markets: dict[str, str] = field(default_factory=dict)


class FeedState(StrEnum):
    """The states of the feed."""

    IDLE = "idle"  # not connected yet
    CONNECTING = "connecting"  # dialling, loading markets, subscribing; no data yet
    LIVE = "live"  # data is flowing
    LAGGING = "lagging"  # data is flowing, but behind the venue
    STALE = "stale"  # connected, but nothing has come for a while
    RECONNECTING = "reconnecting"  # data has flowed, the connection is lost, the next attempt is due
    CLOSED = "closed"  # disconnect() was called


@dataclass(slots=True)
class FeedStatus:
    """A snapshot of the feed: its state, its active exchange, and counts since the feed was made.

    ``last_message_time``: Unix seconds by the local clock, None before the first message. ``reconnect_count``: how many
    connections carried data after an earlier connection was lost. ``errors`` includes ``bad_frames``, the number of
    frames that can't be read. ``lag``: seconds by which the data was behind the venue when it came, None if this is not
    known.
    """

    connected: bool
    exchange: str
    state: FeedState
    last_message_time: float | None
    reconnect_count: int
    failover_count: int
    messages_received: int
    errors: int
    bad_frames: int = 0
    tradable: bool = True
    lag: float | None = None
