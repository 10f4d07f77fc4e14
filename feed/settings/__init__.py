"""What a feed can be told: settings.yaml and the arguments of MarketFeed, read, held against what is allowed."""

from feed.settings.schema import Backfill, CircuitBreaker, Connection, ExchangeConfig, Settings, Staleness

__all__ = ["Backfill", "CircuitBreaker", "Connection", "ExchangeConfig", "Settings", "Staleness"]
