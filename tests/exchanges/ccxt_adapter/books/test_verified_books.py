"""Over a real socket, ccxt's books of OKX are delivered as long as each update is linked to the previous one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import WSMsgType, web

from exchanges.events import OrderBook
from tests.exchanges.support import Running, opened, served, streaming
from tests.venues import okx
from tests.venues.books import depth
from tests.venues.books.depth import Change, Depth
from tests.venues.wire import Wire

COINS = ("BTC", "ETH")


class Okx:
    """A server that answers subscriptions with the current book, and sends changes on request."""

    def __init__(self) -> None:
        self.script = depth.script("okx")
        self.books: dict[str, Depth] = {}
        self._changes: dict[str, Iterator[Change]] = {}
        self.subscriptions: list[tuple[str, str]] = []
        self._sockets: set[web.WebSocketResponse] = set()
        self._readers: set[str] = set()
        for coin in COINS:
            self.books[coin] = depth.first(coin)
            self._changes[coin] = depth.changes(self.books[coin], 200)

    async def rest(self, request: web.Request) -> web.Response:
        return web.json_response(okx.rest(request.path, request.query, Wire("okx", web.AppRunner(web.Application()))))

    async def stream(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self._sockets.add(socket)
        async for message in socket:
            if message.type is WSMsgType.TEXT and message.data != "ping":
                await self._asked(socket, json.loads(message.data))
        self._sockets.discard(socket)
        return socket

    async def _asked(self, socket: web.WebSocketResponse, request: dict[str, Any]) -> None:
        for arg in request["args"]:
            coin = arg["instId"].partition("-")[0]
            self.subscriptions.append((request["op"], coin))
            if request["op"] == "unsubscribe":
                self._readers.discard(coin)
                await socket.send_json({"event": "unsubscribe", "arg": arg, "connId": "a4d3ae55"})
            else:
                self._readers.add(coin)
                for frame in self.script.opening(self.books[coin]):
                    await socket.send_json(frame)

    async def change(self, coin: str, *, told: bool = True) -> None:
        """Send the next change of the coin's book."""
        change = next(self._changes[coin])
        self.books[coin] = change.after
        for frame in self.script.change(change) if told and coin in self._readers else ():
            await self.send(frame)

    async def send(self, frame: Any) -> None:
        for socket in self._sockets:
            await (socket.send_str(frame) if isinstance(frame, str) else socket.send_json(frame))


@asynccontextmanager
async def at_okx() -> AsyncIterator[tuple[Okx, Running]]:
    server = Okx()
    routes = web.get("/api/{path:.*}", server.rest), web.get("/ws/{path:.*}", server.stream)
    async with (
        served(*routes) as address,
        opened("okx", address) as venue,
        streaming(venue, COINS, ("books",)) as running,
    ):
        await running.until(lambda: {book.coin for book in running.heard.books} == set(COINS))
        yield server, running


def last(running: Running, coin: str) -> OrderBook:
    return next(book for book in reversed(running.heard.books) if book.coin == coin)


def is_true(running: Running, server: Okx, coin: str) -> bool:
    book, true = last(running, coin), server.books[coin]
    return book.bids == list(true.bids[:20]) and book.asks == list(true.asks[:20])


async def test_each_delivered_book_equals_the_book_of_the_venue() -> None:
    async with at_okx() as (server, running):
        for _ in range(15):
            for coin in COINS:
                await server.change(coin)
        await running.until(lambda: all(is_true(running, server, coin) for coin in COINS))
        assert last(running, "BTC").sequence == 7 * server.books["BTC"].number
        assert not running.heard.bad


async def test_a_missing_update_is_reported_and_only_its_book_is_synchronized_again() -> None:
    async with at_okx() as (server, running):
        told = len(running.heard.unsynced)
        await server.change("BTC", told=False)
        await server.change("BTC")
        await running.until(lambda: len(running.heard.unsynced) > told)
        assert "missing" in running.heard.unsynced[told][1]
        await running.until(lambda: is_true(running, server, "BTC"))
        await server.change("ETH")
        await server.change("BTC")
        await running.until(lambda: all(is_true(running, server, coin) for coin in COINS))
        assert {coin for coin, _ in running.heard.unsynced[told:]} == {"BTC"}
        assert {coin for op, coin in server.subscriptions if op == "unsubscribe"} == {"BTC"}
        assert not running.task.done()


async def test_a_frame_that_cannot_be_read_makes_the_books_unproven() -> None:
    async with at_okx() as (server, running):
        told = len(running.heard.unsynced)
        await server.send('{"arg":{"channel":"books","instId":"BTC-USDT"},"action":"upd')
        await running.until(lambda: len(running.heard.unsynced) >= told + 2)
        await running.until(lambda: all(is_true(running, server, coin) for coin in COINS))
        assert running.heard.bad


@pytest.mark.parametrize("side", ["bids", "asks"])
async def test_a_book_that_stays_crossed_is_not_delivered(side: str) -> None:
    async with at_okx() as (server, running):
        true = server.books["BTC"]
        beyond = true.asks[3][0] if side == "bids" else true.bids[3][0]
        row = {"asks": [], "bids": [], "ts": "1767000000001", "checksum": 0}
        row |= {"prevSeqId": 7 * true.number, "seqId": 7 * true.number + 1, side: [[str(beyond), "1", "0", "1"]]}
        told = len(running.heard.unsynced)
        await server.send({"arg": {"channel": "books", "instId": "BTC-USDT"}, "action": "update", "data": [row]})
        async with asyncio.timeout(10):
            await running.until(lambda: len(running.heard.unsynced) > told)
        assert "crossed" in running.heard.unsynced[told][1]
        await running.until(lambda: is_true(running, server, "BTC"))
        assert all(book.bids[0] < book.asks[0] for book in running.heard.books)
