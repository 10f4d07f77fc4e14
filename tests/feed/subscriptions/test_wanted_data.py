"""What the feed subscribes to at the venues, computed from its subscribers' channels and timeframes."""

from __future__ import annotations

from dataclasses import replace

from feed.channels import CANDLES, PRICES, TRADES
from feed.subscriptions.wanted_data import WantedData


def test_a_channel_with_several_subscribers_is_wanted_once() -> None:
    wanted = WantedData([])
    assert [wanted.add(TRADES), wanted.add(TRADES), wanted.add(PRICES)] == [True, False, False]
    assert wanted.channels == ["trades"]


def test_each_new_timeframe_is_an_additional_request() -> None:
    wanted = WantedData([], {"candles": "5m"})
    assert [wanted.add(CANDLES), wanted.add(CANDLES, "5m"), wanted.add(CANDLES, "1m")] == [True, False, True]
    assert wanted.timeframes == ["5m", "1m"]


def test_other_coins_are_wanted_with_the_same_channels_and_timeframes() -> None:
    wanted = WantedData([], {"candles": "1m"})
    wanted.add(CANDLES, "5m")
    others = replace(wanted, coins=[])
    wanted.add(TRADES)
    assert (others.channels, others.timeframes) == (["candles", "trades"], ["5m"])
