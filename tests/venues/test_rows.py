"""An invalid row in each venue's own list of markets affects no other row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.venues.contract import session_at
from tests.venues.market import COINS
from tests.venues.wire import names, script, venue

BY_PLACE = ("hyperliquid",)  # a row's place is its id, so a bad row would give later rows wrong ids


def containers(answer: Any) -> Iterator[Any]:
    """Each list or dict in an answer in which most values are lists or dicts; it may be the answer itself."""
    if isinstance(answer, dict | list):
        values = list(answer.values()) if isinstance(answer, dict) else answer
        inner = [value for value in values if isinstance(value, dict | list)]
        if len(inner) > 1 and 2 * len(inner) > len(values):
            yield answer
        for value in inner:
            yield from containers(value)


def spoiled(answer: Any, bad: Any) -> Any:
    rows = max(containers(answer), key=len, default=None)
    if isinstance(rows, list):
        rows.insert(len(rows) // 2, bad)
    elif isinstance(rows, dict):
        rows["NONE"] = bad
    return answer


@pytest.mark.parametrize("bad", [None, "x", {}], ids=["null", "a text", "an empty object"])
@pytest.mark.parametrize("name", [name for name in names() if name not in BY_PLACE])
async def test_a_row_that_is_not_a_market_is_skipped_and_the_other_rows_are_used(
    name: str, bad: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = script(name).rest
    monkeypatch.setattr(script(name), "rest", lambda path, query, wire: spoiled(own(path, query, wire), bad))
    async with venue(name) as wire:
        session = session_at(wire)
        try:
            await session.load()
            assert all(session.market(coin) for coin in COINS)
        finally:
            await session.close()
