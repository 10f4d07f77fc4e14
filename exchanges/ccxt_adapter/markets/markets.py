"""The markets of one venue, loaded once, from disk if possible; finds a coin's market by the settings' quote order."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from exchanges.ccxt_adapter.markets.disk_cache import AGED, MarketCache
from exchanges.ccxt_adapter.markets.table import MarketTable, changed, give, with_gone
from exchanges.errors import Disconnected, Halted, Rejected
from exchanges.venue import Access
from exchanges.venues.coin_renames import codes_of
from exchanges.venues.profile import Profile

PAUSE = 1.0  # seconds between two requests for the venue's list


@dataclass(eq=False, repr=False)
class Markets:
    """Holds the markets of ``api``, the ccxt instance for REST, and sets them in the instances of connections.

    ``ask`` requests the venue's list, or raises VenueError; ``cache`` keeps the list on disk, if there is a cache.
    """

    profile: Profile
    access: Access
    api: Any
    cache: MarketCache | None
    ask: Callable[[], Coroutine[Any, Any, MarketTable]]

    def __post_init__(self) -> None:
        self._table: MarketTable | None = None
        self._from_disk = False
        self._gone: Collection[str] = ()  # symbols that were listed earlier and are not listed any more
        self._asked_at = -inf  # monotonic seconds
        self._loading: asyncio.Task[None] | None = None
        self._keeping: asyncio.Future[None] | None = None

    @property
    def aged(self) -> bool:
        """See Venue.aged."""
        return self._from_disk and self._table is not None and time.time() - self._table.loaded_at > AGED

    async def load(self, coins: Mapping[str, str | None], *, anew: bool = False) -> None:
        """See Venue.load."""
        if not self.api.markets:
            await self._shared(fresh=False)
        if (anew or self._from_disk) and not all(self._lists(coin, override) for coin, override in coins.items()):
            await self._shared(fresh=True)

    async def refresh(self) -> Collection[str]:
        """See Venue.refresh."""
        before = self._table
        await self._shared(fresh=True)
        return () if before is None or self._table is None else changed(before, self._table)

    def give(self, exchange: Any) -> None:
        """Set the markets of another ccxt instance; they are shared."""
        for name in self.api.options.get("marketHelperProps") or ():
            self.api.options.setdefault(name, None)  # ccxt reads these options without a default
        exchange.set_markets_from_exchange(self.api)
        if self._table is not None:
            exchange.options.update(self._table.options)

    def symbol(self, coin: str, override: str | None) -> str:
        """See Venue.market."""
        codes = codes_of(coin)
        asked = [override] if override else [self._symbol(code, quote) for code in codes for quote in self.access.quote]
        listed = [symbol for symbol in asked if symbol in self.api.markets and symbol not in self._gone]
        for symbol in listed:
            if self.api.markets[symbol].get("active") is not False:
                return symbol
        if listed:
            raise Halted(self.profile.name, f"has halted {coin} ({', '.join(listed)} is listed and not traded now)")
        raise Rejected(
            self.profile.name, f"does not list {coin} (looked for {', '.join(asked)}{self._other_quotes(codes)})"
        )

    async def close(self) -> None:
        """End the running request."""
        if self._loading is not None:
            self._loading.cancel()
            await asyncio.gather(self._loading, return_exceptions=True)
        if self._keeping is not None:
            await asyncio.wait({self._keeping})

    async def _shared(self, *, fresh: bool) -> None:
        if self._loading is None or self._loading.done():
            self._loading = asyncio.create_task(self._load(fresh), name=f"markets of {self.profile.name}")
        await asyncio.shield(self._loading)

    async def _load(self, fresh: bool) -> None:
        """Load the markets from disk or from the venue. The file is read in a thread: parsing thousands of markets
        takes part of a second, and another venue may deliver meanwhile. The venue is asked at most once per PAUSE.
        """
        table = None if fresh or self.cache is None else await asyncio.to_thread(self.cache.read)
        from_disk = table is not None
        if table is None:
            await asyncio.sleep(max(0.0, self._asked_at + PAUSE - time.monotonic()))
            asked_at = time.monotonic()
            table = await self.ask()
            self._asked_at = asked_at
            if not table.markets:
                raise Disconnected(self.profile.name, f"answered with no {self.access.market_type} market at all")
            if self.cache is not None:
                self._keeping = asyncio.get_running_loop().run_in_executor(None, self.cache.write, table)
        listed = table.markets.keys()
        self._table = table if self._table is None else with_gone(table, self._table)
        self._gone = self._table.markets.keys() - listed
        self._from_disk = from_disk
        give(self._table, self.api)

    def _other_quotes(self, codes: Sequence[str]) -> str:
        """A text that names the quote currencies in which the venue trades a coin and which the settings lack."""
        rows = self.api.markets.values()
        active = (row for row in rows if row.get("base") in codes and row.get("active") is not False)
        quotes = sorted({str(row.get("quote")) for row in active} - set(self.access.quote))
        return f"; it has {', '.join(quotes)}, which `quote` does not list" if quotes else ""

    def _lists(self, coin: str, override: str | None) -> bool:
        with contextlib.suppress(Rejected):
            return bool(self.symbol(coin, override))
        return False

    def _symbol(self, base: str, quote: str) -> str:
        return f"{base}/{quote}:{quote}" if self.access.market_type == "swap" else f"{base}/{quote}"
