"""Decides from which market each coin's events are delivered: from one at a time, and only if its price fits."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from exchanges.events import Candle, TradeEvent
from feed.clock import Clock
from feed.market_data.price_cache import PriceCache
from feed.policies.price_plausibility import PricePlausibility, VenueMarket


class AdmittedConnection(Protocol):
    """A connection to a venue, as CoinMarkets sees it."""

    exchange: str
    turn: int  # a connection with a higher number began to deliver later

    def delivers(self, coin: str) -> bool:
        """Whether it was admitted to deliver the coin."""

    def revoke(self, coin: str) -> None:
        """The coin now comes from another market: ask ``admit`` again before delivering more of it."""

    def tell(self, event: str, **details: Any) -> None: ...

    def wake(self) -> None:
        """Wake the supervisor: a coin may need another venue now, or need it no longer."""


class CoinMarkets:
    """Admits one market per coin. A connection asks once per coin, and again if it was refused or revoked."""

    def __init__(self, max_ratio: float, prices: PriceCache, clock: Clock) -> None:
        self._plausibility = PricePlausibility(max_ratio)
        self._prices = prices
        self._clock = clock
        self._taken: dict[
            str, tuple[VenueMarket, AdmittedConnection | None]
        ] = {}  # with the newest connection that delivers it
        self._connections: set[AdmittedConnection] = set()
        self._turns = 0

    def begin(self, connection: AdmittedConnection) -> None:
        """Note that the connection delivers from now on."""
        self._turns += 1
        connection.turn = self._turns
        self._connections.add(connection)

    def end(self, connection: AdmittedConnection) -> None:
        """Note that the connection delivers nothing more."""
        self._connections.discard(connection)
        for coin, (market, by) in list(self._taken.items()):
            if by is connection:  # another connection of the same venue may bring the coin too
                others = [one for one in self._connections if one.exchange == market.exchange and one.delivers(coin)]
                self._taken[coin] = market, max(others, key=lambda one: one.turn, default=None)

    def admit(self, connection: AdmittedConnection, coin: str, symbol: str, price: float) -> bool:
        """Whether this connection may deliver the coin's events of market ``symbol``; ``price`` is that of such an
        event.

        Reports ``price_mismatch`` and ``market_changed``.
        """
        market = VenueMarket(connection.exchange, symbol)
        taken = self._taken.get(coin)
        if taken is None or taken[0] == market:
            if taken is None or taken[1] is None or taken[1].turn < connection.turn:
                self._taken[coin] = market, connection
            return True
        before, holder = taken
        was_withheld = market in self._plausibility.withheld(coin)
        known, now = self._prices.get(coin), self._clock.monotonic()
        last = None if known is None else known.tick
        age = 0.0 if known is None or known.priced_at is None else self._clock.since(known.priced_at)
        verdict = self._plausibility.judge(coin, market, price, now, None if last is None else last.price, age)
        told = {"coin": coin, "from": before.details, "to": market.details}
        if verdict.told is not None:
            connection.tell("price_mismatch", **told, ratio=verdict.told)
        if verdict.plausible == was_withheld or verdict.told is not None:
            connection.wake()
        if not verdict.plausible or (holder is not None and holder.turn > connection.turn):
            return False
        self._taken[coin] = market, connection
        if before.symbol != symbol:
            if known is not None and before.exchange == market.exchange:
                known.forget_day()
            connection.tell("market_changed", **told)
        for other in self._connections - {connection}:
            other.revoke(coin)
        return True

    def takes(self, event: TradeEvent | Candle) -> bool:
        """Whether an event that had to wait is of the market from which its coin comes now."""
        taken = self._taken.get(event.coin)
        return taken is None or taken[0] == VenueMarket(event.exchange, event.market)

    def withholds(self, exchange: str, coin: str, symbol: str) -> bool:
        """Whether this market is withheld for the coin because its price does not fit."""
        return VenueMarket(exchange, symbol) in self._plausibility.withheld(coin)

    def doubt(self, coin: str) -> str:
        """Why the coin's last price may be wrong now; "" while its market delivers. From any thread."""
        taken = self._taken.get(coin)
        withheld = self._plausibility.withheld(coin)
        if taken is None or taken[1] is not None or not withheld:
            return ""
        others = " and ".join(f"{market}, {ratio:.4g} times apart" for market, ratio in withheld.items())
        return f"its price is of {taken[0]}, which delivers no more; withheld is {others}, perhaps another coin"

    def forget(self, coins: Iterable[str]) -> None:
        """Drop coins that were removed from the feed."""
        for coin in coins:
            self._taken.pop(coin, None)
            self._plausibility.forget(coin)
