"""Which coins, channels and timeframes the feed subscribes to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from feed.events import CoinConfig


@dataclass(slots=True)
class WantedData:
    """The coins, channels and candle timeframes that the feed wants; the connections are renewed when it changes.

    ``coins`` is replaced and never changed in place, so that any thread may read it.
    """

    coins: Sequence[CoinConfig]
    channels: list[str]
    timeframes: list[str] = field(default_factory=list)
