"""The venue that all readers read: the simulator's REST and subscriptions, and frames rendered before they are sent.

``python -m tests.benchmarks.sender VENUE`` prints its addresses, says ``subscribed`` once every coin has a reader,
and then does what each line on stdin says: ``TRADES RATE`` sends that many trades, RATE of them per second (0: as fast
as the sockets take them), and is answered by one line: the ids in the order sent, and when each was written. The
prices walk at random; the ids of a coin count up by one, and no id belongs to two coins.
"""

from __future__ import annotations

import asyncio
import gc
import json
import random
import sys
import time
from dataclasses import dataclass

from exchanges.simulator import Simulator
from exchanges.simulator.connections.client_connection import ClientConnection
from exchanges.simulator.connections.websocket_frames import text_frame
from exchanges.simulator.markets.catalog import DEFAULT_COINS
from tests.benchmarks.frames import WIRES, Trade

APART = 10**9  # distance between the ids of two coins
BLOCK = 256  # trades per write at full speed
NAP = 200_000  # ns: the sender sleeps only if the next frame is due later than this


@dataclass(frozen=True, slots=True)
class Rendered:
    id: int
    frames: list[tuple[ClientConnection, bytes]]


class Sender:
    """Renders and sends the trades of one simulated venue."""

    def __init__(self, simulator: Simulator, venue: str) -> None:
        self._venue, self._wire = simulator[venue], WIRES[venue]
        self._draw = random.Random(1)
        self._next = {coin: (i + 1) * APART for i, coin in enumerate(DEFAULT_COINS)}
        self._ticks = {coin: round(price * 100) for coin, (price, _) in DEFAULT_COINS.items()}

    def _readers(self, coin: str) -> list[tuple[str, ClientConnection]]:
        topics = (self._venue.topics.get(stream) for stream in self._wire.streams(f"{coin}USDT"))
        return [(topic.stream, reader) for topic in topics if topic is not None for reader in topic.subscribers]

    async def subscribed(self) -> None:
        while not all(map(self._readers, DEFAULT_COINS)):  # noqa: ASYNC110 - no event can be awaited here
            await asyncio.sleep(0.02)

    def _render(self, coin: str, now: int) -> Rendered:
        number = self._next[coin]
        self._next[coin] = number + 1
        ticks = self._ticks[coin] = max(1, self._ticks[coin] + self._draw.randint(-3, 3))
        price, quantity = f"{ticks / 100:.8f}", f"{self._draw.randint(1, 10**6) / 1e5:.8f}"
        trade = Trade(f"{coin}USDT", number, price, quantity, self._draw.random() < 0.5, now)
        readers = self._readers(coin)
        texts = (self._wire.text(trade, stream, connection.combined) for stream, connection in readers)
        frames = [(connection, text_frame(text)) for (_, connection), text in zip(readers, texts, strict=True)]
        return Rendered(number, frames)

    async def send(self, trades: int, rate: float) -> dict[str, list[int]]:
        first = time.time_ns() // 1_000_000
        coins = self._draw.choices(list(DEFAULT_COINS), k=trades)
        made = [self._render(coin, first + int(1000 * i / rate if rate else i / 50)) for i, coin in enumerate(coins)]
        gc.collect()
        gc.freeze()
        sent = await (self._paced(made, rate) if rate else self._flood(made))
        return {"ids": [trade.id for trade in made], "sent": sent}

    async def _flood(self, trades: list[Rendered]) -> list[int]:
        sent: list[int] = []
        for start in range(0, len(trades), BLOCK):
            block = trades[start : start + BLOCK]
            for trade in block:
                for connection, frame in trade.frames:
                    connection.pending.append(frame)
            sent += [time.perf_counter_ns()] * len(block)
            for reader in self._venue.connections:
                reader.flush()
                await reader.drain()
            await asyncio.sleep(0)
        return sent

    async def _paced(self, trades: list[Rendered], rate: float) -> list[int]:
        sent: list[int] = []
        start, gap = time.perf_counter_ns(), 1e9 / rate
        for i, trade in enumerate(trades):
            due = start + round(i * gap)
            if i % 64 == 0:
                await asyncio.sleep(0)  # in this moment, pings are answered and unsent bytes are sent
            while (now := time.perf_counter_ns()) < due:
                if due - now > NAP:
                    time.sleep((due - now - NAP / 2) / 1e9)  # noqa: ASYNC251  # the loop's own sleep is 1 ms at least
            sent.append(time.perf_counter_ns())
            for connection, frame in trade.frames:
                connection.pending.append(frame)
                connection.flush()
        return sent


async def main(venue: str) -> None:
    async with Simulator(venues=(venue,), rate=0, laws=False) as simulator:
        print(json.dumps([simulator.rest_url, simulator.ws_url, list(DEFAULT_COINS)]), flush=True)
        sender = Sender(simulator, venue)
        await sender.subscribed()
        print(json.dumps("subscribed"), flush=True)
        lines = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
        while line := await lines.readline():
            trades, rate = line.split()
            print(json.dumps(await sender.send(int(trades), float(rate))), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
