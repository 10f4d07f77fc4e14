"""Fallback coins: the active venue does not list them, so a second supervisor carries them over the other venues."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol

from loguru import logger

from feed.events import CoinConfig
from feed.sessions.session import Session
from feed.settings.schema import ExchangeConfig
from feed.subscriptions.status import Report

MOVES = frozenset({"failover", "failback"})  # of the feed, which stays where it is while others are tried for a coin


class Carrier(Protocol):
    """The second supervisor, as this module sees it; see Supervisor."""

    @property
    def carried(self) -> Sequence[CoinConfig]: ...

    @property
    def undelivered(self) -> Mapping[str, int]: ...

    def carrier(self, coin: str) -> Session | None: ...

    def hears(self, coin: str) -> bool: ...

    def lag_of(self, exchange: str) -> float | None: ...

    def renew(self) -> None: ...

    def forget(self, coins: Collection[str]) -> None: ...

    def change(self, coins: Iterable[CoinConfig]) -> None: ...

    async def run(self) -> None: ...


class FallbackCoins:
    """Has coins come from the next venue that lists them.

    ``begin`` makes the supervisor of some venues and coins, ``dismiss`` awaits the end of a task that was cancelled.
    ``coins`` are those that are carried like this, or would be if there were another venue.
    """

    def __init__(
        self,
        begin: Callable[[Sequence[ExchangeConfig], Sequence[CoinConfig]], Carrier],
        dismiss: Callable[[asyncio.Task[Any]], None],
    ) -> None:
        self.coins: list[str] = []
        self._begin = begin
        self._dismiss = dismiss
        self._supervisor: Carrier | None = None
        self._running: asyncio.Task[None] | None = None
        self._order: Sequence[ExchangeConfig] = ()

    @property
    def undelivered(self) -> Mapping[str, int]:
        """See Supervisor.undelivered."""
        return {} if self._supervisor is None else self._supervisor.undelivered

    def carrier(self, coin: str) -> Session | None:
        """See Supervisor.carrier."""
        return None if self._supervisor is None else self._supervisor.carrier(coin)

    def hears(self, coin: str) -> bool:
        """See Supervisor.hears."""
        return self._supervisor is not None and self._supervisor.hears(coin)

    def lag_of(self, exchange: str) -> float | None:
        """See Supervisor.lag_of."""
        return None if self._supervisor is None else self._supervisor.lag_of(exchange)

    def renew(self) -> None:
        """See Supervisor.renew."""
        if self._supervisor is not None:
            self._supervisor.renew()

    def forget(self, coins: Collection[str]) -> None:
        """See Supervisor.forget."""
        if self._supervisor is not None:
            self._supervisor.forget(coins)
            self._carry([coin for coin in self._supervisor.carried if coin.symbol not in coins])

    def look_after(self, missing: Sequence[CoinConfig], others: Sequence[ExchangeConfig]) -> None:
        """Have the coins that are ``missing`` on the active venue come from the ``others``."""
        symbols = [coin.symbol for coin in missing]
        if self._running is not None and self._running.done():  # a defect of ours, which must not end them in silence
            error = None if self._running.cancelled() else self._running.exception()
            logger.opt(exception=error).error("{} come anew after an unforeseen error", ", ".join(self.coins))
            self.coins = []
        if symbols == self.coins:
            return
        if self.coins and symbols and self._order == others:
            self._carry(missing)
            return
        self._carry([])
        self.coins = symbols
        if symbols and others:
            self._order = others
            supervisor = self._supervisor = self._begin(others, list(missing))
            self._running = asyncio.create_task(supervisor.run(), name=f"market feed for {', '.join(symbols)}")

    def end(self) -> None:
        """Stop all fallback connections."""
        if self._running is not None:
            self._running.cancel()
            self._dismiss(self._running)

    def _carry(self, coins: Sequence[CoinConfig]) -> None:
        """Carry exactly these coins; the streams of those that stay are not touched."""
        self.coins = [coin.symbol for coin in coins]
        if coins and self._supervisor is not None:
            self._supervisor.change(coins)
        elif self._running is not None:
            self.end()
            self._running = self._supervisor = None


def naming(coins: Callable[[], Iterable[CoinConfig]], aside: Report) -> Report:
    """Tells ``aside`` what happens to ``coins``, by their names: it is not the feed's, and its moves are the log's."""

    def report(event: str, exchange: str, **details: Any) -> None:
        names = [coin.symbol for coin in coins()]
        if event in MOVES:
            logger.info("{} {} for {}: {}", event, exchange, ", ".join(names), details)
        else:
            aside(event, exchange, **(details if "coin" in details else {"coins": names} | details))

    return report
