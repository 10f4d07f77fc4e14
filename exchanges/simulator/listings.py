"""The markets that a venue lists at the moment: the initial ones, changed by the faults in force."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from exchanges.simulator.errors import SimulatorError
from exchanges.simulator.faults import ALL, Fault
from exchanges.simulator.markets.catalog import Listing, listing
from exchanges.simulator.markets.market import Market

SHAPES = 8  # shapes of the day before the start; the markets share them
PER_USDT = {"KRW": 1380.0, "JPY": 150.0, "TRY": 34.0, "BRL": 5.6, "EUR": 0.92, "GBP": 0.78, "BTC": 1 / 60_000}
LOT = 1000  # units of the coin in one unit of a market like 1000SHIB
OTHER = 1 / 112  # the price of another coin under the same ticker, as a share of the coin's own price


class Listings:
    """``current``: the markets listed now, by id; ``places[i]``: what is listed for market i of the start, or None."""

    def __init__(self, name: str, seed: int, listings: Sequence[Listing], now: int) -> None:
        self._names = f"{seed} {name}"
        self._first = [self._market(one, one.id, i, now) for i, one in enumerate(listings)]
        self._made: dict[tuple[int, str], Market] = {}  # made by faults; such markets continue when listed again
        self._kinds: dict[Market, frozenset[str]] = {}  # the faults that have made each market
        self.places: list[Market | None] = list(self._first)
        self.current: dict[str, Market] = {market.id: market for market in self._first}
        self._halted: set[str] = set()

    def _market(self, one: Listing, name: str, place: int, now: int) -> Market:
        return Market(one, f"{self._names} {name}", f"{self._names} shape {place % SHAPES}", now)

    def __iter__(self) -> Iterator[Market]:
        """All markets that were ever listed; those listed now come first."""
        yield from dict.fromkeys([*self.current.values(), *self._first, *self._made.values()])

    @property
    def count(self) -> int:
        """How many markets were ever listed."""
        return len(self._first) + len(self._made)

    def brought_by(self, market: Market) -> frozenset[str]:
        """The kinds of faults that have made this market; none for a market of the start."""
        return self._kinds.get(market, frozenset())

    def is_halted(self, market: Market) -> bool:
        return bool(self._halted) and (ALL in self._halted or market.coin in self._halted)

    def is_traded(self, market: Market) -> bool:
        return self.current.get(market.id) is market and not self.is_halted(market)

    def change(self, faults: Sequence[Fault], now: int) -> None:
        """Change the list: the markets of the start, changed by these faults."""
        self._halted = {str(fault.argument) for fault in faults if fault.kind == "halted"}
        self.places = [self._place(i, faults, now) for i in range(len(self._first))]
        self.current = {market.id: market for market in self.places if market is not None}

    def _has(self, coin: str, quote: str) -> bool:
        return any((market.coin, market.quote) == (coin, quote) for market in self._first)

    def _place(self, place: int, faults: Sequence[Fault], now: int) -> Market | None:
        market = self._first[place]
        coin = market.coin
        for fault in faults:
            wanted = str(fault.argument)
            if fault.kind == "unlisted" and wanted in (coin, ALL):
                return None
            if fault.kind == "quoted" and market.quote != wanted:
                if wanted == coin or self._has(coin, wanted) or self._first.index(self._of(coin)) != place:
                    return None  # one market of the coin in that currency is enough
                factor = PER_USDT.get(wanted, 1.0) / PER_USDT.get(market.quote, 1.0)
                market = self._variant(place, market, fault, market.coin, wanted, factor, now)
            elif fault.kind == "other-coin" and wanted == coin:
                market = self._variant(place, market, fault, market.coin, market.quote, OTHER, now)
            elif fault.kind == "thousands" and wanted == coin:
                market = self._variant(place, market, fault, f"{LOT}{market.coin}", market.quote, LOT, now)
        return market

    def _variant(
        self, place: int, market: Market, fault: Fault, coin: str, quote: str, factor: float, now: int
    ) -> Market:
        key = (place, f"{market.id} {fault}")
        known = self._made.get(key)
        if known is None:
            price, size = market.last_price / market.scale * factor, PER_USDT.get(quote, 1.0)
            one = listing(coin, quote, price, market.listing.turnover * size, market.listing.weight)
            known = self._made[key] = self._market(one, f"{one.id} {fault}", place, now)
            self._kinds[known] = self.brought_by(market) | {fault.kind}
        return known

    def _of(self, coin: str) -> Market:
        """The coin's first market at the start."""
        return next(market for market in self._first if market.coin == coin)

    def find(self, name: str, venue: str) -> Market:
        """Find a market by coin ("BTC", its first quote), pair ("BTC/USDC") or id ("BTCUSDC")."""
        wanted = name.upper()
        for market in self.current.values():
            if wanted in (market.coin, f"{market.coin}/{market.quote}", market.id):
                return market
        names = list(dict.fromkeys(market.coin for market in self.current.values()))
        listed = ", ".join(names[:25]) + (f" and {len(names) - 25} more" if len(names) > 25 else "")
        raise SimulatorError(f"{venue} does not list {name!r}; listed are {listed or 'none'}")
