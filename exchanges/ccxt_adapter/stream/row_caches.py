"""Caches that ccxt fills with parsed rows and that deliver each row at once.

All ccxt.pro modules keep public data the same way: they look up ``exchange.trades[symbol]`` (``tickers``, ``ohlcvs``,
``bidsasks`` likewise), append or assign the parsed row, then resolve a future. The adapter puts its own stores there
before it subscribes, so that ccxt's append delivers the row: each row once and in order. With ccxt's caches a row is
lost if the cache is full or if the task that waits for the future runs too late (ccxt issues 28089, 22125). The stores
keep nothing that grows with time.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from typing import Any

Row = Any
Deliver = Callable[[str, Row], None]


class RowCache(list[Any]):
    """Used in place of ccxt's ArrayCache: ``append`` delivers the row. Only the newest row is kept, for handlers that
    read the last row.
    """

    __slots__ = ("_deliver", "hashmap")

    def __init__(self, deliver: Callable[[Row], None]) -> None:
        super().__init__()
        self._deliver = deliver
        self.hashmap: dict[Any, Any] = {}  # ccxt's caches have this attribute; it stays empty

    def append(self, row: Row) -> None:
        self[:] = (row,)
        self._deliver(row)

    def getLimit(self, symbol: str | None, limit: int | None) -> int | None:
        return limit

    get_limit = getLimit


class RowCaches(dict[str, Any]):
    """``exchange.trades``: one fixed store per wanted symbol; a row of any other symbol is ignored.

    Assigning and deleting are ignored, because handlers re-assign the store on every frame and un_watch deletes it.
    ``make`` makes each symbol's store. For ``exchange.ohlcvs`` this store is a RowCaches too, with a store per
    timeframe.
    """

    def __init__(
        self,
        symbols: Iterable[str],
        deliver: Callable[..., None],
        make: Callable[[Callable[..., None]], Any] = RowCache,
    ) -> None:
        super().__init__()
        self._deliver, self._make = deliver, make
        self._unwanted = make(lambda *row: None)
        for symbol in symbols:
            self.add(symbol)

    def add(self, symbol: str) -> None:
        """Add a symbol that is wanted from now on."""
        super().__setitem__(symbol, self._make(partial(self._deliver, symbol)))

    def __missing__(self, symbol: str) -> Any:
        return self._unwanted

    def __setitem__(self, symbol: str, value: Any) -> None:
        pass

    def __delitem__(self, symbol: str) -> None:
        pass


class Latest(dict[str, Any]):
    """``exchange.tickers`` or ``bidsasks``: assigning a row delivers it; each listed market's newest row is kept.

    Handlers merge changes into the row that is kept here. ``last`` is the row that was delivered last: a future with
    this row need not be resolved.
    """

    def __init__(self, wanted: Collection[str], listed: Collection[str], deliver: Deliver) -> None:
        super().__init__()
        self._wanted = set(wanted)
        self._listed = listed
        self._deliver = deliver
        self._standing: dict[str, Callable[[], Row]] = {}
        self.last: Row = None

    def add(self, symbol: str) -> None:
        """Add a symbol that is wanted from now on."""
        self._wanted.add(symbol)

    def stand(self, symbol: str, make: Callable[[], Row]) -> None:
        """Call this when the newest row of ``symbol`` was delivered without this store.

        ``make`` makes that row if a handler reads it.
        """
        self.pop(symbol, None)
        self._standing[symbol] = make

    def __missing__(self, symbol: str) -> Row:
        row = self._standing.pop(symbol)()
        super().__setitem__(symbol, row)
        return row

    def __setitem__(self, symbol: str, row: Row) -> None:
        if symbol not in self._listed:
            raise KeyError(f"market {symbol!r} is not listed")
        super().__setitem__(symbol, row)
        if symbol in self._wanted:
            self.last = row
            self._deliver(symbol, row)


def pushed(result: Any, latest: Iterable[Latest]) -> bool:
    """Whether ``result``, about to resolve a watch future, holds only what was delivered already."""
    if isinstance(result, RowCache):
        return True
    if isinstance(result, list):
        return any(isinstance(part, RowCache) for part in result)
    if isinstance(result, dict):
        return any(row.last is not None and row.last is result for row in latest) or _all_latest(result, latest)
    return False


def _all_latest(result: dict[str, Any], latest: Iterable[Latest]) -> bool:
    """Whether ``result`` is a dict of delivered tickers by symbol: okx, poloniex and hyperliquid resolve futures so."""
    return bool(result) and any(
        all(isinstance(row, dict) and rows.get(symbol) is row for symbol, row in result.items()) for rows in latest
    )


def is_book(result: Any) -> bool:
    """Whether ``result``, about to resolve a watch future, is one of ccxt's order books, which change in place."""
    return isinstance(result, dict) and "bids" in result and "asks" in result and "symbol" in result


def in_rows(frame: Any) -> Iterator[dict[str, Any]]:
    """Yield the frame once for each row of its ``data`` list, with only that row: a bad row costs no other row."""
    if isinstance(frame, dict):
        rows = frame.get("data")
        if isinstance(rows, list) and len(rows) > 1:
            for row in rows:
                yield {**frame, "data": [row]}
