"""Live prices, trades, candles and order books from any ccxt.pro venue, as callbacks for a trading bot.

Each public name is imported on its first use, so that ``market-feed --help`` does not wait for all modules.
"""

from __future__ import annotations

from importlib import import_module
from importlib.machinery import PathFinder
from importlib.util import find_spec
from os.path import dirname, join, realpath
from typing import TYPE_CHECKING, Any

from loguru import logger

if TYPE_CHECKING:
    from exchanges.events import Candle, OrderBook, Quote, Ticker, TradeEvent
    from feed.errors import FeedError, NoExchangeAvailable, SettingsError, SlowConsumerError, StaleDataError
    from feed.events import CoinConfig, FeedState, FeedStatus, PriceTick
    from feed.market_feed import MarketFeed
    from feed.settings.file import load_settings
    from feed.settings.schema import Settings
    from feed.sinks.metrics import start_metrics
    from feed.sinks.recorder.recorder import Recorder

__all__ = [
    "Candle",
    "CoinConfig",
    "FeedError",
    "FeedState",
    "FeedStatus",
    "MarketFeed",
    "NoExchangeAvailable",
    "OrderBook",
    "PriceTick",
    "Quote",
    "Recorder",
    "Settings",
    "SettingsError",
    "SlowConsumerError",
    "StaleDataError",
    "Ticker",
    "TradeEvent",
    "load_settings",
    "start_metrics",
]

# the modules in which __getattr__ looks for a name, in this order
_MODULES = ("feed.errors", "feed.events", "feed.settings.schema", "feed.settings.file", "feed.market_feed")


def _shadow() -> str | None:
    """Return the file of another module ``exchanges`` if Python finds it instead of this project's, else None."""
    try:
        spec = find_spec("exchanges")
    except ValueError:  # the module is in sys.modules without a spec
        return "a module of the program"
    if spec is None or not spec.has_location or spec.origin is None:  # a frozen module has no file
        return None
    if realpath(dirname(spec.origin)) == join(dirname(dirname(realpath(__file__))), "exchanges"):
        return None
    inside = spec.submodule_search_locations or []
    ours = inside and all(PathFinder.find_spec(f"exchanges.{name}", inside) for name in ("events", "normalize"))
    return None if ours else spec.origin


if _shadowed_by := _shadow():
    raise ImportError(
        f"{_shadowed_by} shadows the package 'exchanges' of market-feed, which has the same name: rename that module, "
        "or start the program where Python does not find it first",
        name="exchanges",
        path=_shadowed_by,
    )

logger.disable("feed")  # a library logs nothing until the program enables its log


_SINKS = {"Recorder": "feed.sinks.recorder.recorder", "start_metrics": "feed.sinks.metrics"}  # names that need an extra


def __getattr__(name: str) -> Any:
    if name in _SINKS:
        return getattr(import_module(_SINKS[name]), name)
    if name in __all__:
        for module in map(import_module, _MODULES):
            if hasattr(module, name):
                globals()[name] = getattr(module, name)
                return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
