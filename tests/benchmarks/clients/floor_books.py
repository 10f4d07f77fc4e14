"""The minimal reader (floor) that does this project's job with order books on Binance, and does nothing else.

It reads with picows, decodes with msgspec, keeps the sides of the books, compares the update numbers, and makes the
events. A missing diff ends the program, no book is renewed or checked, no connection is dialled again, and errors of
callbacks are not caught.
"""

from __future__ import annotations

import asyncio
import json
from time import time_ns
from typing import Protocol

import aiohttp
import msgspec
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from exchanges.books.order_book import LocalBook
from feed import OrderBook, TradeEvent
from tests.benchmarks.clients.binance_trade import decode as decode_trade

DEPTH = 20
PAUSE = 0.1  # seconds before a snapshot that was too old is requested again


class Diff(msgspec.Struct, gc=False):
    s: str
    E: int
    U: int
    u: int
    b: list[tuple[float, float]]
    a: list[tuple[float, float]]


class Snapshot(msgspec.Struct, gc=False):
    lastUpdateId: int
    bids: list[tuple[float, float]]
    asks: list[tuple[float, float]]


decode_diff = msgspec.json.Decoder(Diff, strict=False).decode
decode_snapshot = msgspec.json.Decoder(Snapshot, strict=False).decode


class Callbacks(Protocol):
    def on_book(self, book: OrderBook) -> None: ...

    def on_trade(self, trade: TradeEvent) -> None: ...


class Reader(WSListener):
    """Reads both connections; a book exists when its snapshot has come."""

    def __init__(self, coins: dict[str, str], callbacks: Callbacks) -> None:
        self.coins = coins  # key: the venue's market id
        self.callbacks = callbacks
        self.books: dict[str, LocalBook] = {}
        self.last: dict[str, int] = {}
        # diffs that came before the snapshot
        self.early: dict[str, list[Diff]] = {market_id: [] for market_id in coins}

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.PING:
            transport.send_pong(frame.get_payload_as_bytes())
        elif frame.msg_type == WSMsgType.TEXT:
            text, now = frame.get_payload_as_memoryview(), time_ns()
            kind = text[6]  # the text begins with {"e":"trade" or {"e":"depthUpdate"
            if kind == ord("t"):
                trade = decode_trade(text)
                market = self.coins[trade.s]
                event = TradeEvent(market, trade.p, trade.q, trade.m, trade.T, "binance", str(trade.t), now)
                self.callbacks.on_trade(event)
            elif kind == ord("d"):
                self.on_diff(decode_diff(text), now)

    def on_diff(self, diff: Diff, now: int) -> None:
        market_id = diff.s
        book = self.books.get(market_id)
        if book is None:
            self.early[market_id].append(diff)
            return
        assert self.last[market_id] + 1 >= diff.U, "a diff is missing"
        self.last[market_id] = diff.u
        book.apply(diff.b, diff.a)
        bids, asks = book.bids.top(DEPTH), book.asks.top(DEPTH)
        self.callbacks.on_book(OrderBook(self.coins[market_id], bids, asks, diff.E, "binance", now, diff.u, market_id))

    def joins(self, market_id: str, snapshot: Snapshot) -> bool:
        """Make the book from a snapshot and the diffs so far; False if the snapshot is too old, or no diff has come."""
        early, last = self.early[market_id], snapshot.lastUpdateId
        if not early or last + 1 < early[0].U:
            return False
        book = LocalBook()
        book.replace(snapshot.bids, snapshot.asks, whole=(False, False))
        for diff in early:
            if diff.u > last:
                book.apply(diff.b, diff.a)
                last = diff.u
        self.books[market_id], self.last[market_id] = book, last
        return True


async def connect(coins: list[str], rest_url: str, ws_url: str, callbacks: Callbacks) -> list[WSTransport]:
    """Subscribe to the trades and the books of these coins; returns the connections when all books exist."""
    ids = {f"{coin}USDT": coin for coin in coins}
    reader, transports = Reader(ids, callbacks), []
    for kind in ("trade", "depth@100ms"):
        transport, _ = await ws_connect(lambda: reader, f"{ws_url}/ws")
        streams = [f"{market_id.lower()}@{kind}" for market_id in ids]
        transport.send(WSMsgType.TEXT, json.dumps({"method": "SUBSCRIBE", "params": streams, "id": 1}).encode())
        transports.append(transport)
    async with aiohttp.ClientSession() as session:
        for market_id in ids:
            while market_id not in reader.books:
                async with session.get(f"{rest_url}/api/v3/depth?symbol={market_id}&limit=1000") as answer:
                    if not reader.joins(market_id, decode_snapshot(await answer.read())):
                        await asyncio.sleep(PAUSE)
    return transports
