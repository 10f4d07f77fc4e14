"""Subscribes callbacks and async iterators to channels of events, and notes which data the venues must deliver."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection
from typing import Any

from feed.channels import CHANNELS, HISTORY, OF_VENUES, Channel, Part
from feed.settings.arguments import watched
from feed.subscriptions.dispatcher import Dispatcher, Subscriber
from feed.subscriptions.observation import Observation, Take
from feed.subscriptions.wanted_data import WantedData

Coins = Collection[str] | None


class Subscriptions:
    """Subscribes to channels, and notes what the venues must deliver for that.

    ``renew`` is called when more is wanted than the connections carry.
    """

    def __init__(self, dispatcher: Dispatcher, wanted: WantedData, renew: Callable[[], None]) -> None:
        self.dispatcher = dispatcher
        self._wanted = wanted
        self._renew = renew

    def subscribe(
        self, channel: Channel, callback: Callable[..., Any], coins: Coins, on_full: str, part: Part | None = None
    ) -> Subscriber:
        """Call ``callback`` with the events of the channel, or of a ``part`` of it."""
        keys = watched(coins, self._wanted.coins)
        name = self._wanted.key(channel, part)
        handle = self.dispatcher.subscribe(name, callback, keys, on_full=on_full)
        self._want(channel, part)
        return handle

    def subscribe_history(self, callback: Callable[[Any], Any], coins: Coins) -> Subscriber:
        """See MarketFeed.subscribe_past_candles; no further data is requested from the venue."""
        return self.dispatcher.subscribe(HISTORY, callback, watched(coins, self._wanted.coins), on_full="drop_oldest")

    def iterate(
        self, channel: Channel, coins: Coins, on_full: str, size: int, part: Part | None = None
    ) -> AsyncIterator[Any]:
        """The events of the channel, or of a ``part`` of it, for ``async for``."""
        keys = watched(coins, self._wanted.coins)
        stream = self.dispatcher.iterate(self._wanted.key(channel, part), keys, on_full, size)
        self._want(channel, part)
        return stream

    def subscribe_by_name(
        self, channel: str, callback: Callable[[Any], Any], coins: Coins, *, on_full: str | None
    ) -> Subscriber:
        """See MarketFeed.subscribe."""
        row = _row(channel, tuple(CHANNELS))
        return self.subscribe(row, callback, coins, row.on_full if on_full is None else on_full)

    def observe(self, channel: str, take: Take, coins: Coins, *, size: int) -> Observation:
        """See MarketFeed.observe."""
        row = _row(channel, OF_VENUES)
        return self.dispatcher.observe(row.key(), take, watched(coins, self._wanted.coins), size)

    def _want(self, channel: Channel, part: Part | None) -> None:
        if self._wanted.add(channel, part):
            self._renew()


def _row(name: str, allowed: Collection[str]) -> Channel:
    if name not in allowed:
        raise ValueError(f"channel is {name!r}; allowed are {', '.join(allowed)}")
    return CHANNELS[name]
