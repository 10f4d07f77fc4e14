"""Every moment lies in one candle of each timeframe."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchanges.recording import markets as archived
from feed.candles.builder import CandleBuilder
from feed.candles.tracker import CandleTracker
from feed.settings.schema import Timeframe
from feed.settings.timeframes import TIMEFRAMES, candle_open, next_open, timeframe_ms
from tests.feed.candles.support import MINUTE


def ms(*date: int) -> int:
    return int(datetime(*date, tzinfo=UTC).timestamp()) * 1000  # type: ignore[arg-type,misc] # a date's parts as given


def test_each_timeframe_has_its_length_in_milliseconds() -> None:
    assert timeframe_ms("1s") == 1_000
    assert timeframe_ms("1m") == MINUTE
    assert timeframe_ms("12h") == 12 * 60 * MINUTE
    assert timeframe_ms("3d") == 3 * 24 * 60 * MINUTE
    assert timeframe_ms("1w") == 7 * 24 * 60 * MINUTE


def test_each_timeframe_that_the_settings_or_the_archives_have_has_a_length() -> None:
    assert set(get_args(Timeframe)) | set(archived.TIMEFRAMES) <= set(TIMEFRAMES)


@pytest.mark.parametrize("unknown", ["", "2m", "1min", "M", None, []])
def test_the_error_for_an_unknown_timeframe_names_the_known_timeframes(unknown: Any) -> None:
    with pytest.raises(ValueError, match=r"known are 1s, 10s, 1m, 3m"):
        timeframe_ms(unknown)
    with pytest.raises(ValueError, match="unknown timeframe"):
        CandleTracker("BTC", unknown)
    with pytest.raises(ValueError, match="unknown timeframe"):
        CandleBuilder("BTC", unknown)


@given(st.integers(0, 4_000_000_000_000), st.sampled_from(sorted(TIMEFRAMES)))
def test_every_moment_lies_between_the_start_and_end_of_its_candle(moment: int, timeframe: str) -> None:
    opened = candle_open(moment, timeframe)
    assert opened <= moment < next_open(opened, timeframe)
    assert candle_open(opened, timeframe) == opened
    assert candle_open(next_open(opened, timeframe), timeframe) == next_open(opened, timeframe)


def test_weeks_start_on_monday_and_months_on_their_first_day() -> None:
    assert candle_open(ms(2024, 8, 8, 13), "1w") == ms(2024, 8, 5)
    assert candle_open(ms(2024, 8, 8, 13), "1M") == ms(2024, 8, 1)
    assert next_open(ms(2024, 2, 1), "1M") == ms(2024, 3, 1)
    assert next_open(ms(2024, 12, 1), "1M") == ms(2025, 1, 1)
