"""The timeframes of candles: their list, their lengths, and the open times of their candles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

_SECOND, _MINUTE, _HOUR, _DAY = 1_000, 60_000, 3_600_000, 86_400_000
_MONDAY = 4 * _DAY  # ms; the first Monday after the epoch: the epoch was a Thursday

TIMEFRAMES: Mapping[str, int] = {
    **{f"{count}s": count * _SECOND for count in (1, 10)},
    **{f"{count}m": count * _MINUTE for count in (1, 3, 5, 10, 15, 30)},
    **{f"{count}h": count * _HOUR for count in (1, 2, 3, 4, 6, 8, 12)},
    **{"1d": _DAY, "3d": 3 * _DAY, "1w": 7 * _DAY, "1M": 30 * _DAY},
}
"""The known timeframes with their length in ms; "1M" is a calendar month, whose length here is nominal."""


def timeframe_ms(timeframe: str) -> int:
    """The length of a candle in ms: 30 days for "1M", a calendar month. Raises ValueError for an unknown timeframe."""
    try:
        return TIMEFRAMES[timeframe]
    except (KeyError, TypeError):
        raise ValueError(f"unknown timeframe {timeframe!r}; known are {', '.join(TIMEFRAMES)}") from None


def candle_open(timestamp: int, timeframe: str) -> int:
    """The open time (ms) of the candle that ``timestamp`` (ms) falls into.

    Candles open in UTC: weeks start on Monday, months on their first day, and "3d" is counted from the epoch.
    """
    length = timeframe_ms(timeframe)
    if timeframe == "1M":
        return _month(_month_index(timestamp))
    origin = _MONDAY if timeframe == "1w" else 0
    return timestamp - (timestamp - origin) % length


def is_on_grid(opened: int, timeframe: str) -> bool:
    """Whether a candle can open at ``opened`` (ms).

    This must be a multiple of the candle's length, or of one hour if the candle is longer: some venues' days, weeks and
    half days begin at another hour than those of UTC.
    """
    return opened % min(timeframe_ms(timeframe), _HOUR) == 0


def next_open(opened: int, timeframe: str) -> int:
    """The open time (ms) of the candle after the one that opened at ``opened``."""
    length = timeframe_ms(timeframe)
    return _month(_month_index(opened) + 1) if timeframe == "1M" else opened + length


def _month_index(timestamp: int) -> int:
    moment = datetime.fromtimestamp(timestamp / 1000, UTC)
    return moment.year * 12 + moment.month - 1


def _month(index: int) -> int:
    return int(datetime(index // 12, index % 12 + 1, 1, tzinfo=UTC).timestamp()) * 1000


def between(earlier: int, later: int, timeframe: str, most: int) -> Iterator[int]:
    """The open times of the candles after ``earlier`` and before ``later``: at most the last ``most`` of them."""
    if timeframe != "1M":
        length = timeframe_ms(timeframe)
        # counted from the known candle, not from the epoch: some venues' days and weeks start at another time
        behind = earlier + max(0, (later - earlier - 1) // length - most) * length
    else:
        behind = earlier
    while (behind := next_open(behind, timeframe)) < later:
        yield behind


def last_over(opened: int, until: int, timeframe: str) -> int:
    """The open time of the last candle that has ended by ``until``, at least ``opened``."""
    if timeframe != "1M":
        length = timeframe_ms(timeframe)
        return opened + max(0, (until - opened) // length - 1) * length
    while next_open(next_open(opened, timeframe), timeframe) <= until:
        opened = next_open(opened, timeframe)
    return opened
