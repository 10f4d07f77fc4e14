"""What the feed asks of a venue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from feed.events import CoinConfig


@dataclass(slots=True)
class WantedData:
    """The coins, channels and candle timeframes; what is added later renews what connections carry.

    ``coins`` is replaced, never changed, so that any thread may read it.
    """

    coins: Sequence[CoinConfig]
    channels: list[str]
    timeframes: list[str] = field(default_factory=list)
