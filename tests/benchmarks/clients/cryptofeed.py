"""cryptofeed's own Binance feed, started as in cryptofeed's README; it reads ``@aggTrade`` and requires uvloop."""

from __future__ import annotations

from typing import Any

from cryptofeed import FeedHandler, connection
from cryptofeed.connection import RestEndpoint, Routes, WebsocketEndpoint
from cryptofeed.defines import TRADES
from cryptofeed.exchanges import Binance

from tests.benchmarks.clients.tally import begin, take

place = begin()


dial = connection.connect


def plain(address: str, **named: Any) -> Any:
    """Dial a ws address on loopback; cryptofeed itself accepts only wss addresses."""
    return dial(address.replace("wss://", "ws://"), **named)


class Here(Binance):  # type: ignore[misc]  # cryptofeed has no types
    websocket_endpoints = (WebsocketEndpoint(place.ws_url.replace("ws://", "wss://")),)
    rest_endpoints = (RestEndpoint(place.rest_url, routes=Routes("/api/v3/exchangeInfo")),)


async def on_trade(trade: Any, receipt: float) -> None:
    take(trade.id)


connection.connect = plain
handler = FeedHandler(config={"log": {"disabled": True}})
symbols = [f"{coin}-USDT" for coin in place.coins]
handler.add_feed(Here(symbols=symbols, channels=[TRADES], callbacks={TRADES: on_trade}))
handler.run()
