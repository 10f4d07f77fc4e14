"""Recorder, the class that programs use: its status and defaults (seconds per flush, seconds per file, queue size)."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from exchanges.events import Candle
from exchanges.recording.rows import MARKET_DATA, PastCandle
from feed.errors import FeedError
from feed.settings.arguments import known_depth
from feed.sinks.recorder.pending_rows import Status
from feed.sinks.recorder.writer import Plan, Writer

if TYPE_CHECKING:
    from feed.market_feed import MarketFeed
    from feed.subscriptions.dispatcher import Subscriber

__all__ = ["Recorder", "RecorderStatus"]

START_TIMEOUT = 10.0  # the most seconds that ``async with`` waits for the first writing: the disk may be full
QUEUE_SIZE = 200_000  # events that may wait for the disk
STATES = ("state", "exchange", "reconnect_count", "failover_count", "errors", "tradable")


@dataclass(frozen=True, slots=True)
class RecorderStatus:
    """What a recorder has done: events that are on disk, that wait, and that were dropped because the queue was full.

    ``failure`` says why the last attempt to write failed, None if it did not.
    """

    written: int
    waiting: int
    dropped: int
    failure: str | None


class Recorder:
    """Records what ``feed`` delivers in ``folder``, from ``async with`` or ``start()`` to ``close()``.

    ``channels``: among trades, ticker, candles, quotes and books; None for those that the feed carries. Status events
    are recorded in any case. ``flush_seconds``: what was delivered longer ago is on disk, so that a crash loses at most
    that much. ``file_seconds``: the small files of this many seconds become one file per coin. ``queue_size``: events
    that may wait while the disk is slow or full; further events are dropped and listed as a hole. ``book_depth``:
    levels of each side of a book.

    The constructor raises ValueError for an unknown channel and for seconds not above 0.
    """

    def __init__(
        self,
        feed: MarketFeed,
        folder: str | os.PathLike[str],
        *,
        channels: Collection[str] | None = None,
        flush_seconds: float = 2.0,
        file_seconds: float = 300.0,
        queue_size: int = QUEUE_SIZE,
        book_depth: int = 20,
    ) -> None:
        chosen = feed.channels if channels is None else tuple(channels)
        unknown = [each for each in chosen if each not in MARKET_DATA]
        if unknown or not chosen:
            raise ValueError(f"channels: found {unknown or 'none'}, allowed are {', '.join(MARKET_DATA)}")
        for name, value in (("flush_seconds", flush_seconds), ("file_seconds", file_seconds)):
            if not 0 < value < 1e8:
                raise ValueError(f"{name}: found {value!r}, allowed is a number of seconds above 0")
        self._feed = feed
        self._folder = Path(folder)
        self._channels = [each for each in MARKET_DATA if each in chosen]
        self._seconds = flush_seconds, file_seconds
        self._queue_size = queue_size
        self._book_depth = known_depth(book_depth)
        self._writer: Writer | None = None
        self._closed = False
        self._handles: list[Subscriber] = []

    @property
    def status(self) -> RecorderStatus:
        """How many events are on disk, wait, and were dropped. Safe from any thread."""
        writer = self._writer
        if writer is None:
            return RecorderStatus(0, 0, 0, None)
        return RecorderStatus(writer.written, writer.waiting, writer.dropped, writer.failure)

    def start(self) -> None:
        """Begin to record.

        Raises FeedError if another recorder writes to the folder, if the folder can't be written to, or if this
        recorder was started already.
        """
        if self._writer is not None:
            raise FeedError("this recorder was started already")
        feed = self._feed
        timeframes = feed.timeframes if "candles" in self._channels else ()
        if "candles" in self._channels and not timeframes:
            timeframes = ("1m",)
        coins = [config.symbol for config in feed.coin_configs]
        seconds, size = self._seconds, self._queue_size
        plan = Plan(self._folder, self._channels, coins, list(timeframes), self._book_depth, *seconds, size)
        try:
            writer = self._writer = Writer(plan)
        except OSError as error:
            raise FeedError(f"{self._folder} can't be written to: {error.strerror or error}") from error
        except ValueError as error:  # the manifest was not written by a recorder
            raise FeedError(str(error)) from error
        put = writer.put

        def on_status(event: str, details: dict[str, Any]) -> None:
            status = asdict(feed.status)
            put(Status(event, details, {name: status[name] for name in STATES}))

        def on_past_candle(candle: Candle) -> None:
            known = {name: getattr(candle, name) for name in Candle.__slots__}
            put(PastCandle(**{**known, "received_at": time.time_ns()}))

        handles = self._handles
        handles.append(feed.subscribe_status(on_status))
        if "trades" in self._channels:
            handles.append(feed.subscribe_trades(put))
        if "ticker" in self._channels:
            handles.append(feed.subscribe_tickers(put))
        if {"trades", "ticker"} & set(self._channels):
            handles.append(feed.subscribe_price(put))
        if timeframes:
            handles.append(feed.subscribe_past_candles(on_past_candle))
        handles += [feed.subscribe_candles(put, timeframe=timeframe) for timeframe in timeframes]
        if "quotes" in self._channels:
            handles.append(feed.subscribe_quotes(put))
        if "books" in self._channels:
            handles.append(feed.subscribe_books(put, depth=self._book_depth, on_full="drop_oldest"))

    async def flush(self) -> None:
        """Return when all that was delivered until now is on disk. Raises FeedError if the recorder does not run."""
        if self._writer is None or self._closed:
            raise FeedError("the recorder does not run")
        await asyncio.wrap_future(self._writer.flush())

    async def close(self) -> None:
        """Write what was delivered, and end. Raises FeedError if something can't be written. Idempotent."""
        for handle in self._handles:
            handle.cancel()
        self._handles.clear()
        if self._writer is not None and not self._closed:
            self._closed = True
            await asyncio.to_thread(self._writer.close)

    async def __aenter__(self) -> Self:
        self.start()
        with suppress(TimeoutError):
            async with asyncio.timeout(START_TIMEOUT):
                await self.flush()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()
