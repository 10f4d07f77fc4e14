"""The minimal reader (floor) of a plain install: aiohttp reads, orjson decodes, each trade becomes a dataclass."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import aiohttp
import orjson

from tests.benchmarks.clients.tally import begin, take


@dataclass(slots=True)
class Trade:
    symbol: str
    price: float
    quantity: float
    sold: bool
    timestamp: int
    id: int


async def main() -> None:
    place = begin()
    streams = "/".join(f"{coin}usdt@trade".lower() for coin in place.coins)
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{place.ws_url}/ws/{streams}") as connection:
        async for message in connection:
            row = orjson.loads(message.data)
            trade = Trade(row["s"], float(row["p"]), float(row["q"]), row["m"], row["T"], row["t"])
            take(trade.id)


asyncio.run(main())
