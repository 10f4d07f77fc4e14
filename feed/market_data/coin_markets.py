"""Decides which market delivers a coin's events: one at a time, and only a market with a plausible price."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import inf
from typing import Any, NamedTuple, Protocol

from exchanges.events import Candle, TradeEvent
from feed.clock import Clock
from feed.market_data.price_cache import PriceCache
from feed.policies.price_plausibility import PricePlausibility, VenueMarket


class AdmittedConnection(Protocol):
    """A connection to a venue, as CoinMarkets sees it."""

    exchange: str
    turn: int  # a connection with a higher number began to deliver later

    def delivers(self, coin: str) -> bool:
        """Whether the connection was admitted to deliver the coin."""

    def revoke(self, coin: str) -> None:
        """Called when the coin comes from another market now: to deliver it again, call ``admit`` again first."""

    def tell(self, event: str, **details: Any) -> None: ...

    def wake(self) -> None:
        """Wake the supervisor: a coin may need another venue now, or may not need one any more."""


class KnownPrice(NamedTuple):
    """A price that was seen ``age`` seconds ago."""

    age: float
    price: float


@dataclass(slots=True)
class _Taken:
    """The market from which a coin comes, the newest connection that delivers it, and the coin's first price there."""

    market: VenueMarket
    holder: AdmittedConnection | None
    price: float
    at: float  # monotonic seconds


class CoinMarkets:
    """Admits one market per coin. A connection calls ``admit`` once per coin, again if the coin was refused or revoked.

    The first price of another market is compared with the coin's newest known price: ``known`` returns the last price
    from each kind of event.
    """

    def __init__(
        self, max_ratio: float, prices: PriceCache, clock: Clock, known: Callable[[str], Iterable[KnownPrice]]
    ) -> None:
        self._plausibility = PricePlausibility(max_ratio)
        self._prices = prices
        self._clock = clock
        self._known = known
        self._taken: dict[str, _Taken] = {}
        self._connections: set[AdmittedConnection] = set()
        self._turns = 0

    def begin(self, connection: AdmittedConnection) -> None:
        """Call this when the connection begins to deliver."""
        self._turns += 1
        connection.turn = self._turns
        self._connections.add(connection)

    def end(self, connection: AdmittedConnection) -> None:
        """Call this when the connection has stopped delivering."""
        self._connections.discard(connection)
        for coin, taken in self._taken.items():
            if taken.holder is connection:  # another connection of the same venue may deliver the coin too
                venue = taken.market.exchange
                others = [one for one in self._connections if one.exchange == venue and one.delivers(coin)]
                taken.holder = max(others, key=lambda one: one.turn, default=None)

    def admit(self, connection: AdmittedConnection, coin: str, symbol: str, price: float) -> bool:
        """Whether this connection may deliver the coin's events of market ``symbol``; ``price`` is the price of one of
        these events.

        Reports ``price_mismatch`` and ``market_changed``.
        """
        market, now = VenueMarket(connection.exchange, symbol), self._clock.monotonic()
        taken = self._taken.get(coin)
        if taken is None:
            self._taken[coin] = _Taken(market, connection, price, now)
            return True
        if taken.market == market:
            if taken.holder is None or taken.holder.turn < connection.turn:
                taken.holder, taken.price, taken.at = connection, price, now
            return True
        was_withheld = market in self._plausibility.withheld(coin)
        begun = KnownPrice(self._clock.since(taken.at), taken.price)  # perhaps no tick was made of this price
        prices = [each for each in (begun, *self._known(coin)) if 0 < each.price < inf]
        age, last = min(prices, default=(0.0, None))
        verdict = self._plausibility.judge(coin, market, price, now, last, age)
        before = taken.market
        told = {"coin": coin, "from": before.details, "to": market.details}
        if verdict.told is not None:
            connection.tell("price_mismatch", **told, ratio=verdict.told)
        if verdict.plausible == was_withheld or verdict.told is not None:
            connection.wake()
        if not verdict.plausible or (taken.holder is not None and taken.holder.turn > connection.turn):
            return False
        self._taken[coin] = _Taken(market, connection, price, now)
        if before.symbol != symbol:
            if before.exchange == market.exchange and (known := self._prices.get(coin)) is not None:
                known.forget_day()
            connection.tell("market_changed", **told)
        for other in self._connections - {connection}:
            other.revoke(coin)
        return True

    def takes(self, event: TradeEvent | Candle) -> bool:
        """Whether an event that had to wait comes from the market that is used for its coin now."""
        taken = self._taken.get(event.coin)
        return taken is None or taken.market == VenueMarket(event.exchange, event.market)

    def withholds(self, exchange: str, coin: str, symbol: str) -> bool:
        """Whether this market is withheld for the coin because its price is not plausible."""
        return VenueMarket(exchange, symbol) in self._plausibility.withheld(coin)

    def doubt(self, coin: str) -> str:
        """Why the coin's last price may be wrong now; "" while its market delivers. Safe from any thread."""
        taken = self._taken.get(coin)
        withheld = self._plausibility.withheld(coin)
        if taken is None or taken.holder is not None or not withheld:
            return ""
        others = " and ".join(f"{market} (price {ratio:.4g} times apart)" for market, ratio in withheld.items())
        source = f"its price is from {taken.market}, which delivers nothing now"
        return f"{source}; withheld as perhaps another coin: {others}"

    def forget(self, coins: Iterable[str]) -> None:
        """Drop coins that were removed from the feed."""
        for coin in coins:
            self._taken.pop(coin, None)
            self._plausibility.forget(coin)
