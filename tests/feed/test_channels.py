"""Every part of the feed takes a channel's names, types and defaults from one table of channels."""

from __future__ import annotations

from typing import Any

import pytest

from feed import MarketFeed, Settings
from feed.channels import CHANNELS, OF_VENUES, PRICES
from feed.settings import ExchangeConfig
from feed.sinks.server.messages import EVENT_TYPES


def feed(*channels: str) -> MarketFeed:
    return MarketFeed(["BTC"], settings=Settings(exchanges=[ExchangeConfig("binance")], channels=list(channels)))


@pytest.mark.parametrize("name", CHANNELS)
def test_every_channel_can_be_subscribed_to_by_its_name(name: str) -> None:
    seen: list[Any] = []
    handle = feed("trades").subscribe(name, seen.append)
    assert handle.active
    assert handle.channel.partition(":")[0] == name


@pytest.mark.parametrize("name", OF_VENUES)
def test_every_channel_of_the_settings_can_be_observed(name: str) -> None:
    feed("trades").observe(name, lambda events, times: None).cancel()


def test_the_error_for_an_unknown_channel_names_the_known_channels() -> None:
    with pytest.raises(ValueError, match="'price'; allowed are prices, trades, "):
        feed("trades").subscribe("price", print)


def test_prices_need_no_channel_of_their_own() -> None:
    """Prices come from trades or tickers; if the settings have neither channel, the feed subscribes to tickers."""
    for channels, wanted in ((["trades"], ["trades"]), (["quotes"], ["quotes", "ticker"])):
        asked = feed(*channels)
        asked.subscribe(PRICES.name, print)
        assert asked._wanted.channels == wanted


def test_without_an_argument_candles_have_the_timeframe_of_the_settings() -> None:
    settings = Settings(exchanges=[ExchangeConfig("binance")], candle_timeframe="5m")
    assert MarketFeed(["BTC"], settings=settings).subscribe("candles", print).channel == "candles:5m"


def test_json_and_server_use_the_same_name_for_an_event() -> None:
    assert {channel.json_type for channel in CHANNELS.values()} == set(EVENT_TYPES.values()) - {"status"}
