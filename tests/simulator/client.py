"""A simple client of the simulated venues, made with aiohttp and without this project's code for venues."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from exchanges.simulator import Simulator

TIMEOUT = 10.0


async def until(condition: Callable[[], object], timeout: float = TIMEOUT) -> None:
    """Let the loop run until ``condition`` holds."""
    async with asyncio.timeout(timeout):
        while not condition():  # noqa: ASYNC110 - no event reports this
            await asyncio.sleep(0.002)


class Client:
    """One WebSocket; ``frames`` are the texts received so far, ``events`` the same texts decoded from JSON."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self.ws = ws
        self.frames: list[str] = []
        self.pings: list[bytes] = []
        self.pongs: list[bytes] = []
        self.closed: int | None = None
        self.reading = True
        self._task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        while self.closed is None:
            message = await self.ws.receive()
            if message.type is aiohttp.WSMsgType.TEXT:
                self.frames.append(message.data)
            elif message.type is aiohttp.WSMsgType.PING:
                self.pings.append(message.data)
            elif message.type is aiohttp.WSMsgType.PONG:
                self.pongs.append(message.data)
            elif message.type is aiohttp.WSMsgType.CLOSE:
                self.closed = message.data
            else:
                self.closed = 1006

    @property
    def events(self) -> list[Any]:
        return [json.loads(frame) for frame in self.frames]

    async def ask(self, request: dict[str, Any]) -> Any:
        """Send a request and return the next answer that is not market data."""
        known = len(self.frames)
        await self.ws.send_json(request)
        return await self.first(lambda event: "result" in event or "error" in event or "ret_msg" in event, known)

    async def first(self, wanted: Callable[[Any], object], after: int = 0, timeout: float = TIMEOUT) -> Any:
        """Wait for the first ``wanted`` event among the events from number ``after`` on."""
        found: list[Any] = []

        def look() -> bool:
            found.extend(event for event in self.events[after:] if wanted(event))
            return bool(found)

        await until(look, timeout)
        return found[0]

    async def subscribe(self, *streams: str) -> Any:
        if any("@" in stream for stream in streams):
            return await self.ask({"method": "SUBSCRIBE", "params": list(streams), "id": 1})
        return await self.ask({"op": "subscribe", "args": list(streams), "req_id": "1"})

    async def gone(self) -> int:
        """Wait for the connection's end and return the close code (1006 if no close frame came)."""
        await until(lambda: self.closed is not None)
        assert self.closed is not None
        return self.closed

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self.ws.close()


@asynccontextmanager
async def dial(sim: Simulator, path: str = "/ws") -> AsyncIterator[Client]:
    """Connect to ``path``; control frames are noted, but not answered."""
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(sim.ws_url + path, autoping=False, autoclose=False) as ws,
    ):
        client = Client(ws)
        try:
            yield client
        finally:
            await client.close()


async def get(sim: Simulator, path: str, **params: str | int) -> Any:
    """The JSON of a REST answer, even of an error."""
    async with aiohttp.ClientSession() as session, session.get(sim.rest_url + path, params=params) as response:
        return await response.json()


async def status_of(sim: Simulator, path: str) -> int:
    async with aiohttp.ClientSession() as session, session.get(sim.rest_url + path) as response:
        return response.status
