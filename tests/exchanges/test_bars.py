"""A venue's bars over all its connections."""

from __future__ import annotations

import asyncio
from typing import Any

from exchanges.bars import AT_ONCE, Bars
from exchanges.events import Candle

MINUTE = 60_000
OPENED = 1_700_000_040_000


async def test_an_outage_of_all_coins_is_not_a_burst_of_requests() -> None:
    """Every bar that it tore is asked for and closed, a few at a time."""
    coins = {f"{coin}/USDT": coin for coin in (f"C{n}" for n in range(40))}
    under_way, most, mended = 0, 0, list[Candle]()
    done = asyncio.Event()

    async def fetch(symbol: str, timeframe: str, since: int) -> list[Any]:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        for _ in range(3):
            await asyncio.sleep(0)
        under_way -= 1
        return [[since, 1.0, 1.0, 1.0, 1.0, 5.0]]

    def deliver(candle: Candle) -> None:
        mended.append(candle)
        if len(mended) == len(coins):
            done.set()

    bars = Bars("a venue", fetch, deliver)
    for opened in (OPENED, OPENED + MINUTE):  # a connection each: the first one does not see its bar's end
        bars.begin(coins, ["1m"], {}, native=True)
        for symbol in coins:
            bars.on_row(symbol, "1m", [opened, 1.0, 1.0, 1.0, 1.0, 1.0], 0, False)
    async with asyncio.timeout(10):
        await done.wait()
    assert most == AT_ONCE
    assert {(bar.coin, bar.timestamp, bar.volume, bar.closed) for bar in mended} == {
        (coin, OPENED, 5.0, True) for coin in coins.values()
    }
    await bars.end()
