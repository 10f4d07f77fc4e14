"""How a program receives events: callbacks and async iterators, over all coins or some."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection
from typing import Any

from exchanges.events import Candle, Quote, TradeEvent
from feed.arguments import known_timeframe, watched
from feed.desk import candles
from feed.dispatch import Dispatcher, Subscription
from feed.events import PriceTick
from feed.wanted import Wanted

Coins = Collection[str] | None
BUFFER = 10_000  # events that an iterator or a coroutine callback may fall behind


class Subscribing:
    """The subscribing half of MarketFeed.

    Wherever ``coins`` can be given, None means all of the feed's. ``on_full`` says what happens when a coroutine
    callback or an iterator falls behind: "drop_oldest" (counted, and told as slow_callback), "latest" (only the newest
    event of each coin is kept), or "error" (the subscription ends; an iterator raises SlowConsumerError).
    """

    def __init__(self, dispatcher: Dispatcher, wanted: Wanted) -> None:
        self._dispatcher = dispatcher
        self._wanted = wanted

    def subscribe_price(
        self, callback: Callable[[PriceTick], Any], coins: Coins = None, *, on_full: str = "drop_oldest"
    ) -> Subscription:
        """Call ``callback(PriceTick)`` on every trade, and on every ticker that is newer than the coin's last tick.

        Returns a handle with ``cancel()``.
        """
        return self._subscribe("prices", callback, coins, on_full)

    def subscribe_trades(
        self, callback: Callable[[TradeEvent], Any], coins: Coins = None, *, on_full: str = "drop_oldest"
    ) -> Subscription:
        """Call ``callback(TradeEvent)`` for every trade, once, in the venue's order per coin.

        Trades that an outage kept back come with ``backfilled`` set, before those that came after them.
        """
        return self._subscribe("trades", callback, coins, on_full)

    def subscribe_candles(
        self,
        callback: Callable[[Candle], Any],
        coins: Coins = None,
        timeframe: str = "1m",
        *,
        on_full: str = "drop_oldest",
    ) -> Subscription:
        """Call ``callback(Candle)`` on every update of a bar; ``closed`` is True exactly once per bar."""
        return self._subscribe(self._candles(timeframe), callback, coins, on_full)

    def subscribe_quotes(
        self, callback: Callable[[Quote], Any], coins: Coins = None, *, on_full: str = "drop_oldest"
    ) -> Subscription:
        """Call ``callback(Quote)`` on every change of the best bid or ask."""
        return self._subscribe(self._quotes(), callback, coins, on_full)

    def subscribe_status(self, callback: Callable[[str, dict[str, Any]], Any]) -> Subscription:
        """Call ``callback(event, details)`` on everything that happens to the feed.

        ``details`` has ``exchange`` and ``at`` (Unix ms) beside the event's own, which the README lists.
        """
        return self._dispatcher.subscribe("status", callback, unpack=True)

    def prices(
        self, coins: Coins = None, *, on_full: str = "drop_oldest", size: int = BUFFER
    ) -> AsyncIterator[PriceTick]:
        """The ticks of ``subscribe_price``, for ``async for``; ends when the feed disconnects."""
        return self._iterate("prices", coins, on_full, size)

    def trades(
        self, coins: Coins = None, *, on_full: str = "drop_oldest", size: int = BUFFER
    ) -> AsyncIterator[TradeEvent]:
        """The trades of ``subscribe_trades``, for ``async for``."""
        return self._iterate("trades", coins, on_full, size)

    def candles(
        self, coins: Coins = None, timeframe: str = "1m", *, on_full: str = "drop_oldest", size: int = BUFFER
    ) -> AsyncIterator[Candle]:
        """The candles of ``subscribe_candles``, for ``async for``."""
        return self._iterate(self._candles(timeframe), coins, on_full, size)

    def quotes(self, coins: Coins = None, *, on_full: str = "drop_oldest", size: int = BUFFER) -> AsyncIterator[Quote]:
        """The quotes of ``subscribe_quotes``, for ``async for``."""
        return self._iterate(self._quotes(), coins, on_full, size)

    def events(self, *, on_full: str = "drop_oldest", size: int = BUFFER) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """The (event, details) pairs of ``subscribe_status``, for ``async for``."""
        return self._dispatcher.iterate("status", None, on_full, size)

    def _subscribe(self, channel: str, callback: Callable[..., Any], coins: Coins, on_full: str) -> Subscription:
        keys = watched(coins, self._wanted.coins)
        return self._dispatcher.subscribe(channel, callback, keys, on_full=on_full)

    def _iterate(self, channel: str, coins: Coins, on_full: str, size: int) -> AsyncIterator[Any]:
        return self._dispatcher.iterate(channel, watched(coins, self._wanted.coins), on_full, size)

    def _candles(self, timeframe: str) -> str:
        """The dispatcher's channel of a timeframe, which the venue is asked for."""
        self._ask(self._wanted.timeframes, known_timeframe(timeframe))
        self._ask(self._wanted.channels, "candles")
        return candles(timeframe)

    def _quotes(self) -> str:
        self._ask(self._wanted.channels, "quotes")
        return "quotes"

    def _ask(self, names: list[str], name: str) -> None:
        if name not in names:
            names.append(name)
            self._renew()

    def _renew(self) -> None:
        """More is wanted than the connection carries."""
        raise NotImplementedError("the feed that connects says how")
