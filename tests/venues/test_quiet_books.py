"""Order books of coins with few updates or few levels are right, also if updates come before the snapshot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from tests.support import until
from tests.venues.books import depth as book
from tests.venues.books.depth import Change, Depth
from tests.venues.test_books import COINS, VENUES, Books, carried

FETCHED = [name for name in VENUES if hasattr(book.script(name), "rest")]
"""Venues whose snapshot comes over REST."""
PUSHED = [name for name in VENUES if name not in FETCHED and not getattr(book.script(name), "WHOLE", False)]
UNASKED = [name for name in PUSHED if name not in ("bitfinex", "htx")]
"""Venues whose first message may be an update. Bitfinex first names the channel; HTX's snapshot is requested."""
WHOLE = ["bitstamp", "kucoin", "mexc"]
"""Venues with a known largest number of levels in a snapshot from REST; Bitstamp's snapshot has all levels."""
first = book.first


def started(changed: Callable[[Depth], Depth]) -> Callable[..., Depth]:
    """The function ``first`` of the module ``depth``, with a changed book."""
    return lambda coin, timestamp=0: changed(first(coin, timestamp))


@pytest.mark.parametrize("name", FETCHED)
async def test_one_update_is_enough_for_the_book_of_a_quiet_coin(name: str) -> None:
    """ccxt itself awaits six updates before it fetches the snapshot. Bitstamp's snapshot is newer than the last
    update."""
    async with carried(name, settled=False) as books:
        await books.wire.until_asked({("books", coin) for coin in COINS})
        for coin in COINS:
            await books.change(coin)
        await until(lambda: all(books.is_now(coin) for coin in COINS))
        assert not books.wrong()
        assert not books.ended


@pytest.mark.parametrize("name", PUSHED)
async def test_the_book_of_a_coin_without_updates_is_delivered(name: str) -> None:
    async with carried(name, settled=False) as books:
        await until(lambda: all(books.is_now(coin) for coin in COINS))
        assert {reason for _, reason in books.heard.unsynced} == {"its snapshot is awaited"}
        assert not books.ended


@pytest.mark.parametrize("name", UNASKED)
async def test_updates_before_the_snapshot_do_no_harm(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    script = book.script(name)
    opening = script.opening

    def opened(depth: Depth) -> list[Any]:
        (price, size), *_ = depth.bids
        return [*script.change(Change(((price, size), (price - 9, 4.5)), (), depth)), *opening(depth)]

    monkeypatch.setattr(script, "opening", opened)
    async with carried(name) as books:
        for coin in COINS:
            await books.change(coin, 3)
        await until(lambda: all(books.is_now(coin) for coin in COINS))
        assert not books.wrong()
        assert not books.heard.bad
        assert not books.ended
        assert {reason for _, reason in books.heard.unsynced} == {"its snapshot is awaited"}


async def test_numbers_that_begin_again_are_reported_and_the_book_is_synchronized(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In an earlier version lower numbers counted as repeated: the book was no longer updated, and this was not
    reported."""
    monkeypatch.setattr(book, "first", started(partial(replace, number=1_000)))
    async with carried("kucoin") as books:
        await books.change("BTC", 2)
        told = len(books.heard.unsynced)
        books.states["BTC"].append(replace(books.states["BTC"][-1], number=3))
        await books.change("BTC", 2)
        await until(lambda: len(books.heard.unsynced) > told)
        await books.settled()
        assert not books.wrong()


@pytest.mark.parametrize("name", WHOLE)
async def test_a_book_with_few_levels_gets_the_levels_that_are_added_behind_its_last_level(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The snapshot has fewer levels than REST would send, so the venue has no further levels."""
    monkeypatch.setattr(book, "first", started(lambda depth: replace(depth, bids=depth.bids[:7], asks=depth.asks[:7])))
    async with carried(name) as books:
        await add_behind(books, "BTC")
        await until(lambda: books.is_now("BTC"))
        assert len(books.of("BTC")[-1].bids) == len(books.states["BTC"][-1].bids)
        assert not books.wrong()


@pytest.mark.parametrize("name", UNASKED)
async def test_a_book_of_two_levels_is_delivered(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """ccxt's module of Gemini takes a new book of two levels for a quote, so the book itself would lack them."""
    monkeypatch.setattr(book, "first", started(lambda depth: replace(depth, bids=depth.bids[:1], asks=depth.asks[:1])))
    async with carried(name, settled=False) as books:
        await until(lambda: all(books.is_now(coin) for coin in COINS))
        await add_behind(books, "BTC")
        await until(lambda: books.is_now("BTC"))
        assert not books.wrong()
        assert not books.ended


async def add_behind(books: Books, coin: str) -> None:
    """Add a level to each side, behind all others."""
    last = books.states[coin][-1]
    bids, asks = ((last.bids[-1][0] - 5, 2.5),), ((last.asks[-1][0] + 5, 3.5),)
    after = Depth(coin, last.number + 1, (*last.bids, *bids), (*last.asks, *asks), last.timestamp + 100)
    books.states[coin].append(after)
    await books.wire.change(Change(bids, asks, after))
