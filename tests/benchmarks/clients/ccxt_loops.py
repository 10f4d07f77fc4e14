"""ccxt.pro as its manual shows it: a loop of ``watch_trades`` per market."""

from __future__ import annotations

import asyncio
from typing import Any

import ccxt.pro

from exchanges.fence import redirect

from .tally import Place, begin, take


def pointed(urls: Any, place: Place) -> Any:
    """ccxt's table of addresses with every scheme and host replaced."""
    if isinstance(urls, dict):
        return {key: pointed(each, place) for key, each in urls.items()}
    if not isinstance(urls, str):
        return urls
    return redirect(urls, place.ws_url if urls.startswith("ws") else place.rest_url)


async def loop(exchange: Any, symbol: str) -> None:
    while True:
        for trade in await exchange.watch_trades(symbol):
            take(trade["id"])


async def main() -> None:
    place = begin()
    exchange = getattr(ccxt.pro, place.venue)({"options": {"fetchMarkets": {"types": ["spot"]}}})
    exchange.has["fetchCurrencies"] = False
    exchange.urls = pointed(exchange.urls, place)
    await exchange.load_markets()
    await asyncio.gather(*(loop(exchange, f"{coin}/USDT") for coin in place.coins))


asyncio.run(main())
