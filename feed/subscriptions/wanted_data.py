"""Keeps which coins, channels, timeframes and depths the feed subscribes to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from feed.channels import BOOKS, CANDLES, Channel, Part
from feed.events import CoinConfig


@dataclass(slots=True)
class WantedData:
    """The coins, channels and their parts that the feed wants; the connections are renewed when these change.

    ``coins`` is replaced and never changed in place, so that any thread may read it. ``default_parts``: the default
    part of each channel that has parts, by the channel's name.
    """

    coins: Sequence[CoinConfig]
    default_parts: Mapping[str, Part] = field(default_factory=dict)
    channels: list[str] = field(default_factory=list)
    timeframes: list[str] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)

    @property
    def symbols(self) -> set[str]:
        """The coins' symbols."""
        return {coin.symbol for coin in self.coins}

    def key(self, channel: Channel, part: Part | None = None) -> str:
        """The dispatcher's name for the channel, or for the ``part`` of it that is wanted."""
        return channel.key(self._part(channel, part))

    def add(self, channel: Channel, part: Part | None = None) -> bool:
        """Add a channel, or a ``part`` of it, to what is wanted; returns whether more is wanted than before."""
        more = self._add_part(channel, part)
        if not set(channel.needs).isdisjoint(self.channels):
            return more
        self.channels.append(channel.needs[0])
        return True

    def _part(self, channel: Channel, part: Part | None) -> Part | None:
        if not channel.part:
            return None
        return self.default_parts[channel.name] if part is None else part

    def _add_part(self, channel: Channel, part: Part | None) -> bool:
        wanted = self._part(channel, part)
        lists: dict[str, list[Any]] = {CANDLES.name: self.timeframes, BOOKS.name: self.depths}
        parts = lists.get(channel.name)
        if parts is None or wanted in parts:
            return False
        parts.append(wanted)
        return True
