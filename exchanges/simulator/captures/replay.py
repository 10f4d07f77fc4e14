"""Plays a capture on a venue: the recorded frames verbatim, everything else derived from the replayed trades."""

from __future__ import annotations

import asyncio
import json
from time import monotonic

from exchanges.simulator.binance.recorded_book import RecordedBook
from exchanges.simulator.binance.streams import Binance
from exchanges.simulator.captures.file_format import SNAPSHOT, Capture, CapturedFrame
from exchanges.simulator.venue import CHUNK

QUIET = 1.0  # seconds without a further subscription before the replay starts
GRACE = 2000  # ms for which a quiet market's candle stays open: the captured markets differ slightly in time


class Replay:
    """Plays once, from the first subscription to a recorded trade stream on; then the venue is silent.

    ``speed`` is relative to the recording; 0 means as fast as the sockets take the frames. If ``rate`` is given, about
    so many trades are played per second instead.
    """

    def __init__(self, capture: Capture, venue: Binance, speed: float, rate: float | None) -> None:
        self._capture, self._venue = capture, venue
        self._speed, self._rate = speed, rate
        self._wanted = {frame.stream for frame in capture.frames if frame.trade is not None}
        self._subscribed_at: float | None = None
        self._news = asyncio.Event()
        self._played = 0
        self._playing = False
        self._books: dict[str, RecordedBook] = {}
        self.done = asyncio.Event()
        venue.recorded_streams = capture.streams
        venue.grace = GRACE
        venue.on_subscription = self._on_subscription

    @property
    def state(self) -> str:
        if self.done.is_set():
            return "done"
        return "playing" if self._playing else "waiting for subscriptions"

    def _on_subscription(self) -> None:
        self._subscribed_at = monotonic()
        self._news.set()

    def _note_book(self, frame: CapturedFrame) -> None:
        """Make REST show the captured book in the state that the replay has reached."""
        symbol, _, channel = frame.stream.partition("@")
        if channel == SNAPSHOT[1:] or channel in ("depth", "depth@100ms"):
            if symbol.upper() not in self._books:
                self._books[symbol.upper()] = self._venue.recorded_books[symbol.upper()] = RecordedBook()
            book = self._books[symbol.upper()]
            event = json.loads(frame.payload)
            if channel == SNAPSHOT[1:]:
                book.begin(event)
            else:
                book.apply(event)

    def _has_listener(self) -> bool:
        return any(stream in self._venue.topics for stream in self._wanted)

    async def play(self) -> None:
        await self._begin()
        self._playing = True
        frames, started = self._capture.frames, monotonic()
        position = 0
        while position < len(frames):
            end = min(position + CHUNK, len(frames))
            while position < end and self._due(frames[position], started):
                self._show(frames[position])
                position += 1
            await self._venue.drain()
            if position < len(frames) and not self._due(frames[position], started):
                await asyncio.sleep(0.002)
        self.done.set()

    async def _begin(self) -> None:
        while True:
            self._news.clear()
            if not self._has_listener() or self._subscribed_at is None:
                await self._news.wait()
                continue
            quiet = monotonic() - self._subscribed_at
            if quiet >= QUIET:
                return
            await asyncio.sleep(QUIET - quiet)

    def _due(self, frame: CapturedFrame, started: float) -> bool:
        if self._rate:
            return frame.trade is None or self._played < (monotonic() - started) * self._rate + 1
        if not self._speed:
            return True
        recorded = (frame.stamp_ns - self._capture.frames[0].stamp_ns) / 1e9
        return (monotonic() - started) * self._speed >= recorded

    def _show(self, frame: CapturedFrame) -> None:
        venue = self._venue
        if frame.event_ms is not None:
            venue.replay_clock = max(venue.replay_clock or 0, frame.event_ms)
        trade = frame.trade
        self._note_book(frame)
        if frame.stream.endswith(SNAPSHOT):
            return
        market = venue.markets[frame.stream.partition("@")[0].upper()]
        if trade is None or (market.last_id is not None and trade["t"] <= market.last_id):
            venue.show(market, frame.stream, frame.payload)
            return
        self._played += 1
        now = max(trade["T"], market.last_time)
        if now // 1000 != market.last_time // 1000:
            venue.roll(now, market)
        market.recorded[trade["t"]] = frame.payload
        ticks, lots = round(float(trade["p"]) * market.scale), round(float(trade["q"]) * market.lot_scale)
        trades = market.record([(trade["t"], ticks, lots, trade["m"])], now)
        venue.note(market)
        venue.publish(market, trades)


def start_of(capture: Capture) -> int:
    """The time of the first trade, Unix ms: where the replay's own time begins."""
    return min(int(trade["T"]) for trade in capture.trades)
