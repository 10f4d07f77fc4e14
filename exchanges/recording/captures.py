"""Plays raw capture files to a feed like recordings; lines are ``<Unix ns> <frame of Binance's combined stream>``.

Trades, tickers, candles and book tickers become events; frames of order books are left out, because a capture may begin
anywhere between two snapshots.
"""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Any

from exchanges.events import Candle, Quote, Ticker, TradeEvent
from exchanges.recording.files import RecorderRun
from exchanges.recording.markets import TIMEFRAMES, symbol_of
from exchanges.recording.reader import Rows, RowSelection, within
from exchanges.venues.binance_frames import BINANCE
from exchanges.venues.fast_decoder import FrameContext, One

EXCHANGE = "binance"
WINDOW = 4096  # the most events that are passed on at a time
_GZIP = b"\x1f\x8b"
_COMBINED = [kind for kind in BINANCE.kinds["a"] if isinstance(kind, One)]
_CHANNELS: dict[type, str] = {TradeEvent: "trades", Ticker: "ticker", Candle: "candles", Quote: "quotes"}


class _Markets(dict[str, tuple[str, str]]):
    """Coin and symbol of each market id that is looked up."""

    def __missing__(self, market_id: str) -> tuple[str, str]:
        coin, symbol = symbol_of(market_id)
        self[market_id] = coin, symbol
        return coin, symbol

    def __contains__(self, market_id: object) -> bool:
        return isinstance(market_id, str)


class CapturedEvents:
    """The events of one file. Raises ValueError, which names the file and the line, if it is no capture."""

    exchanges = (EXCHANGE,)
    sessions: tuple[RecorderRun, ...] = ()

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.folder = Path(path)
        self._events: list[Any] = []
        scene = FrameContext(_Markets(), {name: name for name in TIMEFRAMES}, EXCHANGE)
        for number, line in enumerate(_lines(self.folder), 1):
            stamp, _, text = line.partition(" ")
            if not stamp.isdecimal() or not text.startswith("{"):
                raise ValueError(f"{path}:{number}: found {line[:60]!r}, allowed is '<Unix ns> <frame>'")
            event = _event(text, scene, int(stamp))
            if event is not None:
                self._events.append(event)
        if not self._events:
            raise ValueError(f"{path} holds no trades, tickers, candles or book tickers of Binance's combined stream")
        self._events.sort(key=lambda event: event.received_at)
        self.coins = sorted({event.coin for event in self._events})
        kinds = {type(event) for event in self._events}
        self.channels = [channel for kind, channel in _CHANNELS.items() if kind in kinds]

    def span(self) -> tuple[int, int]:
        """The times (Unix ns) of the first and the last event."""
        return self._events[0].received_at, self._events[-1].received_at

    def timeframes(self) -> list[str]:
        """The timeframes of the candles."""
        return sorted({event.timeframe for event in self._events if isinstance(event, Candle)})

    def candles(self, wanted: RowSelection) -> list[Candle]:
        """The candles and their updates, in their order."""
        return [each for _, items, _ in self.rows(wanted) for each in items if isinstance(each, Candle)]

    def rows(self, wanted: RowSelection) -> Iterator[Rows]:
        """The events in their order; each trade also makes a price tick."""
        return within(self._windows(wanted), wanted)

    def _windows(self, wanted: RowSelection) -> Iterator[Rows]:
        latest = 0
        for start in range(0, len(self._events), WINDOW):
            items = [
                replace(each)
                for each in self._events[start : start + WINDOW]
                if wanted.coins is None or each.coin in wanted.coins
            ]
            if items:
                ats = list(accumulate((each.received_at for each in items), max, initial=latest))[1:]
                latest = ats[-1]
                yield ats, items, [isinstance(each, TradeEvent) for each in items]


def _event(text: str, scene: FrameContext, received_at: int) -> Any:
    for kind in _COMBINED:
        if kind.makes in _CHANNELS:
            try:
                return kind.decode(text).event(scene, received_at)
            except Exception:  # noqa: BLE001 - any error means another kind of frame
                continue
    return None


def _lines(path: Path) -> Iterator[str]:
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if data.startswith(_GZIP) else data).decode()
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    return (line for line in text.splitlines() if line.strip())
