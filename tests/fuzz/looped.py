"""Resources that stay open for many examples, on an event loop that runs only while a test waits for something."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any

from exchanges.simulator import Simulator


class Looped:
    """A subclass opens its resources in ``_open``, and enters into ``_stack`` all that must be closed at the end."""

    def __init__(self, venue: str) -> None:
        self.unhandled: list[Mapping[str, Any]] = []
        self._simulated = Simulator(venues=(venue,), rate=0, coins=("BTC", "ETH"), laws=False)
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        self._runner.get_loop().set_exception_handler(lambda loop, context: self.unhandled.append(context))
        self.run(self._open())

    def run(self, coroutine: Any) -> Any:
        return self._runner.run(coroutine)

    def close(self) -> None:
        self.run(self._stack.aclose())
        self._runner.close()
        assert self.unhandled == []

    async def _open(self) -> None:
        raise NotImplementedError
