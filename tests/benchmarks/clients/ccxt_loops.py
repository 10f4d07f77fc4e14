"""ccxt.pro as its manual shows it: a loop of ``watch_trades`` per market."""

from __future__ import annotations

import asyncio
from typing import Any

import ccxt.pro

from tests.addresses import pointed
from tests.benchmarks.clients.tally import begin, take


async def loop(exchange: Any, symbol: str) -> None:
    while True:
        for trade in await exchange.watch_trades(symbol):
            take(trade["id"])


async def main() -> None:
    place = begin()
    exchange = getattr(ccxt.pro, place.venue)({"options": {"fetchMarkets": {"types": ["spot"]}}})
    exchange.has["fetchCurrencies"] = False
    exchange.urls = pointed(exchange.urls, place.rest_url, place.ws_url)
    await exchange.load_markets()
    await asyncio.gather(*(loop(exchange, f"{coin}/USDT") for coin in place.coins))


asyncio.run(main())
