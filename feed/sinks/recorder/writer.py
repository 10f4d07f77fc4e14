"""A recorder's threads: one writes the queue in time for ``flush_seconds``, one merges files every ``file_seconds``."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from loguru import logger

from exchanges.events import Candle, OrderBook, Quote, Ticker, TradeEvent
from exchanges.recording.files import RECENT, RecordedFile, RecorderRun, date_of, manifest, recorded_files
from exchanges.recording.reader import newest
from exchanges.recording.rows import Columns, GapRow, PastCandle
from exchanges.recording.writing import note, recover, write_empty, write_small
from feed.errors import FeedError
from feed.events import PriceTick
from feed.sinks.folder_lock import FolderLock
from feed.sinks.recorder.holes import Dropped, Holes
from feed.sinks.recorder.merging import compact, merge_recent
from feed.sinks.recorder.pending_rows import PendingRows, Status

EARLY = 0.5  # share of the flush interval after which writing begins: the rest is for a busy machine
EARLIEST = 0.25  # the same share while the machine is slow
SLOWER = 3.0  # the next writing may take this many times as long as the slowest recent writing, and still end in time
FADES = 0.8  # factor by which a slow writing counts less after each later writing
GATHER = 0.25  # seconds between two checks of the queue: events that wait long cost much time in garbage collection
STEP = 1.0  # seconds: smaller changes of the clock do not count as set
DAY = 86_400
_CHANNEL: dict[type, str] = {
    TradeEvent: "trades", Ticker: "ticker", Candle: "candles", Quote: "quotes", OrderBook: "books",
    PriceTick: "prices", PastCandle: "history", Status: "status",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Plan:
    """What is recorded, and how. Times in seconds, ``queue_size`` in events."""

    folder: Path
    channels: Sequence[str]
    coins: Sequence[str]
    timeframes: Sequence[str]
    book_depth: int
    flush_seconds: float
    file_seconds: float
    queue_size: int


class Writer:
    """Writes a recording: ``put`` takes an event in the feed's thread; the writer's own threads do everything else.

    ``written`` counts the events that are on disk, ``failure`` says why the last attempt to write failed.
    """

    def __init__(self, plan: Plan, *, now: Callable[[], float] = time.time) -> None:
        self._plan = plan
        self._now = now
        self._lock = FolderLock(plan.folder)
        self._queue: deque[Any] = deque()
        self._waiting = 0  # events that were taken from the queue and are not written yet
        self._room = plan.queue_size
        self._dropped = Dropped()
        self._holes = Holes(plan.channels)
        self._rows = PendingRows()
        self._began = int(now() * 1000)
        self._taken = 0
        self._counting = threading.Lock()  # held while events leave the queue and are counted in ``_taken``
        self.written = 0
        self.failure: str | None = None
        self._acks: deque[tuple[int, Future[None]]] = deque()
        self._stirred = threading.Event()
        self._closing = False
        self._opened = self._absence_is_listed = False
        self._offset = now() - time.monotonic()
        self._last: list[Any] = []  # the event that was taken last
        self._steps: deque[dict[str, Any]] = deque()  # steps of the clock that the manifest does not list yet
        self._writing = threading.Thread(target=self._write_until_closed, name="recorder", daemon=True)
        self._merging = threading.Thread(target=self._merge_until_closed, name="recorder's merging", daemon=True)
        self._merge_due = threading.Event()
        self._tidying = threading.Lock()
        self._writing.start()

    @property
    def waiting(self) -> int:
        """How many events are not on disk yet."""
        return len(self._queue) + self._waiting

    @property
    def dropped(self) -> int:
        """How many events were dropped because the queue was full."""
        return self._dropped.total

    def put(self, event: Any) -> None:
        """Queue an event, or count it as dropped while the queue is full."""
        if len(self._queue) < self._room:
            self._queue.append(event)
        else:
            self._drop(event)

    def flush(self) -> Future[None]:
        """A future that is done when everything put until now is on disk."""
        done: Future[None] = Future()
        with self._counting:
            self._acks.append((self._taken + len(self._queue), done))
        self._stirred.set()
        return done

    def close(self) -> None:
        """Write what is left and end; blocks. Raises FeedError if something could not be written."""
        self._closing = True
        self._stirred.set()
        self._writing.join()
        self._merge_due.set()
        if self._merging.ident is not None:
            self._merging.join()
        self._lock.release(remove=True)
        if self.waiting:
            raise FeedError(f"{self.waiting} events could not be recorded in {self._plan.folder}: {self.failure}")

    # In the writing thread

    def _write_until_closed(self) -> None:
        Columns("trades").table()  # pyarrow's first array imports pandas if that is installed, which takes a second
        wait = 0.0
        slowest = self._plan.flush_seconds * EARLIEST
        closing = False
        while not closing:
            due = time.monotonic() + wait
            stirred = self._gather_until(due)
            began = time.monotonic()
            self._stirred.clear()
            closing = self._closing
            self._guarded(partial(self._write_once, closing))
            ended = time.monotonic()
            slowest = max(FADES * slowest, ended - (began if stirred else due))
            wait = max(0.0, began + begins_after(self._plan.flush_seconds, slowest) - ended)

    def _gather_until(self, due: float) -> bool:
        """Take events from the queue until ``due`` (monotonic seconds); True if flush or close was called first."""
        while (left := due - time.monotonic()) > 0:
            if self._stirred.wait(min(left, GATHER)):
                return True
            if self._opened:
                self._guarded(self._take)
        return self._stirred.is_set()

    def _guarded(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception as error:  # noqa: BLE001 - a defect here: the recording must continue, and report it
            logger.opt(exception=error).error("recording failed")
            self.failure = repr(error)

    def _write_once(self, closing: bool) -> None:
        try:
            if not self._lock.stands:
                self._begin_again()
            if not self._opened:
                self._open()
            self._take()
            self._note_steps()
            self._note_holes(closing)
            self._write()
            if closing:
                self._end()
            self._say(None)
        except (OSError, FeedError) as error:
            self._say(getattr(error, "strerror", None) or str(error))
        while self._acks and self._acks[0][0] <= self.written:
            self._acks.popleft()[1].set_result(None)

    def _open(self) -> None:
        """Repair what a crash has left, and note the hole since the last row."""
        folder = self._plan.folder
        with self._tidying:
            recover(folder)
            write_empty(folder, date_of(self._today()))
        said = manifest(folder)
        files = recorded_files(folder)
        last = max((each.last for each in files if each.last is not None), default=-1)
        last = max([last, *(session.last for session in said.sessions if session.last is not None)])
        self._rows.next_seq = max(self._rows.next_seq, last + 1)
        if said.sessions:
            if not self._absence_is_listed:
                self._note_absence(said.sessions[-1], files)
                self._absence_is_listed = True
            self._write()  # write the hole before the session: after a crash, no recorder looks for older holes
        session = {name: getattr(self._plan, name) for name in ("channels", "coins", "timeframes", "book_depth")}
        note(folder, {"session": {"began": self._began, "first": last + 1, **session}})
        self._opened = True
        if self._merging.ident is None:
            self._merging.start()

    def _note_absence(self, before: RecorderRun, files: Sequence[RecordedFile]) -> None:
        if before.ended is not None:
            since, reason = before.ended, "nothing was recorded"
        else:
            since, reason = max(before.began, newest(files)), "the recorder was killed"
        for channel in before.channels:
            self._rows.add([GapRow(channel, "", "", since, self._began, None, None, None, reason)], self._today())

    def _begin_again(self) -> None:
        """Make the folder again after it was removed or replaced, and note the lost rows."""
        self._lock.release()
        self._lock = FolderLock(self._plan.folder)
        began, self._began = self._began, int(self._now() * 1000)
        self._opened = False
        for channel in self._plan.channels:
            reason = "the recording's folder was removed"
            self._rows.add([GapRow(channel, "", "", began, self._began, None, None, None, reason)], self._today())

    def _take(self) -> None:
        queue = self._queue
        with self._counting:
            events = [queue.popleft() for _ in range(len(queue))]
            self._taken += len(events)
        self._keep(self._taken - self.written)
        offset = self._now() - time.monotonic()
        step, self._offset = offset - self._offset, offset
        place = 0
        if abs(step) > STEP:
            place = _step_among(self._last, events, step)
            self._rows.add(events[:place], self._today())
            self._steps.append({"seq": self._rows.next_seq, "seconds": round(step, 3), "at": int(self._now() * 1000)})
        # a tick waits for its ticker, unless somebody waits for the tick to be on disk
        settle = self._closing or bool(self._acks) or not events
        self._rows.add(events[place:], self._today(), settle=settle)
        self._last = events[-1:] or self._last
        for event in events:
            if type(event) is Status:
                self._rows.add(self._holes.on_status(event.event, event.details), self._today())

    def _note_steps(self) -> None:
        while self._steps:
            step = self._steps[0]
            note(self._plan.folder, {"step": step})
            reason = f"the clock was set by {step['seconds']:+.1f} s, or the machine was suspended"
            for channel in self._plan.channels:
                since = step["at"] - int(abs(step["seconds"]) * 1000)
                self._rows.add([GapRow(channel, "", "", since, step["at"], None, None, None, reason)], self._today())
            self._steps.popleft()

    def _note_holes(self, closing: bool) -> None:
        now = int(self._now() * 1000)
        found = self._holes.expired(now) + self._dropped.take("the recorder fell behind")
        if closing:
            found += self._holes.close(now)
        self._rows.add(found, self._today())

    def _today(self) -> int:
        return int(self._now() // DAY)

    def _write(self) -> None:
        taken = self._taken
        for (channel, day), rows in list(self._rows.parts.items()):
            first, last = rows.values["seq"][0], rows.values["seq"][-1]
            place = f"{channel}/{RECENT}/date={date_of(day)}"
            write_small(self._plan.folder, place, first, last, rows.table())
            self._rows.drop(channel, day)
        self.written = taken
        self._keep(0)

    def _keep(self, waiting: int) -> None:
        """Note how many events were taken from the queue and are not on disk.

        The queue may use the rest of the room.
        """
        self._waiting, self._room = waiting, self._plan.queue_size - waiting

    def _end(self) -> None:
        at = int(self._now() * 1000)
        note(self._plan.folder, {"ended": at, "last": self._rows.next_seq - 1})

    def _say(self, failure: str | None) -> None:
        if failure != self.failure:
            if failure is None:
                logger.warning("recording to {} works again", self._plan.folder)
            else:
                logger.error("recording to {} fails: {}; {} events wait", self._plan.folder, failure, self.waiting)
        self.failure = failure

    def _drop(self, event: Any) -> None:
        if self._dropped.total == 0:
            logger.error("the recorder falls behind: {} events wait, and further events are dropped", self.waiting)
        channel = _CHANNEL[type(event)]
        if channel == "status":
            exchange, coin = event.details["exchange"], ""
        else:
            exchange, coin = event.exchange, event.coin
        self._dropped.add(channel, exchange, coin, int(self._now() * 1000))

    # In the merging thread

    def _merge_until_closed(self) -> None:
        done_for = ""
        while True:
            last = self._merge_due.wait(self._plan.file_seconds)
            today = date_of(self._today())
            try:
                with self._tidying:
                    merge_recent(self._plan.folder)
                    if today != done_for:
                        compact(self._plan.folder, today, lambda: not self._closing)
                done_for = today
            except Exception as error:  # noqa: BLE001 - such as a full disk: the small files stay, and the merge is tried again
                logger.warning("the recording's files could not be merged: {}", error)
            if last:
                return


def begins_after(flush_seconds: float, slowest: float) -> float:
    """Seconds between the starts of two writings, so that an event just after the first start is on disk in time.

    ``slowest``: the most seconds that one of the last writings took, from the moment at which it was due to its end.
    """
    return min(EARLY * flush_seconds, max(EARLIEST * flush_seconds, flush_seconds - SLOWER * slowest))


def _step_among(last: Sequence[Any], events: Sequence[Any], step: float) -> int:
    """The place of the first event after the clock was set by ``step`` seconds: the times of receipt jump by as much.

    ``last`` is the event before ``events``.
    """
    stamps = [(getattr(event, "received_at", 0), place) for place, event in enumerate((*last, *events), -len(last))]
    jumps = [((at - before) / 1e9, place) for (before, _), (at, place) in pairwise(each for each in stamps if each[0])]
    jump, place = min(jumps, key=lambda each: abs(each[0] - step), default=(0.0, 0))
    return place if jump / step > 0.5 else len(events)
