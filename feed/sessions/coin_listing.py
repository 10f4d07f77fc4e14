"""Finds which of the wanted coins a venue lists, and as which market; decides when its list is requested again."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from math import inf
from typing import TYPE_CHECKING

from exchanges.errors import Halted, Rejected
from feed.events import CoinConfig
from feed.policies.backoff import doubled
from feed.subscriptions.status import Report

if TYPE_CHECKING:
    from exchanges.venue import Venue

FIRST = 5.0  # seconds from finding that a coin is missing until the venue's list is requested again
HALT = 60.0  # seconds: the longest wait for a halted coin; each wait is twice the previous one
UNLISTED = 600.0  # seconds: the longest wait for a coin that is not listed at all


class CoinListing:
    """Finds the market of each coin. ``missing``: coins that the venue does not list, or has halted; each is reported
    once. A coin that is added again counts as missing only if a list that was requested since then lacks it: see
    ``confirm``. ``due``: when the list must be requested again, monotonic seconds.
    """

    def __init__(self, venue: Venue, report: Report) -> None:
        self.missing: list[CoinConfig] = []
        self.due = inf
        self._looks = 0  # requests for the list because of missing coins; each waits longer than the previous one
        self._venue = venue
        self._report = report
        self._told: dict[str, str] = {}  # coin -> why it is missing, as reported
        self._confirmed: set[str] = set()  # coins that were wanted when a list was requested
        self._asking: set[str] = set()  # coins that are wanted while a list is being requested
        self._refusals: dict[str, Rejected] = {}

    async def load(self, coins: Iterable[CoinConfig], *, anew: bool = False) -> None:
        """Load the venue's markets, only those of ``coins`` if it can; ``anew`` as in Venue.load. Raises VenueError.

        After that, those of ``coins`` that the venue does not list are missing.
        """
        wanted = list(coins)
        await self._venue.load({coin.symbol: coin.markets.get(self._venue.name) for coin in wanted}, anew=anew)
        self.confirm(wanted)

    async def refresh(self, coins: Iterable[CoinConfig]) -> Collection[str]:
        """Request the venue's markets again, as Venue.refresh does; from then on, unlisted ``coins`` are missing."""
        self._asking = {coin.symbol for coin in coins}
        changed = await self._venue.refresh()
        self._confirmed |= self._asking
        return changed

    def confirm(self, coins: Iterable[CoinConfig]) -> None:
        """Call this when the list was requested while these coins were wanted."""
        self._confirmed.update(coin.symbol for coin in coins)

    def markets(self, coins: Iterable[CoinConfig], flowing: Mapping[str, str] | None = None) -> dict[str, str]:
        """Coin -> market symbol for the listed coins; the others are reported once. Raises Rejected if none is listed.

        ``flowing`` (coin -> symbol) are coins whose data comes: they stay listed even if the venue's list lacks them.
        """
        wanted = list(coins)
        markets, self._refusals = self._found(wanted, flowing or {})
        confirmed = {coin: refusal for coin, refusal in self._refusals.items() if coin in self._confirmed}
        self.missing = [coin for coin in wanted if coin.symbol in confirmed]
        for coin, refusal in confirmed.items():
            if self._told.get(coin) != refusal.reason:
                self._told[coin] = refusal.reason
                self._report("coin_unavailable", self._venue.name, coin=coin, reason=refusal.reason)
        for coin in markets:
            self._told.pop(coin, None)
        if not markets:
            raise _refusal_of(self._venue.name, self._refusals)
        return markets

    def differs(self, coins: Iterable[CoinConfig], carried: Collection[str], flowing: Mapping[str, str]) -> bool:
        """Whether the listed coins are not exactly ``carried``, or the reasons of the missing coins have changed."""
        markets, refusals = self._found(coins, flowing)
        told = {coin: refusal.reason for coin, refusal in refusals.items()}
        return markets.keys() != set(carried) or told != self._told

    def schedule(self, now: float, *, again: bool = False) -> None:
        """Set ``due``: now if a missing coin is not confirmed, else after a wait that grows; ``again``: the list was
        requested because it was due.
        """
        unconfirmed = self._refusals.keys() - self._confirmed
        if unconfirmed:
            self.due = now
        elif not self._refusals:
            self.due, self._looks = inf, 0
        elif again or self.due == inf:
            longest = HALT if any(isinstance(each, Halted) for each in self._refusals.values()) else UNLISTED
            wait = doubled(FIRST, self._looks, longest)
            self.due, self._looks = now + wait, self._looks + (wait < longest)

    def doubt(self, now: float) -> None:
        """Call this when a listed coin is silent: it may have been halted."""
        self.due = min(self.due, now)

    def forget(self, coins: Collection[str]) -> None:
        """Drop coins that were removed from the feed."""
        for coin in coins:
            self._told.pop(coin, None)
            self._refusals.pop(coin, None)
        self._confirmed.difference_update(coins)
        self._asking.difference_update(coins)
        self.missing = [coin for coin in self.missing if coin.symbol not in coins]

    def _found(
        self, coins: Iterable[CoinConfig], flowing: Mapping[str, str]
    ) -> tuple[dict[str, str], dict[str, Rejected]]:
        """Return coin -> market symbol, and coin -> why there is none."""
        name = self._venue.name
        markets: dict[str, str] = {}
        holders: dict[str, str] = {}  # symbol -> coin
        refusals: dict[str, Rejected] = {}
        for coin in coins:
            try:
                symbol = self._venue.market(coin.symbol, coin.markets.get(name))
            except Rejected as refusal:
                if coin.symbol not in flowing:
                    refusals[coin.symbol] = refusal
                    continue
                symbol = flowing[coin.symbol]
            if holders.setdefault(symbol, coin.symbol) == coin.symbol:
                markets[coin.symbol] = symbol
            else:
                refusals[coin.symbol] = Rejected(name, f"its {symbol} is carried as {holders[symbol]}")
        return markets, refusals


def _refusal_of(name: str, refusals: Mapping[str, Rejected]) -> Rejected:
    """Why a venue carries none of the coins; a halted coin is named first, because it may come back."""
    halted = [coin for coin, refusal in refusals.items() if isinstance(refusal, Halted)]
    if len(refusals) == 1:
        return next(iter(refusals.values()))
    if not halted:
        return Rejected(name, f"does not list any of {', '.join(refusals)}")
    others = [coin for coin in refusals if coin not in halted]
    unlisted = f", and does not list {', '.join(others)}" if others else ""
    return Halted(name, f"has halted {', '.join(halted)}{unlisted}")
