"""This project as a reader of trades and prices; ``options`` are options of an exchange in settings.yaml."""

from __future__ import annotations

import asyncio

from feed import MarketFeed, Settings
from feed.events import CoinConfig, TradeEvent
from feed.settings import ExchangeConfig
from tests.benchmarks.clients.tally import begin, take


def on_trade(trade: TradeEvent) -> None:
    take(trade.trade_id)


async def main() -> None:
    place = begin()
    venue = ExchangeConfig(place.venue, rest_url=place.rest_url, ws_url=place.ws_url, **place.options)
    settings = Settings(coins=[CoinConfig(coin) for coin in place.coins], exchanges=[venue])
    feed = MarketFeed(settings=settings)
    feed.subscribe_trades(on_trade)
    feed.subscribe_price(lambda tick: None)
    async with feed:
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
