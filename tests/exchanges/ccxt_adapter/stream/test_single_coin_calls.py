"""Streams of a venue that has no profile of its own, and whose ccxt class subscribes to one coin per call."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import WSMsgType, web

from tests.exchanges.support import CHANNELS, Running, opened, served, streaming

# --- a venue without a profile of its own -----------------------------------------------------------------------------


class HashKey:
    """The parts of HashKey Global's public REST and streams that a feed needs, as documented.

    https://hashkeyglobal-apidoc.readme.io/reference/websocket-api#public-stream
    """

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.sockets: list[web.WebSocketResponse] = []
        self.routes = [
            web.get("/api/v1/exchangeInfo", self._info),
            web.get("/quote/ws/v1", self._stream),
        ]

    async def _info(self, request: web.Request) -> web.Response:
        symbols = [
            {
                "symbol": f"{coin}USDT", "symbolName": f"{coin}USDT", "status": "TRADING", "baseAsset": coin,
                "baseAssetPrecision": "0.00001", "quoteAsset": "USDT", "quotePrecision": "0.0000001",
                "filters": [
                    {"minPrice": "0.01", "maxPrice": "100000", "tickSize": "0.01", "filterType": "PRICE_FILTER"},
                    {"minQty": "0.00001", "maxQty": "8", "stepSize": "0.00001", "filterType": "LOT_SIZE"},
                    {"minNotional": "1", "filterType": "MIN_NOTIONAL"},
                ],
            }
            for coin in ("BTC", "ETH")
        ]  # fmt: skip
        return web.json_response({"timezone": "UTC", "symbols": symbols, "contracts": [], "coins": []})

    async def _stream(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets.append(socket)
        async for message in socket:
            if message.type is WSMsgType.TEXT and "symbol" in message.json():
                self.requests.append(message.json())
        return socket

    @property
    def topics(self) -> list[tuple[str, str]]:
        return sorted((request["symbol"], request["topic"]) for request in self.requests)

    async def send(self, topic: str, symbol: str, data: list[Any], **params: str) -> None:
        frame = {"symbol": symbol, "topic": topic, "params": params, "data": data, "f": False, "shared": False}
        for socket in self.sockets:
            await socket.send_json(frame)

    async def trades(self, symbol: str, ids: range) -> None:
        now = 1_722_866_228_000
        data = [{"v": str(i), "t": now + i, "p": "2340.41", "q": "0.0132", "m": i % 2 == 0} for i in ids]
        await self.send("trade", symbol, data)


@pytest.fixture
def hashkey() -> HashKey:
    return HashKey()


@pytest.fixture
async def hashkey_stream(hashkey: HashKey) -> AsyncIterator[Running]:
    async with (
        served(*hashkey.routes) as at,
        opened("hashkey", at) as venue,
        streaming(venue, ["BTC", "ETH"], CHANNELS) as running,
    ):
        await running.until(lambda: len(hashkey.requests) == 6)
        yield running


async def test_without_multi_symbol_calls_each_coin_is_subscribed_once(
    hashkey: HashKey, hashkey_stream: Running
) -> None:
    """All coins share one connection, and no coin is subscribed again, however much data comes."""
    expected = sorted((f"{coin}USDT", topic) for coin in ("BTC", "ETH") for topic in ("trade", "realtimes", "kline_1m"))
    assert hashkey.topics == expected
    await hashkey.trades("BTCUSDT", range(100))
    await hashkey_stream.until(lambda: len(hashkey_stream.heard.trades) == 100)
    assert hashkey.topics == expected
    assert len(hashkey.sockets) == 1


async def test_without_multi_symbol_calls_trades_come_once_and_in_order(
    hashkey: HashKey, hashkey_stream: Running
) -> None:
    """Frames have one trade or several, of two coins in turn; there are more trades than ccxt's own cache holds."""
    heard = hashkey_stream.heard
    for first in range(0, 3000, 30):
        await hashkey.trades("BTCUSDT", range(first, first + 1))
        await hashkey.trades("ETHUSDT", range(first, first + 30))
        await hashkey.trades("BTCUSDT", range(first + 1, first + 30))
    await hashkey_stream.until(lambda: len(heard.trades) == 6000)
    assert heard.ids("BTC") == heard.ids("ETH") == list(range(3000))
    assert {(t.exchange, t.price, t.quantity) for t in heard.trades} == {("hashkey", 2340.41, 0.0132)}
    assert all(trade.is_buyer_maker is (int(trade.trade_id) % 2 == 0) for trade in heard.trades)
    assert sum(map(len, hashkey_stream.exchange.trades.values())) == 2


async def test_without_multi_symbol_calls_tickers_and_candles_are_delivered(
    hashkey: HashKey, hashkey_stream: Running
) -> None:
    heard = hashkey_stream.heard
    day = {"t": 1722864411064, "s": "ETHUSDT", "c": "2195", "o": "2000", "v": "666.5", "qv": "1586902.75"}
    await hashkey.send("realtimes", "ETHUSDT", [day], realtimeInterval="24h")
    for minute, close in ((0, "1.1"), (0, "1.2"), (1, "1.3")):
        opened_at = 1722861660000 + 60_000 * minute
        kline = {"t": opened_at, "s": "BTCUSDT", "o": "1.0", "h": "2.0", "l": "0.5", "c": close, "v": "7"}
        await hashkey.send("kline", "BTCUSDT", [kline], klineType="1m")
    await hashkey_stream.until(lambda: len(heard.candles) == 3 and len(heard.tickers) == 1)
    (ticker,) = heard.tickers
    assert (ticker.coin, ticker.last, ticker.volume_24h) == ("ETH", 2195.0, 1586902.75)
    assert ticker.change_24h == pytest.approx(9.75)
    assert [(candle.close, candle.closed) for candle in heard.candles] == [(1.1, False), (1.2, False), (1.3, False)]
    assert heard.flagged == [False] * 3


async def test_without_multi_symbol_calls_a_bad_frame_does_not_end_the_stream(
    hashkey: HashKey, hashkey_stream: Running
) -> None:
    for socket in hashkey.sockets:
        await socket.send_str('{"symbol":"BTCUSDT","topic":"trade","data":[{"v":')
    await hashkey.send("trade", "BTCUSDT", [None])
    await hashkey.trades("BTCUSDT", range(5))
    await hashkey_stream.until(lambda: hashkey_stream.heard.ids("BTC") == list(range(5)))
    assert len(hashkey_stream.heard.bad) == 2
