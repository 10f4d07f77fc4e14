"""Checks the values of MarketFeed's arguments, without the feed's state; SettingsError says what is allowed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from exchanges import exchange_names
from exchanges.foreign_text import printable
from exchanges.names import canonical, nearest
from feed.errors import SettingsError
from feed.events import CoinConfig
from feed.settings.schema import MAX_DEPTH, ExchangeConfig, Settings
from feed.settings.timeframes import timeframe_ms
from feed.settings.validation import check


def coins_of(coins: Iterable[str] | None, settings: Settings) -> list[CoinConfig]:
    """The requested coins with their settings; a coin that is not in the settings gets the defaults."""
    if coins is None:
        return [own(config) for config in settings.coins]
    known: dict[str, Any] = {config.symbol: config for config in settings.coins}
    asked = _several("coins", coins, "a list of coins such as BTC")
    chosen = Settings(coins=[known.get(str(coin).upper(), coin) for coin in asked])
    check(chosen, source="")
    return [own(config) for config in chosen.coins]


def own(config: CoinConfig) -> CoinConfig:
    """A copy of a coin's configuration, so that a program can't change the feed's own."""
    return CoinConfig(config.symbol, config.tier, config.name, dict(config.markets))


def more_coins(coins: Iterable[str], settings: Settings, present: Sequence[CoinConfig]) -> list[CoinConfig]:
    """The requested coins that are not ``present``, with their settings."""
    asked = _several("coins", coins, "a coin or a list of them")
    once = {str(coin).upper(): coin for coin in asked}
    configs = coins_of(list(once.values()), settings) if asked else []
    known = {config.symbol for config in present}
    return [config for config in configs if config.symbol not in known]


def order_of(exchange: str | Iterable[str] | None, settings: Settings) -> list[ExchangeConfig]:
    """The venues in the order in which they are tried."""
    configured = {config.name: config for config in settings.exchanges}
    if exchange is None:
        return list(configured.values())
    asked = _several("exchange", exchange, "the name of an exchange, or a list of them")
    known = exchange_names()
    problems = [_unknown_exchange(name, known) for name in asked if name not in known]
    if problems or not asked:
        raise SettingsError(problems or ["exchange: found an empty list, allowed is at least one exchange"])
    names = [canonical(name) for name in asked]
    again = [name for place, name in enumerate(asked) if names[place] in names[:place]]
    if again:
        raise SettingsError([f"exchange: found {name!r} again, allowed is each once" for name in again])
    if isinstance(exchange, str):
        names += [name for name in configured if name not in names]
    return [configured.get(name) or ExchangeConfig(name) for name in names]


def watched(coins: Iterable[str] | None, configs: Sequence[CoinConfig]) -> list[str] | None:
    """Some of the feed's coins in upper case; None (all coins) stays None."""
    return None if coins is None else some_of(coins, configs)


def some_of(coins: Iterable[str], configs: Sequence[CoinConfig]) -> list[str]:
    """Some of the feed's coins in upper case."""
    known = [config.symbol for config in configs]
    asked = [str(coin).upper() for coin in _several("coins", coins, "a coin or a list of them")]
    unknown = [coin for coin in asked if coin not in known]
    if unknown or not asked:
        found = unknown or ["an empty list"]
        raise SettingsError(
            [f"coins: found {printable(coin)}, allowed are those of the feed: {', '.join(known)}" for coin in found]
        )
    return asked


def one_of(coin: str, configs: Sequence[CoinConfig]) -> str:
    """One of the feed's coins in upper case."""
    known = [config.symbol for config in configs]
    asked = coin.upper() if isinstance(coin, str) else coin
    if asked not in known:
        raise SettingsError([f"coin: found {coin!r}, allowed are those of the feed: {', '.join(known)}"])
    return asked


def symbol(coin: str) -> str:
    """Any coin in upper case, even one that the feed does not have."""
    if isinstance(coin, str):
        return coin.upper()
    raise SettingsError([f"coin: found {coin!r}, allowed is a coin such as BTC"])


def _several(name: str, given: Any, allowed: str) -> list[Any]:
    """One value or several as a list."""
    if isinstance(given, str):
        return [given]
    if not isinstance(given, Iterable) or isinstance(given, Mapping | bytes):
        raise SettingsError([f"{name}: found {given!r}, allowed is {allowed}"])
    return list(given)


def _unknown_exchange(name: Any, known: Sequence[str]) -> str:
    near = ", ".join(nearest(str(name), known))
    hint = f"the name of an exchange, nearest: {near}" if near else "a name from `market-feed exchanges`"
    return f"exchange: found {name!r}, allowed is {hint}"


def seconds(name: str, value: float | None, otherwise: str) -> float | None:
    """Return ``value``, a number of seconds above 0, or None; ``otherwise`` tells in the error what None means."""
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf):
        return value
    raise SettingsError([f"{name}: found {value!r}, allowed are seconds above 0, or None for {otherwise}"])


def known_timeframe(timeframe: str) -> str:
    """Return ``timeframe`` if it is known; otherwise raise SettingsError."""
    try:
        timeframe_ms(timeframe)
    except ValueError as error:
        raise SettingsError([f"timeframe: {error}"]) from None
    return timeframe


def known_depth(depth: int) -> int:
    """Return ``depth`` if it is a valid number of levels; otherwise raise SettingsError."""
    if type(depth) is int and 1 <= depth <= MAX_DEPTH:
        return depth
    raise SettingsError([f"depth: found {depth!r}, allowed is a whole number from 1 to {MAX_DEPTH}"])
