"""Fetches a market's past candles over REST, page by page, back from the newest."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

Page = Callable[[int | None, int], Awaitable[Sequence[Any]]]
"""(Unix ms or None, limit) -> ccxt's OHLCV rows of candles that opened then or later; the newest for None."""


async def newest(fetch: Page, limit: int, most: int, length: int) -> list[Any]:
    """The newest ``limit`` rows, oldest first, or as many as the venue has.

    ``most`` is the number of rows of a page. ``length`` is the length of a candle in ms (nominal for months, whose
    length varies).
    """
    rows = _by_time(await fetch(None, min(limit, most)))
    while rows and len(rows) < limit:
        first = min(rows)
        page = _by_time(await fetch(max(0, first - most * length), most))  # a page of months may begin before 1970
        older = {opened: row for opened, row in page.items() if opened < first}
        if not older:
            break
        rows |= older
    return [rows[opened] for opened in sorted(rows)][-limit:]


def _by_time(rows: Iterable[Any]) -> dict[int, Any]:
    return {row[0]: row for row in rows if isinstance(row, list | tuple) and row and type(row[0]) is int}
