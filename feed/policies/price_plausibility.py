"""Decides whether another market's first price is believed: venues may list different coins under the same ticker.

Pure: prices and times are arguments, times in monotonic seconds. The distance of two prices is the higher price divided
by the lower price. The older the last price is, the further the next price may be from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import NamedTuple

ALONE = 600.0  # seconds for which a market is withheld while no other venue shows which price is right
PER = 600.0  # seconds; for each period of this length in a price's age, the allowed distance is multiplied by the ratio
LARGEST_POWER = 100.0  # the highest power of the ratio; beyond that age any price is allowed


@dataclass(frozen=True, slots=True)
class VenueMarket:
    """A market symbol on a venue."""

    exchange: str
    symbol: str

    @property
    def details(self) -> dict[str, str]:
        """The exchange and market, as in the details of status events."""
        return {"exchange": self.exchange, "market": self.symbol}

    def __str__(self) -> str:
        return f"{self.symbol} of {self.exchange}"


class PriceVerdict(NamedTuple):
    """``told``: how far apart the prices are, if this market is withheld for the first time; else None."""

    plausible: bool
    told: float | None = None


@dataclass(slots=True)
class _Withheld:
    since: float
    price: float
    seen: float  # when that price came
    ratio: float


class PricePlausibility:
    """Judges the prices of markets from which a coin was not taken before.

    ``max_ratio``: how far apart two prices of one moment may be. A market with a price further away is withheld until
    its price agrees with the last price, or with another venue's withheld market: if two markets agree, the old price
    is the wrong one. A single market is withheld for ALONE seconds, and longer while the old price is renewed.
    """

    def __init__(self, max_ratio: float) -> None:
        self._max_ratio = max_ratio
        self._withheld: dict[str, dict[VenueMarket, _Withheld]] = {}

    def allowed(self, age: float) -> float:
        """How far a price may be from a price that is ``age`` seconds old."""
        return float(self._max_ratio ** min(1.0 + max(0.0, age) / PER, LARGEST_POWER))

    def judge(
        self, coin: str, market: VenueMarket, price: float, now: float, last: float | None, age: float
    ) -> PriceVerdict:
        """Judge a price of ``market``; ``last`` is the coin's last known price, ``age`` seconds old, or None."""
        if not _is_price(price):
            return PriceVerdict(False)
        ratio = _apart(price, last) if last is not None and _is_price(last) else 0.0  # 0.0: no price to compare it with
        if ratio <= self.allowed(age):
            self._release(coin, market)
            return PriceVerdict(True)
        withheld = self._withheld.setdefault(coin, {})
        held = withheld.get(market)
        is_new = held is None or now - held.seen > ALONE
        if held is None or is_new:
            held = withheld[market] = _Withheld(now, price, now, ratio)
        held.price, held.seen, held.ratio = price, now, ratio
        agreeing = any(
            other.exchange != market.exchange
            and now - known.seen <= ALONE
            and _apart(price, known.price) <= self.allowed(now - known.seen)
            for other, known in withheld.items()
        )
        if agreeing:
            self.forget(coin)
            return PriceVerdict(True, ratio if is_new else None)
        if now - held.since >= ALONE and age >= ALONE:
            self._release(coin, market)
            return PriceVerdict(True)
        return PriceVerdict(False, ratio if is_new else None)

    def withheld(self, coin: str) -> Mapping[VenueMarket, float]:
        """The markets that are withheld from a coin, and how far from the last price each of them is."""
        return {market: held.ratio for market, held in self._withheld.get(coin, {}).copy().items()}

    def forget(self, coin: str) -> None:
        """Forget the coin's withheld markets."""
        self._withheld.pop(coin, None)

    def _release(self, coin: str, market: VenueMarket) -> None:
        withheld = self._withheld.get(coin)
        if withheld is not None:
            withheld.pop(market, None)
            if not withheld:
                del self._withheld[coin]


def _is_price(value: float) -> bool:
    return isfinite(value) and value > 0


def _apart(one: float, other: float) -> float:
    return max(one / other, other / one)
