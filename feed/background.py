"""A feed for programs without asyncio: its event loop blocks, or runs in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future

from feed.errors import FeedError

STOP_TIMEOUT = 10.0  # seconds that stop() waits for the thread; disconnecting takes up to 5


class Background:
    """Runs ``connect`` and, at the end, ``disconnect`` in an event loop; no thread but the loop's touches the feed."""

    def __init__(self, connect: Callable[[], Awaitable[None]], disconnect: Callable[[], Awaitable[None]]) -> None:
        self._connect = connect
        self._disconnect = disconnect
        self._started: Future[None] = Future()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._failure: FeedError | None = None

    def run(self) -> None:
        """Block until ``stop`` or Ctrl-C; raises what connecting raises, or what ended the feed."""
        asyncio.run(self._serve())
        self._started.result()
        if self._failure is not None:
            raise self._failure

    def start(self) -> None:
        """Return when the thread has connected; raises what connecting raises."""
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="market feed", daemon=True)
        self._thread.start()
        self._started.result()

    def stop(self) -> None:
        """Disconnect and wait for the thread; from the feed's own thread, only ask for it."""
        if self._loop is not None and self._stopping is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stopping.set)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(STOP_TIMEOUT)
            if self._thread.is_alive():
                raise FeedError(f"the feed's thread did not end within {STOP_TIMEOUT:g} s; a callback may block it")

    def fail(self, failure: FeedError) -> None:
        """The feed has ended of itself: so does its loop. To be called there."""
        self._failure = failure
        if self._stopping is not None:
            self._stopping.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        stopping = asyncio.create_task(self._stopping.wait())
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
