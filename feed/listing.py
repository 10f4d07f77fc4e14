"""Which of the wanted coins a venue lists, and as which market."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from exchanges.errors import Refused
from feed.events import CoinConfig
from feed.journal import Report

if TYPE_CHECKING:
    from exchanges.adapter import Venue


class Listing:
    """Finds the market of each coin; ``missing`` are those that the venue does not list. Each is told once."""

    def __init__(self, venue: Venue, report: Report) -> None:
        self.missing: list[CoinConfig] = []
        self._venue = venue
        self._report = report
        self._told: set[str] = set()  # as missing

    async def load(self, coins: Iterable[CoinConfig]) -> None:
        """Have the venue know its markets, those of ``coins`` if it can. Raises VenueError."""
        await self._venue.load({coin.symbol: coin.markets.get(self._venue.name) for coin in coins})

    def markets(self, coins: Iterable[CoinConfig]) -> dict[str, str]:
        """Coin -> market symbol for what the venue lists; the others are told, once. Refused when there is none."""
        name = self._venue.name
        markets: dict[str, str] = {}
        holders: dict[str, str] = {}  # symbol -> coin
        refusals: dict[str, str] = {}
        self.missing = []
        for coin in coins:
            try:
                symbol = self._venue.market(coin.symbol, coin.markets.get(name))
                if holders.setdefault(symbol, coin.symbol) != coin.symbol:
                    raise Refused(name, f"its {symbol} is carried as {holders[symbol]}")
                markets[coin.symbol] = symbol
            except Refused as refusal:
                refusals[coin.symbol] = refusal.reason
                self.missing.append(coin)
        for symbol, reason in refusals.items():
            if symbol not in self._told:
                self._told.add(symbol)
                self._report("coin_unavailable", name, coin=symbol, reason=reason)
        if not markets:
            reasons = list(refusals.values())
            reason = reasons[0] if len(reasons) == 1 else f"does not list any of {', '.join(refusals)}"
            raise Refused(name, reason)
        return markets

    def forget(self, coins: Collection[str]) -> None:
        """These are not wanted any more."""
        self._told.difference_update(coins)
        self.missing = [coin for coin in self.missing if coin.symbol not in coins]
