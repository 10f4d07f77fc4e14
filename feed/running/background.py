"""Runs a feed for programs without asyncio, blocking or in a thread of its own; decides how long stop() waits."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any, TypeVar

from loguru import logger

from feed.errors import FeedError

STOP_TIMEOUT = 10.0  # seconds that stop() waits for the thread; disconnecting takes up to 5

LOOK = 0.5  # seconds between two checks whether the feed still runs, for a caller that waits in another event loop
STOPPED = "the feed was stopped meanwhile"

_T = TypeVar("_T")


class Background:
    """Runs ``connect`` and, at the end, ``disconnect`` in an event loop. Only the loop's thread touches the feed."""

    def __init__(self, connect: Callable[[], Awaitable[None]], disconnect: Callable[[], Awaitable[None]]) -> None:
        self._connect = connect
        self._disconnect = disconnect
        self._started: Future[None] = Future()
        self._asked: Future[None] = Future()  # done when the loop is asked to stop
        self._ended = threading.Event()
        self._failure: FeedError | None = None
        self._thread: threading.Thread | None = None  # the thread in which the loop runs

    @property
    def ended(self) -> bool:
        """Whether the event loop has ended. If a callback has asked it to stop, this waits for the end first."""
        if self._asked.done() and self._thread is not threading.current_thread():
            self._ended.wait(STOP_TIMEOUT)
        return self._ended.is_set()

    def run(self) -> None:
        """Block until ``stop`` or Ctrl-C; raises what connecting raises, or what ended the feed."""
        running: asyncio.AbstractEventLoop | None = None
        with suppress(RuntimeError):
            running = asyncio.get_running_loop()
        if running is not None:
            self._ended.set()
            raise FeedError("run() blocks, and an event loop is running here: await connect(), or call start()")
        self._thread = threading.current_thread()
        self._loop()
        self._started.result()
        if self._failure is not None:
            raise self._failure

    def start(self) -> None:
        """Return when the thread has connected; raises what connecting raises, after the thread has ended."""
        self._thread = threading.Thread(target=self._loop, name="market feed", daemon=True)
        self._thread.start()
        try:
            self._started.result()
        except BaseException:  # Ctrl-C while the feed connects is caught too
            self.stop()
            raise

    def stop(self) -> None:
        """Disconnect and wait until that is done; in the feed's own thread, only request it."""
        self._ask()
        if self._thread is None or self._thread is threading.current_thread():
            return
        if not self._ended.wait(STOP_TIMEOUT):
            raise FeedError(f"the feed's thread did not end within {STOP_TIMEOUT:g} s; a callback may block it")

    def _ask(self) -> None:
        with suppress(InvalidStateError):  # the loop was asked to stop already
            self._asked.set_result(None)

    def _loop(self) -> None:
        try:
            asyncio.run(self._serve())
        except (KeyboardInterrupt, SystemExit) as error:
            if self._thread is not threading.main_thread():  # in other threads, Python ignores a SystemExit
                logger.critical("the feed's thread ended because a callback raised {!r}", error)
            raise
        finally:
            self._ended.set()

    def end(self, failure: FeedError | None) -> None:
        """End the event loop, because the feed has ended by itself: by a ``failure``, or at the end of a replay.

        Call it in that loop.
        """
        self._failure = failure
        self._ask()

    async def _serve(self) -> None:
        stopping = asyncio.wrap_future(self._asked)
        connecting = asyncio.ensure_future(self._connect())
        try:
            await asyncio.wait({stopping, connecting}, return_when=asyncio.FIRST_COMPLETED)
            if connecting.done():
                connecting.result()
            else:
                connecting.cancel()
                await asyncio.wait({connecting})
            self._started.set_result(None)
            await stopping
        except BaseException as error:
            if not self._started.done():
                self._started.set_exception(error)
            if not isinstance(error, Exception):
                raise
        finally:
            stopping.cancel()
            await self._disconnect()


async def across(task: asyncio.Task[Any], call: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
    """Run ``call`` in the event loop of ``task`` and return its result; raises FeedError if the task ends first."""
    loop = task.get_loop()
    if loop is asyncio.get_running_loop():
        return await call()
    work = call()
    try:
        future = asyncio.run_coroutine_threadsafe(work, loop)
    except RuntimeError:  # the loop is closed
        work.close()
        raise FeedError(STOPPED) from None
    result = asyncio.wrap_future(future)
    try:
        while not result.done() and not task.done():
            await asyncio.wait({result}, timeout=LOOK)
        if result.done() and not result.cancelled():
            return result.result()
        raise FeedError(STOPPED)
    finally:
        result.cancel()
