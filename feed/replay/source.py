"""The recordings to play: one or several, from a start to an end, at a speed."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from numbers import Integral, Real
from typing import TYPE_CHECKING

from loguru import logger

from exchanges.events import Candle
from feed.errors import SettingsError
from feed.replay.recorded_clock import RecordedClock
from feed.replay.recorded_status import RecordedBreaker

if TYPE_CHECKING:
    from exchanges.recording.captures import CapturedEvents
    from exchanges.recording.reader import Recording, Rows, RowSelection
    from feed.settings.schema import Settings

Folder = str | os.PathLike[str]
Moment = int | float | str | datetime
DAY = 86_400 * 10**9  # ns; at the replay's start, the candles of the day before it are known


class ReplaySource:
    """The recordings that a feed plays.

    The constructor raises SettingsError, with one line per problem, or ImportError.

    ``wanted_exchanges`` are the exchanges to be played, None for all. Times are in Unix ns.
    """

    def __init__(
        self,
        folders: Folder | Iterable[Folder],
        coins: str | Iterable[str] | None,
        exchange: str | Iterable[str] | None,
        speed: float | None,
        start: Moment | None,
        end: Moment | None,
    ) -> None:
        self.speed = _speed(speed)
        self.start, self.end = moment("start", start), moment("end", end)
        if not isinstance(folders, str | os.PathLike | Iterable) or isinstance(folders, bytes):
            raise SettingsError([f"recording: found {folders!r}, allowed is the folder of a recording, or several"])
        several = [folders] if isinstance(folders, str | os.PathLike) else list(folders)
        self.shown = ", ".join(map(str, several))
        self.recordings = [_opened(each) for each in several]
        if not several:
            raise SettingsError(["recording: found an empty list, allowed is the folder of a recording, or several"])
        self.absent: list[str] = []  # the requested coins that the recordings do not have
        self.coins = _chosen("coin", coins, [coin for each in self.recordings for coin in each.coins], str.upper)
        known = [name for each in self.recordings for name in each.exchanges]
        self.exchanges = _chosen("exchange", exchange, known, str.lower)
        self.wanted_exchanges: Collection[str] | None = None if exchange is None else frozenset(self.exchanges)
        self.channels = list(dict.fromkeys(channel for each in self.recordings for channel in each.channels))
        self.timeframes = list(dict.fromkeys(name for each in self.recordings for name in each.timeframes()))
        depths = [session.book_depth for each in self.recordings for session in each.sessions]
        self.book_depth = max(depths, default=20)
        self.breaker = RecordedBreaker()
        first, last = self.span()
        if self.end is not None and self.end < max(first, self.start or first):
            allowed = f"allowed is a time from {iso(first)} to {iso(last)}, after the start"
            raise SettingsError([f"end: found {iso(self.end)}, {allowed}"])
        if self.start is not None and self.start > last:
            raise SettingsError([f"start: found {iso(self.start)}, allowed is a time from {iso(first)} to {iso(last)}"])
        self.clock = RecordedClock(max(first, self.start or first), self.speed)

    def span(self) -> tuple[int, int]:
        """The times of the first and the last row."""
        spans = [each.span() for each in self.recordings]
        return min(first for first, _ in spans), max(last for _, last in spans)

    def rows(self, wanted: RowSelection) -> Iterator[Rows]:
        """The rows of all recordings, merged by the time of their receipt."""
        from exchanges.recording.reader import merged

        return merged([each.rows(wanted) for each in self.recordings])

    def past_candles(self, wanted: RowSelection) -> list[Candle]:
        """The closed candles of the day before the start, oldest first; none if the replay plays from the beginning."""
        from exchanges.recording.reader import RowSelection

        if wanted.start is None:
            return []
        before = RowSelection(wanted.coins, wanted.exchanges, wanted.start - DAY, wanted.start - 1)
        return [candle for each in self.recordings for candle in each.candles(before) if candle.closed]

    def history(self, coin: str, timeframe: str, limit: int, until: int) -> list[Candle]:
        """The newest candles of a coin that were recorded until a time, oldest first; the last one may be open."""
        from exchanges.recording.reader import RowSelection

        wanted = RowSelection([coin], self.wanted_exchanges, until - 7 * DAY, until)
        found: dict[int, Candle] = {}
        for each in self.recordings:
            for candle in each.candles(wanted):
                if candle.timeframe == timeframe and not (
                    candle.timestamp in found and found[candle.timestamp].closed and not candle.closed
                ):
                    found[candle.timestamp] = candle
        return [found[opened] for opened in sorted(found)][-limit:]


def source_of(
    settings: Settings, coins: str | Iterable[str] | None, exchange: str | Iterable[str] | None
) -> ReplaySource:
    """The recordings that the settings name; ``coins`` None: the settings' coins. Raises the errors of ReplaySource."""
    recording = settings.recording
    assert recording is not None
    if settings.bus is not None:
        raise SettingsError(["recording: found both a recording and a bus, allowed is one of them"])
    speed = None if recording.speed == "max" else float(recording.speed)
    start, end = (int(text) if text and text.isdecimal() else text for text in (recording.start, recording.end))
    source = ReplaySource(recording.folder, coins, exchange, speed, start, end)
    if coins is None:
        asked = [config.symbol for config in settings.coins]
        source.absent = [coin for coin in asked if coin not in source.coins]
        if len(source.absent) == len(asked):
            known = ", ".join(source.coins)
            raise SettingsError([f"coins: found no coin of the recording in the settings, allowed are {known}"])
        source.coins = asked
    logger.warning("{} is played in place of the exchanges, as the settings say", source.shown)
    return source


def moment(name: str, value: Moment | None) -> int | None:
    """Return a time as Unix ns; ``value`` is Unix ms, ISO 8601 or a datetime, in UTC if it has no zone.

    Raises SettingsError.
    """
    if value is None:
        return None
    allowed = "allowed is Unix ms, a time such as 2026-11-28T12:00:00Z, or a datetime"
    if isinstance(value, bool):
        raise SettingsError([f"{name}: found {value!r}, {allowed}"])
    if isinstance(value, int | float | Real):  # numpy's numbers too
        if not 0 <= value < 1e14:
            raise SettingsError([f"{name}: found {value!r}, {allowed}"])
        return int(value) * 1_000_000 if isinstance(value, Integral) else int(float(value) * 1_000_000)
    try:
        at = datetime.fromisoformat(value) if isinstance(value, str) else value
        at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
        passed = at - datetime(1970, 1, 1, tzinfo=UTC)
    except (ValueError, TypeError, AttributeError):
        raise SettingsError([f"{name}: found {value!r}, {allowed}"]) from None
    return (passed.days * 86_400 + passed.seconds) * 10**9 + passed.microseconds * 1000


def iso(at: int) -> str:
    """A time in Unix ns as text."""
    return datetime.fromtimestamp(at / 1e9, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _speed(speed: float | None) -> float | None:
    if speed is None:
        return None
    if not isinstance(speed, Real) or isinstance(speed, bool) or not 0 < speed < 1e9:
        allowed = "allowed is a number above 0, or None for as fast as the consumers take it"
        raise SettingsError([f"speed: found {speed!r}, {allowed}"])
    return float(speed)


def _opened(folder: Folder) -> Recording | CapturedEvents:
    from exchanges.recording.captures import CapturedEvents
    from exchanges.recording.reader import Recording

    if not isinstance(folder, str | os.PathLike) or not os.fspath(folder):
        raise SettingsError([f"recording: found {folder!r}, allowed is the folder of a recording, or several"])
    try:
        return CapturedEvents(folder) if os.path.isfile(folder) else Recording(os.fspath(folder))
    except (FileNotFoundError, ValueError) as error:
        raise SettingsError([f"recording: {error}"]) from None


def _chosen(name: str, asked: str | Iterable[str] | None, known: Sequence[str], form: object) -> list[str]:
    known = list(dict.fromkeys(known))
    if asked is None:
        return known
    several = list(asked) if isinstance(asked, Iterable) and not isinstance(asked, str) else [asked]
    wanted = [form(each) if isinstance(each, str) and callable(form) else each for each in several]
    problems = [
        f"{name}: found {each!r}, allowed are those of the recording: {', '.join(known)}"
        for each in wanted
        if each not in known
    ]
    if problems or not wanted:
        raise SettingsError(problems or [f"{name}: found an empty list, allowed are {', '.join(known)}"])
    return list(dict.fromkeys(wanted))
