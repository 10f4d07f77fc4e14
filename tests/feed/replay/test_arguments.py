"""Arguments of a replay, in Python and in settings, and the errors for wrong arguments."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exchanges.events import TradeEvent
from feed import FeedError, MarketFeed, Settings, SettingsError
from feed.settings import RecordingConfig
from tests.feed.replay.support import START, priced, record, status, trade
from tests.recordings import Delivered, played


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"speed": 0}, "speed: found 0, allowed is a number above 0, or None"),
        ({"start": "yesterday"}, "start: found 'yesterday', allowed is Unix ms"),
        ({"start": START // 10**6 + 99_000}, "start: found 2025-11-28T00:01:39.000Z, allowed is a time from"),
        ({"start": START // 10**6 + 9_000, "end": START // 10**6}, "end: found 2025-11-28T00:00:00.000Z"),
        ({"coins": ["DOGE"]}, "coin: found 'DOGE', allowed are those of the recording: BTC, ETH"),
        ({"exchange": 5}, "exchange: found 5, allowed are those of the recording: one"),
        ({"exchange": "two"}, "exchange: found 'two', allowed are those of the recording: one"),
    ],
)
def test_the_error_for_a_wrong_argument_names_the_argument(arguments: dict[str, Any], told: str, minute: Path) -> None:
    with pytest.raises(SettingsError, match=told):
        MarketFeed.from_recording(minute, **arguments)


def test_the_error_names_a_folder_without_a_recording(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="holds no recording"):
        MarketFeed.from_recording(tmp_path)
    with pytest.raises(SettingsError, match="is no folder"):
        MarketFeed.from_recording(tmp_path / "nothing")
    record(tmp_path / "outage", [status("exhausted", 1, "failed", reason="no exchange works")])
    with pytest.raises(SettingsError, match="holds no market data"):
        MarketFeed.from_recording(tmp_path / "outage")
    for other in (5, None, b"ticks", ""):
        with pytest.raises(SettingsError, match=r"recording: found .*, allowed is the folder of a recording"):
            MarketFeed.from_recording(other)  # type: ignore[arg-type] # a user without mypy may pass it


async def test_times_and_speeds_may_be_numpy_numbers(minute: Path) -> None:
    start = np.int64(START // 10**6 + 9_000)
    feed = MarketFeed.from_recording(minute, start=start, speed=np.int64(2))  # type: ignore[arg-type] # from a data frame
    assert feed.now() == START / 1e9 + 9


def test_a_damaged_file_ends_a_replay_with_an_error_that_names_the_file(minute: Path) -> None:
    path = max(minute.glob("trades/*/BTC/*/*.parquet"))
    data = bytearray(path.read_bytes())
    data[4:204] = b"\xff" * 200
    path.write_bytes(data)
    with pytest.raises(FeedError, match=path.name):
        asyncio.run(played(minute))
    path.write_bytes(data[:200])
    with pytest.raises(SettingsError, match=path.name):
        MarketFeed.from_recording(minute)


async def test_the_settings_may_name_a_recording_in_place_of_exchanges(minute: Path, tmp_path: Path) -> None:
    """A program whose feed is made from settings can play a recording without a change of the program."""
    file = tmp_path / "settings.yaml"
    file.write_text(
        f"coins: [BTC, ETH, DOGE]\nrecording: {{folder: {minute}, speed: max, start: 2025-11-28T00:00:10Z}}\n"
    )
    feed = MarketFeed(settings=file)
    assert feed.now() == START / 1e9 + 10
    delivered = Delivered(feed)
    async with feed:
        await feed.wait_closed()
    assert delivered.of(TradeEvent) == (await played(minute)).of(TradeEvent)[10:]
    told = [details for event, details in delivered.of(tuple) if event == "coin_unavailable"]
    assert [(each["coin"], each["reason"]) for each in told] == [("DOGE", "the recording has no DOGE")]
    alone = MarketFeed(["btc"], settings=Settings(recording=RecordingConfig([str(minute)], speed="max")))
    assert [config.symbol for config in alone.coin_configs] == ["BTC"]


async def test_recordings_that_the_settings_name_are_merged_by_time_of_receipt(tmp_path: Path) -> None:
    for name, first in (("one", 0), ("two", 1)):
        record(tmp_path / name, priced([trade("BTC", n / 10, 100.0 + n, name) for n in range(first, 50, 2)]))
    folders = RecordingConfig([str(tmp_path / "one"), str(tmp_path / "two")], speed="max")
    feed = MarketFeed(settings=Settings(recording=folders))
    delivered = Delivered(feed)
    async with feed:
        await feed.wait_closed()
    assert [each.price for each in delivered.of(TradeEvent)] == [100.0 + n for n in range(50)]
    feed = MarketFeed(exchange="two", settings=Settings(recording=folders))
    assert feed.status.exchange in ("", "two")
    with pytest.raises(SettingsError, match="exchange: found 'kraken', allowed are those of the recording: one, two"):
        MarketFeed(exchange="kraken", settings=Settings(recording=folders))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "recording: {folder: []}",
            "recording.folder: found [], allowed is the folder of a recording, or a list of them",
        ),
        ("recording: {speed: 2}", "recording.folder: found nothing"),
        (
            "recording: {folder: ticks, speed: fast}",
            "recording.speed: found 'fast', allowed is a factor above 0, or max",
        ),
        ("recording: {folder: ticks, speed: 0}", "recording.speed: found 0, allowed is a factor above 0, or max"),
        ("recording: {folder: ticks, sped: 1}", "nearest is speed"),
        ("recording: nowhere", "recording: nowhere is no folder"),
        ("recording: MINUTE\nbus: nats://127.0.0.1:4222", "found both a recording and a bus"),
        (
            "recording: MINUTE\ncoins: [DOGE]",
            "coins: found no coin of the recording in the settings, allowed are BTC, ETH",
        ),
        ("recording: {folder: MINUTE, start: noon}", "start: found 'noon', allowed is Unix ms"),
    ],
)
def test_the_error_for_a_wrong_setting_of_a_recording_names_the_setting(text: str, told: str, minute: Path) -> None:
    file = minute / "settings.yaml"
    file.write_text(text.replace("MINUTE", str(minute)))
    with pytest.raises(SettingsError) as raised:
        MarketFeed(settings=file)
    assert told in str(raised.value)
