"""The settings: settings.yaml and the arguments of MarketFeed, read and validated."""

from feed.settings.schema import (
    Backfill,
    Bus,
    CircuitBreaker,
    Connection,
    ExchangeConfig,
    RecordingConfig,
    Settings,
    Staleness,
)

__all__ = [
    "Backfill",
    "Bus",
    "CircuitBreaker",
    "Connection",
    "ExchangeConfig",
    "RecordingConfig",
    "Settings",
    "Staleness",
]
