"""What a collector reports about its coins."""

from __future__ import annotations

from exchanges.bus.subjects import MarketSubjects
from feed import MarketFeed, Settings
from feed.settings import ExchangeConfig
from feed.sinks.bus.publication import Publication


def test_coins_without_data_are_listed_as_awaited() -> None:
    feed = MarketFeed(["BTC", "ETH"], settings=Settings(exchanges=[ExchangeConfig("binance")]))
    publication = Publication(feed, MarketSubjects("binance", "spot"), ["trades"], "one", consecutive=True)
    assert publication.register("1m")["awaited"] == ["BTC", "ETH"]
    publication.markets["BTC"] = "BTC/USDT"
    told = publication.register("1m")
    assert (told["coins"], told["awaited"]) == ({"BTC": "BTC/USDT"}, ["ETH"])
