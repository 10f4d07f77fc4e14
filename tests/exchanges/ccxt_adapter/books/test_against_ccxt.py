"""This project's own books and ccxt's books get the same frames, and all their levels must be equal each time."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from exchanges.books.delta_book import DeltaBook
from exchanges.books.diff_book import DiffBook
from exchanges.books.proof import BookUpdate, OwnBook, OwnBooks, Step
from exchanges.simulator import Simulator
from exchanges.venues.binance_books import SPOT
from exchanges.venues.binance_frames import BINANCE
from exchanges.venues.bybit_books import BOOKS
from exchanges.venues.bybit_frames import BYBIT
from exchanges.venues.fast_decoder import FrameTable
from tests.book_captures import lines_of
from tests.simulator.client import dial, get, until
from tests.simulator.test_ccxt import connected
from tests.support import CCXT_ALONE
from tests.test_captures import FILES

pytestmark = CCXT_ALONE

SYMBOL = "BTC/USDT"


def decoded(table: FrameTable, text: str) -> BookUpdate:
    kinds = [kind for kind in table.kinds[text[table.at]] if kind.makes is BookUpdate]
    frame: Any = kinds[0].decode(text)
    update: BookUpdate = frame.event(None, 0)
    return update


class Ccxts:
    """The book of a ccxt.pro instance that gets frames from the test and has no connection.

    ``window``: the venue sends changes only of this many best levels. ccxt also keeps levels outside of these, which
    become outdated. This class removes them, because they would be the best levels when the price returns to them.
    """

    def __init__(self, exchange: Any, url: str, window: int | None = None) -> None:
        self._exchange = exchange
        self._window = window
        self._client = exchange.client(url)

    def begin(self, snapshot: dict[str, Any]) -> None:
        """Do what ccxt does when the REST snapshot has come."""
        book = self._exchange.order_book({}, 5_000)
        book.reset(self._exchange.parse_order_book(snapshot, SYMBOL))
        book["nonce"] = snapshot["lastUpdateId"]
        self._exchange.orderbooks[SYMBOL] = book

    def take(self, text: str) -> None:
        self._exchange.handle_message(self._client, json.loads(text))
        for side in ("bids", "asks") if self._window else ():
            levels = self._exchange.orderbooks[SYMBOL][side]
            for price, _ in list(levels[self._window :]):
                levels.store(price, 0)

    def top(self, side: str, depth: int) -> list[tuple[float, float]]:
        return [(level[0], level[1]) for level in self._exchange.orderbooks[SYMBOL][side][:depth]]


def compared(texts: list[str], table: FrameTable, book: Any, ccxts: Ccxts) -> int:
    """The number of proven states; asserts that each equals ccxt's book."""
    count = 0
    for text in texts:
        ccxts.take(text)
        verdict = book.apply(decoded(table, text))
        if not book.proven:
            assert verdict.step in (Step.WAITING, Step.LOST)
            continue
        for name, side in (("bids", book.levels.bids), ("asks", book.levels.asks)):
            own = side.top(50)
            assert own, name
            assert own == ccxts.top(name, len(own)), (name, book.sequence)
        count += 1
    return count


async def frames(simulator: Simulator, stream: str, count: int, path: str, is_book: Callable[[str], bool]) -> list[str]:
    async with dial(simulator, path) as client:
        await client.subscribe(stream)
        await until(lambda: sum(map(is_book, client.frames)) >= count, 30)
        return [text for text in client.frames if is_book(text)]


async def test_our_binance_book_equals_the_book_of_ccxt() -> None:
    async with Simulator(venues=("binance",), rate=300) as simulator, connected(simulator, "binance") as exchange:
        await exchange.load_markets()
        async with dial(simulator) as client:
            await client.subscribe("btcusdt@depth@100ms")
            await until(lambda: any("depthUpdate" in text for text in client.frames))
            snapshot = await get(simulator, "/api/v3/depth", symbol="BTCUSDT", limit=1000)
            await until(lambda: sum("depthUpdate" in text for text in client.frames) >= 40, 30)
            texts = [text for text in client.frames if "depthUpdate" in text]
        ccxts = Ccxts(exchange, simulator.ws_url)
        assert against_ccxt(texts, snapshot, ccxts) > 20


def against_ccxt(texts: list[str], snapshot: dict[str, Any], ccxts: Ccxts) -> int:
    own: OwnBooks | None = SPOT.own
    assert own is not None
    assert own.snapshots is not None
    number = snapshot["lastUpdateId"]
    later = [text for text in texts if json.loads(text).get("u", 0) > number]
    book: OwnBook = DiffBook(20, (1_000,))
    ccxts.begin(snapshot)
    assert book.join(own.snapshots.read(snapshot, len(snapshot["bids"]))).step is Step.WAITING
    return compared(later, BINANCE, book, ccxts)


async def test_our_bybit_book_equals_the_book_of_ccxt() -> None:
    async with Simulator(venues=("bybit",), rate=300) as simulator, connected(simulator, "bybit") as exchange:
        await exchange.load_markets()
        stream = "orderbook.50.BTCUSDT"
        texts = await frames(simulator, stream, 60, "/v5/public/spot", lambda text: f'"topic":"{stream}"' in text)
        assert BOOKS.own is not None
        ccxts = Ccxts(exchange, f"{simulator.ws_url}/v5/public/spot", 50)
        assert compared(texts, BYBIT, DeltaBook(50), ccxts) == len(texts)


async def test_our_book_of_a_captured_day_equals_the_book_of_ccxt() -> None:
    path = FILES["BTC"][0]
    if not path.exists():
        pytest.skip(f"not in ../shared/captures: {path.name}")
    async with Simulator(venues=("binance",), rate=0) as simulator, connected(simulator, "binance") as exchange:
        await exchange.load_markets()
        parsed = [json.loads(text) for text in lines_of(path)]
        snapshot = next(frame for frame in parsed if "lastUpdateId" in frame)
        depth = [frame["data"] for frame in parsed if "depth" in frame.get("stream", "")]
        texts = [json.dumps(data, separators=(",", ":")) for data in depth]
        assert against_ccxt(texts, snapshot, Ccxts(exchange, simulator.ws_url)) > 3_000
