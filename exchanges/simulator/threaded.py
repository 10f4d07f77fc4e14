"""The simulator in a thread of its own: for tests and programs that block, or have an event loop of their own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from functools import partial
from inspect import isawaitable
from types import TracebackType
from typing import Any, Self, cast

from exchanges.simulator.errors import SimulatorError
from exchanges.simulator.server import Simulator

CALL_TIMEOUT = 30.0  # seconds that a call in the simulator's thread may take


class ThreadedSimulator:
    """``with ThreadedSimulator(rate=50) as simulator:`` takes Simulator's arguments, and serves until the block ends.

    ``simulator["binance"]`` is a venue whose methods may be called from any thread and return when they are done:
    faults are context managers (``with simulator["binance"].stalled(): ...``), ``trade("BTC", price=50_000)`` and
    ``cut()`` act at once. Raises SimulatorError for the same reasons as Simulator.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self._make: Callable[[], Simulator] = partial(Simulator, *arguments, **named)
        self._ready: Future[Simulator] = Future()
        self._end: Future[None] = Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="simulator", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.result(CALL_TIMEOUT)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set_result(None)
        self._thread.join(CALL_TIMEOUT)

    def __getitem__(self, name: str) -> ThreadedVenue:
        return ThreadedVenue(self._ready.result()[name], self)

    @property
    def venues(self) -> list[str]:
        """The names of the venues."""
        return list(self._ready.result().venues)

    @property
    def rest_url(self) -> str:
        return self._ready.result().rest_url

    @property
    def ws_url(self) -> str:
        return self._ready.result().ws_url

    def settings_yaml(self) -> str:
        """The lines of settings.yaml that point at this simulator."""
        return self._ready.result().settings_yaml()

    def call(self, act: Callable[[], Any]) -> Any:
        """Call something in the simulator's thread, and return its result."""

        async def done() -> Any:
            result: Any = act()
            if isawaitable(result):
                return await result
            return result

        if self._loop is None or self._loop.is_closed():
            raise SimulatorError("the simulator is not running")
        return asyncio.run_coroutine_threadsafe(done(), self._loop).result(CALL_TIMEOUT)

    async def _serve(self) -> None:
        try:
            async with self._make() as simulator:
                self._loop = asyncio.get_running_loop()
                self._ready.set_result(simulator)
                await asyncio.wrap_future(self._end)
        except Exception as error:
            if self._ready.done():
                raise
            self._ready.set_exception(error)


class ThreadedVenue:
    """One venue of a ThreadedSimulator: it has all methods of a venue, and runs them in the simulator's thread."""

    def __init__(self, venue: Any, simulator: ThreadedSimulator) -> None:
        self._venue = venue
        self._simulator = simulator

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._venue, name)
        if not callable(found):
            return found

        def method(*arguments: Any, **named: Any) -> Any:
            result = self._simulator.call(lambda: found(*arguments, **named))
            return _There(result, self._simulator) if isinstance(result, AbstractContextManager) else result

        return method


class _There(AbstractContextManager[None]):
    """A fault that begins and ends in the simulator's thread."""

    def __init__(self, fault: AbstractContextManager[Any], simulator: ThreadedSimulator) -> None:
        self._fault = fault
        self._simulator = simulator

    def __enter__(self) -> None:
        self._simulator.call(self._fault.__enter__)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return cast(bool | None, self._simulator.call(lambda: self._fault.__exit__(kind, error, trace)))
