"""Reports of a dispatcher, a clock that tests set, and a bot with callbacks of every form."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Any
from unittest.mock import AsyncMock

TIMEOUT = 10.0  # seconds within which every awaited condition must hold


class Reports(list[tuple[str, dict[str, Any]]]):
    """What the dispatcher reported."""

    def __call__(self, event: str, details: dict[str, Any]) -> None:
        self.append((event, details))

    def kinds(self) -> list[str]:
        return [event for event, _ in self]


class Hands:
    """A clock that the test advances."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def own_tasks() -> list[str]:
    return [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("market-feed")]


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(TIMEOUT):
        while not condition():  # noqa: ASYNC110 - no event can be awaited here
            await asyncio.sleep(0)


def raiser(event: Any) -> None:
    raise RuntimeError(f"over {event}")


async def async_raiser(event: Any) -> None:
    raise RuntimeError(f"over {event}")


class Bot:
    def __init__(self) -> None:
        self.seen: list[int] = []

    async def on_trade(self, event: int) -> None:
        await asyncio.sleep(0)
        self.seen.append(event)

    async def __call__(self, event: int) -> None:
        await self.on_trade(event)

    def twice(self) -> Callable[[int], Any]:
        return functools.partial(functools.partial(self.on_trade))

    def hidden(self) -> Callable[[int], Any]:
        return lambda event: self.on_trade(event)

    def task(self) -> Callable[[int], Any]:
        return lambda event: asyncio.ensure_future(self.on_trade(event))

    def mock(self) -> Callable[[int], Any]:
        return AsyncMock(side_effect=self.on_trade)

    def mixed(self) -> Callable[[int], Any]:
        return lambda event: self.on_trade(event) if event % 2 else self.seen.append(event)
