"""Past candles are fetched page by page, from answers like those of real venues."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from exchanges.ccxt_adapter.history_pages import newest

MINUTE = 60_000


class Record:
    """A venue with candles of the minutes 0 to ``last``, except ``missing``; an answer has at most ``most`` candles."""

    def __init__(self, last: int, most: int, missing: Sequence[int] = (), *, stubborn: bool = False) -> None:
        self.rows = [[n * MINUTE, 1.0, 1.0, 1.0, 1.0, 1.0] for n in range(last + 1) if n not in missing]
        self.most = most
        self.stubborn = stubborn  # this venue always answers with its newest candles
        self.asked = 0

    async def page(self, since: int | None, limit: int) -> Sequence[Any]:
        self.asked += 1
        assert limit <= self.most
        assert since is None or since >= 0  # venues refuse negative values
        if since is None or self.stubborn:
            return self.rows[-limit:]
        return [row for row in self.rows if row[0] >= since][:limit]

    async def newest(self, limit: int) -> list[int]:
        return [row[0] // MINUTE for row in await newest(self.page, limit, self.most, MINUTE)]


@pytest.mark.parametrize(("limit", "asked"), [(1, 1), (100, 1), (101, 2), (250, 3), (300, 3)])
async def test_only_as_many_pages_as_needed_are_fetched(limit: int, asked: int) -> None:
    record = Record(999, 100)
    assert await record.newest(limit) == list(range(1000 - limit, 1000))
    assert record.asked == asked


async def test_candles_that_the_venue_does_not_have_are_left_out() -> None:
    """Some venues, for example, have no candles of minutes in which nothing was traded."""
    assert await Record(149, 100).newest(1000) == list(range(150))
    assert await Record(149, 100, missing=[120, 40]).newest(1000) == [n for n in range(150) if n not in (40, 120)]
    assert await Record(-1, 100).newest(10) == []


async def test_requests_end_although_a_venue_always_answers_with_its_newest_candles() -> None:
    record = Record(999, 100, stubborn=True)
    assert await record.newest(1000) == list(range(900, 1000))
    assert record.asked == 2


async def test_rows_that_are_not_candles_are_skipped() -> None:
    async def page(since: int | None, limit: int) -> list[Any]:
        return [None, [], ["x", 1], {"t": 1}, [None, 1], [MINUTE, 1]] if since is None else []

    assert await newest(page, 5, 10, MINUTE) == [[MINUTE, 1]]
