"""Order books of each venue over its real ccxt.pro class: wrong books are never delivered."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest

from exchanges import Subscription
from exchanges.ccxt_adapter.venue import CcxtVenue
from exchanges.errors import Disconnected
from exchanges.events import OrderBook, Quote
from tests.exchanges.support import Heard, opened
from tests.support import until
from tests.venues import wire as scripts
from tests.venues.books import depth as book
from tests.venues.books.depth import Change, Depth
from tests.venues.wire import Wire, venue

COINS = ("BTC", "ETH")
VENUES = [name for name in book.names() if name in scripts.names()]
WHOLE = [name for name in VENUES if getattr(book.script(name), "WHOLE", False)]
CHECKED = [name for name in VENUES if "level" in book.script(name).NOTICES]
LINKED = [name for name in VENUES if "lost" in book.script(name).NOTICES and name != "bitfinex"]
LATE = [name for name in VENUES if "late" in book.script(name).NOTICES and name != "bitfinex"]
DEPTH = 20
ALONE = {"okx", "kucoin", "gate", "bitget", "kraken", "htx", "poloniex", "mexc", "cryptocom", "bybit_swap"}
"""Venues where one book can be requested again without the others."""


class Books:
    """A venue's true books, and the books that its connections deliver; ``ended`` has the errors of connections."""

    def __init__(self, name: str, wire: Wire) -> None:
        self.name = name
        self.wire = wire
        self.states: dict[str, list[Depth]] = {coin: [book.first(coin, wire.began)] for coin in COINS}
        self.heard = Heard()
        self.ended: list[Exception] = []
        wire.depths.update({coin: states[0] for coin, states in self.states.items()})

    async def carry(self, session: CcxtVenue, channels: Sequence[str]) -> None:
        """Connect, and connect again when a connection has ended."""
        await session.load()
        wanted = Subscription({coin: session.market(coin) for coin in COINS}, channels)
        while True:
            stream = session.connect(wanted, self.heard, lambda: None)
            try:
                await stream.run()
            except Disconnected as error:
                self.ended.append(error)
            finally:
                await stream.close()

    def changes(self, coin: str, count: int) -> list[Change]:
        """The next ``count`` changes of a coin's book."""
        made = list(book.changes(self.states[coin][-1], count))
        self.states[coin] += [change.after for change in made]
        return made

    async def change(self, coin: str, count: int = 1) -> None:
        await self.wire.change(*self.changes(coin, count))

    def of(self, coin: str) -> list[OrderBook]:
        return [each for each in self.heard.books if each.coin == coin]

    def is_now(self, coin: str) -> bool:
        """Whether the newest delivered book of the coin equals the venue's book."""
        told = self.of(coin)
        return bool(told) and sides(told[-1]) == top(self.states[coin][-1])

    def is_quoted(self, coin: str) -> bool:
        """Whether the newest quote equals the best levels of the venue's book."""
        told = [quote for quote in self.heard.quotes if quote.coin == coin]
        return bool(told) and quoted(told[-1]) == best(self.states[coin][-1])

    async def settled(self, coins: Collection[str] = COINS) -> None:
        """Wait until the newest states are delivered; make changes meanwhile, because some books join only at a
        change."""
        for _ in range(60):
            if all(self.is_now(coin) for coin in coins):
                return
            for coin in coins:
                await self.change(coin)
            with suppress(TimeoutError):
                await until(lambda: all(self.is_now(coin) for coin in coins), 0.3)
        told = {coin: len(self.of(coin)) for coin in coins}
        raise AssertionError(
            f"not delivered: {told} books, unsynced {self.heard.unsynced[-3:]}, bad {self.heard.bad[-3:]}, "
            f"ended {self.ended[-3:]}, asked {self.wire.requests[-4:]}, missing {self.wire.missing}"
        )

    def wrong(self) -> list[OrderBook]:
        """The delivered books that the venue never had. Bitfinex is not checked, because it sends each level of a
        change in a frame of its own."""
        if self.name == "bitfinex":
            return []
        true = {coin: [top(state) for state in states] for coin, states in self.states.items()}
        return [each for each in self.heard.books if sides(each) not in true[each.coin]]


def top(depth: Depth) -> tuple[Any, Any]:
    return list(depth.bids[:DEPTH]), list(depth.asks[:DEPTH])


def sides(told: OrderBook) -> tuple[Any, Any]:
    return told.bids, told.asks


@asynccontextmanager
async def carried(
    name: str, channels: Sequence[str] = ("books",), *, settled: bool = True, **options: Any
) -> AsyncIterator[Books]:
    """A venue with two subscribed books. Both are proven, except if ``settled`` is False: then the test waits for
    them."""
    async with venue(name) as wire:
        books = Books(name, wire)
        known = {**scripts.options(name), **options}
        kind = scripts.market_type(name)
        async with opened(
            scripts.venue_name(name), wire.address, market_type=kind, quote=scripts.quotes(name), options=known
        ) as session:
            carrying = asyncio.create_task(books.carry(session, channels))
            try:
                if not settled:
                    yield books
                    assert not carrying.done()
                    return
                await asyncio.wait(
                    {carrying, settling := asyncio.create_task(books.settled())}, return_when=asyncio.FIRST_COMPLETED
                )
                if carrying.done():
                    settling.cancel()
                    carrying.result()
                await settling
                yield books
                assert not carrying.done()
            finally:
                carrying.cancel()
                await asyncio.gather(carrying, return_exceptions=True)


@pytest.mark.parametrize("transport", ["aiohttp", "picows"])
@pytest.mark.parametrize("name", VENUES)
async def test_every_delivered_book_equals_the_book_of_the_venue(name: str, transport: str) -> None:
    async with carried(name, transport=transport) as books:
        for _ in range(9):
            for coin in COINS:
                await books.change(coin)
        await until(lambda: all(books.is_now(coin) for coin in COINS))
        assert not books.wrong()
        assert not books.heard.bad
        assert not books.ended
        assert {reason for _, reason in books.heard.unsynced} == {"its snapshot is awaited"}
        assert books.wire.violations == []


@pytest.mark.parametrize("name", LINKED)
async def test_a_lost_update_is_reported_and_the_book_is_synchronized_again(name: str) -> None:
    async with carried(name) as books:
        told = len(books.heard.unsynced)
        _lost, *rest = books.wire.told(books.changes("BTC", 3))
        for step in rest:
            for connection, frames in step:
                await connection.send(frames)
        await until(lambda: len(books.heard.unsynced) > told)
        await books.settled()
        assert not books.wrong()
        assert not books.heard.bad
        if name in ALONE:
            assert {coin for coin, _ in books.heard.unsynced[told:]} == {"BTC"}
            assert not books.ended


@pytest.mark.parametrize("name", VENUES)
async def test_a_repeated_update_changes_nothing(name: str) -> None:
    async with carried(name) as books:
        told = len(books.heard.unsynced)
        for coin in COINS:
            for step in books.wire.told(books.changes(coin, 4)):
                for connection, frames in step:
                    await connection.send([frame for each in frames for frame in (each, each)])
        await until(lambda: all(books.is_now(coin) for coin in COINS))
        await books.settled()
        assert len(books.heard.unsynced) == told
        assert not books.wrong()


@pytest.mark.parametrize("name", LATE)
async def test_an_update_that_comes_late_is_reported_and_makes_no_later_book_wrong(name: str) -> None:
    async with carried(name) as books:
        told = len(books.heard.unsynced)
        first, second, third, *_ = books.wire.told(books.changes("BTC", 3))
        for step in (second, first, third):
            for connection, frames in step:
                await connection.send(frames)
        await until(lambda: len(books.heard.unsynced) > told)
        wrong = books.wrong()  # books that were wrong before the late update came
        assert not wrong or name not in LINKED
        await books.settled()
        assert books.wrong() == wrong


@pytest.mark.parametrize("name", CHECKED)
async def test_a_wrong_size_is_reported_if_the_venue_has_a_checksum(name: str) -> None:
    async with carried(name) as books:
        told = len(books.heard.unsynced)
        [good] = books.changes("BTC", 1)
        await books.wire.change(replace(good, bids=((good.after.bids[0][0], 55.5), *good.bids[1:])))
        await until(lambda: len(books.heard.unsynced) > told)
        assert books.heard.unsynced[told][0] == "BTC"
        await books.settled()
        assert not books.wrong()


@pytest.mark.parametrize("name", WHOLE)
async def test_a_wrong_whole_book_is_replaced_by_the_next_book_over_the_same_connection(name: str) -> None:
    async with carried(name) as books:
        told = len(books.heard.unsynced)
        for _ in range(2):  # a book that is crossed for one update is tolerated
            [good] = books.changes("BTC", 1)
            crossed = ((good.after.asks[0][0] + 1, 1.0), *good.after.bids)
            await books.wire.change(replace(good, after=replace(good.after, bids=crossed)))
        await until(lambda: len(books.heard.unsynced) > told)
        await books.settled()
        assert not books.wrong()
        assert {coin for coin, _ in books.heard.unsynced[told:]} == {"BTC"}
        assert not books.ended


@pytest.mark.parametrize("name", [name for name in VENUES if name not in WHOLE])
async def test_an_update_that_cannot_be_read_makes_its_book_unproven(name: str) -> None:
    async with carried(name) as books:
        told = len(books.heard.unsynced)
        [step] = books.wire.told(books.changes("BTC", 1))
        for connection, frames in step:
            await connection.send([spoiled(frame) for frame in frames])
        await books.change("BTC", 2)
        await until(lambda: len(books.heard.unsynced) > told)
        await books.settled()
        assert not books.wrong()


def spoiled(frame: Any) -> Any:
    """The first half of the frame."""
    if isinstance(frame, bytes):
        packed = frame.startswith(b"\x1f\x8b")
        return gzip.compress(gzip.decompress(frame)[:-60]) if packed else frame[: len(frame) // 2]
    text = frame if isinstance(frame, str) else json.dumps(frame)
    return text[: len(text) // 2]


async def test_the_time_of_a_bitstamp_book_is_exact_to_the_millisecond() -> None:
    """ccxt takes the book's time in whole seconds, so a trade before the book would count as later than the book."""
    async with carried("bitstamp") as books:
        await books.change("BTC", 3)
        await until(lambda: books.is_now("BTC"))
        assert books.of("BTC")[-1].timestamp == books.states["BTC"][-1].timestamp


async def test_after_a_cut_connection_all_books_are_proven_again() -> None:
    async with carried("okx") as books:
        books.wire.cut()
        await until(lambda: bool(books.ended))
        assert {coin for coin, reason in books.heard.unsynced if reason == "the connection has ended"} == set(COINS)
        await books.settled()
        assert not books.wrong()


@pytest.mark.parametrize("name", ["bitstamp", "mexc"])
async def test_quotes_come_from_proven_books_if_the_venue_has_no_channel_of_quotes(name: str) -> None:
    async with venue(name) as wire:
        books = Books(name, wire)
        async with opened(name, wire.address, quote=scripts.quotes(name), options=scripts.options(name)) as session:
            carrying = asyncio.create_task(books.carry(session, ("quotes",)))
            try:
                for _ in range(40):
                    for coin in COINS:
                        await books.change(coin)
                    with suppress(TimeoutError):
                        await until(lambda: all(books.is_quoted(coin) for coin in COINS), 0.3)
                        break
                lost, after = wire.told(books.changes("BTC", 2))
                for connection, frames in after if name == "mexc" else [*lost, *after]:
                    await connection.send(frames)
                for _ in range(40):
                    await books.change("BTC")
                    with suppress(TimeoutError):
                        await until(lambda: books.is_quoted("BTC"), 0.3)
                        break
                assert books.is_quoted("BTC")
                true = {coin: [best(state) for state in states] for coin, states in books.states.items()}
                assert all(quoted(quote) in true[quote.coin] for quote in books.heard.quotes)
                assert not books.heard.books
                assert not books.heard.unsynced
                assert not books.heard.bad
            finally:
                carrying.cancel()
                await asyncio.gather(carrying, return_exceptions=True)


def best(depth: Depth) -> tuple[float, ...]:
    return *depth.bids[0], *depth.asks[0]


def quoted(quote: Quote) -> tuple[float, ...]:
    return quote.bid, quote.bid_size, quote.ask, quote.ask_size
