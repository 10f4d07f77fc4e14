"""In ccxt's own classes, updates join a snapshot that ccxt has fetched over REST."""

from __future__ import annotations

import asyncio
from typing import Any

from exchanges import Access
from exchanges.ccxt_adapter.instance import close_instance, make_instance
from exchanges.venues.find import profile_of
from tests.support import until


def instance(name: str) -> Any:
    return make_instance(profile_of(name), Access())


def mexc(first: int, last: int, price: str) -> dict[str, Any]:
    return {"fromVersion": str(first), "toVersion": str(last), "bids": [{"price": price, "quantity": "2"}]}


def bitstamp(number: int, price: str) -> dict[str, Any]:
    return {"timestamp": "1583656800", "microtimestamp": str(number), "bids": [[price, "2"]], "asks": []}


def joined(exchange: Any, nonce: int, cache: list[Any]) -> Any:
    book = exchange.order_book({})
    book.reset({"bids": [[5.0, 1.0]], "asks": [[6.0, 1.0]], "nonce": nonce})
    place = exchange.get_cache_index(book, cache)
    assert place >= 0
    exchange.handle_book_deltas(book, cache[place:])
    return book


def test_an_update_that_overlaps_mexcs_snapshot_is_applied() -> None:
    """Without our correction, ccxt compares only an update's first version, and skips this update."""
    cache = [mexc(1, 3, "4.1"), mexc(4, 6, "4.2"), mexc(7, 9, "4.3")]
    exchange = instance("mexc")
    book = joined(exchange, 5, cache)
    assert [level[0] for level in book["bids"]] == [5.0, 4.3, 4.2]
    assert book["nonce"] == 9
    exchange.handle_book_delta(book, mexc(7, 9, "4.4"))  # a repeated update
    exchange.handle_book_delta(book, mexc(10, 12, "4.5"))
    assert [level[0] for level in book["bids"]] == [5.0, 4.5, 4.3, 4.2]
    assert book["nonce"] == 12


def test_bitstamps_updates_are_applied_even_if_none_has_the_snapshots_time() -> None:
    """Without our correction, ccxt skips all updates if none of them has exactly the snapshot's time."""
    cache = [bitstamp(100, "4.1"), bitstamp(200, "4.2"), bitstamp(300, "4.3")]
    book = joined(instance("bitstamp"), 150, cache)
    assert [level[0] for level in book["bids"]] == [5.0, 4.3, 4.2]
    assert book["nonce"] == 300


def test_a_snapshot_from_before_the_first_update_joins_nothing() -> None:
    for name, cache in (("mexc", [mexc(7, 9, "4.3")]), ("bitstamp", [bitstamp(100, "4.1")])):
        exchange = instance(name)
        book = exchange.order_book({})
        book.reset({"nonce": 5})
        assert exchange.get_cache_index(book, cache) == -1


def test_the_public_channel_of_coinbase_exchange_is_requested_without_a_key() -> None:
    exchange = instance("coinbaseexchange")
    assert exchange.authenticate() == {}
    assert exchange.profile.books.params == {"channels": ["level2_batch"]}


async def test_delayed_calls_of_ccxt_do_nothing_on_a_closed_instance() -> None:
    """ccxt's HTX module requests a snapshot again after a second. On a closed instance this would open a session."""
    exchange, done = instance("htx"), []

    async def note(text: str) -> None:
        done.append(text)

    exchange.open()
    exchange.delay(0, note, "open")
    await until(lambda: done == ["open"])
    await close_instance(exchange)
    exchange.delay(0, note, "closed")
    later = asyncio.Event()
    exchange.asyncio_loop.call_later(0, later.set)
    await later.wait()
    await asyncio.sleep(0)
    assert done == ["open"]
