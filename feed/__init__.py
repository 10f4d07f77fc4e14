"""Live prices, trades and candles from any ccxt.pro venue, as callbacks a trading bot can bet on."""

from __future__ import annotations

from loguru import logger

from exchanges.events import Candle, Quote, TradeEvent
from feed.errors import FeedError, NoExchangeAvailable, SettingsError, SlowConsumerError, StaleDataError
from feed.events import CoinConfig, FeedState, FeedStatus, PriceTick
from feed.market_feed import MarketFeed
from feed.settings import Settings, load_settings

__all__ = [
    "Candle",
    "CoinConfig",
    "FeedError",
    "FeedState",
    "FeedStatus",
    "MarketFeed",
    "NoExchangeAvailable",
    "PriceTick",
    "Quote",
    "Settings",
    "SettingsError",
    "SlowConsumerError",
    "StaleDataError",
    "TradeEvent",
    "load_settings",
]

logger.disable("feed")  # a library is silent until its user enables it
