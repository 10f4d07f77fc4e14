"""The table of all event channels: their names, JSON types and sources, and what a full queue drops by default.

A new channel needs a row here, a row that says how a venue delivers it (exchanges/ccxt_adapter/stream/channels.py), a
method of the hub that publishes it, and the typed methods of MarketFeed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from feed.events import Candle, OrderBook, PriceTick, Quote, Ticker, TradeEvent

Part = str | int
"""A part of a channel: a candle's timeframe, such as 1m, or the number of levels of an order book."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One channel.

    ``name``: its name in settings, in the server's stream and in requests to a venue. ``event``: the type of its
    events; ``json_type``: the value of ``type`` in their JSON. ``needs``: the venue's channels from which the events
    can be made; one of them is enough, and the first one is subscribed to. ``part``: the name of the argument that
    selects a part of the channel, "" if it has no parts. ``on_full``: the default policy of its queues.

    ``copy`` copies an event that has lists, so that each subscriber gets its own event and may change it.

    ``has_delay``: its events never come from REST, so they show how late the venue's data arrives. ``in_watch``:
    ``watch --json`` prints the channel if the settings name it.
    """

    name: str
    event: type[Any]
    json_type: str
    needs: tuple[str, ...]
    part: str = ""
    on_full: str = "drop_oldest"
    copy: Callable[[Any], Any] | None = None
    has_delay: bool = False
    in_watch: bool = True

    @property
    def of_venue(self) -> bool:
        """Whether a venue has this channel itself; the settings can name only these channels."""
        return self.name in self.needs

    def key(self, part: Part | None = None) -> str:
        """The dispatcher's name for the channel, or for a part of it. Subscribers to the channel receive every part."""
        return self.name if part is None else f"{self.name}:{part}"


def _copied(book: OrderBook) -> OrderBook:
    return replace(book, bids=book.bids[:], asks=book.asks[:])


PRICES = Channel(name="prices", event=PriceTick, json_type="price", needs=("ticker", "trades"))
TRADES = Channel(name="trades", event=TradeEvent, json_type="trade", needs=("trades",), has_delay=True)
TICKER = Channel(name="ticker", event=Ticker, json_type="ticker", needs=("ticker",), in_watch=False)
CANDLES = Channel(name="candles", event=Candle, json_type="candle", needs=("candles",), part="timeframe")
QUOTES = Channel(name="quotes", event=Quote, json_type="quote", needs=("quotes",), has_delay=True)
BOOKS = Channel(
    name="books",
    event=OrderBook,
    json_type="book",
    needs=("books",),
    part="depth",
    on_full="latest",
    copy=_copied,
    has_delay=True,
)

CHANNELS: Mapping[str, Channel] = {
    channel.name: channel for channel in (PRICES, TRADES, TICKER, CANDLES, QUOTES, BOOKS)
}
COPIES = {channel.name: channel.copy for channel in CHANNELS.values() if channel.copy is not None}
"""Channel -> the function that copies its events, for channels where each subscriber gets a copy."""

OF_VENUES = tuple(name for name, channel in CHANNELS.items() if channel.of_venue)
"""The channels that the settings may name."""

HISTORY = "history"
"""The channel of past candles that were fetched over REST; no stream has them, so the table has no row for it."""

STATUS = "status"
"""The channel of status events: (event, details) pairs, which belong to no coin. The table has no row for it."""
