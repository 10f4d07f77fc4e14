"""The minimal reader (floor) that does this project's job: events, price cache, comparison of ids, two callbacks.

It does nothing else: there is no second exchange, no gap is filled, no silence is noticed, a bad frame ends the
program, and errors of callbacks are not caught.
"""

from __future__ import annotations

import asyncio
from time import time_ns
from typing import Any

from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from feed import PriceTick, TradeEvent
from tests.benchmarks.clients.binance_trade import decode
from tests.benchmarks.clients.tally import begin, take


def on_trade(trade: TradeEvent) -> None:
    take(trade.trade_id)


def on_price(tick: PriceTick) -> None: ...


class Reader(WSListener):
    def __init__(self, coins: dict[str, str]) -> None:
        self.coins = coins  # key: the venue's market id
        self.last_ids: dict[str, int] = {}
        self.prices: dict[str, PriceTick] = {}
        self.trade_callbacks: list[Any] = [on_trade]
        self.price_callbacks: list[Any] = [on_price]
        self.missing = 0

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.PING:
            transport.send_pong(frame.get_payload_as_bytes())
        elif frame.msg_type == WSMsgType.TEXT:
            raw = decode(frame.get_payload_as_memoryview())
            coin, number, now = self.coins[raw.s], raw.t, time_ns()
            expected = self.last_ids.get(coin, number - 1) + 1
            if number < expected:
                return  # a duplicate
            self.missing += number - expected
            self.last_ids[coin] = number
            trade = TradeEvent(coin, raw.p, raw.q, raw.m, raw.T, "binance", str(number), now)
            tick = self.prices[coin] = PriceTick(coin, raw.p, raw.T, 0.0, 0.0, "binance", now)
            for callback in self.trade_callbacks:
                callback(trade)
            for callback in self.price_callbacks:
                callback(tick)


async def main() -> None:
    place = begin()
    streams = "/".join(f"{coin}usdt@trade".lower() for coin in place.coins)
    coins = {f"{coin}USDT": coin for coin in place.coins}
    transport, _ = await ws_connect(lambda: Reader(coins), f"{place.ws_url}/ws/{streams}")
    await transport.wait_disconnected()


asyncio.run(main())
